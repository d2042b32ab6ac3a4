"""What every test gets: loopback only, the logs of its peers when it fails, one home per peer.

Which database the tests run on is for the plugin `tests.databases`.
"""

import os
import random
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadScopeScheduling

from tests.network import keep_to_loopback
from tests.peers import process

keep_to_loopback()

# A busy machine is no finding: how long a test may take is pytest-timeout's business.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")

# Folders whose tests share a server or a browser that is slow to start: one xdist worker each.
TOGETHER = ("kubernetes", "browser", "interop")
# What takes longest, so that the other workers do not end long before the last one.
FIRST = ("test_checks.py", "flows", *TOGETHER)

# Some tests are named after sets: xdist's workers have to order these alike, to agree on the names.
SEED = os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(2**32)))


def pytest_report_header() -> str:
    return f"PYTHONHASHSEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _home(item.nodeid) not in FIRST)


@pytest.hookimpl(optionalhook=True)  # there is no such hook without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Homes":
    config.option.loadscopereorder = False
    return Homes(config, log)


class Homes(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a file, or a folder of TOGETHER, to one worker.

    xdist's own groups (3.8: `--dist loadgroup`) have no effect on pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        home = _home(nodeid)
        return home if home in TOGETHER else nodeid.partition("::")[0]


def _home(nodeid: str) -> str:
    """Return the folder, or the file, right below tests."""
    return nodeid.partition("::")[0].split("/")[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"log of {each.log.name}", each.tail()) for each in process.running]
    return report
