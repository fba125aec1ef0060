"""Merges of patients, for pages and the API."""

from collections.abc import Sequence

from django.db.models import Count

from imaging.models import Order, Patient, PatientMerge, Study


def merges_list(*, before: int, limit: int) -> list[PatientMerge]:
    """Newest first, with both patients."""
    rows = PatientMerge.objects.select_related("gone", "surviving").defer("message", "people")
    return list(rows.filter(id__lt=before).order_by("-id")[:limit])


def merge_get(*, merge_id: int) -> PatientMerge | None:
    found: PatientMerge | None = PatientMerge.objects.select_related("gone", "surviving").filter(id=merge_id).first()
    return found


def patients_numbered(*, number: str) -> Sequence[Patient]:
    """Who has this PatientID, of any issuer, and was not merged into another one. At most twenty."""
    rows = Patient.objects.filter(patient_id=number, merged_into=None).exclude(patient_id="")
    return list(rows.order_by("id")[:20])


def patient_uses(*, patient_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Patient -> how many studies and orders; two statements."""
    counts = [
        dict(model.objects.filter(patient_id__in=patient_ids).values_list("patient_id").annotate(number=Count("id")))
        for model in (Study, Order)
    ]
    return {patient_id: (counts[0].get(patient_id, 0), counts[1].get(patient_id, 0)) for patient_id in patient_ids}
