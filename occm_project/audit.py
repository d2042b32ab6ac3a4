"""Who changed what, and who tried: a line in the log for each request that is not only to read."""

import logging
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bound_contextvars

from occm_project.login import address

READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = logging.getLogger(__name__)


class Audit:
    """Middleware: behind the one that knows the user. What was sent is not told, nor to be."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in READING:
            return self.get_response(request)
        before = _name(request)  # known before a log-out, or only after a log-in or a token
        response = self.get_response(request)
        who, where = _name(request) or before, address(request)
        facts = {"user": who, "address": where, "path": request.path}
        with bound_contextvars(**facts, method=request.method, status=response.status_code):
            text = "%s %s by %s from %s: %d"
            who = who or "nobody"
            log.info(text, request.method, request.path, who, where, response.status_code)
        return response


def _name(request: HttpRequest) -> str:
    """Return the user's name; a token's user is set on the request by who has checked it."""
    return request.user.get_username()
