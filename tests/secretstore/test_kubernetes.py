"""The Kubernetes store against answers that no real API server gives on demand.

What a real one does is tested in tests/kubernetes.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from secretstore import (
    Conflict,
    Forbidden,
    Invalid,
    SecretMissing,
    SecretStore,
    SecretStoreError,
    Throttled,
    TimedOut,
    Unauthenticated,
    Unavailable,
    connect,
)
from tests.secretstore.endpoint import Answer, Endpoint, answer

FOUND = answer(
    200,
    {"kind": "Secret", "metadata": {"resourceVersion": "7"}, "data": {"pwd": "c2VzYW1l"}},
)
WRITTEN = answer(200, {"kind": "PartialObjectMetadata", "metadata": {"resourceVersion": "8"}})
GARBAGE = "<html>sesame</html>"


def status(code: int, **fields: object) -> Answer:
    """Answer as the API does, in words that must never be passed on."""
    return answer(code, {"kind": "Status", "code": code, "message": "you sent sesame", **fields})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint().listening() as endpoint:
        yield endpoint


@pytest.fixture
def store(endpoint: Endpoint, tmp_path: Path) -> SecretStore:
    return connect(f"kubernetes:{endpoint.kubeconfig(tmp_path / 'kubeconfig')}")


def read(store: SecretStore) -> None:
    store.read("ns1", "nrf-tls")


def create(store: SecretStore) -> None:
    store.write("ns1", "nrf-tls", {"pwd": b"sesame"}, version=None)


def patch(store: SecretStore) -> None:
    store.write("ns1", "nrf-tls", {"pwd": b"sesame"}, version="7")


Case = tuple[Callable[[SecretStore], None], Answer, type[SecretStoreError], str]
ANSWERS: list[Case] = [
    (read, status(401), Unauthenticated, "the Kubernetes API does not know us"),
    (read, status(403), Forbidden, "let a Role in that namespace grant get on secrets"),
    (create, status(403), Forbidden, "let a Role in that namespace grant create on secrets"),
    (patch, status(403), Forbidden, "let a Role in that namespace grant patch on secrets"),
    (create, status(403, message="exceeded quota: sesame"), Forbidden, "resource quota"),
    (patch, status(403, message="admission webhook: sesame"), Forbidden, "admission policy"),
    (create, status(403, message="ns1 is being terminated"), Forbidden, "is being deleted"),
    (read, status(404), SecretMissing, "does not exist: create it"),
    (create, status(404), SecretMissing, "its namespace does not exist"),
    (patch, status(404), Conflict, "was deleted since it was read"),
    (create, status(409), Conflict, "exists by now"),
    (patch, status(409), Conflict, "has changed since it was read"),
    (patch, status(429), Throttled, "is busy"),
    (patch, status(400), Invalid, "refuses it as invalid"),
    (patch, status(413), Invalid, "too large"),
    (patch, status(422), Invalid, "is it immutable"),
    (patch, status(500), Unavailable, r"fails \(500\)"),
    (read, status(503), Unavailable, r"fails \(503\)"),
    (read, answer(504, GARBAGE), Unavailable, r"fails \(504\)"),
    (read, answer(404, GARBAGE), Unavailable, "is not the Kubernetes API"),
    (read, status(418), Unavailable, "is not the Kubernetes API"),
    (read, answer(200, GARBAGE), Unavailable, "is not the Kubernetes API"),
    (read, answer(200, ["sesame"]), Unavailable, "is not the Kubernetes API"),
    (read, answer(200, {"kind": "Secret"}), Unavailable, "is not the Kubernetes API"),
    (read, answer(200, {"kind": "Secret", "data": 1}), Unavailable, "is not the Kubernetes API"),
    (read, answer(200, {"kind": "Secret", "data": {"a": "?"}}), Unavailable, "is not the Kuber"),
    (patch, answer(200, {}), Unavailable, "is not the Kubernetes API"),
    (read, Answer(b"sesame\r\n\r\n"), Unavailable, "cannot be reached"),
    (
        read,
        Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsesa", close=True),
        Unavailable,
        "reach",
    ),
    (read, Answer(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(9 << 20), close=True), Unavailable, "is not"),
]


@pytest.mark.parametrize("case", ANSWERS)
def test_every_answer_becomes_an_error_that_names_the_secret_and_quotes_nothing(
    store: SecretStore, endpoint: Endpoint, case: Case
) -> None:
    call, given, kind, words = case
    endpoint.answers = [given, given]

    with pytest.raises(SecretStoreError, match=words) as caught:
        call(store)

    assert type(caught.value) is kind
    assert str(caught.value).startswith("secret ns1/nrf-tls")
    assert "sesame" not in str(caught.value)


def test_the_fields_complained_of_are_named_but_not_what_else_is_said(
    store: SecretStore, endpoint: Endpoint
) -> None:
    causes = [
        {"reason": "FieldValueRequired", "field": "data[tls.crt]", "message": "sesame"},
        {"reason": "sesame!", "field": "data"},
        {"reason": "FieldValueInvalid", "field": "sesame"},
        "sesame",
    ]
    endpoint.answers = [status(422, details={"causes": causes})]

    with pytest.raises(Invalid, match=r"\(422, data\[tls.crt\] FieldValueRequired\)") as caught:
        patch(store)

    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("5", timedelta(seconds=5)),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
        (None, None),
    ],
)
def test_throttling_says_when_to_come_back_and_does_not_wait_itself(
    store: SecretStore, endpoint: Endpoint, given: str | None, expected: timedelta | None
) -> None:
    endpoint.answers = [answer(429, {}, {"Retry-After": given} if given else {})]
    began = monotonic()

    with pytest.raises(Throttled) as caught:
        read(store)

    assert caught.value.retry_after == expected
    assert monotonic() - began < 1
    assert len(endpoint.asked) == 1


def test_a_patch_carries_our_keys_and_the_version_they_build_on(
    store: SecretStore, endpoint: Endpoint
) -> None:
    endpoint.answers = [WRITTEN]

    version = store.write(
        "ns1", "nrf-tls", {"pwd": b"sesame"}, version="7", labels={"occm/certificate": "nrf"}
    )

    assert version == "8"
    [asked] = endpoint.asked
    path = "/api/v1/namespaces/ns1/secrets/nrf-tls?fieldManager=occm"
    assert asked.line == f"PATCH {path} HTTP/1.1"
    assert asked.headers["content-type"] == "application/merge-patch+json"
    assert asked.headers["authorization"] == "Bearer sesame-token"
    assert asked.json == {
        "metadata": {"resourceVersion": "7", "labels": {"occm/certificate": "nrf"}},
        "data": {"pwd": "c2VzYW1l"},
    }


def test_connections_are_kept(store: SecretStore, endpoint: Endpoint) -> None:
    endpoint.answers = [FOUND, WRITTEN, status(409), FOUND]

    read(store)
    patch(store)
    with pytest.raises(Conflict):
        patch(store)
    read(store)

    assert endpoint.connections == 1


def test_a_kept_connection_that_the_server_closed_is_not_an_outage(
    store: SecretStore, endpoint: Endpoint
) -> None:
    endpoint.answers = [FOUND, Answer(close=True), WRITTEN]

    read(store)
    patch(store)

    assert [request.line.split()[0] for request in endpoint.asked] == ["GET", "PATCH", "PATCH"]


def test_a_server_that_always_closes_is_one(store: SecretStore, endpoint: Endpoint) -> None:
    endpoint.answers = [Answer(close=True)] * 5

    with pytest.raises(Unavailable, match="cannot be reached"):
        patch(store)

    assert len(endpoint.asked) == 2


def test_the_token_does_not_follow_a_redirect(store: SecretStore, endpoint: Endpoint) -> None:
    with Endpoint([FOUND]).listening() as elsewhere:
        endpoint.answers = [answer(302, {}, {"Location": f"{elsewhere.url}/api"})]

        with pytest.raises(Unavailable, match=r"what answered \(302\) is not the Kubernetes API"):
            read(store)

    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "given",
    [
        Answer(),
        Answer(FOUND.wire[:20]),
        Answer(drip=0.1, dripping=FOUND.wire),
        Answer(FOUND.wire[:-20], drip=0.1, dripping=FOUND.wire[-20:]),
    ],
    ids=["silence", "half a head", "a dripping head", "a dripping body"],
)
def test_no_answer_takes_longer_than_the_deadline(
    store: SecretStore, endpoint: Endpoint, given: Answer
) -> None:
    endpoint.answers = [given]
    began = monotonic()

    with pytest.raises(TimedOut, match=r"secret ns1/nrf-tls: .*did not answer in time"):
        store.read("ns1", "nrf-tls", deadline=0.5)

    assert 0.5 <= monotonic() - began < 1.5


def test_a_deadline_that_has_passed_sends_nothing(store: SecretStore, endpoint: Endpoint) -> None:
    with pytest.raises(TimedOut):
        store.read("ns1", "nrf-tls", deadline=0)

    assert endpoint.asked == []
