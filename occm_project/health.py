"""Probes for the kubelet: /live says that the process answers, /ready that the database does too.

They are answered before anything else looks at the request: a probe comes by address, over plain
HTTP and without a login, and learns nothing but a word.
"""

from collections.abc import Callable

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse


class Probes:
    """Middleware: answer probes, pass the rest on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        match request.path:
            case "/live":
                return HttpResponse("live\n", content_type="text/plain")
            case "/ready":
                return _ready()
            case _:
                return self.get_response(request)


def _ready() -> HttpResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return HttpResponse("no database\n", status=503, content_type="text/plain")
    return HttpResponse("ready\n", content_type="text/plain")
