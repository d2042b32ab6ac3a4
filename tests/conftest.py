"""What every test gets: loopback only, the logs of its peers when it fails, one home per peer.

Which database the tests run on is for the plugin `tests.databases`.
"""

import os
import random
from collections.abc import Generator

import pytest

from tests.network import keep_to_loopback
from tests.peers import process

keep_to_loopback()

# Folders whose tests share a server or a browser that is slow to start: one xdist worker each.
TOGETHER = ("browser", "interop", "kubernetes")

# Where tests are named after sets, xdist's workers have to order these alike to have the same tests.
SEED = os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(2**32)))


def pytest_report_header() -> str:
    return f"PYTHONHASHSEED={SEED}"


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups as they are collected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        home = item.path.relative_to(item.config.rootpath / "tests").parts[0]
        if home in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(home))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"log of {each.log.name}", each.tail()) for each in process.running]
    return report
