"""pytest plugin: which database the tests run on.

`--database=sqlite` (the default) runs everything; `--database=postgresql` runs what touches the
database, on a private cluster. A test for one of them says so: `@pytest.mark.only_on("postgresql")`
takes it out of the other's run.
"""

import os

import pytest

from tests.peers import postgresql

TOUCHES = {"db", "transactional_db", "django_db_serialized_rollback", "live_server"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="sqlite: all tests; postgresql: those that touch the database, on a private cluster",
    )


@pytest.hookimpl(tryfirst=True)  # before the settings are read
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    early_config.addinivalue_line("markers", "only_on(database): run on this database only")
    if early_config.known_args_namespace.database != "postgresql":
        return
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the run that started this worker has named its cluster already
    if postgresql.binaries() is None:
        raise pytest.UsageError(postgresql.REMEDY)
    cluster = postgresql.PostgreSQL().__enter__()
    early_config.add_cleanup(cluster.remove)
    os.environ["DATABASE_URL"] = cluster.url


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    database = config.getoption("database")
    mine = [item for item in items if _runs_on(database, item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine


def _runs_on(database: str, item: pytest.Item) -> bool:
    only = item.get_closest_marker("only_on")
    if only is not None and only.args != (database,):
        return False
    in_browser = "browser" in item.path.parts  # slow, and no other SQL than its views' tests
    return database == "sqlite" or (touches_database(item) and not in_browser)


def touches_database(item: pytest.Item) -> bool:
    """Tell whether the test uses Django's database."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(fixtures & TOUCHES)
