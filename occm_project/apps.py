from importlib import import_module

from django.apps import AppConfig


class OccmProjectConfig(AppConfig):
    name = "occm_project"
    verbose_name = "OCCM"

    def ready(self) -> None:
        import_module("occm_project.checks")
        import_module("occm_project.workers")  # connects to the signals of Celery
