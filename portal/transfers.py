"""Transfers as the page shows them: a title, a bar, a state in words. Read by the nodes page every two seconds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from imaging.models import Transfer
from portal.words import StateWords, date_words

TITLES = {
    "pull": gettext_lazy("Pull from %(node)s"), "send": gettext_lazy("Send to %(node)s"),
    "migrate": gettext_lazy("Migrate from %(node)s"), "priors": gettext_lazy("Priors from %(node)s"),
}  # fmt: skip
STATES = {
    "queued": ("wait", gettext_lazy("waiting")), "running": ("wait", gettext_lazy("running")), "done": ("ok", gettext_lazy("done")),
    "failed": ("bad", gettext_lazy("failed")), "cancelled": ("off", gettext_lazy("cancelled")),
}  # fmt: skip


@dataclass(frozen=True)
class TransferRow:
    """One transfer. The bar is of studies where there are several, else of objects; none while nothing is known."""

    transfer: Transfer
    title: str
    detail: str
    counts: str
    state: StateWords
    value: int
    most: int
    is_open: bool
    has_retry: bool


def transfer_row(transfer: Transfer) -> TransferRow:
    kind, word = STATES[transfer.state]
    is_open = transfer.due_at is not None
    objects = transfer.completed + transfer.failed + transfer.warned
    by_study = transfer.studies > 1
    if by_study:
        value, most = transfer.studies_done + transfer.studies_failed, transfer.studies
    else:
        value, most = objects, objects + transfer.remaining
    return TransferRow(
        transfer=transfer, title=str(TITLES[transfer.kind]) % {"node": transfer.node_ae}, detail=_detail(transfer),
        counts=_counts(transfer), state=StateWords(kind, str(word), transfer.last_error), value=value, most=most, is_open=is_open,
        has_retry=not is_open and transfer.node_id is not None and transfer.state in {"failed", "cancelled"},
    )  # fmt: skip


def _detail(transfer: Transfer) -> str:
    if transfer.kind == Transfer.Kind.MIGRATE:
        query = transfer.query
        days = f"{date_words(query['from'])} – {date_words(query['to'])}"
        return f"{days}, {', '.join(query['modalities'])}" if query["modalities"] else days
    return {"move": _("by C-MOVE"), "get": _("by C-GET")}.get(transfer.method, "")


def _counts(transfer: Transfer) -> str:
    objects = transfer.completed + transfer.warned
    parts = [ngettext("%(n)s image", "%(n)s images", objects) % {"n": objects}]
    if transfer.studies == 0:
        return _("no studies yet") if transfer.due_at else _("no studies")
    if transfer.studies != 1:
        parts.insert(0, _("%(done)s of %(all)s studies") % {"done": transfer.studies_done, "all": transfer.studies})
    if transfer.remaining:
        parts.append(_("%(n)s to come") % {"n": transfer.remaining})
    if transfer.failed:
        parts.append(_("%(n)s failed") % {"n": transfer.failed})
    return ", ".join(parts)


def transfers_mark(transfers: Sequence[Transfer]) -> str:
    """The same while the panel would look the same."""
    facts = [f"{t.id}.{t.state}.{t.completed}.{t.failed}.{t.remaining}.{t.studies}.{t.studies_done}.{t.last_error}" for t in transfers]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
