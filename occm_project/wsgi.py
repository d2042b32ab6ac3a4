"""The WSGI entry point of the web server; it does not start with settings that cannot be."""

import os

from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "occm_project.settings")
application = get_wsgi_application()

if errors := [str(found) for found in run_checks(tags=["web"]) if found.is_serious()]:
    raise ImproperlyConfigured("\n".join(errors))
