"""The worker's entry point: what it does for itself, on a secret store of its own."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

from cmp.testing.pki import pem
from issuers import tasks
from issuers.models import IssuerHealth
from secretstore import FolderSecretStore
from tests.issuers.factories import an_issuer
from tests.issuers.secrets import pki

pytestmark = pytest.mark.django_db


def test_a_round_looks_at_every_issuer_that_is_due_in_the_store_of_the_settings(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.OCCM_SECRET_STORE = f"folder:{tmp_path}"
    good, bad = an_issuer(), an_issuer()
    store = FolderSecretStore(tmp_path)
    store.write("ns1", good.mac_secret, {"pwd": b"secret", "ref": b"3078"}, version=None)
    store.write("ns1", good.trust_store_secret, {"root.pem": pem(pki().root)}, version=None)

    tasks.look_at_inputs()

    found = {row.issuer: row for row in IssuerHealth.objects.select_related("issuer")}
    assert (len(found[good].warnings), len(found[bad].warnings)) == (0, 2)
    assert found[good].look_due_at - timezone.now() > timedelta(seconds=55)
    assert found[bad].look_due_at - timezone.now() < timedelta(seconds=5)


def test_the_scheduler_calls_it_every_two_seconds_by_a_telling_name(settings: LazySettings) -> None:
    entry = settings.CELERY_BEAT_SCHEDULE["look"]

    assert (entry["task"], entry["schedule"]) == (tasks.look_at_inputs.name, 2.0)
