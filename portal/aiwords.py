"""Words about platforms, connections and jobs. Every text goes through gettext."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.governance.figures import Figures
from ai.governance.terms import terms_are_accepted
from ai.models import Connection, Job
from ai.readers import Reader
from ai.selectors import STATES, connection_state
from portal.words import AI_WORDS, StateWords, duration_words
from tenants.doors import HospitalRequest
from tenants.permissions import is_allowed
from tenants.selectors import member_names

KINDS = {
    "built-in": gettext_lazy("Built in: computes in this house"),
    "archive": gettext_lazy("Archive: keeps what it is sent, finds nothing"),
    "model-endpoint": gettext_lazy("Model endpoint: runs what you deploy there"),
    "samd-vendor": gettext_lazy("Vendor of medical device software"),
    "llm": gettext_lazy("Language model: words what others found, finds nothing"),
    "unavailable": gettext_lazy("No product of this name is known"),
}
ROLES = {
    "triage": gettext_lazy("may flag, nothing more"), "detection": gettext_lazy("marks what it suspects"),
    "quantification": gettext_lazy("measures"), "autonomous": gettext_lazy("cleared to say a result by itself"),
    "storage": gettext_lazy("keeps, finds nothing"), "wording": gettext_lazy("drafts words of findings"),
}  # fmt: skip
RESIDENCES = {
    "here": gettext_lazy("in this house"), "chosen": gettext_lazy("in a region that you choose"),
    "own": gettext_lazy("where you run it yourselves"), "france": gettext_lazy("in France"),
    "contract": gettext_lazy("where the contract says"),
}  # fmt: skip
STAGES = {
    "off": ("off", gettext_lazy("off")), "test": ("note", gettext_lazy("test: by hand only")),
    "shadow": ("wait", gettext_lazy("shadow: measured, shown to nobody who reads")),
    "pilot": ("wait", gettext_lazy("pilot: shown to named readers")), "live": ("ok", gettext_lazy("live")),
}  # fmt: skip
WIRES = {
    "dicomweb": gettext_lazy("DICOMweb"), "fhir": gettext_lazy("FHIR REST"), "dimse": gettext_lazy("DICOM associations"),
    "ups": gettext_lazy("our worklist, UPS-RS"), "inference": gettext_lazy("inference jobs"), "chat": gettext_lazy("chat completion"),
    "performer": gettext_lazy("our performer profile: worklist, DICOMweb, DICOM or signed tasks"),
    "stores": gettext_lazy("DICOMweb and FHIR REST"),
}  # fmt: skip
PROFILES = {
    "none": gettext_lazy("none: nothing leaves the house"),
    "default": gettext_lazy("PS3.15 basic profile: names, numbers and UIDs replaced, dates shifted"),
    "default-dates-kept": gettext_lazy("PS3.15 basic profile: names, numbers and UIDs replaced, dates kept"),
}
EXCHANGES = {
    "send": gettext_lazy("Sent"), "ask": gettext_lazy("Asked for the answer"), "hook": gettext_lazy("Called by the platform"),
    "objects": gettext_lazy("Objects received"), "cancel": gettext_lazy("Told to stop"),
}  # fmt: skip
CONNECTIONS = {
    "none": ("off", gettext_lazy("not connected")), "off": ("off", gettext_lazy("switched off")),
    "terms": ("note", gettext_lazy("connected, sends nothing: its terms are not accepted")),
    "broken": ("bad", gettext_lazy("does not answer: left alone for a while")), "failing": ("bad", gettext_lazy("last test failed")),
    "unchecked": ("note", gettext_lazy("connected, not tested yet")), "on": ("ok", gettext_lazy("connected")),
}  # fmt: skip


def connection_words(connection: Connection | None) -> StateWords:
    """How it stands, with the last test's words when they say why not."""
    state: str = connection_state(connection=connection, now=timezone.now())
    if connection and state in {"unchecked", "on"} and not terms_are_accepted(connection):
        state = "terms"
    kind, word = CONNECTIONS[state]
    reason = connection.check_words if connection and state == "failing" else ""
    return StateWords(kind, str(word) + (f" ({_('test')})" if connection and connection.is_test else ""), reason)


def job_words(job: Job) -> StateWords:
    kind, key = STATES[Job.State(job.state)]
    return StateWords(kind, str(AI_WORDS[key]), job.reason)


def job_state_words(state: str) -> str:
    return str(AI_WORDS[STATES[Job.State(state)][1]])


def figure_words(figures: Figures) -> dict[str, str]:
    """Median and shares as people read them; "too few" of fewer than twenty cases."""
    few = str(_("too few"))
    shares = {"failed": figures.failure_share, "not_analysable": figures.not_analysable_share}
    median = figures.median_seconds
    return {
        "runs": f"{figures.runs:,}", "median": few if median is None else duration_words(timedelta(seconds=median)),
        **{name: few if share is None else f"{100 * share:.3g} %" for name, share in shares.items()},
    }  # fmt: skip


def people_words(*, tenant_id: int, actors: Iterable[str]) -> dict[str, str]:
    """Actor of a record -> whom people know: a member's name, a key, or the house itself."""
    users = {name: name.removeprefix("user:") for name in actors if name.startswith("user:") and _is_uuid(name.removeprefix("user:"))}
    known = member_names(tenant_id=tenant_id, user_ids=list(users.values()))
    return {name: known.get(users.get(name, ""), "") or _machine(name) for name in actors}


def _machine(name: str) -> str:
    kind = name.partition(":")[0]
    kinds = {"token": _("an API key"), "system": _("the system"), "user": _("a former member")}
    return str(kinds.get(kind, name))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def reader_of(request: HospitalRequest) -> Reader:
    """Who looks at reports on this page."""
    return Reader(user=str(request.user.pk), sees_all=is_allowed(role=request.role, capability="ai.write"))
