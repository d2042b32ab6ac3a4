"""The statements written out in SQL: PostgreSQL plans each of them once for a connection."""

import pytest
from django.db import connection

from issuers import statements
from issuers.models import Issuer
from tests.factories import a_certificate

pytestmark = pytest.mark.django_db
OFTEN = 6  # prepared is what comes more often than `prepare_threshold`


@pytest.mark.only_on("postgresql")
def test_what_comes_often_is_prepared() -> None:
    issuer = a_certificate().issuer
    for number in range(OFTEN):
        changed = statements.update(
            Issuer, {"recipient_dn": f"CN={number}"}, where="id = %s", matching=(issuer.pk,)
        )
        assert changed == 1

    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        prepared = [statement for (statement,) in cursor.fetchall()]
    assert [it for it in prepared if it.startswith("UPDATE issuers_issuer SET")]
    issuer.refresh_from_db()
    assert issuer.recipient_dn == f"CN={OFTEN - 1}"
