"""Whoever registers, changes, deletes or renews at an issuer waits for who has its row."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from certificates.domain import lifecycle
from certificates.models import Certificate, Enrollment
from issuers.domain import editing
from issuers.models import Issuer
from tests.certificates.test_scan import meanwhile
from tests.factories import NOW, a_certificate, an_identity, an_issuer

pytestmark = [pytest.mark.only_on("postgresql"), pytest.mark.django_db(transaction=True)]

Act = Callable[[Certificate], Any]
ACTS: dict[str, Act] = {
    "register": lambda row: a_certificate(issuer=row.issuer),
    "update": lambda row: lifecycle.update(row, now=NOW, common_name="another"),
    "delete": lambda row: lifecycle.delete(row, now=NOW),
    "renew": lambda row: lifecycle.renew(row, now=NOW),
    "recreate": lambda row: lifecycle.recreate(row, now=NOW),
    "edit the issuer": lambda row: editing.update(
        issuer=row.issuer, now=NOW, server_url="https://ca.example/"
    ),
    "delete the issuer": lambda row: editing.delete(issuer=row.issuer),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_the_issuers_row_is_waited_for(act: Act) -> None:
    issuer = an_issuer()
    an_identity(issuer=issuer)
    certificate = a_certificate(issuer=issuer)
    Certificate.objects.filter(pk=certificate.pk).update(
        in_place=True, not_after=NOW.replace(year=2100)
    )
    Enrollment.objects.update(phase=Enrollment.Phase.DELIVERED)

    def act_at_once() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
            act(certificate)

    with meanwhile(lambda: Issuer.objects.select_for_update(no_key=True).get(pk=issuer.pk)):
        with pytest.raises(OperationalError, match="lock timeout"):
            act_at_once()
