"""The cluster all tests here share; each takes a namespace of its own."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.kubernetes.cluster import Cluster, missing
from tests.parts import need

_numbers = count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    lost = missing()
    need(not lost, f"a Kubernetes API: {lost}")
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    return cluster.create_namespace(f"nf{next(_numbers)}")
