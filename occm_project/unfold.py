"""How the admin looks and what its menu holds: the settings of django-unfold.

The menu's words are the operator's guide's. Everything is served from here; no page needs the
Internet.
"""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

CERTIFICATES = "certificates.certificate"
ITEMS = "migrations_bulk.migrationitem"
ERRORS = "migrations_bulk.migrationerror"
MIGRATIONS = "migrations_bulk.bulkmigration"


def _may_view(model: str) -> Any:
    app, name = model.split(".")
    return lambda request: request.user.has_perm(f"{app}.view_{name}")


def _item(title: str, icon: str, model: str, shows: str = "") -> dict[str, Any]:
    """Return a menu item that leads to a list, for those who may view what it `shows`."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model.replace('.', '_')}_changelist"),
        "permission": _may_view(shows or model),
    }


def _style(request: HttpRequest) -> str:
    return static("occm/occm.css")


def _script(request: HttpRequest) -> str:
    return static("occm/occm.js")


def _icon(request: HttpRequest) -> str:
    return static("occm/icon.svg")


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "OCCM",
    "SITE_HEADER": "OCCM",
    "SITE_SUBHEADER": "Certificate management",
    "SITE_SYMBOL": "verified_user",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
    "LOGIN": {"form": "occm_project.login.LoginForm"},
    "DASHBOARD_CALLBACK": "occm_project.dashboard.context",
    "STYLES": [_style],
    "SCRIPTS": [_script],
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "title": "OCCM",
                "items": [
                    {
                        "title": "Dashboard",
                        "icon": "dashboard",
                        "link": reverse_lazy("admin:index"),
                    },
                    _item("Issuer", "account_balance", "issuers.issuer"),
                    _item("Certificate", "workspace_premium", "certificates.certificate"),
                    _item("Bulk Certificate Migration", "move_down", MIGRATIONS),
                ],
            },
            {
                "title": "Panels",
                "items": [
                    _item("Expiry time", "event", "certificates.expirytime", CERTIFICATES),
                    _item("Readiness", "fact_check", "certificates.readinessstatus", CERTIFICATES),
                    _item("Migration errors", "running_with_errors", ERRORS, ITEMS),
                ],
            },
            {
                "title": "Records",
                "items": [
                    _item("Enrollments", "history", "certificates.enrollment"),
                    _item("Maybe issued", "help", "certificates.maybeissued"),
                    _item("Revocations", "block", "certificates.revocation"),
                    _item("Migrated certificates", "list_alt", ITEMS),
                ],
            },
            {
                "title": "Operation",
                "items": [
                    {
                        "title": "System",
                        "icon": "monitor_heart",
                        "link": reverse_lazy("system"),
                        "permission": _may_view(CERTIFICATES),
                    }
                ],
            },
            {
                "title": "Access",
                "items": [
                    _item("Users", "person", "auth.user"),
                    _item("Groups", "group", "auth.group"),
                ],
            },
        ],
    },
}
