"""The project: settings, the Celery application, and what plugs the apps together."""

__version__ = "0.1.0"  # as in pyproject.toml

from occm_project.celery import app as celery_app

__all__ = ["__version__", "celery_app"]
