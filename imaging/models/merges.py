"""Two numbers, one person: who was merged into whom, on whose word, and what moved."""

from django.db import models

from imaging.models.patients import Patient
from journal.wall.models import TenantForeignKey, TenantModel


class PatientMerge(TenantModel):
    """`gone` was found to be `surviving`. What moved is listed by id, so that it can go back."""

    gone = TenantForeignKey(Patient, models.PROTECT, related_name="+")
    surviving = TenantForeignKey(Patient, models.PROTECT, related_name="+")
    origin = models.CharField(max_length=8)  # hl7, portal, api, item
    message = models.BinaryField(default=b"")  # as received, where a message said so
    studies = models.JSONField(default=list)
    orders = models.JSONField(default=list)
    people = models.JSONField(default=list)  # who had been merged into the one who is gone, and follows
    merged_by = models.CharField(max_length=128)
    merged_at = models.DateTimeField()
    undone_by = models.CharField(max_length=128, default="", blank=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "gone"], name="patient_merge_once", condition=models.Q(undone_at=None))
        ]
        indexes = [models.Index(fields=["tenant_id", "surviving"], name="patient_merge_by_surviving")]
