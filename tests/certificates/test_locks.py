"""Who waits for whose rows, and who for nobody."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from certificates.domain import dispatch, lifecycle
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


def test_a_tick_waits_for_nobody_who_wakes_what_it_would_let_wait() -> None:
    """Both change many rows, each in its own order: they could wait for each other for ever."""
    issuer = an_issuer()
    rows = [a_certificate(issuer=issuer).enrollments.get() for _ in range(3)]
    Enrollment.objects.update(waiting_for="the OCCM certificate")

    with meanwhile(lambda: Enrollment.objects.filter(pk=rows[1].pk).update(priority=10)):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
            dispatch.tick(now=NOW)

    said = dict(Enrollment.objects.values_list("pk", "waiting_for"))
    assert [row.pk for row in rows if "there is none" in said[row.pk]] == [rows[0].pk, rows[2].pk]
