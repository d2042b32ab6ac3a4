#!/usr/bin/env python
"""Django's command line. On the embedded defaults use `./occm manage …`, which asks for them."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "occm_project.settings")
    if os.environ.get("OCCM_EMBEDDED"):
        from occm_project import embedded

        sys.argv[0] = "./occm manage"  # the name that help shows
        os.umask(0o077)  # database, logs, sockets: all for this user only
        try:
            embedded.fill(os.environ)
        except (embedded.NotPrivate, OSError) as error:
            sys.exit(f"occm: {error}")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
