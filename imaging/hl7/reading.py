"""A message as it is read: characters, segments, fields and parts, by the kept library (python-hl7), and DICOM's forms of HL7's types."""

import re
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import hl7
from hl7.util import unescape

from imaging.describe import PatientFacts
from imaging.hl7.errors import MessageRefused

MOST_SEGMENTS = 2_000
MOST_PARTS = 60_000  # the library makes an object of each: 1 MiB of nothing but separators costs 7 s and 500 MB
HEAD_BYTES = 4_096
YEARS = range(1850, 2200)  # what lies outside is nobody's time; a timestamptz before the year 1 cannot even be read back
# HL7 table 0211
CHARACTER_SETS = {
    "": "", "ASCII": "", "UNICODE UTF-8": "utf-8", "UNICODE": "utf-8", "UTF-8": "utf-8",
    **{f"8859/{n}": f"iso8859-{n}" for n in range(1, 16) if n != 12},
}  # fmt: skip
SEXES = {"M": "M", "F": "F", "O": "O", "A": "O"}  # table 0001; unknown says nothing
WRITINGS = {"": 0, "A": 0, "I": 1, "P": 2}  # table 0465, as PS3.5 6.2.1.1 orders the groups
# As they are or by \\X..\\: neither PostgreSQL's text nor FHIR's string can have them.
_UNHEARD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_STAMP = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.\d{1,4})?([+-]\d{4})?")


class Told:
    """One message, or with `is_head` its MSH alone. Raises MessageRefused when it is none."""

    def __init__(self, data: bytes, *, is_head: bool = False) -> None:
        self.message = _parse(_head(data) if is_head else data)
        self.control_id = self.value("MSH", 10)
        self.kind = "^".join(filter(None, (self.value("MSH", 9, 1), self.value("MSH", 9, 2))))
        self.version = self.value("MSH", 12)

    def segments(self, name: str) -> list[hl7.Segment]:
        return [segment for segment in self.message if str(segment[0]) == name]

    def value(self, name: str, field: int, part: int = 1, *, repetition: int = 1, sub: int = 1) -> str:
        """Of the first segment of this name; "" where it is not there."""
        found = self.segments(name)
        return value_of(found[0], field, part, repetition=repetition, sub=sub) if found else ""


def _head(data: bytes) -> bytes:
    """MSH: enough to know who sends and how to answer."""
    head: bytes = re.split(rb"[\r\n]", data[: HEAD_BYTES + 1], maxsplit=1)[0]
    if len(head) > HEAD_BYTES:
        raise MessageRefused("MSH", f"has more than {HEAD_BYTES} bytes", code="AR")
    return head


def _parse(data: bytes) -> hl7.Message:
    head = _head(data)
    if not head.startswith(b"MSH") or len(head) < 8:
        raise MessageRefused("MSH", "is not there: this is no HL7 v2 message", code="AR")
    fields = head.split(head[3:4])
    named = fields[17].split(head[4:5])[0].decode("latin-1").strip().upper() if len(fields) > 17 else ""
    if named not in CHARACTER_SETS:
        raise MessageRefused("MSH-18", "names a character set that is not read here")
    text = _decode(data, CHARACTER_SETS[named])
    separators = {text[3], *text[4:10].split(text[3])[0], *"|^~&\r\n"}
    if sum(map(text.count, separators)) > MOST_PARTS:
        raise MessageRefused("MSH", f"a message has at most {MOST_PARTS} fields, repetitions and components")
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    if len(lines) > MOST_SEGMENTS:
        raise MessageRefused("MSH", f"a message has at most {MOST_SEGMENTS} segments")
    try:
        return hl7.parse("\r".join(lines))
    except Exception as error:  # noqa: BLE001 the library raises what it meets in a hostile text
        raise MessageRefused("MSH", f"the message cannot be read ({type(error).__name__})", code="AR") from None


def _decode(data: bytes, encoding: str) -> str:
    """As it says; where it says nothing, UTF-8 if it is that, else Latin-1, which senders mean who say nothing."""
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if encoding:
            raise MessageRefused("MSH-18", "the bytes are not of the character set that is named") from None
        return data.decode("latin-1")


def value_of(segment: hl7.Segment, field: int, part: int = 1, *, repetition: int = 1, sub: int = 1) -> str:
    """A component (or subcomponent) as text, escapes read; "" where it is not there or HL7's null."""
    try:
        text = _extract(segment, field, repetition, part, sub)
    except (LookupError, TypeError):
        return ""
    return "" if text == '""' else _UNHEARD.sub("", text).strip()


def _extract(segment: hl7.Segment, number: int, repetition: int, part: int, sub: int) -> str:
    field = segment[number]
    if isinstance(field, str):
        repeated: object = field if repetition == 1 else ""
    else:
        repeated = field[repetition - 1]
    if isinstance(repeated, str):
        component: object = repeated if part == 1 else ""
    else:
        component = repeated[part - 1]  # type: ignore[index]
    found = (component if sub == 1 else "") if isinstance(component, str) else str(component[sub - 1])  # type: ignore[index]
    return str(unescape(segment, found))


def is_null(segment: hl7.Segment, field: int) -> bool:
    """Does it say that there is none (two quotation marks, HL7 v2.5.1 2.5.3), where an empty field says nothing?"""
    try:
        return str(segment[field]) == '""'
    except LookupError:
        return False


def repetitions(segment: hl7.Segment, field: int) -> int:
    try:
        found = segment[field]
    except LookupError:
        return 0
    return 1 if isinstance(found, str) else len(found)


# --- DICOM's forms -----------------------------------------------------------------------------------------------------


def fit(text: str, chars: int) -> str:
    """As an attribute of DICOM may hold it: printable, without a backslash, cut to its length."""
    return "".join(char if char.isprintable() and char != "\\" else " " for char in text)[:chars].strip()


def person_name(segment: hl7.Segment, field: int, *, first: int = 1) -> str:
    """XPN (or XCN with `first` 2) as PN: one group a way of writing. Empty when nothing is said."""
    groups = ["", "", ""]
    for number in range(1, repetitions(segment, field) + 1):
        place = WRITINGS.get(value_of(segment, field, first + 7, repetition=number), 0)
        if groups[place] or (first > 1 and number > 1):
            continue
        family, given, middle, suffix, prefix = (value_of(segment, field, first + n, repetition=number) for n in range(5))
        parts = (fit(part.replace("^", " ").replace("=", " "), 60) for part in (family, given, middle, prefix, suffix))
        groups[place] = "^".join(parts).rstrip("^")
    return "=".join(groups).rstrip("=")


def patient_facts(segment: hl7.Segment, field: int = 3, *, name_field: int = 5) -> PatientFacts:
    """Whom PID (or MRG with its own fields) names. Raises MessageRefused without a number."""
    kind = str(segment[0])
    numbers = [n for n in range(1, repetitions(segment, field) + 1) if value_of(segment, field, repetition=n)]
    chosen = next((n for n in numbers if value_of(segment, field, 5, repetition=n) in {"MR", "PI"}), next(iter(numbers), 0))
    if not chosen:
        raise MessageRefused(f"{kind}-{field}", "names no patient number")
    number = value_of(segment, field, repetition=chosen)
    issuer = value_of(segment, field, 4, repetition=chosen) or value_of(segment, field, 4, repetition=chosen, sub=2)
    if len(number) > 64 or len(issuer) > 64:
        raise MessageRefused(f"{kind}-{field}", "has more than 64 characters")
    is_pid = kind == "PID"
    born = value_of(segment, 7)[:8] if is_pid else ""
    return PatientFacts(
        issuer=fit(issuer, 64), patient_id=fit(number, 64), name=person_name(segment, name_field),
        birth_date=born if len(born) == 8 and born.isdigit() else "", sex=SEXES.get(value_of(segment, 8).upper(), "") if is_pid else "",
    )  # fmt: skip


def moment_of(text: str, *, zone: ZoneInfo) -> datetime | None:
    """A TS; without an offset in `zone`. None for what is none, or no time that a person lives in."""
    found = _STAMP.fullmatch(text)
    if not found or int(found[1]) not in YEARS:
        return None
    year, month, day, hour, minute, second = (int(part) if part else None for part in found.groups()[:6])
    try:
        moment = datetime(year or 1, month or 1, day or 1, hour or 0, minute or 0, min(second or 0, 59), tzinfo=zone)
        return datetime.strptime(moment.strftime("%Y%m%d%H%M%S") + found[7], "%Y%m%d%H%M%S%z") if found[7] else moment
    except ValueError:
        return None


def date_time_of(text: str, *, zone: ZoneInfo) -> tuple[str, str]:
    """A TS as DA and TM in the hospital's own time; a day alone stays one."""
    moment = moment_of(text, zone=zone)
    if moment is None or len(text) < 8:
        return "", ""
    local = moment.astimezone(zone)
    return local.strftime("%Y%m%d"), local.strftime("%H%M%S") if len(text) >= 10 else ""


def first_of(values: Sequence[str]) -> str:
    return next((value for value in values if value), "")
