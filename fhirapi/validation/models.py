"""The R4B models of fhir.resources as a second opinion, after our own walk found nothing. Their output is never used."""

from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from fhirapi.registry import TYPES
from fhirapi.validation.forms import Form, form_of
from fhirapi.validation.issues import Issue

# R4B (4.3.0) changed or dropped these types of R4 (4.0.1), so a resource that holds one is left to the walk.
_CHANGED = (
    "EffectEvidenceSynthesis Evidence EvidenceVariable MedicinalProduct MedicinalProductAuthorization "
    "MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction "
    "MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical MedicinalProductUndesirableEffect "
    "ResearchDefinition ResearchElementDefinition RiskEvidenceSynthesis SubstanceNucleicAcid SubstancePolymer SubstanceProtein "
    "SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification"
)
CHANGED = frozenset(_CHANGED.split())
FORMS_MAX = 4000
_accepted: set[Form] = set()  # forms that the models found nothing wrong with


def is_model_fault(name: str) -> bool:
    """Members of Extension that R4 has and the models take for unknown: what stands beside a primitive value, and valueMeta."""
    return name.startswith("_value") or name == "valueMeta"


@cache
def _model(rtype: str) -> Any:
    return get_fhir_model_class(rtype)


def models_load() -> None:
    for rtype in TYPES:
        _model(rtype)


def model_issues(resource: dict[str, Any], *, types: set[str], has_model_fault: bool) -> list[Issue]:
    """What the model says of a resource that the walk accepted."""
    if types & CHANGED:
        return []
    form = form_of(resource)
    if form in _accepted:
        return []
    if has_model_fault:
        resource = _without_faults(resource)
    try:
        _model(resource["resourceType"]).model_validate(resource)
    except ValidationError as error:
        return [
            Issue(severity="error", code="structure", diagnostics=f"{place} is not valid", expression=place)
            for found in error.errors(include_input=False, include_url=False, include_context=False)
            if (place := _place(resource["resourceType"], found["loc"]))
        ]
    if form is not None:
        if len(_accepted) >= FORMS_MAX:
            _accepted.clear()
        _accepted.add(form)
    return []


def _place(rtype: str, parts: tuple[int | str, ...]) -> str:
    text = rtype
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _without_faults(node: Any) -> Any:
    """A copy without what the models wrongly refuse in extensions."""
    if isinstance(node, list):
        return [_without_faults(item) for item in node]
    if not isinstance(node, dict):
        return node
    is_extension = "url" in node
    return {key: _without_faults(item) for key, item in node.items() if not (is_extension and is_model_fault(key))}
