"""The project: settings, the Celery application, and what plugs the apps together."""

from occm_project.celery import app as celery_app

__all__ = ["celery_app"]
