"""Ticks do not pile up while nobody takes them, and no host's clock decides which of them count."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from celery import Celery, current_app
from celery.beat import Scheduler as CelerysOwn
from celery.beat import SchedulingError, Service
from celery.schedules import schedule
from django.conf import settings

from occm_project import beat
from tests.peers.valkey import Valkey


def test_ticks_wait_for_a_worker_that_is_away_but_not_all_of_them(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        app = Celery("ticks", broker=valkey.url, set_as_current=False)
        client = redis.Redis.from_url(valkey.url)
        scheduler = beat.Scheduler(app=app)
        entry = scheduler.Entry(name="tick", task="tick", schedule=schedule(1.0), app=app)

        for _ in range(beat.ENOUGH + 5):
            scheduler.apply_async(entry, producer=scheduler.producer)
        assert client.llen("celery") == beat.ENOUGH

        client.lpop("celery", 2)  # a worker is back
        for _ in range(5):
            scheduler.apply_async(entry, producer=scheduler.producer)
        assert client.llen("celery") == beat.ENOUGH
        scheduler.close()
        app.close()


def test_beat_comes_back_with_the_broker(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        app = Celery("ticks", broker=valkey.url, set_as_current=False)
        client = redis.Redis.from_url(valkey.url)
        scheduler = beat.Scheduler(app=app)
        entry = scheduler.Entry(name="tick", task="tick", schedule=schedule(1.0), app=app)
        scheduler.apply_async(entry, producer=scheduler.producer)

        valkey.process.stop()
        with pytest.raises(SchedulingError):  # it went when the waiting ones were counted
            CelerysOwn.apply_async(scheduler, entry, producer=scheduler.producer)
        valkey.process.start()
        before = int(client.llen("celery"))
        for _ in range(3):  # one may be lost with the connection
            scheduler.apply_entry(entry, producer=scheduler.producer)
        assert int(client.llen("celery")) >= before + 2
        scheduler.close()
        app.close()


def test_beat_ends_without_an_error(tmp_path: Path) -> None:
    """Told to end, Celery closes the scheduler in the signal's handler, and once more after it."""
    with Valkey(tmp_path) as valkey:
        app = Celery("ticks", broker=valkey.url, set_as_current=False)
        service = Service(app, scheduler_cls=beat.Scheduler)
        entry = service.scheduler.Entry(name="tick", task="tick", schedule=schedule(1.0), app=app)
        service.scheduler.apply_async(entry, producer=service.scheduler.producer)

        service.sync()
        service.sync()
        app.close()


def test_a_clock_that_is_set_back_stops_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("ticks", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"tick": {"task": "tick", "schedule": 0.1}}
    scheduler = beat.Scheduler(app=app)
    entry = scheduler.schedule["tick"]
    earlier = app.now() - timedelta(minutes=2)
    monkeypatch.setattr(app, "now", lambda: earlier)

    time.sleep(0.2)

    is_due, _ = scheduler.is_due(entry)
    assert is_due
    app.close()


def test_it_is_what_beat_runs_with_unless_told_otherwise() -> None:
    assert current_app.conf.beat_scheduler == f"{beat.__name__}:{beat.Scheduler.__name__}"


def test_no_tick_says_when_it_expires() -> None:
    """The moment would be one of beat's clock, and be compared with the worker's."""
    given = [entry.get("options", {}) for entry in settings.CELERY_BEAT_SCHEDULE.values()]

    assert given
    assert not any("expires" in options for options in given)
