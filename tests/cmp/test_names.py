"""Distinguished names are read as OpenSSL reads them, and refused where it would drop something."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import decode_der
from cryptography.x509.name import _ASN1Type
from hypothesis import assume, given
from hypothesis import strategies as st

from cmp import names
from cmp.asn1 import sequence_of, wrap
from cmp.errors import LocalError
from cmp.names import format_name, parse_name, same_name
from tests.cmp.certs import a_name

SAME_AS_OPENSSL = [
    "/",
    "/CN=a",
    "/CN=a/",
    "/CN=a+",
    "/DC=org/DC=OpenSSL/DC=users/UID=123456+CN=John Doe",
    "/C=DE/O=x+CN=y",
    "/CN=a+O=b+OU=c",
    "/OU=c+O=b+CN=a",
    "/CN=a+CN=b",
    "/CN=a/CN=a",
    "/CN=",
    "/O=/CN=y",
    "/O=+CN=y",
    "/C=DE/O=+CN=y",
    "/CN= a  b ",
    "/CN=a\tb",
    r"/CN=a\/b\+c\\d\e",
    r"/CN=\ ",
    "/CN=a=b=c",
    "/CN==",
    "/C=de",
    "/C=DE+ST=x/CN=\u4e2d\U0001f600",
    "/CN=Gr\u00fc\u00dfe/O=\u00e9\u00df",
    "/CN=" + "x" * 64,
    "/O=" + "\u00fc" * 64,
    "/L=" + "\u4e2d" * 128,
    "/SN=" + "x" * 200,
    "/serialNumber=" + "1" * 64,
    "/serialNumber=a-b (c)/dnQualifier=d?",
    "/emailAddress=a_b@example.com",
    "/commonName=x/2.5.4.10=y/0.9.2342.19200300.100.1.25=z",
    "/unstructuredName=\u00fc",
]
REFUSED_BY_OPENSSL_TOO = {
    "": "'' does not start with '/'",
    "CN=a": "'CN=a' does not start with '/'",
    "/CN": "'CN' has no '=': write type=value, and / or + inside a value as \\/ or \\+",
    "/CN=a/b": "'b' has no '='",
    "/O=a+b": "'b' has no '='",
    "//": "there is an empty part",
    "/CN=a\\": "ends with a backslash that escapes nothing: write \\\\",
    "/C=D": "'C=D' is not a country's code of two letters",
    "/C=DEU": "'C=DEU' is not a country's code of two letters",
    "/jurisdictionC=DEU": "is not a country's code of two letters",
    "/C=D*": "'C=D*' may not contain '*'",
    "/DC=\u00fc": "'DC=\u00fc' may not contain '\u00fc'",
    "/emailAddress=\u00fc@x": "may not contain '\u00fc'",
    "/serialNumber=a_b@": "may not contain '@_'",
    "/dnQualifier=\u00fc": "may not contain '\u00fc'",
    "/CN=" + "x" * 65: "is longer than 64 characters",
    "/CN=" + "\u00fc" * 65: "is longer than 64 characters",
    "/O=" + "x" * 65: "is longer than 64 characters",
    "/OU=" + "x" * 65: "is longer than 64 characters",
    "/L=" + "x" * 129: "is longer than 128 characters",
    "/ST=" + "x" * 129: "is longer than 128 characters",
    "/serialNumber=" + "1" * 65: "is longer than 64 characters",
    "/SN=" + "x" * 32769: "is longer than 32768 characters",
}
REFUSED_BY_US = {  # what OpenSSL skips with a warning, and what cannot be kept
    "/CN=a//O=b": "there is an empty part",
    "/+CN=a": "there is an empty part",
    "/CN=a++O=b": "there is an empty part",
    "/XX=a": "'XX' is no attribute type; known are C, ST, L, O, OU, CN",
    "/cn=a": "'cn' is no attribute type; write CN",
    "/ CN=a": "' CN' is no attribute type; write CN",
    "/COMMONNAME=a": "'COMMONNAME' is no attribute type; write commonName",
    "/=a": "'' is no attribute type",
    "/1.2.=a": "'1.2.' is no attribute type",
    r"/C\N=a": r"'C\N' is no attribute type",
    "/CN=a+CN=a": "duplicate attributes are not allowed",
    "/CN=\ud83d": "has half a character in it",
    "/CN=" + "\u00fc" * 33: "takes more than 64 bytes in UTF-8",
    "/title=" + "x" * 65: "is longer than 64 characters",
    "/pseudonym=" + "x" * 129: "is longer than 128 characters",
    "/emailAddress=" + "x" * 256: "is longer than 255 characters",
}


@cache
def openssl_key(folder: Path) -> Path:
    path = folder / "key.pem"
    command = ["openssl", "genpkey", "-algorithm", "ED25519", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openssl")


def openssl(text: str, folder: Path) -> bytes:
    """Return the DER of the subject that `openssl req` makes of a name."""
    configuration = folder / "req.cnf"  # the machine's own may choose other string types
    configuration.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
    command = ["openssl", "req", "-new", "-key", str(openssl_key(folder)), "-outform", "DER"]
    command += ["-config", str(configuration), "-utf8", "-subj", text]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return x509.load_der_x509_csr(done.stdout).subject.public_bytes()


@pytest.mark.parametrize("text", SAME_AS_OPENSSL)
def test_a_name_has_the_der_that_openssl_makes_of_it(text: str, folder: Path) -> None:
    assert parse_name(text).public_bytes() == openssl(text, folder)


def test_types_go_by_openssls_short_and_long_names(folder: Path) -> None:
    command = ["openssl", "list", "-objects"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for short, (long, oid) in names._TYPES.items():
        said = f"{short} =" if long == short else f"{short} = {long},"
        assert f"\n{said} {oid.dotted_string}\n" in listed
        assert parse_name(f"/{short}=DE").public_bytes() == openssl(f"/{long}=DE", folder), long
        assert parse_name(f"/{long}=DE") == parse_name(f"/{short}=DE")


@pytest.mark.parametrize("text", REFUSED_BY_OPENSSL_TOO)
def test_what_openssl_refuses_is_refused_with_what_to_do(text: str, folder: Path) -> None:
    with pytest.raises(LocalError, match=re.escape(REFUSED_BY_OPENSSL_TOO[text])):
        parse_name(text)
    with pytest.raises(ValueError, match=r"."):
        openssl(text, folder)


@pytest.mark.parametrize("text", REFUSED_BY_US, ids=ascii)
def test_what_openssl_would_leave_out_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(LocalError, match=re.escape(REFUSED_BY_US[text])) as caught:
        parse_name(text)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_every_dotted_oid_is_a_type() -> None:
    (attribute,) = parse_name("/1.2.3.4=x")

    assert (attribute.oid.dotted_string, attribute.value) == ("1.2.3.4", "x")
    assert format_name(x509.Name([attribute])) == "/1.2.3.4=x"


def test_a_lone_slash_is_the_null_dn_and_back() -> None:
    assert parse_name("/") == x509.Name([])
    assert format_name(x509.Name([])) == "/"


# There and back

TYPES = st.sampled_from([*names._BY_NAME, "1.2.3.4.5", "2.5.4.3"])
TEXTS = {
    _ASN1Type.PrintableString: st.text("abcXYZ059 '()+,-./:=?", min_size=2, max_size=2),
    _ASN1Type.IA5String: st.text(st.characters(max_codepoint=127), min_size=1, max_size=64),
}
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)


@st.composite
def parts(draw: st.DrawFn) -> str:
    spelled = draw(TYPES)
    kind = names._KINDS.get(names._oid(spelled))
    value = draw(TEXTS[kind] if kind else ANYTHING)
    return f"{spelled}=" + re.sub(r"([\\/+])", r"\\\1", value)


@st.composite
def spelled_names(draw: st.DrawFn) -> str:
    rdns = draw(st.lists(st.lists(parts(), min_size=1, max_size=3), max_size=4))
    return "/" + "/".join("+".join(rdn) for rdn in rdns)


@given(spelled_names())
def test_a_name_that_is_spelled_out_again_is_the_same_name(text: str) -> None:
    try:
        name = parse_name(text)
    except LocalError as error:
        assume("duplicate attributes" not in str(error))
        raise
    spelled = format_name(name)

    again = parse_name(spelled)
    assert again == name
    assert again.public_bytes() == name.public_bytes()
    assert format_name(again) == spelled
    assert decode_der(x509.Name, name.public_bytes()) == name


@given(st.one_of(st.text(), st.text("/+\\=CN Oou.25é\0\ud800").map("/".__add__)))
def test_any_text_is_a_name_or_is_refused_in_one_printable_line(text: str) -> None:
    name, refusal = None, ""
    try:
        name = parse_name(text)
    except LocalError as error:
        refusal = str(error)

    assert refusal.isprintable()
    if name is not None:
        assert parse_name(format_name(name)) == name
        assert name.public_bytes()


# The same name


@pytest.mark.field_note(3)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/C=DE/O=Example Org/CN=ca", "/CN=CA/O=example  org/C=de"),  # EJBCA turns names round
        ("/CN= a  b ", "/CN=A B"),
        ("/O=x+CN=y", "/CN=y+O=x"),
        ("/CN=Stra\u00dfe", "/CN=STRASSE"),
        ("/CN=e\u0301", "/CN=\u00e9"),
        ("/", "/CN="),
        ("/DC=COM/DC=Example", "/DC=Example/DC=com"),
    ],
)
def test_names_that_mean_the_same_are_the_same(one: str, other: str) -> None:
    assert same_name(parse_name(one), parse_name(other))
    assert same_name(parse_name(other), parse_name(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/CN=ca", "/CN=ca2"),
        ("/CN=ca", "/O=ca"),
        ("/CN=ca", "/"),
        ("/CN=ca", "/CN=ca/CN=ca"),
        ("/O=x/CN=y", "/O=x+CN=y"),
        ("/CN=a b", "/CN=ab"),
        ("/CN=a/O=b", "/CN=b/O=a"),
    ],
)
def test_names_that_mean_something_else_are_not_the_same(one: str, other: str) -> None:
    assert not same_name(parse_name(one), parse_name(other))
    assert not same_name(parse_name(other), parse_name(one))


def test_accents_without_end_are_compared_in_no_time() -> None:
    """Sorting them would take minutes, in which no other thread runs."""
    accents = "\u0301\u0323" * 200_000

    def named(value: str) -> x509.Name:
        attribute = x509.NameAttribute(x509.NameOID.PSEUDONYM, value, _validate=False)
        return x509.Name([attribute])

    assert same_name(named(f"a{accents}"), named(f"a{accents}"))
    assert not same_name(named(f"a{accents}"), named(f"A{accents}"))


def test_the_type_of_a_string_does_not_make_another_name() -> None:
    def encoded(kind: int, value: bytes) -> x509.Name:
        attribute = sequence_of(b"\x06\x03\x55\x04\x03" + wrap(kind, value))
        return decode_der(x509.Name, sequence_of(wrap(0x31, attribute)))

    utf8, printable = encoded(0x0C, b"Root"), encoded(0x13, b"ROOT")
    bmp, universal = encoded(0x1E, b"\0R\0o\0o\0t"), encoded(0x1C, b"\0\0\0R\0\0\0o\0\0\0o\0\0\0t")

    assert all(same_name(utf8, other) for other in (printable, bmp, universal))
    assert utf8.public_bytes() != printable.public_bytes()


def test_a_value_that_is_no_text_is_shown_in_hexadecimal_digits() -> None:
    oid = x509.NameOID.X500_UNIQUE_IDENTIFIER
    bits = x509.NameAttribute(oid, b"\x01\xff", _ASN1Type.BitString)
    name = x509.Name([*a_name("x"), bits])

    assert format_name(name) == "/O=Example/CN=x/x500UniqueIdentifier=01ff"
    assert same_name(name, name)
