"""Search parameters of our own, as SearchParameter resources: the CapabilityStatement names them, HL7's stand at HL7."""

from typing import Any

from fhirapi.registry import TYPES

DESCRIPTIONS = {"DiagnosticReport-imagingStudy": "The imaging studies that a report is about (IHE Interactive Multimedia Report)."}


def own_parameters(*, base: str) -> dict[str, dict[str, Any]]:
    """By id, with their addresses under this hospital's base."""
    return {
        param.definition.rpartition("/")[2]: {
            "resourceType": "SearchParameter",
            "id": (name := param.definition.rpartition("/")[2]),
            "url": f"{base}/{param.definition}",
            "name": param.name,
            "status": "active",
            "description": DESCRIPTIONS[name],
            "code": param.name,
            "base": [rtype.name],
            "type": param.kind,
            "expression": " | ".join(param.keys),
            "target": list(param.targets),
        }
        for rtype in TYPES.values()
        for param in rtype.params
        if "://" not in param.definition
    }
