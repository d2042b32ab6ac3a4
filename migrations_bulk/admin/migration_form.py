"""What a bulk migration is started with: the guide's fields, and how it is to go about it."""

from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from issuers.admin.forms import Group, OperatorForm
from migrations_bulk.domain import migrate
from migrations_bulk.models import BulkMigration

COMPUTED: Final = ("migration_id", "initiated_certificates", "skipped_certificates")
EMPTY: Final = "Leave this empty: OCCM fills it in."

GROUPS: Final = (
    Group("Bulk Certificate Migration", ("source", "destination"), columns=2),
    Group(
        "Options",
        migrate.OPTIONS,
        columns=2,
        about="All at once, unless you say otherwise here.",
    ),
    Group(
        "Filled in by OCCM",
        COMPUTED,
        about="These must be kept empty. They are shown once the migration has started.",
    ),
)


class MigrationForm(OperatorForm):
    groups = GROUPS
    needed = frozenset({"source", "destination"})

    migration_id = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        label="ID",
        help_text="Unique identifier of the migration.",
    )
    initiated_certificates = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        label="Bulk Certificate Migration Initiated Certificates",
        help_text="Certificates that are migrated from the source to the destination issuer.",
    )
    skipped_certificates = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        label="Bulk Certificate Migration Skipped Certificates",
        help_text="Certificates that are neither READY nor EXPIRED, or for which a procedure is "
        "under way already.",
    )

    class Meta:
        model = BulkMigration
        fields = (*migrate.FIELDS, *COMPUTED)
        labels = {
            "source": "Source Issuer",
            "destination": "Destination Issuer",
            "canary": "First certificates",
            "canary_wait_s": "Go on by itself after (seconds)",
            "wave_size": "Wave size",
            "max_failures": "Stop at failures",
            "revoke_old_after_s": "Revoke old certificates after (seconds)",
        }
        help_texts = {
            "source": "The issuer whose linked certificates are migrated.",
            "destination": "The issuer to which the certificates are migrated.",
            "canary": "Migrate so many first, and wait: until you say go on, or for a time. 0: do "
            "not wait.",
            "canary_wait_s": "How long the first certificates are to be READY before the others "
            "follow. Empty: until you say go on.",
            "wave_size": "So many at a time, each wave once the one before is done. 0: all.",
            "max_failures": "Stop the migration when so many have failed. 0: never.",
            "revoke_old_after_s": "How long after the new certificate was written the source is "
            "asked to revoke the old one. Empty: never.",
        }

    def spec(self) -> dict[str, Any]:
        """Return what was filled in; numbers that were emptied are the same as 0."""
        filled = super().spec()
        zero = {"canary": 0, "wave_size": 0, "max_failures": 0}
        return {
            name: zero.get(name) if value is None else value
            for name, value in filled.items()
            if name not in COMPUTED
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in COMPUTED:
            if cleaned.get(name):
                self.add_error(name, EMPTY)
        return cleaned

    def applies(self, name: str) -> bool:
        return True
