"""Which fields of a certificate go together, and what it may not take from others.

Each rule yields the field it is about and a sentence that says what to do. A rule judges only
values that are valid by themselves.
"""

from collections.abc import Callable, Collection, Iterator
from functools import reduce
from operator import or_

from django.core.exceptions import ValidationError
from django.db.models import JSONField, Q

from certificates.domain.places import identity_keys, inputs, outputs
from certificates.models import Certificate, Output
from issuers.models import Issuer
from secretstore import SecretKeyRef

PRIVATE_KEY_OUTPUT = (
    "private_key_output_namespace",
    "private_key_output_secret",
    "private_key_output_key",
)
CERTIFICATE_OUTPUT = (
    "certificate_output_namespace",
    "certificate_output_secret",
    "certificate_output_key",
)
CHAIN_OUTPUT = ("chain_output_namespace", "chain_output_secret", "chain_output_key")
CA_BUNDLE = ("ca_bundle_namespace", "ca_bundle_secret", "ca_bundle_key")
OUTPUTS = (*PRIVATE_KEY_OUTPUT, *CERTIFICATE_OUTPUT)
LONGEST_VALIDITY = 1095  # days; TS 33.310, 6.1.3

Broken = Iterator[tuple[str, str]]
CertType = Certificate.CertType
KeyAlgorithm = Certificate.KeyAlgorithm


def fill(certificate: Certificate) -> None:
    """Fill in what follows from other fields and may be left out."""
    if certificate.key_algorithm == KeyAlgorithm.EC and not certificate.elliptic_curve:
        certificate.elliptic_curve = Certificate.EllipticCurve.SECP256R1
    if certificate.key_algorithm == KeyAlgorithm.RSA and not certificate.key_size:
        certificate.key_size = Certificate.KeySize.KEYSIZE_2048
    if certificate.cert_type == CertType.OCCM:
        certificate.network_function = certificate.network_function or "OCCM"
        for field, value in _identity_outputs(certificate):
            setattr(certificate, field, getattr(certificate, field) or value)


def check(certificate: Certificate) -> None:
    """Raise ValidationError with every mistake, keyed by field."""
    found: dict[str, list[ValidationError]] = {}
    for judge in (certificate.clean_fields, certificate.validate_unique):
        try:
            judge()
        except ValidationError as error:
            for field, errors in error.error_dict.items():
                found.setdefault(field, []).extend(errors)
    for field, advice in _not_even_empty(certificate):
        found.setdefault(field, [ValidationError(advice, code="invalid")])
    for fields, rule in RULES:
        if found.keys().isdisjoint(fields):
            for field, advice in rule(certificate):
                found.setdefault(field, []).append(ValidationError(advice, code="invalid"))
    if found:
        raise ValidationError(found)


def warnings(certificate: Certificate) -> tuple[str, ...]:
    """Say what may be saved, but should be meant."""
    found = []
    if certificate.requested_validity_days > LONGEST_VALIDITY:
        found.append(
            f"The requested validity of {certificate.requested_validity_days} days is longer than "
            f"the {LONGEST_VALIDITY} days that 3GPP TS 33.310 allows."
        )
    secrets = sorted({f"{ref.namespace}/{ref.secret}" for ref in outputs(certificate)})
    if len(secrets) > 1:
        found.append(
            f"The outputs lie in several secrets ({', '.join(secrets)}): they cannot be replaced at"
            " the same moment, so a reader may for a moment find a key beside another's certificate"
        )
    return tuple(found)


def key_options_follow_the_algorithm(certificate: Certificate) -> Broken:
    if certificate.key_algorithm == KeyAlgorithm.EC and certificate.key_size:
        yield "key_size", "Leave this empty: it applies only to RSA keys."
    if certificate.key_algorithm == KeyAlgorithm.RSA and certificate.elliptic_curve:
        yield "elliptic_curve", "Leave this empty: it applies only to EC keys."


def renewal_begins_within_the_validity(certificate: Certificate) -> Broken:
    if certificate.renew_before_expiration_days >= certificate.requested_validity_days:
        yield (
            "renew_before_expiration_days",
            f"Give fewer days than the requested validity, {certificate.requested_validity_days}.",
        )


def an_identity_is_occms_own(certificate: Certificate) -> Broken:
    if certificate.cert_type != CertType.OCCM:
        return
    if certificate.network_function != "OCCM":
        yield "network_function", "Write OCCM: the CMP identity belongs to OCCM itself."
    for field, value in _identity_outputs(certificate):
        if getattr(certificate, field) != value:
            yield (
                field,
                f"Leave this empty, or write “{value}” as the issuer's configuration has it.",
            )
    for field in CA_BUNDLE:
        if getattr(certificate, field):
            yield field, "Leave this empty: it applies only to certificates of type OTHER."


def an_issuer_has_one_identity(certificate: Certificate) -> Broken:
    if certificate.cert_type != CertType.OCCM:
        return
    issuer = certificate.issuer
    other = issuer.certificates.filter(cert_type=CertType.OCCM).exclude(pk=certificate.pk).first()
    if other is not None:
        yield "issuer", f"This issuer already has its OCCM certificate: {other}."
    automatic = certificate.creation_mode == Certificate.CreationMode.AUTOMATIC
    if automatic and not issuer.initial_auth_type:
        yield (
            "creation_mode",
            f"Choose MANUAL, or give issuer {issuer} an initial authentication: without one OCCM "
            "cannot ask it for a first certificate.",
        )


def outputs_are_given(certificate: Certificate) -> Broken:
    if certificate.cert_type == CertType.OTHER:
        for field in OUTPUTS:
            if not getattr(certificate, field):
                yield field, "Fill this in: OCCM writes there what it obtains."


def optional_places_are_whole(certificate: Certificate) -> Broken:
    for place in (CHAIN_OUTPUT, CA_BUNDLE):
        given = [field for field in place if getattr(certificate, field)]
        for field in place:
            if given and field not in given:
                yield field, "Fill this in, or leave namespace, secret and key all empty."


def merging_has_a_chain_beside_the_certificate(certificate: Certificate) -> Broken:
    if not certificate.merge_certificate_and_chain:
        return
    if certificate.key_encoding == Certificate.KeyEncoding.DER:
        yield "merge_certificate_and_chain", "Choose PEM: DER cannot hold several certificates."
    if not certificate.chain_output_key:
        yield "chain_output_key", "Fill in the chain output: merging needs it."
    for field in ("namespace", "secret"):
        chain = getattr(certificate, f"chain_output_{field}")
        if chain and chain != getattr(certificate, f"certificate_output_{field}"):
            yield f"chain_output_{field}", "Merging needs the certificate's secret here."


def outputs_are_distinct(certificate: Certificate) -> Broken:
    key, leaf, chain = (
        _place(certificate, place)
        for place in (PRIVATE_KEY_OUTPUT, CERTIFICATE_OUTPUT, CHAIN_OUTPUT)
    )
    if leaf == key:
        yield "certificate_output_key", f"Name another key: {key} is for the private key."
    if chain == key:
        yield "chain_output_key", f"Name another key: {key} is for the private key."
    if chain == leaf and not certificate.merge_certificate_and_chain:
        yield (
            "chain_output_key",
            f"Name another key: {leaf} is for the certificate, unless merging.",
        )
    if certificate.cert_type == CertType.OCCM and chain in identity_keys(certificate.issuer)[2:]:
        yield "chain_output_key", f"Name another key: {chain} is for the issuer's extra certs."
    bundle = _place(certificate, CA_BUNDLE)
    if bundle is not None and bundle in {key, leaf, chain}:
        yield "ca_bundle_key", f"Name another key: OCCM writes {bundle} itself."


def nobody_else_writes_there(certificate: Certificate) -> Broken:
    mine = set(outputs(certificate))
    secrets = {(ref.namespace, ref.secret) for ref in mine}
    for namespace, secret in sorted(secrets):
        rows = Output.objects.filter(namespace=namespace, secret=secret)
        for row in rows.exclude(certificate=certificate.pk).select_related("certificate"):
            ref = SecretKeyRef(row.namespace, row.secret, row.key)
            if ref in mine:
                yield (
                    _field_of(certificate, ref),
                    f"Name another key: certificate {row.certificate} writes {ref}.",
                )


def nobody_reads_an_input_there(certificate: Certificate) -> Broken:
    mine = set(outputs(certificate))
    own_identity = certificate.cert_type == CertType.OCCM
    for issuer in Issuer.objects.filter(_reads({ref.secret for ref in mine})):
        identity = set(identity_keys(issuer))
        if own_identity and issuer == certificate.issuer:
            identity = set()
        for ref in sorted(mine.intersection(identity.union(inputs(issuer)))):
            yield (
                _field_of(certificate, ref),
                f"Name another key: issuer {issuer} reads {ref}, OCCM must not overwrite it.",
            )


# Which fields a rule reads, and the rule.
RULES: tuple[tuple[Collection[str], Callable[[Certificate], Broken]], ...] = (
    (("key_algorithm", "key_size", "elliptic_curve"), key_options_follow_the_algorithm),
    (
        ("renew_before_expiration_days", "requested_validity_days"),
        renewal_begins_within_the_validity,
    ),
    (("cert_type", "issuer", "network_function", *OUTPUTS, *CA_BUNDLE), an_identity_is_occms_own),
    (("cert_type", "issuer", "creation_mode"), an_issuer_has_one_identity),
    (("cert_type",), outputs_are_given),
    ((*CHAIN_OUTPUT, *CA_BUNDLE), optional_places_are_whole),
    (
        ("key_encoding", "merge_certificate_and_chain", *CERTIFICATE_OUTPUT, *CHAIN_OUTPUT),
        merging_has_a_chain_beside_the_certificate,
    ),
    (
        ("cert_type", "issuer", "merge_certificate_and_chain", *OUTPUTS, *CHAIN_OUTPUT, *CA_BUNDLE),
        outputs_are_distinct,
    ),
    (("cert_type", "issuer", *OUTPUTS, *CHAIN_OUTPUT), nobody_else_writes_there),
    (("cert_type", "issuer", *OUTPUTS, *CHAIN_OUTPUT), nobody_reads_an_input_there),
)


def _not_even_empty(certificate: Certificate) -> Broken:
    """Yield the fields that hold what Django takes for empty, but no text or list of ours."""
    for field in Certificate.not_null():
        value = getattr(certificate, field.attname)
        if value is None:
            yield field.name, "This field cannot be null."
        elif isinstance(field, JSONField) and not isinstance(value, list):
            yield field.name, "Give a list."


def _identity_outputs(certificate: Certificate) -> Iterator[tuple[str, str]]:
    """Yield each output field of an OCCM certificate with what the issuer says belongs there."""
    if certificate.issuer_id is None:
        return
    key, leaf, *_ = identity_keys(certificate.issuer)
    yield from zip(PRIVATE_KEY_OUTPUT, (key.namespace, key.secret, key.key), strict=True)
    yield from zip(CERTIFICATE_OUTPUT, (leaf.namespace, leaf.secret, leaf.key), strict=True)


def _reads(secrets: Collection[str]) -> Q:
    places = ("mac", "initial_signature", "other_signature", "trust_store", "tls")
    return reduce(or_, (Q(**{f"{place}_secret__in": secrets}) for place in places))


def _place(certificate: Certificate, fields: tuple[str, str, str]) -> SecretKeyRef | None:
    namespace, secret, key = (getattr(certificate, field) for field in fields)
    return SecretKeyRef(namespace, secret, key) if namespace and secret and key else None


def _field_of(certificate: Certificate, ref: SecretKeyRef) -> str:
    places = (PRIVATE_KEY_OUTPUT, CERTIFICATE_OUTPUT, CHAIN_OUTPUT)
    return next((fields[2] for fields in places if _place(certificate, fields) == ref), "issuer")
