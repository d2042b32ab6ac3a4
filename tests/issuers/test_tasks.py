"""The worker's entry points: what they do for themselves, on a secret store of their own."""

from datetime import timedelta
from pathlib import Path

import pytest
from celery import current_app
from django.conf import LazySettings
from django.utils import timezone

from cmp.testing.pki import pem
from issuers import tasks
from issuers.domain import trial
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


def test_workers_are_called_to_the_connections_that_operators_ask_about(
    settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OCCM_SECRET_STORE = f"folder:{tmp_path}"
    called: list[int] = []
    monkeypatch.setattr(tasks.test_connection, "delay", called.append)
    asked, _ = an_issuer(server_url="http://ca.invalid/"), an_issuer()
    trial.request(asked, now=timezone.now() - timedelta(seconds=1))

    tasks.call_tests()
    assert called == [asked.pk]

    tasks.test_connection(*called)
    row = IssuerHealth.objects.get(pk=asked.pk)
    assert row.test_passed is False
    assert "does not resolve" in row.test_outcome


def test_an_error_of_ours_is_logged_and_ends_the_test(
    settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OCCM_SECRET_STORE = "nonsense:"
    issuer = an_issuer()
    trial.request(issuer, now=timezone.now())

    tasks.test_connection(issuer.pk)

    row = IssuerHealth.objects.get(pk=issuer.pk)
    assert (row.test_passed, row.test_due_at) == (False, None)
    assert "its connection was not tried" in caplog.text


def test_connections_are_tested_where_a_ca_that_hangs_delays_nobody(settings: LazySettings) -> None:
    route = current_app.amqp.router.route({}, tasks.test_connection.name)
    entry = settings.CELERY_BEAT_SCHEDULE["test"]

    assert route["queue"].name == "suspect"
    assert (entry["task"], entry["schedule"]) == (tasks.call_tests.name, 1.0)
