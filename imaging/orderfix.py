"""What a person may do where matching would have to guess: say which order of its patient asked for a study."""

from collections.abc import Iterable

from imaging.models import Order, Study
from imaging.priorities import order_priorities_take
from journal.outbox import event_publish
from journal.trace import trace

OFFERED = 20
_USABLE = (Order.Status.ACTIVE, Order.Status.ON_HOLD, Order.Status.COMPLETED)


def orders_offered(*, study: Study) -> list[Order]:
    """The orders of a study's patient, newest first; those of anybody else are never offered."""
    rows = Order.objects.filter(patient_id=study.patient_id, status__in=_USABLE)
    return list(rows.order_by("-id")[:OFFERED])


def order_named(*, name: str, orders: Iterable[Order]) -> Order | None:
    """That of these whose ServiceRequest has this id."""
    return next((order for order in orders if service_request_id(order) == name), None)


def service_request_id(order: Order) -> str:
    """The id of its ServiceRequest: the EHR's where it wrote one, else ours."""
    return order.ehr_id or str(order.id)


def study_order_choose(*, study: Study, order: Order) -> None:
    """`order` asked for `study`, whatever the numbers say: matching leaves the two alone from then on. Both locked by who calls."""
    study.order_id, study.is_order_chosen = order.id, True
    study.save(update_fields=["order", "is_order_chosen"])
    order_priorities_take(studies=[(study, order)])
    with trace(study.trace_id):
        event_publish(name="study.changed", ids={"study_id": study.id})
