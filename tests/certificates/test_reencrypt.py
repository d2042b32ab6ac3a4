"""Encryption keys: added, promoted, everything encrypted anew, removed at count 0."""

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django import Settings

from certificates.domain import reencrypt
from certificates.fields import Sealed, key_name
from certificates.models import Enrollment
from tests.factories import an_enrollment

pytestmark = pytest.mark.django_db


def test_an_old_key_can_be_removed_once_nothing_needs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencrypt, "BATCH", 2)
    old, new = settings.OCCM_FIELD_KEYS[0], Fernet.generate_key().decode()
    rows = [an_enrollment(private_key=Sealed(b"key %d" % number)) for number in range(5)]
    without = an_enrollment()
    settings.OCCM_FIELD_KEYS = [new, old]
    rows.append(an_enrollment(private_key=Sealed(b"key 5")))
    assert reencrypt.counts() == {key_name(new): 1, key_name(old): 5}
    told = StringIO()

    call_command("reencrypt", stdout=told)

    assert "5 private keys were encrypted anew" in told.getvalue()
    assert f"key {key_name(old)}: 0 (may be removed)" in told.getvalue()
    assert f"key {key_name(new)}: 6 (the first)" in told.getvalue()
    settings.OCCM_FIELD_KEYS = [new]
    for number, row in enumerate(rows):
        assert Enrollment.objects.get(pk=row.pk).private_key.reveal() == b"key %d" % number
    assert not Enrollment.objects.get(pk=without.pk).private_key


def test_what_cannot_be_decrypted_is_told_and_kept(settings: Settings) -> None:
    lost = settings.OCCM_FIELD_KEYS[0]
    row = an_enrollment(private_key=Sealed(b"the private key"))
    settings.OCCM_FIELD_KEYS = [Fernet.generate_key().decode()]
    told = StringIO()

    with pytest.raises(CommandError, match="1 private keys cannot be decrypted and are kept"):
        call_command("reencrypt", stdout=told)

    assert f"key {key_name(lost)}: 1 (not among OCCM_FIELD_KEYS" in told.getvalue()
    settings.OCCM_FIELD_KEYS = [lost]
    assert Enrollment.objects.get(pk=row.pk).private_key.reveal() == b"the private key"


def test_what_a_worker_writes_meanwhile_wins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = settings.OCCM_FIELD_KEYS[0]
    row = an_enrollment(private_key=Sealed(b"before"))
    settings.OCCM_FIELD_KEYS = [Fernet.generate_key().decode(), old]
    replace = reencrypt._replace

    def meanwhile(pk: int, token: bytes, fresh: Sealed) -> int:
        Enrollment.objects.filter(pk=pk).update(private_key=Sealed(b"a new one"))
        return replace(pk, token, fresh)

    monkeypatch.setattr(reencrypt, "_replace", meanwhile)

    assert reencrypt.reencrypt().reencrypted == 0
    assert Enrollment.objects.get(pk=row.pk).private_key.reveal() == b"a new one"
