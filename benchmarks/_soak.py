"""What `benchmarks/soak.py` asks of the database, inside a process of that installation.

A renewal was due at two thirds of the life of the certificate that it replaced.
"""

import json
import os
import sys
from datetime import timedelta

from occm_project import embedded

embedded.fill(os.environ)
os.environ["DJANGO_SETTINGS_MODULE"] = "occm_project.settings"

import benchmarks._django  # noqa: E402, F401 - the environment comes first, models after it
from certificates.models import Enrollment  # noqa: E402

left = timedelta(seconds=float(sys.argv[1])) / 3  # of a life, when it is time to renew
sent = Enrollment.objects.filter(kind="RENEW", sent_at__isnull=False)
rows = sent.values_list("needed_by", "sent_at")
waits = sorted((at - expiry + left).total_seconds() for expiry, at in rows if expiry and at)
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
