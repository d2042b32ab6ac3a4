"""What operators and readers look up by name stands in the documentation, and nothing else does."""

import re
from pathlib import Path

from occm_project.celery import app
from tests.project.settings import settings_variables

DOCS = Path(__file__).parents[2] / "docs"


def named_in_tables(page: str, section: str) -> set[str]:
    """Return what the first columns of the tables in a section have as code."""
    _, text = (DOCS / page).read_text().split(f"\n## {section}\n")
    cells = re.findall(r"\n *\|([^|]*)\|", text.split("\n## ")[0])
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_setting_is_documented() -> None:
    assert named_in_tables("operations.md", "Settings") == settings_variables()


def test_every_task_is_documented() -> None:
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if not name.startswith("celery.")}

    assert named_in_tables("architecture.md", "The row is the queue") == ours
