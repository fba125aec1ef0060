"""EHR servers, pushes and subscriptions in words: for their pages."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from fhirapi.models import EhrPush, EhrServer, Subscriber
from portal.words import StateWords

PUSHES = {
    "queued": ("wait", gettext_lazy("on its way")),
    "sending": ("wait", gettext_lazy("being sent")),
    "delivered": ("ok", gettext_lazy("delivered")),
    "failed": ("note", gettext_lazy("failed, comes again")),
    "dead": ("bad", gettext_lazy("not delivered")),
    "superseded": ("off", gettext_lazy("replaced by a newer version")),
}
AUTH_WORDS = {
    "none": gettext_lazy("none"), "basic": gettext_lazy("user and password (basic)"), "bearer": gettext_lazy("bearer token"),
    "smart": gettext_lazy("SMART Backend Services"),
}  # fmt: skip
SUBSCRIPTIONS = {
    "requested": ("wait", gettext_lazy("shaking hands")),
    "active": ("ok", gettext_lazy("active")),
    "error": ("bad", gettext_lazy("given up")),
    "off": ("off", gettext_lazy("off")),
}
TOPICS = {"report-issued": gettext_lazy("reports"), "study-available": gettext_lazy("studies")}
CONTENTS = {
    "empty": gettext_lazy("nothing but that it happened"), "id-only": gettext_lazy("ids"), "full-resource": gettext_lazy("whole resources"),
}  # fmt: skip


@dataclass(frozen=True)
class ServerRow:
    server: EhrServer
    auth: str
    state: StateWords


@dataclass(frozen=True)
class PushRow:
    """What templates/portal/ehr_pushes.html shows."""

    push: EhrPush
    state: StateWords
    may_resend: bool


@dataclass(frozen=True)
class SubscriptionRow:
    row: Subscriber
    title: str
    host: str
    content: str
    state: StateWords
    may_resume: bool
    may_test: bool


def server_row(server: EhrServer) -> ServerRow:
    state = StateWords("ok", _("on"), "") if server.is_enabled else StateWords("off", _("off"), _("nothing is sent"))
    return ServerRow(server, str(AUTH_WORDS[server.auth]), state)


def push_row(push: EhrPush) -> PushRow:
    kind, word = PUSHES[push.state]
    return PushRow(push, StateWords(kind, str(word), push.words), push.state in {"delivered", "dead"})


def subscription_row(row: Subscriber) -> SubscriptionRow:
    kind, word = SUBSCRIPTIONS[row.state]
    is_failing = row.state == Subscriber.State.ACTIVE and row.attempts > 0
    if is_failing and row.words:
        kind, word = "note", gettext_lazy("active, failing")
    return SubscriptionRow(
        row=row, title=str(TOPICS.get(row.topic, row.rtype)), host=row.endpoint.split("/")[2] if "://" in row.endpoint else "",
        content=str(CONTENTS[row.content]), state=StateWords(kind, str(word), row.words),
        may_resume=row.state == Subscriber.State.ERROR or is_failing, may_test=row.state == Subscriber.State.ACTIVE and bool(row.topic),
    )  # fmt: skip
