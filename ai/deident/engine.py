"""De-identifies one object: the header is rewritten tag by tag under a profile, pixel bytes are copied unread.

`ai.dispatch` calls it for every object of a job and keeps the `Mapping` of all `Done`.
"""

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from ai.deident.blocks import Blocked, Facts, object_check
from ai.deident.cleaner import WRITTEN_ANEW, Cleaner, Geometry
from ai.deident.codestream import texts_check
from ai.deident.profile import CLEAN_PIXELS, MODIFIED_DATES, Profile
from ai.deident.surrogates import Keys
from ai.deident.values import numbers
from ai.deident.walk import HEAD_CAP, PIXEL_GROUP, Element, Opened, elements, items, known_vr, object_open
from imaging.header import HeaderError, text_decode
from imaging.part10 import file_meta_bytes

CODE_TAGS = {
    0x00080008: "ImageType", 0x00080016: "SOPClassUID", 0x00080018: "SOPInstanceUID", 0x00080064: "ConversionType",
    0x0020000D: "StudyInstanceUID", 0x0020000E: "SeriesInstanceUID", 0x00280004: "PhotometricInterpretation",
    0x00280008: "NumberOfFrames", 0x00280301: "BurnedInAnnotation",
}  # fmt: skip
NUMBER_TAGS = {0x00280002: "SamplesPerPixel", 0x00280010: "Rows", 0x00280011: "Columns", 0x00280100: "BitsAllocated"}
_NAME_WORD = re.compile(r"[A-Z0-9]{2,}")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one object. UIDs are the surrogates; `uids` is kind (study, series, sop, frame, other) -> surrogate -> original."""

    sop_uid: str
    series_uid: str
    study_uid: str
    sop_class_uid: str
    patient: str
    original_patient: str = field(repr=False)
    shift_days: int
    geometry: Geometry
    uids: Mapping[str, Mapping[str, str]] = field(repr=False)
    codes: tuple[str, ...]
    counts: Mapping[str, int]


def object_deidentify(source: Path, target: Path, *, profile: Profile, keys: Keys, patient: str | None = None) -> Done:
    """Write the de-identified object to `target`; its transfer syntax and pixel bytes stay.

    `patient` is what the surrogates of the person are made from, the same for all objects of a person: PatientID unless given, the
    Study Instance UID where there is none. Raises Blocked, and then writes nothing.
    """
    try:
        with object_open(source) as opened:
            return _object_clean(opened, target, profile, keys, patient)
    except HeaderError as error:
        raise Blocked("unreadable", error.reason) from None


def _object_clean(opened: Opened, target: Path, profile: Profile, keys: Keys, patient: str | None) -> Done:
    before, pixels, after = _cut(opened)
    top = {element.tag: element for element in before}
    if len(top) != len(before):
        raise Blocked("unreadable", "an element is there twice")
    facts = _facts(opened, top, pixels)
    are_cleaned = CLEAN_PIXELS in profile.options
    object_check(facts, pixels_are_cleaned=are_cleaned)
    if pixels[1] and not are_cleaned:
        for element in elements(opened.data, *pixels, opened.encoding):
            if element.is_undefined:
                texts_check(opened.data, items(opened.data, element, opened.encoding))
    charset = _raw(opened, top.get(0x00080005))
    original_patient = text_decode(_raw(opened, top.get(0x00100020)), charset, TEXT_VR_DELIMS).strip(" \0")
    name = text_decode(_raw(opened, top.get(0x00100010)), charset, PN_DELIMS).upper()
    person = patient or original_patient or facts["StudyInstanceUID"]
    names = frozenset(_NAME_WORD.findall(name))
    cleaner = Cleaner(opened.data, profile=profile, keys=keys, person=person, charset=charset, names=names)
    parts = cleaner.level(before, opened.encoding, 0, skipped=WRITTEN_ANEW)
    parts += cleaner.written(opened.encoding)
    head = b"".join(part for _, part in sorted(parts, key=lambda part: part[0]))
    tail = b"".join(part for _, part in cleaner.level(after, opened.encoding, 0))
    done = _done(cleaner, facts, original_patient)
    meta = file_meta_bytes(
        sop_class_uid=done.sop_class_uid, sop_instance_uid=done.sop_uid, transfer_syntax_uid=opened.syntax,
    )
    _write(opened, target, meta, head, pixels, tail)
    return done


def _cut(opened: Opened) -> tuple[list[Element], tuple[int, int], list[Element]]:
    """(elements before the pixels, place of the pixels with their heads, elements behind them)."""
    before: list[Element] = []
    after: list[Element] = []
    start = stop = 0
    previous = -1
    for element in elements(opened.data, opened.start, len(opened.data), opened.encoding):
        if element.tag < previous:
            raise Blocked("unreadable", "tags do not ascend")
        previous = element.tag
        if element.tag == PIXEL_GROUP << 16:
            continue  # a group length, retired
        if element.tag >> 16 == PIXEL_GROUP:
            if not known_vr(element.tag):
                raise Blocked("unreadable", "an unknown element lies among the pixels")
            start, stop = start or element.at, element.after
        elif start:
            after.append(element)
        else:
            before.append(element)
    if sum(element.after - element.at for element in before) > HEAD_CAP:
        raise Blocked("unreadable", f"the header is larger than {HEAD_CAP >> 20} MiB")
    return before, (start, stop), after


def _raw(opened: Opened, element: Element | None) -> bytes:
    return b"" if element is None else opened.data[element.start : min(element.stop, element.start + 4096)]


def _facts(opened: Opened, top: Mapping[int, Element], pixels: tuple[int, int]) -> Facts:
    codes = {word: _raw(opened, top[tag]).decode("ascii", "replace").strip(" \0") for tag, word in CODE_TAGS.items() if tag in top}
    for tag, word in NUMBER_TAGS.items():
        if tag in top:
            codes[word] = "".join(str(int(n)) for n in numbers(_raw(opened, top[tag])[:2], "US", opened.encoding))
    overlays = [_raw(opened, element) for tag, element in top.items() if tag & 0xFF00FFFF == 0x60000102]
    length = None
    if pixels[1]:
        last = next(e for e in elements(opened.data, pixels[0], pixels[1], opened.encoding) if e.after == pixels[1])
        length = None if last.is_undefined else last.stop - last.start
    return Facts(codes, opened.syntax, any(any(raw) for raw in overlays), bool(pixels[1]), length)


def _write(opened: Opened, target: Path, meta: bytes, head: bytes, pixels: tuple[int, int], tail: bytes) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if opened.is_copy:  # deflated: one stream, so its pixels are packed again
            packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            packed = packer.compress(head + opened.data[slice(*pixels)] + tail) + packer.flush()
            _write_all(fd, meta + packed + bytes(len(packed) % 2))
        else:
            _write_all(fd, meta + head)
            _copy_all(opened.fd, fd, *pixels)
            _write_all(fd, tail)
    except BaseException:
        target.unlink(missing_ok=True)  # half an object is none
        raise
    finally:
        os.close(fd)


def _write_all(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]


def _copy_all(source: int, target: int, start: int, stop: int) -> None:
    """In the kernel, unread; the second way is for file systems that can't do the first."""
    while start < stop:
        try:
            copied = os.copy_file_range(source, target, stop - start, start)
        except OSError:
            copied = os.sendfile(target, source, start, stop - start)
        if copied == 0:
            raise Blocked("unreadable", "the file became shorter while it was read")
        start += copied


def _done(cleaner: Cleaner, facts: Facts, original_patient: str) -> Done:
    shape = cleaner.geometry
    rows, columns, frames = (int(next(iter(shape.get(word, ())), 0)) for word in ("rows", "columns", "frames"))
    return Done(
        sop_uid=cleaner.keys.uid(facts["SOPInstanceUID"]), series_uid=cleaner.keys.uid(facts["SeriesInstanceUID"]),
        study_uid=cleaner.keys.uid(facts["StudyInstanceUID"]), sop_class_uid=facts["SOPClassUID"], patient=cleaner.patient,
        original_patient=original_patient, shift_days=-cleaner.shift if MODIFIED_DATES in cleaner.profile.options else 0,
        geometry=Geometry(
            rows, columns, frames or 1, cleaner.frame_of_reference, shape.get("spacing", ()), shape.get("orientation", ()),
        ),
        uids=cleaner.uids, codes=cleaner.codes(), counts=cleaner.counts,
    )  # fmt: skip
