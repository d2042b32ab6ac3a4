"""The Celery application: `celery -A occm_project worker|beat|flower`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "occm_project.settings")

app = Celery("occm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
