import pickle

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from certificates.fields import Sealed, Undecryptable, key_name
from certificates.models import Enrollment
from tests.factories import an_enrollment

pytestmark = pytest.mark.django_db

SECRET = b"the private key"


def raw(row: Enrollment) -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT private_key FROM certificates_enrollment WHERE id = %s", [row.pk])
        return bytes(cursor.fetchone()[0])


def test_the_database_holds_a_ciphertext_that_names_its_key(settings: Settings) -> None:
    row = an_enrollment(private_key=Sealed(SECRET))

    assert SECRET not in raw(row)
    assert raw(row).startswith(key_name(settings.OCCM_FIELD_KEYS[0]).encode() + b":")
    assert Enrollment.objects.get(pk=row.pk).private_key.reveal() == SECRET


def test_no_key_stays_no_key() -> None:
    row = an_enrollment()

    assert raw(row) == b""
    assert not Enrollment.objects.get(pk=row.pk).private_key
    assert Enrollment.objects.get(pk=row.pk).private_key.reveal() == b""


def test_a_sealed_value_does_not_show_itself() -> None:
    assert "private" not in repr(Sealed(SECRET)) + str(Sealed(SECRET)) + f"{Sealed(SECRET)}"
    assert SECRET not in pickle.dumps(Sealed(SECRET))
    assert pickle.loads(pickle.dumps(Sealed(SECRET))).reveal() == SECRET


def test_a_new_first_key_leaves_older_ciphertexts_readable(settings: Settings) -> None:
    row = an_enrollment(private_key=Sealed(SECRET))
    new_key = Fernet.generate_key().decode()

    settings.OCCM_FIELD_KEYS = [new_key, *settings.OCCM_FIELD_KEYS]
    again = Enrollment.objects.get(pk=row.pk)
    assert again.private_key.reveal() == SECRET
    again.private_key = Sealed(again.private_key.reveal())
    again.save()

    assert raw(row).startswith(key_name(new_key).encode())


def test_without_its_key_a_row_is_read_and_saved_but_not_discarded(
    settings: Settings,
) -> None:
    row = an_enrollment(private_key=Sealed(SECRET))
    before = raw(row)
    missing = key_name(settings.OCCM_FIELD_KEYS[0])
    settings.OCCM_FIELD_KEYS = [Fernet.generate_key().decode()]

    again = Enrollment.objects.get(pk=row.pk)
    with pytest.raises(Undecryptable, match=missing):
        again.private_key.reveal()
    again.save()

    assert raw(row) == before


def test_a_ciphertext_that_was_tampered_with_is_refused(settings: Settings) -> None:
    row = an_enrollment(private_key=Sealed(SECRET))
    forged = raw(row)[:-4] + b"AAA="

    with pytest.raises(Undecryptable, match="changed outside OCCM"):
        Sealed(token=forged).reveal()


@pytest.mark.parametrize("keys", [[], ["too short"]])
def test_unusable_keys_are_a_configuration_error(settings: Settings, keys: list[str]) -> None:
    settings.OCCM_FIELD_KEYS = keys

    with pytest.raises(ImproperlyConfigured, match="OCCM_FIELD_KEYS"):
        an_enrollment(private_key=Sealed(SECRET))


def test_secrets_cannot_be_searched() -> None:
    with pytest.raises(FieldError):
        Enrollment.objects.filter(private_key=Sealed(SECRET)).exists()


def test_only_sealed_values_are_stored() -> None:
    with pytest.raises(TypeError, match="takes a Sealed"):
        an_enrollment(private_key=SECRET)


def test_words_are_cut_to_the_room_there_is() -> None:
    row = an_enrollment(reason="x" * 301, waiting_for="y" * 300)
    row.keep(fail_info="z" * 500)

    row.refresh_from_db()
    assert row.reason == "x" * 299 + "…"
    assert row.waiting_for == "y" * 300
    assert row.fail_info == "z" * 399 + "…"
