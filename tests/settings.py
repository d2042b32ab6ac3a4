"""The settings that tests and type checks run with: the project's own, on values fit for tests.

What the environment names holds. The defaults fail closed: a secret store that is not there, and a
broker in memory that nothing empties, so a test that needs either brings its own.
"""

import os
import tempfile
from pathlib import Path

_SQLITE = Path(tempfile.gettempdir()) / f"occm-tests-{os.getpid()}.sqlite3"

defaults = {
    "SECRET_KEY": "for tests only, and therefore no secret at all",
    "ALLOWED_HOSTS": "localhost,127.0.0.1",
    "DATABASE_URL": "sqlite://:memory:",
    "REDIS_URL": "memory://",
    "OCCM_SECRET_STORE": "folder:/nonexistent/occm-tests",
    "OCCM_FIELD_KEYS": "A" * 43 + "=",
    "OCCM_LOG_FORMAT": "line",
}
for _name, _value in defaults.items():
    os.environ.setdefault(_name, _value)

from occm_project.settings import *  # noqa: E402, F403 - only now is all there that they read
from occm_project.settings import DATABASES  # noqa: E402

# A file, not memory: threads share it as processes do in production, with the same locks.
if "sqlite3" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["TEST"] = {"NAME": str(_SQLITE)}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, for a change
WHITENOISE_AUTOREFRESH = True  # from the packages' folders, nothing needs collecting
WHITENOISE_USE_FINDERS = True
