from collections.abc import Mapping
from itertools import count

import pytest

from secretstore import MemorySecretStore, Secret, Unavailable
from tests.secretstore.conformance import Operator, StoreConformance


class MemoryOperator:
    def __init__(self, store: MemorySecretStore) -> None:
        self.store = store
        self.numbers = count(1000)

    def put(self, secret: str, data: Mapping[str, bytes]) -> None:
        self.store.secrets["ns1", secret] = Secret(dict(data), str(next(self.numbers)))

    def get(self, secret: str) -> Mapping[str, bytes]:
        return self.store.secrets["ns1", secret].data

    def delete(self, secret: str) -> None:
        del self.store.secrets["ns1", secret]


@pytest.fixture
def store() -> MemorySecretStore:
    return MemorySecretStore()


@pytest.fixture
def namespace() -> str:
    return "ns1"


@pytest.fixture
def operator(store: MemorySecretStore) -> Operator:
    return MemoryOperator(store)


class TestMemorySecretStore(StoreConformance):
    def test_an_outage_lasts_until_it_is_lifted(self, store: MemorySecretStore) -> None:
        store.write("ns1", "s", {"a": b"1"}, version=None)

        store.outage = Unavailable("the cluster is away")
        with pytest.raises(Unavailable, match="the cluster is away"):
            store.read("ns1", "s")
        with pytest.raises(Unavailable, match="the cluster is away"):
            store.write("ns1", "s", {"a": b"2"}, version="1")
        store.outage = None

        assert store.read("ns1", "s").data == {"a": b"1"}

    def test_labels_add_up(self, store: MemorySecretStore) -> None:
        version = store.write("ns1", "s", {"a": b"1"}, version=None, labels={"x": "1"})
        store.write("ns1", "s", {"a": b"2"}, version=version, labels={"y": "2"})

        assert store.labels == {("ns1", "s"): {"x": "1", "y": "2"}}
