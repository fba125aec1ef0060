"""The topics that can be subscribed to, and the addresses of the backport's definitions (HL7 subscriptions-backport 1.1.0)."""

from dataclasses import dataclass

from fhirapi.registry import HL7
from fhirapi.resources.parts import OURS

BACKPORT = f"{HL7}/uv/subscriptions-backport/StructureDefinition"
SUBSCRIPTION_PROFILE = f"{BACKPORT}/backport-subscription"
NOTIFICATION_PROFILE = f"{BACKPORT}/backport-subscription-notification-r4"
STATUS_PROFILE = f"{BACKPORT}/backport-subscription-status-r4"
FILTER = f"{BACKPORT}/backport-filter-criteria"
HEARTBEAT = f"{BACKPORT}/backport-heartbeat-period"
TIMEOUT = f"{BACKPORT}/backport-timeout"
MAX_COUNT = f"{BACKPORT}/backport-max-count"
CONTENT = f"{BACKPORT}/backport-payload-content"
TOPIC_EXTENSION = f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical"


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic: each version of a resource of this type that meets the search, and the parameters that a filter may name."""

    name: str
    rtype: str
    search: str
    filters: frozenset[str]
    words: str

    @property
    def canonical(self) -> str:
        return f"{OURS}/SubscriptionTopic/{self.name}"


TOPICS = {
    one.name: one
    for one in (
        Topic(
            name="report-issued", rtype="DiagnosticReport", search="status:not=registered",
            filters=frozenset({"patient", "subject", "status", "code", "category", "performer", "identifier", "imagingStudy"}),
            words="A version of a DiagnosticReport stands: issued, decided about by a person, or flagged by a recall.",
        ),
        Topic(
            name="study-available", rtype="ImagingStudy", search="status=available",
            filters=frozenset({"patient", "subject", "modality", "bodysite", "identifier", "started", "basedon", "endpoint"}),
            words="A study is complete, or what is said about a complete study has changed.",
        ),
    )
}  # fmt: skip
BY_CANONICAL = {one.canonical: one for one in TOPICS.values()}
