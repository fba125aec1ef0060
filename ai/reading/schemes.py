"""DICOM coding schemes and FHIR systems, both ways; SNOMED's old identifiers become its new ones. Read by every reader and encoder."""

import hashlib
from collections.abc import Iterable, Mapping

from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping as SNOMED  # noqa: N812 a table; pydicom compares codes by it

from ai.findings import Coding

OURS = "https://medicalcloudaihub.com/fhir/CodeSystem"
SCT = "http://snomed.info/sct"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
QUANTIFY = f"{OURS}/quantify"
HUB = f"{OURS}/hub"
PRIVATE = f"{OURS}/dicom/"  # a scheme that only its maker knows keeps its designator behind this

# PS3.16 table 8-1 and 8-2; the last two are ours.
SYSTEMS = {
    "SCT": SCT, "DCM": DCM, "LN": "http://loinc.org", "UCUM": UCUM, "RADLEX": "http://www.radlex.org",
    "FMA": "http://sig.biostr.washington.edu/projects/fm/AboutFM.html", "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "UMLS": "http://www.nlm.nih.gov/research/umls", "MDC": "urn:iso:std:iso:11073:10101", "I10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm", "ACR": "http://www.acr.org",
    "99MCAIHUB": QUANTIFY, "99MCAIHUB_HUB": HUB,
}  # fmt: skip
DESIGNATORS = {system: designator for designator, system in SYSTEMS.items()}
RETIRED_SNOMED = {"SRT", "SNM3", "99SDM"}  # one and the same scheme (PS3.16 table 8-2)
MAX_CODE, MAX_DISPLAY = 64, 200


def declared(dataset: Dataset) -> dict[str, str]:
    """The schemes that an object explains itself (Coding Scheme Identification Sequence, PS3.3 C.12.1): designator -> system."""
    found: dict[str, str] = {}
    for item in list(dataset.get("CodingSchemeIdentificationSequence") or ())[:100]:
        resources = list(item.get("CodingSchemeResourcesSequence") or ())[:10]
        urls = [str(one.get("CodingSchemeURL") or "") for one in resources if one.get("CodingSchemeURLType") == "FHIR"]
        url, uid = next(iter(urls), ""), str(item.get("CodingSchemeUID") or "")
        designator = str(item.get("CodingSchemeDesignator") or "")
        if designator and designator not in SYSTEMS and (url or uid) and len(url) <= MAX_DISPLAY:
            found[designator] = url or f"urn:oid:{uid}"
    return found


def coding_of(item: Dataset, schemes: Mapping[str, str]) -> Coding | None:
    """A code sequence item (PS3.3 table 8.8-1) as a coding; None where it has no code or no scheme."""
    code = words(item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or "", MAX_CODE)
    designator = words(item.get("CodingSchemeDesignator") or "", 16)
    display = words(item.get("CodeMeaning") or "", MAX_DISPLAY)
    if designator in RETIRED_SNOMED and code in SNOMED["SRT"]:
        designator, code = "SCT", SNOMED["SRT"][code]
    if not code or not designator:
        return None
    system = SYSTEMS.get(designator) or schemes.get(designator) or f"{PRIVATE}{designator}"
    return Coding(system=system, code=code, display=display or code)


def designator_of(system: str) -> str:
    """The scheme's DICOM name. A system that DICOM has no name for gets a private one, always the same."""
    if system.startswith(PRIVATE):
        return system.removeprefix(PRIVATE)
    return DESIGNATORS.get(system) or f"99{hashlib.sha256(system.encode()).hexdigest()[:12].upper()}"


def explained(systems: Iterable[str]) -> list[Dataset]:
    """Items of a Coding Scheme Identification Sequence for the schemes that a reader cannot know."""
    items = []
    for system in sorted(set(systems)):
        designator = designator_of(system)
        if designator.startswith("99") and not system.startswith(PRIVATE):
            item, resource = Dataset(), Dataset()
            resource.CodingSchemeURLType, resource.CodingSchemeURL = "FHIR", system
            item.CodingSchemeDesignator, item.CodingSchemeResourcesSequence = designator, [resource]
            items.append(item)
    return items


def words(value: object, limit: int) -> str:
    """Received text without control characters, as long as allowed; the cut shows."""
    text = "".join(char if char.isprintable() or char == "\n" else " " for char in str(value)).strip()
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
