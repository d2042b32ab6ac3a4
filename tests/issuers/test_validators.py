"""What each field takes and refuses, as tables."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from issuers import validators

LONG = "a" * 64


@pytest.mark.parametrize(
    ("validator", "value"),
    [
        (validators.object_name, "a"),
        (validators.object_name, "Core-1_ca.example"),
        (validators.object_name, LONG[:63]),
        (validators.namespace, "ns1"),
        (validators.namespace, "5g-core"),
        (validators.secret_name, "ca1-mac-secret"),
        (validators.secret_name, "a.b-c.d"),
        (validators.secret_name, ".".join([LONG[:62]] * 4)),
        (validators.secret_key, "tls.key"),
        (validators.secret_key, ".hidden_1-A"),
        (validators.secret_keys, []),
        (validators.secret_keys, ["root.pem", "root2.pem"]),
        (validators.distinguished_name, "/"),
        (validators.distinguished_name, "/DC=org/DC=OpenSSL/DC=users/UID=123456+CN=John Doe"),
        (validators.distinguished_name, r"/O=a\/b\+c\\/CN= two  blanks "),
        (validators.distinguished_name, "/OU=/commonName=ca/1.2.3.4=x"),
        (validators.profile_name, "5G NF, Süd/1"),
        (validators.server_url, "http://ca.example"),
        (validators.server_url, "https://ca.example/"),
        (validators.server_url, "http://ca:8080/pkix/"),
        (validators.server_url, "https://ca.example/.well-known/cmp/p/name"),
        (validators.server_url, "https://ca.example/.well-known/cmp/p/5g%20core/initialization"),
        (validators.server_url, "http://192.0.2.1:829/gw/cmp/~ra;v=1"),
        (validators.server_url, "http://[2001:db8::1]:80/ejbca/publicweb/cmp/alias"),
        (validators.server_url, "http://cmp_ra.demo.svc.cluster.local./"),
    ],
)
def test_a_legal_value_is_accepted(validator: Callable[[Any], None], value: Any) -> None:
    validator(value)


@pytest.mark.parametrize(
    ("validator", "value"),
    [
        (validators.object_name, ""),
        (validators.object_name, LONG),
        (validators.object_name, "a b"),
        (validators.object_name, "a/b"),
        (validators.object_name, "ä"),
        (validators.object_name, "a\n"),
        (validators.object_name, ".."),
        (validators.namespace, "Ns1"),
        (validators.namespace, "ns.1"),
        (validators.namespace, "-ns"),
        (validators.namespace, LONG),
        (validators.secret_name, "a_b"),
        (validators.secret_name, "a..b"),
        (validators.secret_name, "a-.b"),
        (validators.secret_name, ".".join([LONG[:63]] * 4)),
        (validators.secret_key, ""),
        (validators.secret_key, "."),
        (validators.secret_key, ".."),
        (validators.secret_key, "..data"),
        (validators.secret_key, "a/b"),
        (validators.secret_key, "a" * 254),
        (validators.secret_keys, "root.pem"),
        (validators.secret_keys, {"root.pem": 1}),
        (validators.secret_keys, ["root.pem", 1]),
        (validators.secret_keys, ["root.pem", "../root.pem"]),
        (validators.secret_keys, ["root.pem", "root.pem"]),
        (validators.distinguished_name, "CN=ca"),
        (validators.distinguished_name, "/CN"),
        (validators.distinguished_name, "/nonsense=ca"),
        (validators.distinguished_name, "/C=Germany"),
        (validators.distinguished_name, "/CN=ca\\"),
        (validators.distinguished_name, "/CN=\x00"),
        (validators.profile_name, " nf"),
        (validators.profile_name, "nf\n"),
        (validators.profile_name, "n\x00f"),
        (validators.server_url, "ca.example/pkix/"),
        (validators.server_url, "ldap://ca.example/"),
        (validators.server_url, "http://"),
        (validators.server_url, "http:///pkix/"),
        (validators.server_url, "http://operator:pass@ca.example/"),
        (validators.server_url, "http://operator@ca.example/"),
        (validators.server_url, "http://@ca.example/"),
        (validators.server_url, "http://ca.example/?profile=1"),
        (validators.server_url, "http://ca.example/#top"),
        (validators.server_url, "http://ca.example/?"),
        (validators.server_url, "http://ca.example:0/"),
        (validators.server_url, "http://ca.example:/"),
        (validators.server_url, "http://ca.example:65536/"),
        (validators.server_url, "http://ca.example:http/"),
        (validators.server_url, "http://ca.example/a b"),
        (validators.server_url, "http://ca.example/\r\nHost: other"),
        (validators.server_url, "http://ca.example\\@other/"),
        (validators.server_url, "http://ca.example/%zz"),
        (validators.server_url, "http://ca..example/"),
        (validators.server_url, "http://-ca.example/"),
        (validators.server_url, "http://bücher.example/"),
        (validators.server_url, "http://256.0.2.1/"),
        (validators.server_url, "http://[2001:db8::zz]/"),
        (validators.server_url, "http://[fe80::1%25eth0]/"),
    ],
)
def test_an_illegal_value_is_refused(validator: Callable[[Any], None], value: Any) -> None:
    with pytest.raises(ValidationError):
        validator(value)


def test_a_refusal_names_the_value_and_says_what_to_do() -> None:
    with pytest.raises(ValidationError) as caught:
        validators.secret_keys(["root.pem", "my key"])

    assert caught.value.messages == [
        "“my key” cannot be used here: use 1 to 253 letters, digits, hyphens, underscores and dots "
        "that do not begin with two dots, as Kubernetes names the keys of a secret."
    ]
