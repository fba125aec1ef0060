"""An SR document's content tree as frozen items: pydicom's lazy, hostile values become plain ones once, here. Read by sr.py."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from ai.findings import Coding, ImageRef
from ai.reading.part10 import items_of, refusal
from ai.reading.schemes import coding_of, words

MAX_ITEMS, MAX_DEPTH, MAX_POINTS, MAX_TEXT = 50_000, 20, 10_000, 2_000


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What an IMAGE or COMPOSITE item points at (PS3.3 table 10-11)."""

    sop_class_uid: str
    image: ImageRef
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Item:
    """A content item (PS3.3 C.17.3): what its value type does not have is empty. Points are pairs in image coordinates."""

    relation: str
    value_type: str
    name: Coding | None
    coding: Coding | None = None
    text: str = ""
    value: float | None = None
    unit: Coding | None = None
    qualifier: str = ""
    references: tuple[Reference, ...] = ()
    graphic: str = ""
    points: tuple[tuple[float, float], ...] = ()
    children: tuple["Item", ...] = field(default=())

    def named(self, *names: tuple[str, str]) -> Iterator["Item"]:
        """Its children that carry one of these names, (system, code)."""
        return (child for child in self.children if child.name and (child.name.system, child.name.code) in names)


def tree_read(dataset: Dataset, schemes: Mapping[str, str]) -> Item:
    """The root container with all below it. Raises PlatformError past the limits, for numbers that are none, for no tree at all."""
    if dataset.get("ValueType") != "CONTAINER" or "ContentSequence" not in dataset:
        raise refusal("a structured report of the answer has no content")
    return _Reader(schemes).item(dataset, 0)


class _Reader:
    def __init__(self, schemes: Mapping[str, str]) -> None:
        self.schemes, self.count = schemes, 0

    def item(self, source: Dataset, depth: int) -> Item:
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_ITEMS:
            raise refusal("a structured report of the answer is nested too deep or too long")
        value_type = str(source.get("ValueType") or "")
        value = _VALUES.get(value_type)
        return Item(
            relation=str(source.get("RelationshipType") or ""),
            value_type=value_type,
            name=self._coding(source, "ConceptNameCodeSequence"),
            children=tuple(self.item(child, depth + 1) for child in items_of(source, "ContentSequence")),
            **(value(self, source) if value else {}),
        )

    def _coding(self, source: Dataset, keyword: str) -> Coding | None:
        items = items_of(source, keyword)
        return coding_of(items[0], self.schemes) if items else None

    def code(self, source: Dataset) -> dict[str, Any]:
        return {"coding": self._coding(source, "ConceptCodeSequence")}

    def text(self, source: Dataset) -> dict[str, Any]:
        return {"text": words(source.get("TextValue") or "", MAX_TEXT)}

    def uid(self, source: Dataset) -> dict[str, Any]:
        return {"text": str(source.get("UID") or "")[:64]}

    def number(self, source: Dataset) -> dict[str, Any]:
        measured = items_of(source, "MeasuredValueSequence")
        qualifier = self._coding(source, "NumericValueQualifierCodeSequence")
        found: dict[str, Any] = {"qualifier": qualifier.display if qualifier else ""}
        if measured:
            found |= {"value": _number(measured[0]), "unit": self._coding(measured[0], "MeasurementUnitsCodeSequence")}
        return found

    def reference(self, source: Dataset) -> dict[str, Any]:
        return {"references": tuple(_reference(item) for item in items_of(source, "ReferencedSOPSequence"))}

    def place(self, source: Dataset) -> dict[str, Any]:
        data = [float(value) for value in _many(source.get("GraphicData"))]
        if len(data) > 2 * MAX_POINTS or not all(map(math.isfinite, data)):
            raise refusal("a region of the answer has too many points or points that are no numbers")
        pairs = tuple(zip(data[::2], data[1::2], strict=len(data) % 2 == 0))
        return {"graphic": str(source.get("GraphicType") or ""), "points": pairs}


_VALUES = {
    "CODE": _Reader.code, "TEXT": _Reader.text, "UIDREF": _Reader.uid, "NUM": _Reader.number, "IMAGE": _Reader.reference,
    "COMPOSITE": _Reader.reference, "SCOORD": _Reader.place,
}  # fmt: skip


def _number(measured: Dataset) -> float:
    """Numeric Value as the vendor wrote it; Floating Point Value is the same number with all its digits (PS3.3 C.18.1)."""
    value = float(measured.NumericValue)
    exact = float(measured.get("FloatingPointValue", value))
    if not math.isfinite(value) or not math.isfinite(exact):
        raise refusal("a value of the answer is no number")
    if not math.isclose(value, exact, rel_tol=1e-4, abs_tol=1e-9):
        raise refusal("a value of the answer is given twice and differs")
    return exact


def _reference(item: Dataset) -> Reference:
    return Reference(
        sop_class_uid=str(item.get("ReferencedSOPClassUID") or ""),
        image=ImageRef(sop_uid=str(item.ReferencedSOPInstanceUID)[:64], frames=_integers(item.get("ReferencedFrameNumber"))),
        segments=_integers(item.get("ReferencedSegmentNumber")),
    )


def _integers(value: object) -> tuple[int, ...]:
    found = tuple(int(number) for number in _many(value))
    if any(number < 1 for number in found):
        raise refusal("a reference of the answer counts from below one")
    return found


def _many(value: object) -> Sequence[Any]:
    """A multi-valued attribute whether it holds none, one or several."""
    if value is None or value == "":
        return ()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
