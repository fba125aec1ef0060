"""What ServiceRequests are made of: orders, their patients and their scheduled steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fhirapi.sources import ORDER_COLUMNS, PATIENT_COLUMNS, OrderRow, PatientRow, order_row
from imaging.models import Order, ScheduledStep


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """A scheduled step of an order: the hospital's own time, as DA and TM."""

    modality: str
    station: str
    start_date: str
    start_time: str


@dataclass(frozen=True, kw_only=True)
class AskedRow:
    """An order as its ServiceRequest tells it."""

    order: OrderRow
    is_ehrs: bool  # the EHR wrote the ServiceRequest itself
    status: str
    requester: str
    created_at: datetime
    patient: PatientRow
    steps: tuple[StepRow, ...] = ()


def orders_read(*, order_ids: Sequence[int]) -> list[AskedRow]:
    """Orders that name a patient, with their steps: two statements, none for no order."""
    if not order_ids:
        return []
    steps: dict[int, list[StepRow]] = {}
    columns = ("modality", "station", "start_date", "start_time")
    rows = ScheduledStep.objects.filter(order_id__in=order_ids).order_by("order_id", "step_id").values_list("order_id", *columns)
    for order_id, *row in rows:
        steps.setdefault(order_id, []).append(StepRow(**dict(zip(columns, row, strict=True))))
    more = ("status", "requester", "created_at")
    found = Order.objects.filter(id__in=order_ids, patient__isnull=False).order_by("id")
    return [
        AskedRow(
            order=order, is_ehrs=bool(row[5]),
            **dict(zip(more, row[6:9], strict=True)), patient=PatientRow(**dict(zip(PATIENT_COLUMNS, row[9:], strict=True))),
            steps=tuple(steps.get(row[4], ())),
        )
        for row in found.values_list(*ORDER_COLUMNS, *more, *(f"patient__{name}" for name in PATIENT_COLUMNS))
        if (order := order_row(row[:6]))
    ]  # fmt: skip
