"""A transaction as the CA sees it, and which of them are open, closed, or were ever used."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cmp.messages import Body, PKIMessage
from cmp.request import NO_CERT_REQ_ID
from cmp.testing.behaviour import body_name
from cmp.testing.gate import Peer
from cmp.testing.register import Issued

PATIENCE = timedelta(days=1)  # a client that has not polled for so long has given up
REMEMBERED = 1000  # closed transactions whose answers can still be repeated


@dataclass(slots=True)
class Exchange:
    """`request` is the question being answered: the first one, or a certConf that has to wait."""

    id: bytes
    peer: Peer
    request: PKIMessage
    until: datetime  # when the CA stops waiting for the client
    cert_req_id: int = NO_CERT_REQ_ID
    our_nonces: list[bytes | None] = field(default_factory=list)  # None: we left ours out
    polls_left: int = 0
    poll_at: datetime | None = None  # the client was asked not to come before
    finish: Callable[[datetime], Body] | None = None  # what is still to be done, while polled
    answer: Body | None = None
    issued: Issued | None = None
    replaces: Issued | None = None
    implicit: bool = False  # confirmed implicitly

    @property
    def asked(self) -> str:
        return body_name(self.request)


class Exchanges:
    """Iterates over the open ones. A transactionID is used once, ever."""

    def __init__(self) -> None:
        self._open: dict[bytes, Exchange] = {}
        self._closed: OrderedDict[bytes, Exchange] = OrderedDict()
        self._used: set[bytes] = set()

    def __iter__(self) -> Iterator[Exchange]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def used(self, transaction_id: bytes) -> bool:
        return transaction_id in self._used

    def begin(self, exchange: Exchange) -> None:
        self._used.add(exchange.id)
        self._open[exchange.id] = exchange

    def find(self, transaction_id: bytes) -> Exchange | None:
        return self._open.get(transaction_id) or self._closed.get(transaction_id)

    def is_open(self, exchange: Exchange) -> bool:
        return exchange.id in self._open

    def close(self, exchange: Exchange) -> None:
        self._open.pop(exchange.id, None)
        self._closed[exchange.id] = exchange
        if len(self._closed) > REMEMBERED:
            self._closed.popitem(last=False)
