"""The worker's entry points for issuers. They fetch, hand over, and decide nothing."""

from celery import shared_task
from django.utils import timezone

from issuers.domain import channel, health

BATCH = 50  # looks a round; the next round comes in two seconds


@shared_task(name="issuers.look_at_inputs")
def look_at_inputs() -> None:
    """Look at the secrets of the issuers whose time has come."""
    secrets = channel.secret_store()
    for _ in range(BATCH):
        if not health.look(secrets=secrets, now=timezone.now()):
            break
