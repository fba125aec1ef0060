"""The gate that every returned object passes before anything believes it: it must speak of this job and of nothing else.

`ai.results` calls `references_check` before re-identification; what is refused goes to quarantine and is shown.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ai.deident.blocks import DOCUMENTS, NATIVE_SYNTAXES, STORAGE
from ai.deident.cleaner import KINDS
from ai.deident.mapping import Mapping
from ai.deident.rules import CLASS_UIDS
from ai.deident.surrogates import uid_is_standard
from ai.deident.values import numbers
from ai.deident.walk import (
    PIXEL_GROUP,
    Opened,
    elements,
    inner_encoding,
    items,
    known_vr,
    nesting_check,
    object_open,
    object_opened,
    sent_vr,
)
from imaging.header import Encoding, HeaderError, uid_is_valid

# UIDs that whoever makes an object also makes: its own, and marks inside it. Everything else refers to something.
MADE = frozenset((
    0x00080014, 0x0008010D, 0x00081195, 0x00083010, 0x00089123, 0x00181002, 0x0018100B, 0x00182042, 0x00209161, 0x00209164,
    0x00281199, 0x00281214, 0x0040A171, 0x0040DB0C, 0x0040DB0D, 0x00440102, 0x00620021, 0x006A0003, 0x0070031A, 0x0070031B,
    0x00701101, 0x00701102, 0x00880140, 0x003A0310, 0x04000100, 0x3010001F, 0x00687004, 0x00701904, 0x00080019,
))  # fmt: skip
# Content items of value type UIDREF whose concept says that the UID is the maker's own (PS3.16: tracking, observer's device).
MADE_CONCEPTS = frozenset(("112040", "121012", "121013"))
STUDY, SERIES, SOP_CLASS, SOP, PATIENT_ID = 0x0020000D, 0x0020000E, 0x00080016, 0x00080018, 0x00100020
REFERENCED_SOP, REFERENCED_CLASS, REFERENCED_FRAMES, UIDREF = 0x00081155, 0x00081150, 0x00081160, 0x0040A124
FRAME_OF_REFERENCE, ROWS, COLUMNS, SPACING, ORIENTATION = 0x00200052, 0x00280010, 0x00280011, 0x00280030, 0x00200037
CONTENT, SEGMENTS, DOCUMENT = 0x0040A730, 0x00620002, 0x00420011
PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
VALUE_CAP = 64 << 10
ELEMENTS_CAP = 2_000_000
TOLERANCE = 1e-3
SEGMENTATIONS = frozenset((STORAGE + "66.4", STORAGE + "66.7"))
# A matrix of another kind: rendered pictures have the size of a screen, dose and structures a grid of their own.
FREE_MATRIX = frozenset((STORAGE + "7", STORAGE + "7.1", STORAGE + "7.2", STORAGE + "7.3", STORAGE + "7.4", STORAGE + "481.2"))


class GateRefused(Exception):
    """A result that isn't this job's, or can't be read. `code` is for programs, `words` for people; neither holds a value of it."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass(frozen=True, slots=True)
class Item:
    """One level of a data set: small values as sent, and the items of its sequences."""

    values: dict[int, bytes] = field(default_factory=dict)
    vrs: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, list["Item"]] = field(default_factory=dict)
    encoding: Encoding | None = None

    def uids(self, tag: int) -> list[str]:
        text = self.values.get(tag, b"").decode("ascii", "replace")
        return [part.strip(" \0") for part in text.split("\\") if part.strip(" \0")]

    def uid(self, tag: int) -> str:
        return next(iter(self.uids(tag)), "")

    def text(self, tag: int) -> str:
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def numbers(self, tag: int) -> tuple[float, ...]:
        return numbers(self.values.get(tag, b""), self.vrs.get(tag, ""), self.encoding) if self.encoding else ()

    def walk(self) -> Iterator["Item"]:
        """This level and all below, without recursion."""
        stack = [self]
        while stack:
            item = stack.pop()
            yield item
            for inner in item.sequences.values():
                stack.extend(inner)


def references_check(source: Path | bytes, *, mapping: Mapping, own: Collection[str] = ()) -> None:
    """Raises GateRefused unless a returned Part 10 object is readable and speaks of this job alone.

    `own`: UIDs of the other objects that the platform returned for this job, which this one may refer to.
    """
    try:
        if isinstance(source, bytes):
            _object_check(object_opened(source), mapping, frozenset(own))
        else:
            with object_open(source) as opened:
                _object_check(opened, mapping, frozenset(own))
    except HeaderError as error:
        raise GateRefused("unreadable", error.reason) from None


def _object_check(opened: Opened, mapping: Mapping, own: frozenset[str]) -> None:
    top, has_pixels, pixel_bytes = _read(opened)
    _subject_check(top, mapping)
    _own_check(top, opened, mapping)
    made_here = own | {top.uid(SOP), top.uid(SERIES)}
    for item in top.walk():
        _uids_check(item, top, mapping, made_here)
        _reference_check(item, mapping)
        if item.values.get(PATIENT_ID) is not None and item.text(PATIENT_ID) != mapping.patient:
            raise GateRefused("wrong_patient", "the result names another patient")
    _wholeness_check(top, has_pixels)
    _pixels_check(top, opened, pixel_bytes)
    _geometry_check(top, mapping)


def _read(opened: Opened) -> tuple[Item, bool, int | None]:
    """The object as items, whether it has pixels, and how many bytes of native ones (None: none, or encapsulated)."""
    left = [ELEMENTS_CAP]
    data, has_pixels = opened.data, False
    pixel_bytes: int | None = None

    def level(at: int, end: int, encoding: Encoding, depth: int) -> Item:
        nonlocal has_pixels, pixel_bytes
        nesting_check(depth)
        item = Item(encoding=encoding)
        for element in elements(data, at, end, encoding):
            left[0] -= 1
            if left[0] < 0:
                raise HeaderError("the object has too many elements")
            vr = sent_vr(element.vr) or known_vr(element.tag)
            if element.tag >> 16 == PIXEL_GROUP:
                if depth == 0 and element.tag in PIXELS:
                    has_pixels = True
                    pixel_bytes = None if element.is_undefined else element.stop - element.start
                continue
            if element.tag in item.values or element.tag in item.sequences:
                raise HeaderError("an element is there twice")
            if vr == "SQ" or element.is_undefined or known_vr(element.tag) == "SQ":
                inner = inner_encoding(element.tag, element.vr, encoding)
                item.sequences[element.tag] = [level(a, b, inner, depth + 1) for a, b in items(data, element, inner)]
            else:
                item.values[element.tag] = data[element.start : min(element.stop, element.start + VALUE_CAP)]
                item.vrs[element.tag] = vr
                if vr == "UI" and element.stop - element.start > VALUE_CAP:
                    raise HeaderError("a list of UIDs is too long")
        return item

    return level(opened.start, len(data), opened.encoding, 0), has_pixels, pixel_bytes


def _subject_check(top: Item, mapping: Mapping) -> None:
    if top.uid(STUDY) != mapping.study_uid:
        raise GateRefused("wrong_study", "the result belongs to another study")
    if top.text(PATIENT_ID) != mapping.patient:
        raise GateRefused("wrong_patient", "the result names another patient")


def _own_check(top: Item, opened: Opened, mapping: Mapping) -> None:
    """The object's own UIDs are there, valid, and nobody else's."""
    if not top.uid(SOP_CLASS):
        raise GateRefused("incomplete", "the result has no SOPClassUID")
    for tag, word in ((SOP, "SOPInstanceUID"), (SERIES, "SeriesInstanceUID")):
        uid = top.uid(tag)
        if not uid_is_valid(uid):
            raise GateRefused("incomplete", f"the result has no {word}")
        if uid in mapping.all_uids or mapping.is_original(uid) or uid_is_standard(uid):
            raise GateRefused("collision", f"the {word} of the result is one of the images' own")
    for tag, meta in ((SOP, 0x00020003), (SOP_CLASS, 0x00020002)):
        if opened.meta.get(meta, top.uid(tag)) != top.uid(tag):
            raise GateRefused("unreadable", "the file meta and the data set disagree")


def _uids_check(item: Item, top: Item, mapping: Mapping, made_here: frozenset[str]) -> None:
    """Every UID that isn't the maker's own reverses to this job."""
    for tag in item.values:
        if item.vrs[tag] != "UI" and known_vr(tag) != "UI":
            continue
        if tag >> 16 & 1 or tag in CLASS_UIDS or (item is top and tag in (SOP, SERIES)):
            continue
        is_made = tag in MADE or (tag == UIDREF and _concept(item) in MADE_CONCEPTS)
        for uid in item.uids(tag):
            if is_made:
                if mapping.is_original(uid):
                    raise GateRefused("original_uid", "the result holds a UID that was never told to the platform")
            elif not _is_known(tag, uid, mapping, made_here):
                code = "wrong_frame" if KINDS.get(tag) == "frame" else "foreign_uid"
                words = "another frame of reference" if code == "wrong_frame" else "something that isn't part of this job"
                raise GateRefused(code, f"the result refers to {words}")


def _is_known(tag: int, uid: str, mapping: Mapping, made_here: frozenset[str]) -> bool:
    kind = KINDS.get(tag)
    if kind == "study":
        return uid == mapping.study_uid or mapping.original(uid, "study") is not None
    if kind in ("series", "sop") and uid in made_here:
        return True
    return uid_is_standard(uid) or mapping.original(uid, kind) is not None


def _concept(item: Item) -> str:
    names = item.sequences.get(0x0040A043, [])
    return names[0].text(0x00080100) if names and names[0].text(0x00080102) == "DCM" else ""


def _reference_check(item: Item, mapping: Mapping) -> None:
    """A reference to a source image names its class and frames that it has."""
    source = mapping.sources.get(item.uid(REFERENCED_SOP))
    if source is None:
        return
    if (told := item.uid(REFERENCED_CLASS)) and told != source.sop_class_uid:
        raise GateRefused("wrong_class", "the result refers to an image as what it isn't")
    frames = item.numbers(REFERENCED_FRAMES)
    if frames and not all(1 <= frame <= source.geometry.frames for frame in frames):
        raise GateRefused("wrong_matrix", "the result refers to a frame that the image doesn't have")


def _wholeness_check(top: Item, has_pixels: bool) -> None:
    """A data set cut between two elements can be read to its end; what its kind can't be without is then missing."""
    sop_class = top.uid(SOP_CLASS)
    is_whole = (
        (has_pixels or ROWS not in top.values)
        and (CONTENT in top.sequences or not sop_class.startswith(STORAGE + "88."))
        and (SEGMENTS in top.sequences and ROWS in top.values or sop_class not in SEGMENTATIONS)
        and (DOCUMENT in top.values or not sop_class.startswith(DOCUMENTS))
    )
    if not is_whole:
        raise GateRefused("truncated", "the result ends before its content")


def _pixels_check(top: Item, opened: Opened, pixel_bytes: int | None) -> None:
    if pixel_bytes is None or opened.syntax not in NATIVE_SYNTAXES:
        return
    rows, columns, bits = (next(iter(top.numbers(tag)), 0) for tag in (ROWS, COLUMNS, 0x00280100))
    frames, samples = (next(iter(top.numbers(tag)), 1) for tag in (0x00280008, 0x00280002))
    if rows * columns * samples * frames * bits / 8 > pixel_bytes + (1 if bits == 1 else 0) and "422" not in top.text(0x00280004):
        raise GateRefused("truncated", "the result has fewer pixels than its header says")


def _geometry_check(top: Item, mapping: Mapping) -> None:
    """What lies in a source's frame of reference as a matrix has that source's matrix, spacing and orientation."""
    frame = top.uid(FRAME_OF_REFERENCE)
    if not frame or ROWS not in top.values or top.uid(SOP_CLASS) in FREE_MATRIX:
        return
    referred = {uid for item in top.walk() for uid in item.uids(REFERENCED_SOP)}
    all_there = {sop: s.geometry for sop, s in mapping.sources.items() if s.geometry.frame_of_reference == frame and s.geometry.rows}
    shapes = {shape for sop, shape in all_there.items() if sop in referred} or set(all_there.values())
    if not shapes:
        raise GateRefused("wrong_frame", "no image of this job lies in the result's frame of reference")
    size = tuple(next(iter(top.numbers(tag)), 0) for tag in (ROWS, COLUMNS))
    shapes = {shape for shape in shapes if (shape.rows, shape.columns) == size}
    if not shapes:
        raise GateRefused("wrong_matrix", "the result's matrix isn't that of its source")
    for tag, name, words in ((SPACING, "spacing", "pixel spacing"), (ORIENTATION, "orientation", "orientation")):
        for item in top.walk():
            told = item.numbers(tag)
            expected = [value for shape in shapes if (value := getattr(shape, name))]
            if tag in item.values and expected and not any(_are_near(told, value) for value in expected):
                raise GateRefused("wrong_matrix", f"the result's {words} isn't that of its source")


def _are_near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(one, other, strict=True)
    )
