"""What may be done with each type over REST: the CapabilityStatement, the views and the bundles follow this page."""

from fhirapi.registry import TYPES

# Made by the hub from DICOM, AI results and its own audit trail: clients read them.
HUB_ONLY = frozenset({"ImagingStudy", "AuditEvent"})
# Who saw what: not for everybody who may read the rest. Type -> the capability that it needs in place of fhir.read.
GUARDED = {"AuditEvent": "audit.read"}
READING = ("read", "vread", "history-instance", "history-type", "search-type")
WRITING = ("create", "update", "patch", "delete")
SYSTEM = ("transaction", "batch", "history-system")
PATCHES = ("application/json-patch+json", "application/fhir+json")


def is_writable(rtype: str) -> bool:
    return rtype in TYPES and rtype not in HUB_ONLY


def interactions(rtype: str) -> tuple[str, ...]:
    """The codes of type-restful-interaction that hold for this type."""
    return READING + (WRITING if is_writable(rtype) else ())
