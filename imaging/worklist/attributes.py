"""The attributes of PS3.4 table K.6-1 that orders hold. `imaging.orders` takes them, `imaging.worklist` matches and returns them.

An Attribute's level says here in which table it lies: the patient's (p), the order's (o), the step's (w).
"""

from imaging.query.attributes import PATIENT_ID, Attribute, Level

PATIENT, ORDER, STEP = Level.PATIENT, Level.STUDY, Level.SERIES
STEPS = 0x00400100  # Scheduled Procedure Step Sequence
START_DATE, START_TIME = 0x00400002, 0x00400003
ACCESSION_ISSUER = 0x00080051

_CODE = ((0x00080100, "SH"), (0x00080102, "SH"), (0x00080103, "SH"), (0x00080104, "LO"))
_REFERENCE = ((0x00081150, "UI"), (0x00081155, "UI"))
_ISSUER = ((0x00400031, "UT"), (0x00400032, "UT"), (0x00400033, "CS"))


def _by_tag(*attributes: Attribute) -> dict[int, Attribute]:
    return {attribute.tag: attribute for attribute in attributes}


def _extras(level: Level, *rows: tuple[int, str]) -> list[Attribute]:
    return [Attribute(tag, vr, level) for tag, vr in rows]


# What stands beside the sequence of steps.
ORDER_ATTRIBUTES = _by_tag(
    Attribute(0x00100010, "PN", PATIENT, "p.name", "p.name_key"),
    Attribute(PATIENT_ID, "LO", PATIENT, "p.patient_id", "p.patient_id_key"),
    Attribute(0x00100021, "LO", PATIENT, "p.issuer"),
    Attribute(0x00100030, "DA", PATIENT, "p.birth_date"),
    Attribute(0x00100040, "CS", PATIENT, "p.sex"),
    Attribute(0x00080050, "SH", ORDER, "o.accession_number", "o.accession_key"),
    Attribute(ACCESSION_ISSUER, "SQ", ORDER, items=_ISSUER),
    Attribute(0x00080090, "PN", ORDER, "o.referrer", "o.referrer_key"),
    Attribute(0x00321032, "PN", ORDER, "o.requester", "o.requester_key"),
    Attribute(0x00321060, "LO", ORDER, "o.description"),
    Attribute(0x00401001, "SH", ORDER, "o.procedure_id", "o.procedure_id_key"),
    Attribute(0x0020000D, "UI", ORDER, "o.study_uid"),
    Attribute(STEPS, "SQ", STEP),
    *_extras(
        ORDER,
        (0x00102000, "LO"),  # Medical Alerts
        (0x00102110, "LO"),  # Allergies
        (0x001021B0, "LT"),  # Additional Patient History
        (0x001021C0, "US"),  # Pregnancy Status
        (0x00101020, "DS"),  # Patient's Size
        (0x00101030, "DS"),  # Patient's Weight
        (0x00104000, "LT"),  # Patient Comments
        (0x00321033, "LO"),  # Requesting Service
        (0x00380010, "LO"),  # Admission ID
        (0x00380050, "LO"),  # Special Needs
        (0x00380300, "LO"),  # Current Patient Location
        (0x00380500, "LO"),  # Patient State
        (0x00401002, "LO"),  # Reason for the Requested Procedure
        (0x00401003, "SH"),  # Requested Procedure Priority
        (0x00401004, "LO"),  # Patient Transport Arrangements
        (0x00401010, "PN"),  # Names of Intended Recipients of Results
        (0x00401400, "LT"),  # Requested Procedure Comments
        (0x00402016, "LO"),  # Placer Order Number
        (0x00402017, "LO"),  # Filler Order Number
        (0x00402400, "LT"),  # Imaging Service Request Comments
        (0x00403001, "LO"),  # Confidentiality Constraint on Patient Data
    ),
    Attribute(0x00081110, "SQ", ORDER, items=_REFERENCE),  # Referenced Study
    Attribute(0x00081120, "SQ", ORDER, items=_REFERENCE),  # Referenced Patient
    Attribute(0x00321064, "SQ", ORDER, items=_CODE),  # Requested Procedure Code
    Attribute(0x0040100A, "SQ", ORDER, items=_CODE),  # Reason for Requested Procedure Code
)

# What stands in an item of it.
STEP_ATTRIBUTES = _by_tag(
    Attribute(0x00400001, "AE", STEP, "w.station", "w.station_key"),
    Attribute(START_DATE, "DA", STEP, "w.start_date", "w.started_key"),
    Attribute(START_TIME, "TM", STEP, "w.start_time", "w.time_key"),
    Attribute(0x00080060, "CS", STEP, "w.modality"),
    Attribute(0x00400006, "PN", STEP, "w.performer", "w.performer_key"),
    Attribute(0x00400007, "LO", STEP, "w.description"),
    Attribute(0x00400009, "SH", STEP, "w.step_id"),
    Attribute(0x00400011, "SH", STEP, "w.location"),
    Attribute(0x00400020, "CS", STEP, "w.status"),
    *_extras(
        STEP,
        (0x00321070, "LO"),  # Requested Contrast Agent
        (0x00400004, "DA"),  # Scheduled Procedure Step End Date
        (0x00400005, "TM"),  # Scheduled Procedure Step End Time
        (0x00400010, "SH"),  # Scheduled Station Name
        (0x00400012, "LO"),  # Pre-Medication
        (0x00400400, "LT"),  # Comments on the Scheduled Procedure Step
    ),
    Attribute(0x00400008, "SQ", STEP, items=_CODE),  # Scheduled Protocol Code
)
