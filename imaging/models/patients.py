"""Whose pixels."""

import uuid

from django.db import models

from imaging.models.fields import FoldedField
from journal.wall.models import TenantForeignKey, TenantModel


class Patient(TenantModel):
    """Keyed by (issuer, PatientID). Without a PatientID the study's UID stands in: unidentified people are never merged.

    `variant` is empty for the first person of a key and a hash of name and birth date for another one who came under the
    same key: two people, one work item, never one row.
    """

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    issuer = models.CharField(max_length=64, default="", blank=True)
    patient_id = models.CharField(max_length=64, default="", blank=True)
    variant = models.CharField(max_length=64, default="", blank=True)
    name = models.CharField(max_length=324, default="", blank=True)  # as received, groups separated by =
    birth_date = models.CharField(max_length=8, default="", blank=True)  # DA as received: may be partial
    sex = models.CharField(max_length=16, default="", blank=True)
    ehr_id = models.CharField(max_length=64, default="", db_default="", blank=True)  # of the EHR's own Patient; empty: `uuid` is it
    told_at = models.DateTimeField(null=True)  # when the newest word of the hospital's own system (HL7 ADT) was said
    merged_into = TenantForeignKey("self", models.PROTECT, null=True)  # somebody decided that the two are one
    extra = models.TextField(default="", blank=True)  # optional attributes by tag, JSON (`imaging.query.attributes`)
    name_key = FoldedField()  # one column a component group: any of the three is found
    name_ideographic_key = FoldedField()
    name_phonetic_key = FoldedField()
    patient_id_key = FoldedField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "issuer", "patient_id", "variant"], name="patient_once"),
            models.UniqueConstraint(fields=["tenant_id", "uuid"], name="patient_uuid_once"),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "name_key"], name="patient_by_name"),
            models.Index(fields=["tenant_id", "name_ideographic_key"], name="patient_by_ideographic"),
            models.Index(fields=["tenant_id", "name_phonetic_key"], name="patient_by_phonetic"),
            models.Index(fields=["tenant_id", "patient_id_key"], name="patient_by_number"),
            models.Index(fields=["tenant_id", "ehr_id"], name="patient_by_ehr_id", condition=~models.Q(ehr_id="")),
        ]
