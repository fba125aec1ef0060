"""Words for the deliveries of reports: on the study page and under "Needs attention"."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.delivery.services import ARCHIVE
from ai.models import ReportDelivery
from portal.words import StateWords

STATES = {
    "pending": ("wait", gettext_lazy("on its way")),
    "sent": ("ok", gettext_lazy("sent")),
    "stored": ("wait", gettext_lazy("stored")),
    "confirmed": ("ok", gettext_lazy("committed")),
    "overdue": ("note", gettext_lazy("stored, commitment overdue")),
    "failed": ("bad", gettext_lazy("not delivered")),
    "superseded": ("off", gettext_lazy("not sent")),
}


@dataclass(frozen=True)
class DeliveryRow:
    """What templates/portal/delivery_row.html shows."""

    delivery: ReportDelivery
    name: str
    version: int
    state: StateWords
    may_resend: bool


def delivery_row(delivery: ReportDelivery) -> DeliveryRow:
    is_archive = delivery.kind == ARCHIVE
    kind, word = STATES[delivery.state]
    if is_archive and delivery.state == ReportDelivery.State.SENT:
        word = gettext_lazy("filed")
    if delivery.state == ReportDelivery.State.FAILED and delivery.references:
        word = gettext_lazy("stored, not committed")
    name = _("Our archive") if is_archive else delivery.target_name
    states = ReportDelivery.State
    is_open = delivery.state in {states.PENDING, states.SUPERSEDED} or (delivery.state == states.STORED and delivery.asked_at is None)
    return DeliveryRow(delivery, name, delivery.report.version, StateWords(kind, str(word), delivery.words), not is_open)
