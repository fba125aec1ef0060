"""Gives a result that passed the gate back to its person: UIDs and dates reversed, patient and study as the hospital sent them.

`ai.results` calls it after `gate.references_check`, and stores what it writes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from ai.deident.blocks import DOCUMENTS, STORAGE
from ai.deident.gate import GateRefused, references_check
from ai.deident.mapping import Mapping
from ai.deident.rules import PUBLIC_DATES
from ai.deident.surrogates import date_shift
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# Values that break their VR pass as they are; pydicom's warnings would print them.
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE

MANUFACTURER = "MedicalCloudAIHub"
# General Study, Patient Study and Clinical Trial modules (PS3.3 C.7.2.1, C.7.2.2, C.7.1.3, C.7.2.3); group 0010 is restored whole.
STUDY_TAGS = frozenset((
    0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080090, 0x00080096, 0x0008009C, 0x0008009D, 0x00081030, 0x00081032, 0x00081048,
    0x00081049, 0x00081060, 0x00081062, 0x00081080, 0x00081084, 0x00081110, 0x00081120, 0x0020000D, 0x00200010, 0x00321033, 0x00321034,
    0x00321066, 0x00321067, 0x00380010, 0x00380014, 0x00380060, 0x00380062, 0x00380064, 0x00380500, 0x00401012,
    0x00120010, 0x00120020, 0x00120021, 0x00120023, 0x00120030, 0x00120031, 0x00120040, 0x00120042, 0x00120050, 0x00120051, 0x00120060,
    0x00120071, 0x00120072, 0x00120081, 0x00120082,
))  # fmt: skip
TRACES = (0x00120062, 0x00120063, 0x00120064, 0x00280303)
# What pydicom raises on values that it can't make sense of.
UNWRITABLE = (
    ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError, RecursionError, OSError, EOFError,
    struct.error,
)  # fmt: skip
CHARACTER_SET = 0x00080005
DUMMY_DAY = "19000101"
# Their picture or their pages carry the surrogate, if anything; a header is all that can be given back.
PICTURES = (STORAGE + "7", DOCUMENTS)


@dataclass(frozen=True, slots=True)
class Restored:
    """`sop_uid` and `series_uid` are the platform's own. `is_header_only`: the picture or document itself may show the surrogate."""

    sop_class_uid: str
    sop_uid: str
    series_uid: str
    study_uid: str
    uids: int
    dates: int
    is_header_only: bool


def object_reidentify(
    source: Path, target: Path, *, mapping: Mapping, original: Path | Dataset, now: datetime, own: frozenset[str] = frozenset(),
) -> Restored:  # fmt: skip
    """Write the re-identified object to `target`; its transfer syntax and pixels stay.

    `original` is an object of the study as the hospital sent it, or its header; `now` is UTC. The gate is asked again, so that nothing
    passes without it. Raises GateRefused, and then writes nothing.
    """
    references_check(source, mapping=mapping, own=own)
    header = original if isinstance(original, Dataset) else dcmread(original, stop_before_pixels=True)
    if header.get("StudyInstanceUID") != mapping.original(mapping.study_uid, "study"):
        raise ValueError("the original belongs to another study than the mapping")
    try:
        return _restore(source, target, mapping, header, now)
    except UNWRITABLE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the result's
            raise
        raise GateRefused("unreadable", "the result can't be written again") from None  # the library's words hold values


def _restore(source: Path, target: Path, mapping: Mapping, header: Dataset, now: datetime) -> Restored:
    result = dcmread(source)
    _text_make_unicode(result)
    uids = _uids_reverse(result, mapping)
    dates = _dates_reverse(result, mapping)
    for tag in [tag for tag in result.keys() if tag.group == 0x0010 or tag in STUDY_TAGS or tag in TRACES]:  # noqa: SIM118 iterating decodes
        del result[tag]
    for tag in header.keys():  # noqa: SIM118 likewise
        if (tag.group == 0x0010 or tag in STUDY_TAGS) and not tag.is_private:
            # as decoded text, which is written in the result's own character set
            result[tag] = _decoded(header[tag])
    result.ContributingEquipmentSequence = [*result.get("ContributingEquipmentSequence", []), _equipment(now)]
    meta = result.file_meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = result.SOPClassUID, result.SOPInstanceUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_CLASS_UID), IMPLEMENTATION_VERSION_NAME
    result.preamble = bytes(128)
    try:
        result.save_as(target, enforce_file_format=True)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Restored(
        sop_class_uid=str(result.SOPClassUID), sop_uid=str(result.SOPInstanceUID), series_uid=str(result.SeriesInstanceUID),
        study_uid=str(result.StudyInstanceUID), uids=uids, dates=dates, is_header_only=str(result.SOPClassUID).startswith(PICTURES),
    )  # fmt: skip


def _levels(result: Dataset) -> Iterator[Dataset]:
    stack = [result]
    while stack:
        level = stack.pop()
        yield level
        for element in level:
            if element.VR == "SQ":
                stack.extend(element.value)


def _text_make_unicode(result: Dataset) -> None:
    """One character set for the whole object: the restored names may not fit into the one that the platform chose."""
    result.decode()
    for level in _levels(result):
        level.pop(CHARACTER_SET, None)
    result.SpecificCharacterSet = "ISO_IR 192"


def _decoded(element: DataElement) -> DataElement:
    """A copy whose sequences hold decoded text and no character set of their own."""
    if element.VR == "PN":  # a PersonName remembers the bytes that it came from
        names = [str(element.value)] if element.VM < 2 else [str(name) for name in element.value]
        return DataElement(element.tag, "PN", names[0] if len(names) == 1 else names)
    if element.VR != "SQ":
        return DataElement(element.tag, element.VR, element.value)
    copies = []
    for item in element.value:
        copy = Dataset()
        for inner in item:
            if inner.tag != CHARACTER_SET and not inner.tag.is_private:
                copy.add(_decoded(inner))
        copies.append(copy)
    return DataElement(element.tag, "SQ", Sequence(copies))


def _uids_reverse(result: Dataset, mapping: Mapping) -> int:
    known, count = mapping.all_uids, 0
    for level in _levels(result):
        for element in level:
            if element.VR != "UI" or not element.value:
                continue
            told = [element.value] if element.VM == 1 else list(element.value)
            found = [known.get(uid, uid) for uid in told]
            if found != told:
                count += sum(a != b for a, b in zip(told, found, strict=True))
                element.value = found[0] if len(found) == 1 else found
    return count


def _dates_reverse(result: Dataset, mapping: Mapping) -> int:
    """Shift back what was shifted. A day that would come to lie after the day of sending is the platform's own clock and stays:
    shifts are longer than a week, and nothing that we sent was younger than the sending."""
    if not mapping.shift_days:
        return 0
    count = 0
    for level in _levels(result):
        for element in level:
            if element.VR not in ("DA", "DT") or not element.value or element.tag in PUBLIC_DATES:
                continue
            told = [str(element.value)] if element.VM == 1 else [str(part) for part in element.value]
            found = [_day_reverse(text, mapping.shift_days, mapping.sent_on) for text in told]
            if found != told:
                count += 1
                element.value = found[0] if len(found) == 1 else found
    return count


def _day_reverse(text: str, days: int, sent_on: date) -> str:
    moved = date_shift(text, days)
    latest = sent_on + timedelta(days=1)
    return text if moved is None or text.startswith(DUMMY_DAY) or moved[:8].ljust(8, "0") > f"{latest:%Y%m%d}" else moved


def _equipment(now: datetime) -> Dataset:
    """PS3.3 C.12.1: who changed the object on its way."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109103", "DCM", "Modifying Equipment"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = MANUFACTURER
    item.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    item.ContributionDateTime = f"{now:%Y%m%d%H%M%S}+0000"
    item.ContributionDescription = "Identity restored"
    return item
