"""What `benchmarks/soak.py` asks of the database, inside a process of that installation."""

import json
import os

from occm_project import embedded

embedded.fill(os.environ)
os.environ["DJANGO_SETTINGS_MODULE"] = "occm_project.settings"

import benchmarks._django  # noqa: E402, F401 - the environment comes first, models after it
from certificates.models import Enrollment  # noqa: E402

rows = Enrollment.objects.filter(kind="RENEW").values_list("created_at", "sent_at")
waits = sorted((sent - opened).total_seconds() for opened, sent in rows if sent is not None)
print(
    json.dumps(
        {
            "renewals": len(waits),
            "failed_tries": sum(Enrollment.objects.values_list("tries", flat=True)),
            "p50_s": waits[len(waits) // 2] if waits else 0.0,
            "p99_s": waits[int(len(waits) * 0.99)] if waits else 0.0,
            "max_s": waits[-1] if waits else 0.0,
        }
    )
)
