"""Saving and deleting issuers: the rules that hold for every face alike.

An issuer that certificates refer to may only change between http and https, and cannot be deleted.
The same holds while a bulk migration to or from it runs. Both are found by the reverse relations;
whoever adds one locks the issuer's row too.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from issuers.domain import rules
from issuers.models import Issuer, IssuerHealth

FIELDS = Issuer.configured()
LISTS = Issuer.lists()
SCHEME_FIELDS = frozenset({"server_url", "tls_enabled", *rules.TLS_STORE})
NAMED = 10  # certificates that a message lists before it only counts
FORGOTTEN: dict[str, Any] = {
    "http_version": "",
    "warnings": [],
    "answered_at": None,
    "failing_since": None,
    "failures": 0,
    "error": "",
    "probe_at": None,
    "probe": None,
    "recovered_at": None,
    "tested_at": None,
    "test_passed": None,
    "test_outcome": "",
}


class IssuerInUse(Exception):
    """Certificates or errands refer to this issuer; it cannot be deleted."""

    code: ClassVar[str] = "ISSUER_IN_USE"


def register(*, now: datetime, **spec: Any) -> Issuer:
    """Add an issuer; a worker looks at its secrets at once.

    Raises ValidationError with every mistake, keyed by field.
    """
    issuer = Issuer(**spec)
    _check(issuer)
    with transaction.atomic():
        _save(issuer)
        IssuerHealth.objects.create(issuer=issuer, look_due_at=now)
    return issuer


@transaction.atomic
def update(*, issuer: Issuer, now: datetime, **changes: Any) -> Issuer:
    """Change an issuer and return the row as saved.

    Raises ValidationError with every mistake, keyed by field, and Issuer.DoesNotExist when it was
    deleted meanwhile.
    """
    row = Issuer.objects.select_for_update().get(pk=issuer.pk)
    before = {name: getattr(row, name) for name in FIELDS}
    for name, value in changes.items():
        if name not in before:
            raise TypeError(f"an issuer has no field {name}")
        setattr(row, name, value)
    _check(row, before=before)
    _save(row)
    moved = row.server_url != before["server_url"]
    IssuerHealth.objects.filter(pk=row.pk).update(look_due_at=now, **(FORGOTTEN if moved else {}))
    return row


@transaction.atomic
def delete(*, issuer: Issuer) -> None:
    """Delete an issuer that nothing refers to. Raises IssuerInUse, naming what does."""
    row = Issuer.objects.select_for_update().get(pk=issuer.pk)
    if used_by := _certificates(row):
        raise IssuerInUse(
            f"Issuer {row} cannot be deleted: certificates refer to it: {used_by}. "
            "Delete them or migrate them to another issuer first."
        )
    if migration := running_migration(row):
        raise IssuerInUse(
            f"Issuer {row} cannot be deleted: {migration} refers to it. Wait for it or stop it "
            "first."
        )
    try:
        row.delete()
    except ProtectedError as error:
        under_way = {str(getattr(kept, "certificate", kept)) for kept in error.protected_objects}
        raise IssuerInUse(
            f"Issuer {row} cannot be deleted: requests to it are under way for certificates: "
            f"{', '.join(sorted(under_way)[:NAMED])}. Wait for them or stop them first."
        ) from None


def editable_fields(issuer: Issuer) -> frozenset[str]:
    """Return the fields that may change now: all, or what switching the URL's scheme takes."""
    used = issuer.certificates.exists() or running_migration(issuer)
    return SCHEME_FIELDS if used else frozenset(FIELDS)


def running_migration(issuer: Issuer) -> str:
    """Name the bulk migration to or from an issuer that has not ended; empty when there is none."""
    for migrations in (issuer.migrations_from, issuer.migrations_to):
        if found := migrations.running().first():
            return str(found)
    return ""


def _check(issuer: Issuer, *, before: Mapping[str, Any] | None = None) -> None:
    found: dict[str, list[ValidationError]] = {}
    try:
        issuer.full_clean()
    except ValidationError as error:
        found = error.error_dict
    for field, advice in _not_even_empty(issuer):
        found.setdefault(field, [ValidationError(advice, code="invalid")])
    for field, advice in rules.broken(issuer, invalid=frozenset(found)):
        found.setdefault(field, []).append(ValidationError(advice, code="invalid"))
    if before is not None:
        for field, advice in _frozen(issuer, before, invalid=frozenset(found)):
            found.setdefault(field, []).append(ValidationError(advice, code="in_use"))
    if found:
        raise ValidationError(found)


def _not_even_empty(issuer: Issuer) -> rules.Broken:
    """Yield the fields that hold what Django takes for empty, but no list or text of ours."""
    for name in FIELDS:
        value = getattr(issuer, name)
        if value is None:
            yield name, "This field cannot be null."
        elif name in LISTS and not isinstance(value, list):
            yield name, "Give a list of keys of the secret."


def _frozen(issuer: Issuer, before: Mapping[str, Any], *, invalid: frozenset[str]) -> rules.Broken:
    """Yield the changes that the certificates of this issuer do not allow."""
    changed = [name for name in FIELDS if getattr(issuer, name) != before[name]]
    if not changed or not (used_by := _certificates(issuer) or running_migration(issuer)):
        return
    switched = "server_url" not in invalid and rules.differs_only_in_scheme(
        before["server_url"], issuer.server_url
    )
    for name in changed:
        if name == "server_url" and not switched:
            yield name, f"Only http:// ↔ https:// may change while certificates use it: {used_by}."
        elif not (switched and name in SCHEME_FIELDS):
            yield (
                name,
                f"This cannot change while certificates use the issuer: {used_by}. "
                "Migrate them to another issuer instead.",
            )


def _certificates(issuer: Issuer) -> str:
    """Name the certificates of an issuer in a sentence's part; empty when there are none."""
    names = list(issuer.certificates.order_by("name").values_list("name", flat=True)[:NAMED])
    more = issuer.certificates.count() - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _save(issuer: Issuer) -> None:
    try:
        with transaction.atomic():
            issuer.save()
    except IntegrityError:
        if not Issuer.objects.filter(name=issuer.name).exclude(pk=issuer.pk).exists():
            raise
        # taken between the check and here
        taken = issuer.unique_error_message(Issuer, ("name",))
        raise ValidationError({"name": [taken]}) from None
