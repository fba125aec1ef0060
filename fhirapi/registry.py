"""What we hold and how it is found: one entry per resource type, one line per search parameter.

Indexing, search, the CapabilityStatement and docs/conformance/fhir.md all follow this list.
"""

from dataclasses import dataclass

HL7 = "http://hl7.org/fhir"
BY_PARAMETER = f"{HL7}/SearchParameter"

# How few resources one value usually finds. A search drives from the lowest rank and filters by the rest.
ONE, FEW, SOME, MANY = range(4)


@dataclass(frozen=True, kw_only=True)
class Param:
    """A search parameter: where its values stand in the resource, and the official definition it follows."""

    name: str
    kind: str  # token or reference, as in FHIR's SearchParamType
    path: tuple[str, ...]
    definition: str
    rank: int
    system: str = ""  # of a bare code, from its required binding
    targets: tuple[str, ...] = ()

    @property
    def is_identifier(self) -> bool:
        return self.path[-1] == "identifier"

    @property
    def is_patient(self) -> bool:
        """Answered by the compartment column: exact, not by a hash, since a wrong patient is the worst answer."""
        return self.targets == ("Patient",)


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """`number` is what rows hold: never change or reuse one. `date` is the element that the default order follows."""

    name: str
    number: int
    params: tuple[Param, ...]
    date: str = ""

    @property
    def by_name(self) -> dict[str, Param]:
        return {param.name: param for param in self.params}


def _token(name: str, definition: str, *, path: str = "", rank: int = MANY, system: str = "") -> Param:
    return Param(
        name=name, kind="token", path=tuple((path or name).split(".")), definition=f"{BY_PARAMETER}/{definition}",
        rank=rank, system=system,
    )  # fmt: skip


def _reference(name: str, definition: str, *targets: str, path: str, rank: int = FEW) -> Param:
    return Param(
        name=name, kind="reference", path=tuple(path.split(".")), definition=f"{BY_PARAMETER}/{definition}",
        rank=rank, targets=targets,
    )  # fmt: skip


def _patient() -> Param:
    return _reference("patient", "clinical-patient", "Patient", path="subject")


TYPES: dict[str, ResourceType] = {
    entry.name: entry
    for entry in (
        ResourceType(
            name="Patient",
            number=1,
            params=(_token("identifier", "Patient-identifier", rank=ONE),),
        ),
        ResourceType(
            name="ImagingStudy",
            number=2,
            date="started",
            params=(
                _token("identifier", "clinical-identifier", rank=ONE),
                _patient(),
                _reference("subject", "ImagingStudy-subject", "Patient", path="subject"),
                _token("status", "ImagingStudy-status", system=f"{HL7}/imagingstudy-status"),
                # R4 means the modality of a series, not the study's list.
                _token("modality", "ImagingStudy-modality", path="series.modality"),
            ),
        ),
        ResourceType(
            name="DiagnosticReport",
            number=3,
            date="effectiveDateTime",
            params=(
                _token("identifier", "clinical-identifier", rank=ONE),
                _patient(),
                _reference("subject", "DiagnosticReport-subject", "Patient", path="subject"),
                _token("status", "DiagnosticReport-status", system=f"{HL7}/diagnostic-report-status"),
                _token("category", "DiagnosticReport-category"),
                _token("code", "clinical-code", rank=SOME),
                _reference("result", "DiagnosticReport-result", "Observation", path="result", rank=ONE),
                _reference("performer", "DiagnosticReport-performer", "Organization", path="performer", rank=MANY),
            ),
        ),
        ResourceType(
            name="Observation",
            number=4,
            date="effectiveDateTime",
            params=(
                _token("identifier", "clinical-identifier", rank=ONE),
                _patient(),
                _reference("subject", "Observation-subject", "Patient", path="subject"),
                _token("status", "Observation-status", system=f"{HL7}/observation-status"),
                _token("category", "Observation-category"),
                _token("code", "clinical-code", rank=SOME),
                _reference("part-of", "Observation-part-of", "ImagingStudy", path="partOf"),
                _reference("derived-from", "Observation-derived-from", "ImagingStudy", path="derivedFrom"),
                _reference("device", "Observation-device", "Device", path="device", rank=MANY),
                _reference("performer", "Observation-performer", "Organization", path="performer", rank=MANY),
            ),
        ),
        ResourceType(
            name="Device",
            number=5,
            params=(
                _token("identifier", "Device-identifier", rank=ONE),
                _token("status", "Device-status", system=f"{HL7}/device-status"),
            ),
        ),
        ResourceType(
            name="Organization",
            number=6,
            params=(_token("identifier", "Organization-identifier", rank=ONE),),
        ),
        ResourceType(
            name="Provenance",
            number=7,
            date="recorded",
            params=(
                _reference("target", "Provenance-target", "DiagnosticReport", "Observation", path="target", rank=ONE),
                _reference("agent", "Provenance-agent", "Device", path="agent.who", rank=MANY),
                _reference("entity", "Provenance-entity", "ImagingStudy", path="entity.what"),
            ),
        ),
    )
}
NAMES = {entry.number: entry.name for entry in TYPES.values()}

COMMON = (  # every type has these; (name, kind, definition)
    ("_id", "token", f"{BY_PARAMETER}/Resource-id"),
    ("_lastUpdated", "date", f"{BY_PARAMETER}/Resource-lastUpdated"),
)
PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le", "sa", "eb")
SORTS = ("_lastUpdated", "-_lastUpdated")
COUNT_DEFAULT, COUNT_MAX, OR_MAX = 50, 500, 50
