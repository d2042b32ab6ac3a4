"""What goes into each secret, for every way a certificate can be laid out."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import secretstore
from certificates.domain import contents, keys
from certificates.domain.contents import Parcel
from cmp.testing import Pki
from cmp.testing.pki import Design
from secretstore import ABSENT, Secret, SecretKeyRef, Unreadable
from tests.issuers.factories import NOW

REQUEST: dict[str, Any] = {
    "key_algorithm": "EC",
    "elliptic_curve": "SECP256r1",
    "country": "",
    "state": "",
    "location": "",
    "organization": "",
    "organization_unit": "",
    "common_name": "nrf",
    "key_usage": ["DIGITAL_SIGNATURE"],
    "extended_key_usage": [],
    "dns_names": [],
    "ip_addresses": [],
    "uri_api_roots": [],
    "uri_urns": [],
    "requested_validity_days": 365,
    "key_encoding": "PEM",
    "merge_certificate_and_chain": False,
    "extra_certs": [],
    "private_key_output_namespace": "ns1",
    "private_key_output_secret": "tls",
    "private_key_output_key": "tls.key",
    "certificate_output_namespace": "ns1",
    "certificate_output_secret": "tls",
    "certificate_output_key": "tls.crt",
    "chain_output_namespace": "",
    "chain_output_secret": "",
    "chain_output_key": "",
}
CHAIN: dict[str, Any] = {
    "chain_output_namespace": "ns1",
    "chain_output_secret": "tls",
    "chain_output_key": "chain.pem",
}
MERGED: dict[str, Any] = CHAIN | {"merge_certificate_and_chain": True}
PKI = Pki.generate("Test CA", now=NOW, design=Design(intermediates=3))


def a_parcel(*, length: int = 3, chain_is_ours: bool = True, **fields: Any) -> Parcel:
    request = REQUEST | fields
    key = keys.generate(request)
    template = keys.template(request, key, issuer=None, at=NOW)
    leaf = PKI.issuing.issue(template, now=NOW, validity=timedelta(days=365))
    return Parcel(request, key, leaf, PKI.chain[:length], chain_is_ours)


def written(parcel: Parcel, present: Secret = ABSENT) -> dict[str, bytes]:
    return contents.changes(parcel, "ns1", "tls", present=present)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


@pytest.mark.parametrize("algorithm", ["EC", "RSA"])
@pytest.mark.parametrize("encoding", ["PEM", "DER"])
def test_key_and_certificate_in_one_encoding(algorithm: str, encoding: str) -> None:
    parcel = a_parcel(
        key_encoding=encoding, key_algorithm=algorithm, key_size="KEYSIZE_2048", **CHAIN
    )

    values = written(parcel)

    secret = Secret(values, "1")
    key = secretstore.private_key(secret, SecretKeyRef("ns1", "tls", "tls.key"))
    assert key.private_numbers() == parcel.key.private_numbers()
    assert values["tls.crt"] == parcel.leaf.public_bytes(getattr(Encoding, encoding))
    assert (b"BEGIN PRIVATE KEY" in values["tls.key"]) is (encoding == "PEM")
    assert values["chain.pem"] == pem(*PKI.chain)  # PEM whatever the encoding


def test_without_a_chain_output_the_chain_goes_nowhere() -> None:
    assert set(written(a_parcel())) == {"tls.key", "tls.crt"}


def test_without_a_chain_what_lies_there_stays() -> None:
    assert set(written(a_parcel(length=0, **CHAIN))) == {"tls.key", "tls.crt"}


def test_a_chain_the_operator_provides_is_left_alone() -> None:
    assert set(written(a_parcel(chain_is_ours=False, **CHAIN))) == {"tls.key", "tls.crt"}


def test_merged_under_one_key() -> None:
    parcel = a_parcel(**MERGED | {"chain_output_key": "tls.crt"})

    assert written(parcel)["tls.crt"] == pem(parcel.leaf, *PKI.chain)


def test_merged_under_two_keys() -> None:
    parcel = a_parcel(**MERGED)

    values = written(parcel)

    assert values["tls.crt"] == pem(parcel.leaf)
    assert values["chain.pem"] == pem(parcel.leaf, *PKI.chain)


@pytest.mark.parametrize("key", ["tls.crt", "chain.pem"])
def test_merged_without_a_chain_is_the_leaf(key: str) -> None:
    parcel = a_parcel(length=0, **MERGED | {"chain_output_key": key})

    assert written(parcel)[key] == pem(parcel.leaf)


@pytest.mark.parametrize("key", ["tls.crt", "chain.pem"])
def test_merged_with_the_chain_that_the_operator_put_there(key: str) -> None:
    layout = MERGED | {"chain_output_key": key}
    parcel = a_parcel(chain_is_ours=False, length=1, **layout)
    earlier = a_parcel(**layout).leaf
    present = Secret({key: pem(earlier, *PKI.chain[1:])}, "1")

    assert written(parcel, present)[key] == pem(parcel.leaf, *PKI.chain[1:])
    assert written(parcel)[key] == pem(parcel.leaf)


def test_what_the_operator_put_there_must_be_readable() -> None:
    with pytest.raises(Unreadable):
        written(a_parcel(chain_is_ours=False, **MERGED), Secret({"chain.pem": b"no chain"}, "1"))


class TestAnIdentitysExtraCerts:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["a"], {"a": pem(*PKI.chain)}),
            (["a", "b"], {"a": pem(PKI.chain[0]), "b": pem(*PKI.chain[1:])}),
            (
                ["a", "b", "c", "d"],
                {name: pem(one) for name, one in zip("abc", PKI.chain, strict=False)},
            ),
        ],
    )
    def test_are_filled_in_order_and_the_last_takes_the_rest(
        self, names: list[str], expected: dict[str, bytes]
    ) -> None:
        values = written(a_parcel(extra_certs=names))

        assert {name: values[name] for name in values if name in names} == expected

    def test_what_a_longer_chain_left_is_emptied(self) -> None:
        present = Secret({"b": pem(PKI.chain[1])}, "1")

        values = written(a_parcel(length=1, extra_certs=["a", "b", "c"]), present)

        assert values["b"] == b""
        assert "c" not in values

    @pytest.mark.parametrize("parcel", [{"length": 0}, {"chain_is_ours": False}])
    def test_stay_as_they_are_without_a_chain_of_the_cas(self, parcel: dict[str, Any]) -> None:
        present = Secret({"a": pem(PKI.chain[0])}, "1")

        assert set(written(a_parcel(extra_certs=["a"], **parcel), present)) == {
            "tls.key",
            "tls.crt",
        }


class TestSeveralSecrets:
    LAYOUT: dict[str, Any] = {
        "private_key_output_secret": "keys",
        "chain_output_namespace": "ns2",
        "chain_output_secret": "tls",
        "chain_output_key": "chain.pem",
    }

    def test_each_gets_its_own(self) -> None:
        parcel = a_parcel(**self.LAYOUT)

        assert parcel.secrets == (("ns1", "keys"), ("ns1", "tls"), ("ns2", "tls"))
        assert [
            list(contents.changes(parcel, *secret, present=ABSENT)) for secret in parcel.secrets
        ] == [["tls.key"], ["tls.crt"], ["chain.pem"]]

    def test_one_for_a_chain_that_is_the_operators_is_not_touched(self) -> None:
        parcel = a_parcel(chain_is_ours=False, **self.LAYOUT)

        assert parcel.secrets == (("ns1", "keys"), ("ns1", "tls"))
