"""A certificate's story on the terminal: `./occm manage trace CERTIFICATE`."""

from argparse import ArgumentParser
from difflib import get_close_matches
from typing import Any

from django.core.management import BaseCommand, CommandError

from certificates.domain import story
from certificates.models import Certificate
from issuers.domain.clock import database_time
from occm_project.logs import escaped


class Command(BaseCommand):
    help = "Tell what has happened to a certificate: procedures, failures, what was lost."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("certificate", help="its name; it may have been deleted meanwhile")

    def handle(self, *, certificate: str, **_: Any) -> None:
        row = Certificate.objects.select_related("issuer").filter(name=certificate).first()
        events = story.events(certificate)
        if row is None and not events:
            raise CommandError(f"There is no certificate {certificate}.{meant(certificate)}")
        if row is None:
            self.say(f"{certificate}: there is no such certificate any longer")
        else:
            for line in story.standing(row, now=database_time()):
                self.say(line)
        self.say("")
        about = ""
        for event in events:
            if event.about != about:
                about = event.about
                self.say(f"  {about}", self.style.MIGRATE_HEADING)
            self.say(f"    {event.at:%Y-%m-%d %H:%M:%S}  {event.text}")
        if row is not None:
            for line in story.under_way(row):
                self.say(f"    under way            {line}", self.style.WARNING)

    def say(self, line: str, style: Any = str) -> None:
        """Write a line that nothing of a CA's words can break or colour."""
        self.stdout.write(style(escaped(line)))


def meant(name: str) -> str:
    """Ask for the names that are nearly the same."""
    names = Certificate.objects.values_list("name", flat=True)
    close = get_close_matches(name, list(names), n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""
