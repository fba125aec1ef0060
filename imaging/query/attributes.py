"""The attributes that can be asked for: PS3.4 tables C.6-1 to C.6-4 and PS3.18 tables 10.6.1-5, 10.6.3-3 to 10.6.3-5.

`imaging.query.keys` parses with this list, `imaging.query.match` compares with it, the index worker keeps the EXTRAS.
"""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


ALIASES = ("p", "s", "e", "i")  # of the levels' tables in a statement
CHARACTER_SET, QUERY_LEVEL, QUERY_VIEW = 0x00080005, 0x00080052, 0x00080053
RETRIEVE_AE, AVAILABILITY = 0x00080054, 0x00080056
PATIENT_ID, STUDY_UID, SERIES_UID, INSTANCE_UID = 0x00100020, 0x0020000D, 0x0020000E, 0x00080018
UNIQUE = (PATIENT_ID, STUDY_UID, SERIES_UID, INSTANCE_UID)
STUDY_DATE, STUDY_TIME, MODALITIES, SOP_CLASSES = 0x00080020, 0x00080030, 0x00080061, 0x00080062


@dataclass(frozen=True, slots=True)
class Attribute:
    """Where a value lies: an SQL expression, or `extra` (then its tag names it in the level's extra column)."""

    tag: int
    vr: str
    level: Level
    column: str = ""  # expression of the value as received
    folded: str = ""  # column of the value as it is compared
    is_counted: bool = False  # computed by a subquery: never a condition in SQL
    items: tuple[tuple[int, str], ...] = ()  # of a sequence: the tags we keep, and their VRs
    declared: int = 0  # id of the hospital's own declaration (`imaging.query.declared`)
    creator: str = ""  # of a private one
    is_creator: bool = False  # the element that reserves a private one's block (PS3.5 7.8.1): `creator` is its value
    is_building: bool = False  # not all of what is stored was read for it yet

    @property
    def is_extra(self) -> bool:
        return not self.column and not self.is_creator


def _rows(level: Level, rows: tuple[tuple[int, str, str, str], ...]) -> list[Attribute]:
    return [Attribute(tag, vr, level, column, folded) for tag, vr, column, folded in rows]


def _extras(level: Level, rows: tuple[tuple[int, str], ...]) -> list[Attribute]:
    return [Attribute(tag, vr, level) for tag, vr in rows]


def _counted(level: Level, rows: tuple[tuple[int, str, str], ...]) -> list[Attribute]:
    return [Attribute(tag, vr, level, f"({column})", is_counted=True) for tag, vr, column in rows]


_OF_PATIENT = "x.tenant_id = p.tenant_id AND x.patient_id = p.id AND x.number_of_instances > 0"
_CODE = ((0x00080100, "SH"), (0x00080102, "SH"), (0x00080104, "LO"))
_REFERENCE = ((0x00081150, "UI"), (0x00081155, "UI"))

ATTRIBUTES: dict[int, Attribute] = {attribute.tag: attribute for attribute in (
    *_rows(Level.PATIENT, (
        (0x00100010, "PN", "p.name", "p.name_key"),
        (PATIENT_ID, "LO", "p.patient_id", "p.patient_id_key"),
        (0x00100021, "LO", "p.issuer", ""),
        (0x00100030, "DA", "p.birth_date", ""),
        (0x00100040, "CS", "p.sex", ""),
    )),
    *_counted(Level.PATIENT, (
        (0x00201200, "IS", f"SELECT count(*) FROM imaging_study x WHERE {_OF_PATIENT}"),  # noqa: S608 constants
        (0x00201202, "IS", f"SELECT coalesce(sum(x.number_of_series), 0) FROM imaging_study x WHERE {_OF_PATIENT}"),  # noqa: S608 constants
        (0x00201204, "IS", f"SELECT coalesce(sum(x.number_of_instances), 0) FROM imaging_study x WHERE {_OF_PATIENT}"),  # noqa: S608 constants
    )),
    *_extras(Level.PATIENT, (
        (0x00100032, "TM"),  # Patient's Birth Time
        (0x00101000, "LO"),  # Other Patient IDs
        (0x00101001, "PN"),  # Other Patient Names
        (0x00102160, "SH"),  # Ethnic Group
        (0x00104000, "LT"),  # Patient Comments
    )),
    Attribute(0x00101002, "SQ", Level.PATIENT, items=((PATIENT_ID, "LO"), (0x00100021, "LO"))),  # Other Patient IDs
    Attribute(0x00081120, "SQ", Level.PATIENT, items=_REFERENCE),  # Referenced Patient
    *_rows(Level.STUDY, (
        (STUDY_UID, "UI", "s.study_uid", ""),
        (STUDY_DATE, "DA", "s.study_date", "s.started_key"),
        (STUDY_TIME, "TM", "s.study_time", "s.time_key"),
        (0x00080050, "SH", "s.accession_number", "s.accession_key"),
        (0x00200010, "SH", "s.study_identifier", "s.identifier_key"),
        (MODALITIES, "CS", "replace(s.modalities, ',', '\\')", ""),
        (0x00080090, "PN", "s.referrer", "s.referrer_key"),
        (0x00080201, "SH", "s.utc_offset", ""),
        (0x00081030, "LO", "s.description", "s.description_key"),
        (0x00101010, "AS", "s.patient_age", ""),
        (0x00201206, "IS", "s.number_of_series", ""),
        (0x00201208, "IS", "s.number_of_instances", ""),
    )),
    *_counted(Level.STUDY, (
        (
            SOP_CLASSES, "UI",
            "SELECT string_agg(DISTINCT x.sop_class_uid, '\\') FROM imaging_instance x "
            "WHERE x.tenant_id = s.tenant_id AND x.study_id = s.id",
        ),
    )),
    *_extras(Level.STUDY, (
        (0x00081060, "PN"),  # Name of Physician(s) Reading Study
        (0x00081080, "LO"),  # Admitting Diagnoses Description
        (0x00101020, "DS"),  # Patient's Size
        (0x00101030, "DS"),  # Patient's Weight
        (0x00102180, "SH"),  # Occupation
        (0x001021B0, "LT"),  # Additional Patient History
        (0x00201070, "IS"),  # Other Study Numbers
    )),
    Attribute(0x00080063, "SQ", Level.STUDY, items=_CODE),  # Anatomic Regions in Study
    Attribute(0x00081032, "SQ", Level.STUDY, items=_CODE),  # Procedure Code
    Attribute(0x00081110, "SQ", Level.STUDY, items=_REFERENCE),  # Referenced Study
    *_rows(Level.SERIES, (
        (SERIES_UID, "UI", "e.series_uid", ""),
        (0x00080060, "CS", "e.modality", ""),
        (0x00200011, "IS", "e.number", ""),
        (0x0008103E, "LO", "e.description", ""),
        (0x00180015, "CS", "e.body_part", ""),
        (0x00200060, "CS", "e.laterality", ""),
        (0x00080070, "LO", "e.manufacturer", ""),
        (0x00201209, "IS", "e.number_of_instances", ""),
    )),
    *_extras(Level.SERIES, (
        (0x00080021, "DA"),  # Series Date
        (0x00080031, "TM"),  # Series Time
        (0x00080080, "LO"),  # Institution Name
        (0x00081010, "SH"),  # Station Name
        (0x00081050, "PN"),  # Performing Physician's Name
        (0x00081070, "PN"),  # Operators' Name
        (0x00081090, "LO"),  # Manufacturer's Model Name
        (0x00181030, "LO"),  # Protocol Name
        (0x00185100, "CS"),  # Patient Position
        (0x00200052, "UI"),  # Frame of Reference UID
        (0x00400244, "DA"),  # Performed Procedure Step Start Date
        (0x00400245, "TM"),  # Performed Procedure Step Start Time
        (0x00400253, "SH"),  # Performed Procedure Step ID
    )),
    Attribute(0x00400275, "SQ", Level.SERIES, items=((0x00400007, "LO"), (0x00400009, "SH"), (0x00401001, "SH"))),
    *_rows(Level.IMAGE, (
        (INSTANCE_UID, "UI", "i.sop_instance_uid", ""),
        (0x00080016, "UI", "i.sop_class_uid", ""),
        (0x00083002, "UI", "i.transfer_syntax_uid", ""),  # Available Transfer Syntax UID
        (0x00200013, "IS", "i.number", ""),
        (0x00280008, "IS", "i.frames", ""),
        (0x00280010, "US", "i.rows", ""),
        (0x00280011, "US", 'i."columns"', ""),
    )),
    *_extras(Level.IMAGE, (
        (0x00080008, "CS"),  # Image Type
        (0x0008001A, "UI"),  # Related General SOP Class UID
        (0x0008002A, "DT"),  # Acquisition DateTime
        (0x00080023, "DA"),  # Content Date
        (0x00080033, "TM"),  # Content Time
        (0x00200012, "IS"),  # Acquisition Number
        (0x00200022, "IS"),  # Overlay Number
        (0x00200024, "IS"),  # Curve Number
        (0x00200026, "IS"),  # LUT Number
        (0x00280100, "US"),  # Bits Allocated
        (0x00400512, "LO"),  # Container Identifier
        (0x0040A491, "CS"),  # Completion Flag
        (0x0040A493, "CS"),  # Verification Flag
    )),
    Attribute(0x00083001, "SQ", Level.IMAGE, items=_REFERENCE),  # Alternate Representation
    Attribute(0x00400560, "SQ", Level.IMAGE, items=((0x00400551, "LO"), (0x00400554, "UI"))),  # Specimen Description
    Attribute(0x0040A043, "SQ", Level.IMAGE, items=_CODE),  # Concept Name Code
    Attribute(0x0040A504, "SQ", Level.IMAGE, items=((0x00080105, "CS"), (0x0040DB00, "CS"))),  # Content Template
)}  # fmt: skip

# Nothing behind group 0040: a document of 100 MB lies in (0042,0011), and the header walk must not go through it.
EXTRAS = tuple(attribute for attribute in ATTRIBUTES.values() if attribute.is_extra)
EXTRA_CHARS = 1024  # of one value; longer comments are cut


def extra_name(tag: int) -> str:
    """How an attribute is called in an extra column, and in DICOM JSON (PS3.18 F.2.2)."""
    return f"{tag:08X}"
