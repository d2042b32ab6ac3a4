from django.apps import AppConfig


class OccmProjectConfig(AppConfig):
    name = "occm_project"
    verbose_name = "OCCM"
