"""Every alert is quiet, fires and resolves, as promtool finds; and leads to a page that helps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.parts import need
from tests.peers import prometheus
from tests.peers.prometheus import promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "occm.rules.yml"

NF = (
    '{certificate="amf",issuer="ca",network_function="AMF",purpose="SBI",type="OTHER",instance="a"}'
)
TWIN = NF.replace('instance="a"', 'instance="b"')  # of another web server
OCCM = '{certificate="occm",issuer="ca",network_function="OCCM",type="OCCM",instance="a"}'
FAILURE = 'procedure="RENEW",class="REFUSED",code="CMP_REJECTED",fail_info="badRequest"'
EXPIRY, RENEWAL, READINESS, FAILING = (
    f"occm_certificate_{name}"
    for name in (
        "not_after_timestamp_seconds",
        "renew_timestamp_seconds",
        "readiness",
        "failing_since_timestamp_seconds",
    )
)
DRIFTED = f'occm_certificate_drifted_timestamp_seconds{NF[:-1]},contested="true"}}'
MIGRATION = '{migration="m",issuer="ca",source="old",instance="a"}'
OTHER_ONE = MIGRATION.replace('"m"', '"n"')
LEFT_BEHIND = "occm_migration_left_behind"
LAST_FAILURE = "occm_migration_last_failure_timestamp_seconds"
DISPATCH = 'occm_task_last_run_timestamp_seconds{task="certificates.dispatch"}'


def failing(certificate: str, error: str) -> str:
    return f'{FAILING}{certificate[:-1]},{FAILURE},error="{error}"}}'


class Case(NamedTuple):
    """What is scraped every minute, and when (in minutes) the alert is quiet, fires, resolves."""

    series: dict[str, str]
    quiet: int
    fires: int
    resolved: int


CASES = {
    "OCCMCertificateExpiring": Case(
        # Valid for 100 minutes, to be renewed from the start on, and renewed after 70.
        {f"{EXPIRY}{NF}": "6000x70 60000x60", f"{RENEWAL}{NF}": "0x70 50000x60"}, 50, 60, 75
    ),
    "OCCMCertificateExpired": Case(
        {f"{READINESS}{NF}": "1x5 -1x10 1x10", f"{READINESS}{TWIN}": "1x5 -1x10 1x10"}, 5, 10, 20
    ),
    "OCCMCertificateNotReady": Case({f"{READINESS}{NF}": "0x30 1x10"}, 10, 20, 35),
    "OCCMProcedureFailing": Case(
        # Another error in between: still the same failure, and it is not anew to be waited for.
        {failing(NF, "one"): "0x20 stale", failing(NF, "two"): "_x21 0x19 stale"}, 14, 30, 45
    ),
    "OCCMIdentityAtRisk": Case({f"{READINESS}{OCCM}": "1x5 0x20 1x10"}, 4, 15, 30),
    "OCCMIdentityMissing": Case(
        {'occm_issuer_certificates{issuer="ca"}': "3x60", f"{READINESS}{OCCM}": "_x40 1x20"},
        10, 20, 45,
    ),
    "OCCMIssuerFailing": Case(
        {'occm_issuer_failing_since_timestamp_seconds{issuer="ca"}': "60x20 stale"}, 9, 15, 25
    ),
    "OCCMIssuerSecretsWrong": Case({'occm_issuer_warnings{issuer="ca"}': "2x20 0x20"}, 5, 15, 25),
    "OCCMSecretWritesFailing": Case(
        {'occm_errands_failing{issuer="ca",class="SECRET_STORE"}': "1x20 stale"}, 5, 15, 25
    ),
    "OCCMSecretStoreDown": Case({"occm_secret_store_up": "1x5 0x10 1x10"}, 5, 12, 20),
    "OCCMDriftContested": Case(
        {DRIFTED: "_x9 540x20 stale"}, 5, 12, 38
    ),
    "OCCMMaybeIssued": Case({"occm_maybe_issued": "0x5 2x100 0x20"}, 5, 90, 115),
    "OCCMMigrationFailures": Case(
        # One by one they are moved by another migration.
        {
            f"{LEFT_BEHIND}{MIGRATION}": "_x4 3x30 1x30 stale",
            f"{LAST_FAILURE}{MIGRATION}": "_x4 300x60 stale",
        },
        3, 50, 70,
    ),
    "OCCMSchedulerSilent": Case({DISPATCH: "0+60x5 300x10 900+60x20"}, 5, 12, 25),
    "OCCMWorkersMissing": Case({'occm_workers{queue="enroll"}': "1x5 0x10 1x10"}, 5, 10, 20),
    "OCCMQueueStuck": Case(
        {'occm_queue_oldest_due_seconds{issuer="ca"}': "0+60x30 0x10"}, 10, 25, 35
    ),
    "OCCMTargetDown": Case({'up{job="occm-web",instance="a"}': "1x5 0x10 1x10"}, 5, 12, 20),
    "OCCMNoData": Case({"occm_database_up": "1x5 stale _x14 1x20"}, 5, 15, 25),
}  # fmt: skip
# More ways to the same alert.
MORE = [
    (
        "OCCMMigrationFailures",  # a day after the latest failure it is over
        Case(
            {
                f"{LEFT_BEHIND}{MIGRATION}": "_x4 4000x2000",
                f"{LAST_FAILURE}{MIGRATION}": "_x4 300x2000",
            },
            3, 1400, 1450,
        ),
    ),
    ("OCCMIdentityAtRisk", Case({failing(OCCM, "no"): "0x30 stale"}, 14, 25, 35)),
    (
        "OCCMIdentityAtRisk",
        Case(
            {f"{EXPIRY}{OCCM}": "6000x70 60000x60", f"{RENEWAL}{OCCM}": "0x70 50000x60"}, 50, 60, 75
        ),
    ),
    ("OCCMNoData", Case({"occm_database_up": "1x5 0x14 1x20"}, 5, 15, 25)),
    (
        "OCCMQueueStuck",  # only once the CA is no longer left alone
        Case(
            {
                'occm_queue_oldest_due_seconds{issuer="ca"}': "0+60x50 0x10",
                'occm_issuer_left_alone{issuer="ca"}': "1x30 0x40",
            },
            29, 40, 55,
        ),
    ),
    (
        "OCCMQueueStuck",  # nor while the secret store is away, which has an alert of its own
        Case(
            {
                'occm_queue_oldest_due_seconds{issuer="ca"}': "0+60x50 0x10",
                "occm_secret_store_up": "0x30 1x40",
            },
            29, 40, 55,
        ),
    ),
    (
        "OCCMSchedulerSilent",
        Case({"occm_database_up": "_x4 1x50", DISPATCH: "_x20 1200+60x20"}, 4, 10, 25),
    ),
    (
        "OCCMSchedulerSilent",
        Case({DISPATCH.replace("dispatch", "scan_expiring"): "0+60x5 300x10 900+60x20"}, 5, 12, 25),
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def promtool_is_there() -> None:
    need(prometheus.program("promtool"), prometheus.REMEDY)


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def test_promtool_finds_no_fault_in_the_rules() -> None:
    assert "18 rules found" in promtool("check", "rules", RULES)


def test_every_alert_is_quiet_then_fires_then_resolves(tmp_path: Path) -> None:
    assert set(CASES) == {rule["alert"] for rule in rules()}

    judged(tmp_path, [_unit(alert, case) for alert, case in (*CASES.items(), *MORE)])


def test_an_alert_that_cannot_fire_would_be_found(tmp_path: Path) -> None:
    case = Case({f"{READINESS}{NF}": "1x40"}, 5, 20, 35)

    with pytest.raises(AssertionError, match="OCCMCertificateNotReady"):
        judged(tmp_path, [_unit("OCCMCertificateNotReady", case)])


def test_a_failure_is_told_with_the_words_of_the_ca(tmp_path: Path) -> None:
    told = {
        "summary": "RENEW of certificate amf has been failing for 20m 0s.",
        "description": "Issuer: ca. Last error: CMP_REJECTED the CA said <no>",
        "runbook_url": "docs/runbooks/procedure-failing.md",
    }
    labels = {"certificate": "amf", "issuer": "ca", "network_function": "AMF", "purpose": "SBI"}
    labels |= {"type": "OTHER", "procedure": "RENEW", "severity": "warning"}
    expected = {"exp_labels": labels, "exp_annotations": told}
    unit = {
        "interval": "1m",
        "input_series": [{"series": failing(NF, "the CA said <no>"), "values": "0x30"}],
        "alert_rule_test": [
            {"eval_time": "20m", "alertname": "OCCMProcedureFailing", "exp_alerts": [expected]}
        ],
    }

    judged(tmp_path, [unit])


def test_failures_of_migrations_are_told_by_how_many_are_left_behind(tmp_path: Path) -> None:
    def alert(migration: str, count: int) -> dict[str, Any]:
        told = {
            "summary": f"{count} certificates could not be moved from old to ca.",
            "description": f"Migration {migration}. They are at the source still, valid as before; "
            "the panel Bulk Cert Migrations Error has the reasons.",
            "runbook_url": "docs/runbooks/migration-failures.md",
        }
        labels = {"migration": migration, "issuer": "ca", "source": "old", "severity": "warning"}
        return {"exp_labels": labels, "exp_annotations": told}

    series = {
        f"{LEFT_BEHIND}{MIGRATION}": "4000x30",
        f"{LAST_FAILURE}{MIGRATION}": "0x30",
        f"{LEFT_BEHIND}{OTHER_ONE}": "7x30",
        f"{LAST_FAILURE}{OTHER_ONE}": "600x30",
    }
    unit = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": "20m",
                "alertname": "OCCMMigrationFailures",
                "exp_alerts": [alert("m", 4000), alert("n", 7)],
            }
        ],
    }

    judged(tmp_path, [unit])


def test_every_alert_says_what_is_wrong_how_bad_it_is_and_where_help_is() -> None:
    for rule in rules():
        name, told = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}, name
        assert told["summary"].endswith("."), name
        page = ROOT / told["runbook_url"]
        assert page.is_file(), name
        assert name in page.read_text(), f"{page} does not speak of {name}"


def _unit(alert: str, case: Case) -> dict[str, Any]:
    """Return the unit test of an alert, as promtool takes it."""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'

    def at(minute: int, count: int) -> dict[str, Any]:
        found = [{"labels": "{}", "value": count}] if count else []
        return {"expr": firing, "eval_time": f"{minute}m", "exp_samples": found}

    series = [{"series": name, "values": values} for name, values in case.series.items()]
    tests = [at(case.quiet, 0), at(case.fires, 1), at(case.resolved, 0)]
    return {"name": alert, "interval": "1m", "input_series": series, "promql_expr_test": tests}


def judged(folder: Path, units: list[dict[str, Any]]) -> None:
    file = folder / "alerts.json"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": units}
    file.write_text(json.dumps(content))
    promtool("test", "rules", file)
