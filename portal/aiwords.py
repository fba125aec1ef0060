"""Words about platforms, connections and jobs. Every text goes through gettext."""

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.models import Connection, Job
from ai.readers import Reader
from ai.selectors import STATES, connection_state
from portal.words import AI_WORDS, StateWords
from tenants.doors import HospitalRequest
from tenants.permissions import is_allowed

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
    "broken": ("bad", gettext_lazy("does not answer: left alone for a while")), "failing": ("bad", gettext_lazy("last test failed")),
    "unchecked": ("note", gettext_lazy("connected, not tested yet")), "on": ("ok", gettext_lazy("connected")),
}  # fmt: skip


def connection_words(connection: Connection | None) -> StateWords:
    """How it stands, with the last test's words when they say why not."""
    state = connection_state(connection=connection, now=timezone.now())
    kind, word = CONNECTIONS[state]
    reason = connection.check_words if connection and state == "failing" else ""
    return StateWords(kind, str(word) + (f" ({_('test')})" if connection and connection.is_test else ""), reason)


def job_words(job: Job) -> StateWords:
    kind, key = STATES[Job.State(job.state)]
    return StateWords(kind, str(AI_WORDS[key]), job.reason)


def job_state_words(state: str) -> str:
    return str(AI_WORDS[STATES[Job.State(state)][1]])


def reader_of(request: HospitalRequest) -> Reader:
    """Who looks at reports on this page."""
    return Reader(user=str(request.user.pk), sees_all=is_allowed(role=request.role, capability="ai.write"))
