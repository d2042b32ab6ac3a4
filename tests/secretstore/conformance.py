"""What every secret store does. Each is tested by a subclass that brings `store` and `operator`."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Protocol

import pytest

from secretstore import ABSENT, Conflict, Invalid, SecretMissing, SecretStore

MIB = 1 << 20


class Operator(Protocol):
    """Somebody else who works on secrets, without asking the store."""

    def put(self, secret: str, data: Mapping[str, bytes]) -> None: ...
    def get(self, secret: str) -> Mapping[str, bytes]: ...
    def delete(self, secret: str) -> None: ...


def set_keys(store: SecretStore, namespace: str, secret: str, **changes: bytes) -> str:
    """Write as the product does: read, write on what was read, and again after a conflict."""
    while True:
        try:
            before = store.read(namespace, secret)
        except SecretMissing:
            before = ABSENT
        try:
            return store.write(namespace, secret, changes, version=before.version)
        except Conflict:
            continue


@contextmanager
def writing(store: SecretStore, namespace: str, secret: str) -> Iterator[None]:
    """Write one pair after the other for as long as the block takes: key and crt are equal."""
    enough = threading.Event()

    def write() -> None:
        for turn in count(1):
            set_keys(store, namespace, secret, key=b"%d" % turn, crt=b"%d" % turn)
            if enough.is_set():
                break

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            yield
        finally:
            enough.set()
        writer.result()


class StoreConformance:
    def test_what_is_written_is_what_is_read(
        self, store: SecretStore, namespace: str, operator: Operator
    ) -> None:
        values = {
            "tls.key": b"\x00\xff key",
            "tls.crt": b"certificate\n",
            ".hid-den_": b"",
            "a..b": b"1",
        }

        version = store.write(namespace, "smf-tls", values, version=None)

        found = store.read(namespace, "smf-tls")
        assert (dict(found.data), found.version, found.exists) == (values, version, True)
        assert operator.get("smf-tls") == values

    def test_what_an_operator_put_there_is_read(
        self, store: SecretStore, namespace: str, operator: Operator
    ) -> None:
        operator.put("ca1-mac-secret", {"pwd": b"insta\n", "ref": b"3078"})

        found = store.read(namespace, "ca1-mac-secret")

        assert dict(found.data) == {"pwd": b"insta\n", "ref": b"3078"}
        assert found.version is not None

    def test_a_missing_secret_is_named(self, store: SecretStore, namespace: str) -> None:
        with pytest.raises(SecretMissing, match=f"secret {namespace}/nowhere .*does not exist"):
            store.read(namespace, "nowhere")

    def test_writing_leaves_the_keys_of_others_alone(
        self, store: SecretStore, namespace: str, operator: Operator
    ) -> None:
        operator.put("shared", {"ca.crt": b"theirs", "tls.crt": b"old"})

        version = store.read(namespace, "shared").version
        store.write(namespace, "shared", {"tls.crt": b"new", "tls.key": b"key"}, version=version)

        assert operator.get("shared") == {"ca.crt": b"theirs", "tls.crt": b"new", "tls.key": b"key"}

    def test_writing_what_is_there_already_changes_nothing(
        self, store: SecretStore, namespace: str
    ) -> None:
        version = store.write(namespace, "s", {"a": b"1", "b": b"2"}, version=None)

        assert store.write(namespace, "s", {"a": b"1"}, version=version) == version
        assert store.read(namespace, "s").version == version

    def test_a_write_on_an_outdated_reading_is_a_conflict_and_changes_nothing(
        self, store: SecretStore, namespace: str, operator: Operator
    ) -> None:
        operator.put("s", {"a": b"1"})
        version = store.read(namespace, "s").version
        operator.put("s", {"a": b"2"})

        with pytest.raises(Conflict, match=rf"secret {namespace}/s\b"):
            store.write(namespace, "s", {"b": b"x"}, version=version)

        assert operator.get("s") == {"a": b"2"}

    @pytest.mark.parametrize("version", ["", "0"])
    def test_no_version_means_whichever_is_there(
        self, store: SecretStore, namespace: str, operator: Operator, version: str
    ) -> None:
        operator.put("s", {"a": b"1"})

        for dry_run in (True, False):
            with pytest.raises(Conflict, match=rf"secret {namespace}/s\b"):
                store.write(namespace, "s", {"a": b"2"}, version=version, dry_run=dry_run)

        assert operator.get("s") == {"a": b"1"}

    def test_creating_what_exists_by_now_is_a_conflict(
        self, store: SecretStore, namespace: str, operator: Operator
    ) -> None:
        operator.put("s", {"a": b"1"})

        with pytest.raises(Conflict, match=rf"secret {namespace}/s\b"):
            store.write(namespace, "s", {"a": b"2"}, version=None)

        assert operator.get("s") == {"a": b"1"}

    def test_writing_to_what_was_deleted_meanwhile_is_a_conflict(
        self, store: SecretStore, namespace: str, operator: Operator
    ) -> None:
        version = store.write(namespace, "s", {"a": b"1"}, version=None)
        operator.delete("s")

        with pytest.raises(Conflict, match=rf"secret {namespace}/s\b"):
            store.write(namespace, "s", {"a": b"2"}, version=version)

        with pytest.raises(SecretMissing):
            store.read(namespace, "s")

    def test_a_dry_run_changes_nothing(self, store: SecretStore, namespace: str) -> None:
        assert store.write(namespace, "s", {"a": b"1"}, version=None, dry_run=True) == ""
        with pytest.raises(SecretMissing):
            store.read(namespace, "s")

        version = store.write(namespace, "s", {"a": b"1"}, version=None)
        assert store.write(namespace, "s", {"a": b"2"}, version=version, dry_run=True) == version
        assert store.read(namespace, "s").data == {"a": b"1"}

    def test_a_dry_run_fails_as_the_write_would(self, store: SecretStore, namespace: str) -> None:
        version = store.write(namespace, "s", {"a": b"1"}, version=None)
        store.write(namespace, "s", {"a": b"2"}, version=version)

        with pytest.raises(Conflict):
            store.write(namespace, "s", {"a": b"3"}, version=version, dry_run=True)
        with pytest.raises(Conflict):
            store.write(namespace, "s", {"a": b"3"}, version=None, dry_run=True)
        with pytest.raises(Invalid):
            store.write(namespace, "t", {"a": bytes(MIB + 1)}, version=None, dry_run=True)

    def test_a_secret_holds_one_mebibyte_and_no_more(
        self, store: SecretStore, namespace: str
    ) -> None:
        half = b"x" * (MIB // 2)
        version = store.write(namespace, "s", {"a": half, "b": half}, version=None)

        with pytest.raises(Invalid, match=rf"secret {namespace}/s\b"):
            store.write(namespace, "s", {"c": b"y"}, version=version)
        with pytest.raises(Invalid, match=rf"secret {namespace}/t\b"):
            store.write(namespace, "t", {"a": half, "b": half, "c": b"y"}, version=None)

        assert store.read(namespace, "s").version == version
        with pytest.raises(SecretMissing):
            store.read(namespace, "t")

    @pytest.mark.parametrize(
        ("namespace_given", "secret", "key"),
        [
            ("../ns1", "s", "k"),
            ("", "s", "k"),
            ("NS1", "s", "k"),
            ("n" * 64, "s", "k"),
            ("ns1", "..", "k"),
            ("ns1", "a/b", "k"),
            ("ns1", "/etc", "k"),
            ("ns1", "a..b", "k"),
            ("ns1", "s" * 254, "k"),
            ("ns1", "s\n", "k"),
            ("ns1", "s", "../k"),
            ("ns1", "s", ".."),
            ("ns1", "s", "..data"),
            ("ns1", "s", "."),
            ("ns1", "s", ""),
            ("ns1", "s", "tls key"),
            ("ns1", "s", "k\x00"),
            ("ns1", "s", "k" * 254),
        ],
    )
    def test_names_that_kubernetes_refuses_are_refused_before_anything_happens(
        self, store: SecretStore, namespace_given: str, secret: str, key: str
    ) -> None:
        with pytest.raises(Invalid):
            store.write(namespace_given, secret, {key: b"v"}, version=None)
        if key == "k":
            with pytest.raises(Invalid):
                store.read(namespace_given, secret)

    def test_no_value_shows_in_a_representation(self, store: SecretStore, namespace: str) -> None:
        store.write(namespace, "s", {"pwd": b"sesame"}, version=None)

        assert "sesame" not in f"{store!r} {store.read(namespace, 's')!r}"

    def test_writers_at_the_same_time_lose_nothing(
        self, store: SecretStore, namespace: str
    ) -> None:
        def write(writer: int) -> None:
            for turn in range(5):
                set_keys(store, namespace, "s", **{f"w{writer}-{turn}": b"here"})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))

        expected = {f"w{writer}-{turn}" for writer in range(4) for turn in range(5)}
        assert set(store.read(namespace, "s").data) == expected

    def test_a_reader_never_sees_the_key_of_one_pair_with_the_certificate_of_another(
        self, store: SecretStore, namespace: str
    ) -> None:
        set_keys(store, namespace, "s", key=b"0", crt=b"0")
        seen = [0]

        with writing(store, namespace, "s"):
            while len(set(seen)) < 30:
                found = store.read(namespace, "s")
                assert found.data["key"] == found.data["crt"]
                seen.append(int(found.data["key"]))

        assert seen == sorted(seen)
