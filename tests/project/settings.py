"""What an operator may set: the environment variables that the settings read."""

import re
from pathlib import Path

SETTINGS = Path(__file__).parents[2] / "occm_project" / "settings.py"


def settings_variables() -> set[str]:
    return set(re.findall(r'\benv(?:\.\w+)?\(\s*"([A-Z0-9_]+)"', SETTINGS.read_text()))
