"""What it costs. For now one row a hospital: whether AI dispatch and new connections are open to it."""

from django.db import models

from journal.wall.models import TenantModel


class Entitlement(TenantModel):
    class State(models.TextChoices):
        TRIAL = "trial"
        ACTIVE = "active"
        PAUSED = "paused"

    state = models.CharField(max_length=8, choices=State.choices, default=State.PAUSED)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id"], name="entitlement_once")]
