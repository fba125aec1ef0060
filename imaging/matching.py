"""Which order a study belongs to: by accession number and issuer, and only of the same patient; else a work item, never a guess.

Subscribes to `study.completed` (a study has come) and `order.changed` (an order came later, or says something else now). The index
worker asks at a study's first image: what is STAT stands in front while its images still come.
"""

from collections.abc import Collection, Iterable, Sequence

from django.utils import timezone

from imaging.models import Order, Study, Transfer, TransferStudy, WorkItem
from imaging.people import is_near
from imaging.priorities import order_priorities_take
from journal.outbox import NewEvent, events_publish
from journal.types import Event

NONE, ANOTHER = "order-missing", "order-patient"
KINDS = (NONE, ANOTHER)
_STUDIES_CAP = 1_000  # of one accession number


def studies_arrived_match(*, studies: Sequence[Study]) -> None:
    """New studies, locked by who calls. Doubts wait until they are complete: an order may be on its way as well."""
    numbered = [study for study in studies if study.accession_number and not study.is_from_ai]
    if numbered:
        _match(numbered)


def studies_rematch(*, studies: Sequence[Study]) -> None:
    """Studies that are another patient's now, locked by who calls, who also tells of them."""
    if Order.objects.exists():
        _settle([study for study in studies if not study.is_from_ai])


def study_order_match(*, event: Event) -> None:
    studies_order_match(events=[event])


def studies_order_match(*, events: Sequence[Event]) -> None:
    """A hospital that sends us no orders has nothing to match with."""
    if Order.objects.exists():
        rows = Study.objects.filter(id__in=[event.ids["study_id"] for event in events], is_from_ai=False)
        _tell(_settle(list(rows.select_related("patient").select_for_update(of=("self",)).order_by("id"))))


def order_studies_match(*, event: Event) -> None:
    """Studies that came before their order did, and those that were matched with what it said before."""
    order = Order.objects.filter(id=event.ids["order_id"]).first()
    if order is None:
        return
    numbered = Study.objects.filter(accession_number=order.accession_number, is_from_ai=False)
    studies = list(numbered.select_related("patient").select_for_update(of=("self",)).order_by("id")[:_STUDIES_CAP])
    changed = _settle(studies)
    # What the order says now, its studies say as well.
    _tell([study for study in studies if study in changed or study.order_id == order.id])


def _tell(studies: Sequence[Study]) -> None:
    events_publish(
        events=[NewEvent(name="study.changed", ids={"study_id": study.id}, trace_id=study.trace_id) for study in studies]
    )


def _settle(studies: Sequence[Study]) -> list[Study]:
    """Returns the studies whose order is another one now; what is in doubt gets its work item."""
    changed, doubts = _match(studies)
    _items_write(studies, doubts)
    return changed


def _match(studies: Sequence[Study]) -> tuple[list[Study], list[tuple[Study, str, str]]]:
    """Order and priority. Returns the studies whose order is another one now, and the doubts."""
    by_number = _orders({study.accession_number for study in studies if study.accession_number})
    found: dict[int, int | None] = {}
    doubts: list[tuple[Study, str, str]] = []
    for study in studies:
        if study.is_order_chosen:  # a person said so
            found[study.id] = study.order_id
            continue
        order, kind, reason = _decide(study, by_number.get(study.accession_number, []))
        found[study.id] = order.id if order is not None else None
        if kind:
            doubts.append((study, kind, reason))
    changed = [study for study in studies if study.order_id != found[study.id]]
    for study in changed:
        study.order_id = found[study.id]
    Study.objects.bulk_update(changed, ["order"])
    every = {order.id: order for orders in by_number.values() for order in orders}
    order_priorities_take(studies=[(study, every.get(study.order_id or 0)) for study in studies])
    return changed, doubts


def _orders(numbers: Collection[str]) -> dict[str, list[Order]]:
    rows: dict[str, list[Order]] = {}
    if numbers:
        held = Order.objects.select_related("patient").filter(accession_number__in=numbers)
        for order in held.exclude(status=Order.Status.ENTERED_IN_ERROR):
            rows.setdefault(order.accession_number, []).append(order)
    return rows


def _decide(study: Study, orders: Sequence[Order]) -> tuple[Order | None, str, str]:
    """The order, or kind and words of the doubt. An issuer that is not stated contradicts none, but must leave one order only."""
    if not study.accession_number:
        return None, NONE, "a study without an accession number: no order can be found for it"
    issuer = study.accession_issuer
    exact = [order for order in orders if order.issuer == issuer]
    fitting = exact if issuer and exact else [order for order in orders if not issuer or order.issuer in {"", issuer}]
    if not fitting:
        return None, NONE, "no order has the accession number of this study"
    if len(fitting) > 1:
        return None, NONE, "orders of several issuers have the accession number of this study, which names none"
    if not is_of_patient(order=fitting[0], study=study):
        return None, ANOTHER, "the order with the accession number of this study is for another patient"
    return fitting[0], "", ""


def is_of_patient(*, order: Order, study: Study) -> bool:
    """The same row; or the same number and name, where one of the two does not say who gave the number."""
    if order.patient_id == study.patient_id:
        return True
    ordered, imaged = order.patient, study.patient
    return ordered is not None and not (ordered.variant or imaged.variant) and is_near(ordered, imaged)


def _items_write(studies: Sequence[Study], doubts: Sequence[tuple[Study, str, str]]) -> None:
    """One open item a study and kind; what is no longer in doubt is resolved. Old studies that we fetched ourselves make none."""
    now = timezone.now()
    fetched = _fetched(study for study, _, _ in doubts)
    wanted = {(study.id, kind): reason for study, kind, reason in doubts if study.id not in fetched}
    there = WorkItem.objects.filter(study__in=[study.id for study in studies], kind__in=KINDS, resolved_at=None)
    over = [item.id for item in there if (item.study_id, item.kind) not in wanted]
    WorkItem.objects.filter(id__in=over).update(resolved_at=now, resolution="matched", resolved_by="system:matching")
    WorkItem.objects.bulk_create(
        [
            WorkItem(kind=kind, reason=reason, study_id=study_id, unique_on=f"study-{study_id}", created_at=now)
            for (study_id, kind), reason in wanted.items()
        ],
        ignore_conflicts=True,
    )


def _fetched(studies: Iterable[Study]) -> set[int]:
    """Those that a migration or a pull of priors asked for before their first image came: their orders were another system's."""
    by_uid = {study.study_uid: study for study in studies}
    asked = TransferStudy.objects.filter(
        study_uid__in=by_uid, transfer__kind__in=[Transfer.Kind.PRIORS, Transfer.Kind.MIGRATE], expected__gt=0
    )
    return {by_uid[uid].id for uid, at in asked.values_list("study_uid", "created_at") if at <= by_uid[uid].first_received_at}
