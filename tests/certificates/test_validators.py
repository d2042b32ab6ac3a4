from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from certificates import validators

UUID = "urn:uuid:4947a69a-f61b-4bc1-b9da-47c9c5d14b64"


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (validators.country, "DE"),
        (validators.text, "Ünïcode & <signs>"),
        (validators.common_name, "c" * 64),
        (validators.common_name, "ü" * 32),
        (validators.key_usage, ["DIGITAL_SIGNATURE"]),
        (validators.extended_key_usage, []),
        (validators.extended_key_usage, ["SERVER_AUTH", "CLIENT_AUTH"]),
        (validators.ip_addresses, ["192.0.2.1", "2001:db8::1"]),
        (
            validators.dns_names,
            ["amf1.amf.5gc.mnc001.mcc001.3gppnetwork.org", "*.ns1", "localhost"],
        ),
        (validators.dns_names, ["a" * 63 + ".xn--bcher-kva.example"]),
        (validators.api_roots, ["https://amf1.example.org", "http://[2001:db8::1]:8080/prefix"]),
        (validators.urns, [UUID, UUID.upper().replace("4947", "5947")]),
    ],
)
def test_accepted(check: Callable[[Any], None], value: Any) -> None:
    check(value)


@pytest.mark.parametrize(
    ("check", "value", "named"),
    [
        (validators.country, "GER", "GER"),
        (validators.country, "D1", "D1"),
        (validators.text, "two\nlines", "one line"),
        (validators.text, "a\x00b", "x00"),
        (validators.key_usage, ["CRL_SIGN"], "CRL_SIGN"),
        (validators.key_usage, "DIGITAL_SIGNATURE", "list"),
        (validators.extended_key_usage, ["SERVER_AUTH", "SERVER_AUTH"], "once"),
        (validators.ip_addresses, ["192.0.2.1", "192.0.2.256"], "192.0.2.256"),
        (validators.ip_addresses, ["10.0.0.0/8"], "10.0.0.0/8"),
        (validators.ip_addresses, ["fe80::1%eth0"], "zone"),
        (validators.ip_addresses, ["2001:db8::1", "2001:DB8:0::1"], "once"),
        (validators.ip_addresses, [1], "strings"),
        (validators.ip_addresses, {"a": 1}, "list"),
        (validators.dns_names, ["amf.*.example.org"], "left-most"),
        (validators.dns_names, ["amf*.example.org"], "left-most"),
        (validators.dns_names, ["*"], "left-most"),
        (validators.dns_names, ["*.*.example.org"], "left-most"),
        (validators.dns_names, [""], "labels"),
        (validators.dns_names, ["*."], "labels"),
        (validators.dns_names, ["amf.example.org."], "labels"),
        (validators.dns_names, ["-amf.example.org"], "-amf"),
        (validators.dns_names, ["amf_1.example.org"], "amf_1"),
        (validators.dns_names, ["bücher.example"], "xn--"),
        (validators.dns_names, ["a" * 64 + ".org"], "63"),
        (validators.dns_names, [".".join(["a" * 60] * 5)], "labels"),
        (validators.dns_names, ["192.0.2.1"], "IP addresses"),
        (validators.dns_names, ["nrf.ns1", "NRF.ns1"], "once"),
        (validators.dns_names, [f"n{i}" for i in range(101)], "101"),
        (validators.api_roots, ["amf1.example.org"], "absolute"),
        (validators.api_roots, ["ftp://amf1.example.org"], "ftp"),
        (validators.api_roots, ["https:///prefix"], "absolute"),
        (validators.api_roots, ["https://amf:99999"], "99999"),
        (validators.api_roots, ["https://amf/a b"], "characters"),
        (validators.api_roots, ["https://[::1"], "absolute"),
        (validators.api_roots, ["https://me@amf/"], "user"),
        (validators.api_roots, ["https://amf/?q=1"], "query"),
        (validators.api_roots, ["https://amf/#f"], "fragment"),
        (validators.urns, ["urn:uuid:4947a69a"], "4947a69a"),
        (validators.urns, ["urn:oid:1.2.3"], "urn:oid"),
        (validators.urns, [UUID.removeprefix("urn:uuid:")], "urn:uuid"),
        (validators.urns, [UUID.replace("-", "")], "UUID"),
        (validators.urns, [UUID, UUID.upper()], "once"),
    ],
)
def test_refused_with_what_is_wrong(check: Callable[[Any], None], value: Any, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        check(value)


def test_every_wrong_item_is_named() -> None:
    with pytest.raises(ValidationError) as refusal:
        validators.ip_addresses(["one", "192.0.2.1", "two"])

    assert [("one" in text, "two" in text) for text in refusal.value.messages] == [
        (True, False),
        (False, True),
    ]
