"""A CA's hand for all tests of the protocol, and conversations with it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cmp.protection import (
    Credentials,
    SignatureCredentials,
)
from cmp.request import Enroll, Request
from cmp.transaction import Transaction
from cmp.trust import TrustStore
from tests.cmp.certs import NOW
from tests.cmp.hand import Hand
from tests.cmp.talk import (
    KEY,
    PROFILE,
    TEMPLATE,
    Talk,
)


@pytest.fixture(scope="session")
def hand() -> Hand:
    return Hand()


@pytest.fixture(scope="session")
def identity(hand: Hand) -> SignatureCredentials:
    return hand.identity()


@pytest.fixture
def talk(hand: Hand, identity: SignatureCredentials) -> Callable[..., Talk]:
    """Begin a transaction: an ir, signed by the identity, unless the test says otherwise."""

    def begin(
        request: Request | None = None,
        *,
        by: Credentials = identity,
        trust: TrustStore = hand.trust,
        **profile: Any,
    ) -> Talk:
        tx = Transaction.begin(
            request or Enroll(TEMPLATE, KEY),
            credentials=by,
            trust=trust,
            profile=replace(PROFILE, **profile),
            now=NOW,
        )
        return Talk(hand, tx, [])

    return begin
