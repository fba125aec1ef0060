"""Structured reports by TID 1500 -> numbers, findings, places. Read by objects.py.

What is not understood is not taken, and a note says so.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from ai.findings import Coding, Finding, ImageRef, Measurement, Note, Outline, Parameter
from ai.reading.evidence import evidence_read, is_image
from ai.reading.said import FINDING, Said, together
from ai.reading.schemes import DCM, HUB, SCT, SYSTEMS, UCUM, declared
from ai.reading.tree import Item, tree_read
from ai.reading.units import is_ucum

# PS3.16 TID 1500, 1501, 1410, 1411, 1419, 300, 1004, 4019; SNOMED's old identifiers were replaced on the way in.
REPORT, GROUP, EVALUATIONS = (DCM, "126000"), (DCM, "125007"), (SYSTEMS["UMLS"], "C0034375")
CONTAINERS = {(DCM, "126010"), (DCM, "126011"), EVALUATIONS}
SITE, LATERALITY, METHOD = (SCT, "363698007"), (SCT, "272741003"), (SCT, "370129005")
CATEGORY, PURPOSE, DERIVATION, COMMENT = (SCT, "276214006"), (DCM, "130400"), (DCM, "121401"), (DCM, "121106")
TRACKING_UID, CERTAINTY = (DCM, "112040"), (DCM, "111012")
ALGORITHM_NAME, ALGORITHM_VERSION, DEVICE_UDI = (DCM, "111001"), (DCM, "111003"), (DCM, "128739")
# TID 4019: family, name, parameters, version, manufacturer, where a group or a number says who made it.
MADE_BY = {(DCM, code) for code in ("111000", "111001", "111002", "111003", "122405")}
ANALYSIS, FLAG = (HUB, "image-analysis"), (HUB, "flagged")  # said by our own encoder
NO_FINDINGS = {SITE, LATERALITY, METHOD, CATEGORY, PURPOSE, COMMENT}
GRAPHICS = {"POINT": 1, "MULTIPOINT": 1, "POLYLINE": 2, "CIRCLE": 2, "ELLIPSE": 4}  # points at least


@dataclass(frozen=True, kw_only=True)
class _Context:
    """What a measurement group says once for all that is in it."""

    body_site: Coding | None
    laterality: Coding | None
    method: str
    images: tuple[ImageRef, ...]
    outlines: tuple[Outline, ...]
    tracking_uid: str


def sr_read(dataset: Dataset) -> Said:
    """One SR document. Raises PlatformError where its numbers are none, its tree has no bounds, or a text has no end."""
    root = tree_read(dataset, declared(dataset))
    if root.name is None or (root.name.system, root.name.code) != REPORT:
        title = root.name.display if root.name else "without a title"
        note = Note(code="template", text=f"A structured report of another kind came ({title}); it was kept, nothing was read from it")
        return Said(notes=(note,), images=evidence_read(dataset))
    parts = [_container(item) for item in root.children if item.value_type == "CONTAINER"]
    notes = tuple(Note(code="comment", text=item.text) for item in root.named(COMMENT) if item.text)
    said = together(parts)
    return replace(
        said,
        notes=(*notes, *said.notes),
        name=_first_text(root, ALGORITHM_NAME),
        version=_first_text(root, ALGORITHM_VERSION),
        udi=_first_text(root, DEVICE_UDI),
        images=evidence_read(dataset),
    )


def _container(item: Item) -> Said:
    name = (item.name.system, item.name.code) if item.name else ("", "")
    if name not in CONTAINERS:
        return Said()  # an image library says nothing of what was seen
    if name == EVALUATIONS:
        return _group(item)
    parts = []
    for child in item.children:
        if child.name and (child.name.system, child.name.code) == GROUP:
            parts.append(_group(child))
        else:
            parts.append(Said(notes=(_left("content", child),)))
    return together(parts)


def _group(group: Item) -> Said:
    """A Measurement Group, or the container of qualitative evaluations, which is one without a place."""
    stray = [child for child in group.children if _is_modifier(child, {SITE, LATERALITY, METHOD, *MADE_BY})]
    if stray:
        # A modifier can turn a statement into its opposite.
        return Said(notes=tuple(_left("modifier", child) for child in stray))
    reason = next(group.named(ANALYSIS), None)
    if reason is not None and reason.coding is not None:
        text = next((child.text for child in group.named(COMMENT)), "") or reason.coding.display
        return Said(not_analysable=Note(code=reason.coding.code, text=text))
    if any(group.named(FLAG)):
        return Said(is_flagged=True)
    context, place_notes = _context(group)
    measurements, notes = _measurements(group, context)
    findings, finding_notes = _findings(group, context)
    return Said(measurements=tuple(measurements), findings=tuple(findings), notes=(*place_notes, *notes, *finding_notes))


def _context(group: Item) -> tuple[_Context, list[Note]]:
    site = next(group.named(SITE), None)
    outlines: list[Outline] = []
    notes = []
    for child in group.children:
        if child.value_type == "SCOORD":
            found = _outlines(child)
            outlines += found
            if not found:
                notes.append(_left("region", child))
        elif child.value_type == "SCOORD3D":
            notes.append(Note(code="region_in_space", text="A region in patient coordinates is in the object, not shown here"))
    uid = next(group.named(TRACKING_UID), None)
    return _Context(
        body_site=site.coding if site else None,
        laterality=_laterality(group, site),
        method=_method(group),
        images=tuple(image for child in group.children if child.value_type == "IMAGE" for image in _images(child)),
        outlines=tuple(outlines),
        tracking_uid=uid.text if uid else "",
    ), notes  # fmt: skip


def _laterality(holder: Item, site: Item | None) -> Coding | None:
    """TID 1501 puts it under the finding site; some put it beside."""
    found = next((item for where in (site, holder) if where for item in where.named(LATERALITY)), None)
    return found.coding if found else None


def _method(holder: Item) -> str:
    item = next(holder.named(METHOD), None)
    return "" if item is None else item.text or (item.coding.display if item.coding else "")


def _images(item: Item) -> Iterator[ImageRef]:
    return (reference.image for reference in item.references if is_image(reference.sop_class_uid) and not reference.segments)


def _outlines(item: Item) -> list[Outline]:
    """The outline on the image that it was selected from; none where that image or the shape is not said in place."""
    source = next((image for child in item.children for image in _images(child)), None)
    if item.graphic not in GRAPHICS or source is None or len(item.points) < GRAPHICS[item.graphic]:
        return []
    return [Outline(image=source, graphic=item.graphic, points=item.points)]  # type: ignore[arg-type]  # checked above


def _measurements(group: Item, context: _Context) -> tuple[list[Measurement], list[Note]]:
    found, notes = [], []
    for item in group.children:
        if item.value_type != "NUM" or (item.name and (item.name.system, item.name.code) == CERTAINTY):
            continue
        problem = _number_problem(item)
        if problem or item.name is None or item.value is None or item.unit is None:
            notes.append(_left(problem, item))
        else:
            found.append(_measurement(item, item.name, item.value, item.unit, context))
    return found, notes


def _number_problem(item: Item) -> str:
    """Why a number cannot be taken, "" when it can."""
    if item.name is None or any(
        _is_modifier(child, {SITE, LATERALITY, METHOD, DERIVATION, *MADE_BY}) and child.value_type != "NUM" for child in item.children
    ):
        return "modifier"
    if item.value is None or item.qualifier:
        return "no_value"
    return "" if item.unit and item.unit.system == UCUM and is_ucum(item.unit.code) else "unit"


def _measurement(item: Item, name: Coding, value: float, unit: Coding, context: _Context) -> Measurement:
    site = next(item.named(SITE), None)
    derivation = next(item.named(DERIVATION), None)
    methods = (_method(item) or context.method, derivation.coding.display if derivation and derivation.coding else "")
    outlines = tuple(outline for child in item.children if child.value_type == "SCOORD" for outline in _outlines(child))
    images = tuple(image for child in item.children if child.value_type == "IMAGE" for image in _images(child))
    return Measurement(
        code=name,
        value=value,
        unit=unit.code,
        unit_display=unit.display,
        body_site=site.coding if site else context.body_site,
        method=", ".join(filter(None, methods)),
        parameters=tuple(
            Parameter(code=child.name, value=child.value, unit=child.unit.code)
            for child in item.children
            if child.value_type == "NUM" and child.name and child.unit and child.value is not None and is_ucum(child.unit.code)
        ),
        laterality=_laterality(item, site) or context.laterality,
        images=images or context.images,
        outlines=outlines or context.outlines,
        tracking_uid=context.tracking_uid,
    )


def _findings(group: Item, context: _Context) -> tuple[list[Finding], list[Note]]:
    found: list[Finding] = []
    notes = []
    for item in group.children:
        name = (item.name.system, item.name.code) if item.name else ("", "")
        if item.relation != "CONTAINS" or item.value_type not in {"CODE", "TEXT"} or name in NO_FINDINGS:
            continue
        if item.name is None or any(child.relation == "HAS CONCEPT MOD" for child in item.children):
            notes.append(_left("modifier", item))
        elif item.coding or item.text:
            found.append(_finding(item.name, item, context))
    words = " ".join(item.text for item in group.named(COMMENT) if item.text)
    if not found and not any(item.value_type == "NUM" for item in group.children) and (words or context.outlines):
        found.append(_finding(FINDING, None, context))
    found = [replace(one, words=one.words or words) for one in found]
    return _with_certainty(group, found, notes), notes


def _finding(code: Coding, item: Item | None, context: _Context) -> Finding:
    return Finding(
        code=code, value=item.coding if item else None, body_site=context.body_site, laterality=context.laterality,
        images=context.images, outlines=context.outlines, words=item.text if item else "", tracking_uid=context.tracking_uid,
    )  # fmt: skip


def _with_certainty(group: Item, found: list[Finding], notes: list[Note]) -> list[Finding]:
    """Certainty of Finding (0 to 100 %) belongs to the finding of its group; among several, to the one that says what was found."""
    item = next((child for child in group.named(CERTAINTY) if child.value is not None and child.unit), None)
    if item is None or item.value is None or item.unit is None:
        return found
    share = item.value / 100 if item.unit.code == "%" else item.value
    places = [place for place, one in enumerate(found) if one.code == FINDING] if len(found) > 1 else list(range(len(found)))
    if len(places) != 1 or not 0 <= share <= 1 or item.unit.code not in {"%", "1"}:
        notes.append(_left("certainty", item))
        return found
    return [replace(one, probability=share) if place == places[0] else one for place, one in enumerate(found)]


def _is_modifier(child: Item, known: set[tuple[str, str]]) -> bool:
    """A HAS CONCEPT MOD that is none of these."""
    return child.relation == "HAS CONCEPT MOD" and (not child.name or (child.name.system, child.name.code) not in known)


LEFT = {
    "modifier": "was not read: it carries a modifier that is not understood", "no_value": "has no plain value",
    "unit": "was not read: its unit is not one of UCUM", "certainty": "was not read: it is not clear what it belongs to",
    "content": "was not read: it is no measurement group",
    "region": "has no image or no shape that can be shown",
}  # fmt: skip


def _left(reason: str, item: Item) -> Note:
    name = item.name.display if item.name else item.value_type
    return Note(code=reason, text=f"{name} {LEFT[reason]}")


def _first_text(root: Item, name: tuple[str, str]) -> str:
    """The first text of this name anywhere: TID 4019 may stand at the root, in a group or under a number."""
    waiting = deque([root])
    while waiting:
        item = waiting.popleft()
        if item.name and (item.name.system, item.name.code) == name and item.text:
            return item.text[:64]
        waiting.extend(item.children)
    return ""
