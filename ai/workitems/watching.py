"""What the WebSocket process reads: who may open a channel, what a subscriber is told. Each opens a short scope; threads call it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import unquote
from uuid import UUID

from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone
from rest_framework.exceptions import NotFound

from ai.models import Workitem, WorkitemSubscription
from ai.workitems.dataset import DatasetError
from ai.workitems.events import Kind, Told, event_report
from ai.workitems.selectors import Viewer
from ai.workitems.views import title_of, viewer_of
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope
from tenants.permissions import is_allowed
from tenants.selectors import token_holder

RECENT = timedelta(days=1)
CAUGHT_UP = 900  # states that a channel begins with


class Key(NamedTuple):
    """Whose AE title it is: those of different performers do not meet."""

    tenant_id: int
    owner: int
    ae_title: str


@dataclass(frozen=True)
class Open:
    """Whom a channel is for."""

    key: Key
    slug: str
    viewer: Viewer
    token: str = field(repr=False)

    @property
    def tenant_id(self) -> int:
        return self.key.tenant_id

    def sees(self, job: UUID | None) -> bool:
        """A token of one job hears of that job."""
        return self.viewer.job is None or self.viewer.job == job


@dataclass(frozen=True)
class Report:
    """An event report, but for its number on the channel."""

    item: Workitem
    kind: Kind
    state: str
    job: UUID | None

    def __call__(self, message_id: int) -> bytes:
        return event_report(self.item, self.kind, message_id=message_id, state=self.state)


def channel_open(*, slug: str, ae_title: str, token: str) -> Open | int:
    """Who opens it, or the HTTP status of a refusal: 401 for a token, 403 for its role, 404 for another's address or AE title."""
    close_old_connections()
    holder = token_holder(text=token)
    if holder is None:
        return 401
    if holder.slug != slug:
        return 404
    if holder.scopes or not is_allowed(role=holder.role, capability="ups.read"):  # scopes speak of FHIR alone
        return 403
    try:
        viewer, title = viewer_of(holder), title_of(unquote(ae_title))
    except (NotFound, DatasetError):
        return 404
    with tenant_scope(holder.tenant_id):
        if not WorkitemSubscription.objects.filter(ae_title=title, owner=viewer.owner).exists():
            return 404
        audit_record(
            actor=Actor(name=f"token:{holder.token_id}"), action="ups.channel", object_type="Subscriber", object_id=title
        )
    return Open(Key(holder.tenant_id, viewer.owner, title), slug, viewer, token)


def subscribers_of(*, told: Told) -> list[tuple[Key, Report]]:
    """Who is told of an event, and what."""
    close_old_connections()
    with tenant_scope(told.tenant_id):
        item = Workitem.objects.select_related("job").filter(id=told.workitem_id).first()
        if item is None:
            return []
        mine = WorkitemSubscription.objects.filter(workitem=item)
        if told.subscription_id:
            mine = mine.filter(id=told.subscription_id)
        owners = list(mine.values_list("owner", "ae_title"))
    report = Report(item, told.kind, told.state, item.job.uuid if item.job else None)
    return [(Key(told.tenant_id, owner, title), report) for owner, title in owners]


def states_of(*, facts: Open) -> list[Report]:
    """The state of everything that a subscriber watches and that is open, or ended lately; and cancellations that it is asked for."""
    close_old_connections()
    with tenant_scope(facts.tenant_id):
        ids = WorkitemSubscription.objects.filter(
            ae_title=facts.key.ae_title, owner=facts.key.owner, workitem__isnull=False
        ).values("workitem_id")
        rows = Workitem.objects.select_related("job").filter(id__in=ids).filter(
            Q(state__in=["SCHEDULED", "IN PROGRESS"]) | Q(changed_at__gt=timezone.now() - RECENT)
        )  # fmt: skip
        items = sorted(rows.order_by("-changed_at")[:CAUGHT_UP], key=lambda item: item.changed_at)
    reports = []
    for item in items:
        job = item.job.uuid if item.job else None
        if facts.sees(job):
            reports.append(Report(item, Kind.STATE, item.state, job))
            if item.cancel_request is not None and item.state == "IN PROGRESS":
                reports.append(Report(item, Kind.CANCEL, item.state, job))
    return reports
