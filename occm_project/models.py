"""Who gave a sign of life when; rows of the installation itself, not of any app."""

from django.db import models


class Heartbeat(models.Model):
    """The last sign of life of a worker, or the last time a scheduled task ran to its end."""

    class Kind(models.TextChoices):
        WORKER = "WORKER"
        TASK = "TASK"

    kind = models.CharField(max_length=6, choices=Kind)
    name = models.CharField(max_length=253)
    queues = models.JSONField(default=list)  # that a worker takes tasks from
    seen_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        ordering = ("kind", "name")
        constraints = [
            models.UniqueConstraint(fields=["kind", "name"], name="one_heartbeat_per_name")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
