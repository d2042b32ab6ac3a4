"""What an issued certificate says, for people. Certificates only: nothing here ever sees a key."""

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def describe(der: bytes) -> list[tuple[str, list[str]]]:
    """Return labels and values of a certificate; a certificate that does not decode says so."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return [(label, values) for label, values in _facts(certificate) if values]
    except ValueError as error:
        return [("Unreadable", [str(error)])]


def _facts(certificate: x509.Certificate) -> Iterator[tuple[str, list[str]]]:
    yield "Subject", [certificate.subject.rfc4514_string() or "(empty)"]
    yield "Issuer", [certificate.issuer.rfc4514_string() or "(empty)"]
    yield "Serial number", [f"{certificate.serial_number:x}"]
    yield (
        "Validity",
        [
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        ],
    )
    yield "Public key", [_key(certificate)]
    yield "Signature algorithm", [_signature(certificate)]
    yield from _extensions(certificate)


def _extensions(certificate: x509.Certificate) -> Iterator[tuple[str, list[str]]]:
    for extension in certificate.extensions:
        match extension.value:
            case x509.SubjectAlternativeName() as names:
                yield "Subject alternative names", [_name(name) for name in names]
            case x509.KeyUsage() as usage:
                yield "Key usage", [", ".join(_usages(usage))]
            case x509.ExtendedKeyUsage() as usages:
                yield "Extended key usage", [", ".join(_purpose(oid) for oid in usages)]
            case x509.BasicConstraints(ca=ca):
                yield "Basic constraints", ["CA" if ca else "end entity"]
            case _:
                pass


def _key(certificate: x509.Certificate) -> str:
    match certificate.public_key():
        case rsa.RSAPublicKey() as key:
            return f"RSA, {key.key_size} bits"
        case ec.EllipticCurvePublicKey() as key:
            return f"EC, {key.curve.name}"
        case other:
            return type(other).__name__


def _signature(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid
    return _called(oid)


def _purpose(oid: x509.ObjectIdentifier) -> str:
    return _called(oid)


def _called(oid: x509.ObjectIdentifier) -> str:
    name: str = oid._name  # noqa: SLF001 - cryptography gives names of OIDs in no other way
    return oid.dotted_string if name == "Unknown OID" else name


def _name(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName(value=value):
            return f"DNS {value}"
        case x509.IPAddress(value=address):
            return f"IP {address}"
        case x509.UniformResourceIdentifier(value=value):
            return f"URI {value}"
        case x509.RFC822Name(value=value):
            return f"email {value}"
        case other:
            return str(other.value)


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign",
)  # fmt: skip


def _usages(usage: x509.KeyUsage) -> list[str]:
    return [name.replace("_", " ") for name in USAGES if getattr(usage, name)]
