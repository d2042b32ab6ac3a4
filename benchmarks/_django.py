"""Django, ready for the imports that follow this one in a benchmark's child process.

The process that started it has put the database and all else that settings need into the
environment.
"""

import django

django.setup()
