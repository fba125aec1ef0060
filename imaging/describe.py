"""From a header to the facts that rows hold. The index worker's reading of one object; nothing here touches the database."""

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import orjson

from imaging.header import HEAD_CAP, Bytes, Header, HeaderError, Part10Head, part10_head, part10_read, uid_is_valid
from imaging.query.attributes import EXTRA_CHARS, EXTRAS, Attribute, Level, extra_name
from imaging.query.declared import NONE, DeclaredTags, DeclaredValue, declared_values
from imaging.query.keys import sequence_items

ENHANCED_SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
DERIVED_CLASSES = frozenset({
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
})  # fmt: skip
OUR_MANUFACTURER = "MedHub Quantify"
CONTRIBUTOR = "MedicalCloudAIHub"  # ai.encoding and ai.deident.reidentify put it into what passes through our hands (PS3.3 C.12.1)
INT32 = 2**31


@dataclass(frozen=True, kw_only=True)
class PatientFacts:
    issuer: str
    patient_id: str
    name: str  # groups separated by =
    birth_date: str
    sex: str
    extra: str = ""


@dataclass(frozen=True, kw_only=True)
class InstanceFacts:
    """What one object says about itself, cut to the sizes of the standard."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    patient: PatientFacts
    patient_age: str
    accession_number: str
    accession_issuer: str
    study_date: str
    study_time: str
    utc_offset: str
    study_description: str
    referrer: str
    expected_instances: int | None
    modality: str
    series_number: int | None
    series_description: str
    body_part: str
    laterality: str
    manufacturer: str
    number: int | None
    frames: int
    rows: int | None
    columns: int | None
    position: float | None
    study_identifier: str = ""
    study_extra: str = ""
    series_extra: str = ""
    extra: str = ""
    is_ours: bool = False  # the house has made it, or given it its identity back
    declared: tuple[DeclaredValue, ...] = ()  # of the hospital's own query attributes

    @property
    def is_derived(self) -> bool:
        """Made by an AI, so it never starts routing again: our own mark, on a platform's answer too, or Quantify's name."""
        is_result_class = self.sop_class_uid in DERIVED_CLASSES or self.sop_class_uid.startswith(ENHANCED_SR_CLASSES)
        return self.is_ours or (is_result_class and self.manufacturer.startswith(OUR_MANUFACTURER))


# fmt: off
WANTED = frozenset(attribute.tag for attribute in EXTRAS) | frozenset({
    0x00080016, 0x00080018, 0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080060, 0x00080070, 0x00080090, 0x00080201,
    0x00081030, 0x0008103E, 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040, 0x00101010, 0x00180015, 0x0018A001, 0x0020000D,
    0x0020000E, 0x00200010, 0x00200011, 0x00200013, 0x00200032, 0x00200037, 0x00200060, 0x00201208, 0x00280008, 0x00280010, 0x00280011,
})
# fmt: on
LAST = max(WANTED)
FAR_CAP = 1 << 20  # of a head with what lies behind LAST


def instance_describe(path: str | os.PathLike[str], *, tags: DeclaredTags = NONE) -> InstanceFacts:
    """Read the head of a Part 10 file. Raises HeaderError when it is not one, or lacks what a row needs."""
    head = _head_read(partial(part10_read, path), WANTED, tags)
    header = head.header
    uids = [header.uid(tag) for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)]
    if not all(uid_is_valid(uid) for uid in uids):
        raise HeaderError("a UID is missing or malformed")
    extras = _extras(header)
    return InstanceFacts(
        sop_class_uid=uids[0],
        sop_instance_uid=uids[1],
        study_uid=uids[2],
        series_uid=uids[3],
        transfer_syntax_uid=head.transfer_syntax_uid[:64],
        patient=PatientFacts(
            issuer=_text(header, 0x00100021, 64),
            patient_id=_text(header, 0x00100020, 64),
            name=_name(header, 0x00100010),
            birth_date=_text(header, 0x00100030, 8),
            sex=_text(header, 0x00100040, 16),
            extra=extras.get(Level.PATIENT, ""),
        ),
        patient_age=_text(header, 0x00101010, 4),
        accession_number=_text(header, 0x00080050, 64),
        accession_issuer=_issuer(header),
        study_date=_text(header, 0x00080020, 8),
        study_time=_text(header, 0x00080030, 16),
        utc_offset=_text(header, 0x00080201, 5),
        study_description=_text(header, 0x00081030, 256),
        referrer=_name(header, 0x00080090),
        expected_instances=_int(header, 0x00201208),
        modality=_text(header, 0x00080060, 16),
        series_number=_int(header, 0x00200011),
        series_description=_text(header, 0x0008103E, 256),
        body_part=_text(header, 0x00180015, 16),
        laterality=_text(header, 0x00200060, 2),
        manufacturer=_text(header, 0x00080070, 64),
        number=_int(header, 0x00200013),
        frames=max(_int(header, 0x00280008) or 1, 1),
        rows=_int(header, 0x00280010),
        columns=_int(header, 0x00280011),
        position=_position(header),
        study_identifier=_text(header, 0x00200010, 16),
        study_extra=extras.get(Level.STUDY, ""),
        series_extra=extras.get(Level.SERIES, ""),
        extra=extras.get(Level.IMAGE, ""),
        is_ours=any(item.text(0x00080070).strip("\0 ") == CONTRIBUTOR for item in header.items(0x0018A001)),
        declared=declared_values(header, tags) if tags else (),
    )


def declared_describe(read: Callable[[int], Bytes], size: int, *, tags: DeclaredTags) -> tuple[DeclaredValue, ...]:
    """What `instance_describe` finds of the declared attributes, and nothing else, wherever the bytes lie. Raises HeaderError."""
    return declared_values(_head_read(partial(part10_head, read, size), frozenset(), tags).header, tags)


def _head_read(read: Callable[..., Part10Head], wanted: frozenset[int], tags: DeclaredTags) -> Part10Head:
    """An attribute of the hospital's that lies behind ours is read when the head is small: a row never depends on it."""
    if not tags:
        return read(wanted=wanted)
    with contextlib.suppress(HeaderError):
        return read(wanted=wanted | tags.wanted, cap=FAR_CAP)
    return read(wanted=wanted | {tag for tag in tags.wanted if tag <= LAST}, cap=HEAD_CAP)


def _text(header: Header, tag: int, size: int) -> str:
    values = header.texts(tag)
    # PostgreSQL text holds no NUL; DICOM pads with it.
    return values[0].replace("\0", "").strip()[:size] if values else ""


def _name(header: Header, tag: int) -> str:
    groups = [group.replace("\0", "")[:108].strip() for group in header.person_name(tag)]
    return "=".join(groups).rstrip("=")


def _int(header: Header, tag: int) -> int | None:
    value = header.int(tag)
    return value if value is not None and -INT32 <= value < INT32 else None


def _extras(header: Header) -> dict[Level, str]:
    """The optional attributes that a query may ask for, JSON a level; values as received, several with backslashes."""
    found: dict[Level, dict[str, object]] = {}
    for attribute in EXTRAS:
        if attribute.tag in header:
            value = _items(header, attribute) if attribute.vr == "SQ" else _value(header, attribute.tag, attribute.vr)
            if value:
                found.setdefault(attribute.level, {})[extra_name(attribute.tag)] = value
    return {level: orjson.dumps(values).decode() for level, values in found.items()}


def _value(header: Header, tag: int, vr: str) -> str:
    if vr == "US":
        return "\\".join(str(number) for number in header.ints(tag))
    return header.text(tag).replace("\0", "")[:EXTRA_CHARS]


def _items(header: Header, attribute: Attribute) -> list[dict[str, str]]:
    items = []
    for item in sequence_items(header, attribute.tag)[:16]:
        values = {extra_name(tag): _value(item, tag, vr) for tag, vr in attribute.items if tag in item}
        items.append({name: value for name, value in values.items() if value})
    return [item for item in items if item]


def _issuer(header: Header) -> str:
    """Issuer of the accession number (0008,0051): local id, else universal id."""
    for item in header.items(0x00080051):
        return (item.text(0x00400031) or item.text(0x00400032)).replace("\0", "")[:64]
    return ""


def _position(header: Header) -> float | None:
    """Where the slice lies along its own normal, mm (PS3.3 C.7.6.2.1.1)."""
    at, axes = header.decimals(0x00200032), header.decimals(0x00200037)
    if len(at) != 3 or len(axes) != 6:
        return None
    a, b = axes[:3], axes[3:]
    normal = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    position = sum(x * y for x, y in zip(at, normal, strict=True))
    return position if math.isfinite(position) else None
