"""HL7 v2 messages as they came."""

from django.db import models

from journal.wall.models import TenantModel


class Hl7Message(TenantModel):
    """Kept before it is handled, and handled once: the same bytes under the same MSH-10 are the same message."""

    class State(models.TextChoices):
        RECEIVED = "received"
        DONE = "done"
        FAILED = "failed"
        ASIDE = "aside"  # it was not taken, and a person has seen to it

    source_id = models.BigIntegerField()  # tenants.Hl7Source: plain, the directory may lose it
    source_name = models.CharField(max_length=80, default="", blank=True)
    control_id = models.CharField(max_length=199, default="", blank=True)
    kind = models.CharField(max_length=16, default="", blank=True)
    sha256 = models.CharField(max_length=64)
    body = models.BinaryField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.RECEIVED)
    code = models.CharField(max_length=2, default="", blank=True)
    place = models.CharField(max_length=16, default="", blank=True)
    reason = models.CharField(max_length=200, default="", blank=True)  # our words, never a value
    attempts = models.PositiveIntegerField(default=0)
    received_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "source_id", "control_id", "sha256"], name="hl7_message_once")
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="hl7_message_newest"),
            models.Index(fields=["tenant_id", "-id"], name="hl7_message_failed", condition=models.Q(state="failed")),
        ]


class Hl7Destination(TenantModel):
    """Where reports go as ORU^R01, by MLLP."""

    name = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    port = models.PositiveIntegerField()
    uses_tls = models.BooleanField(default=False)
    sending_application = models.CharField(max_length=64, default="MEDHUB", blank=True)  # MSH-3 to MSH-6
    sending_facility = models.CharField(max_length=64, default="", blank=True)
    receiving_application = models.CharField(max_length=64, default="", blank=True)
    receiving_facility = models.CharField(max_length=64, default="", blank=True)
    version = models.CharField(max_length=8, default="2.5.1")
    takes_preliminary = models.BooleanField(default=True)  # False: only what a person has decided
    created_at = models.DateTimeField()
