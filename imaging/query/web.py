"""A QIDO-RS request as a query (PS3.18 8.3.4, 10.6.1): parameters to the keys that C-FIND has too, and what is answered unasked.

`imaging.dicomweb.qido` is the door. Nothing here touches the database.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pydicom.datadict import dictionary_VR, tag_for_keyword

from imaging.query import attributes
from imaging.query.attributes import ATTRIBUTES, Level
from imaging.query.fold import group_fold
from imaging.query.keys import Key, Query, QueryError, query_parse
from imaging.query.match import Match
from imaging.query.plan import Plan, plan_make

LIMIT = {Level.STUDY: 5_000, Level.SERIES: 5_000, Level.IMAGE: 20_000}  # answers of one request
OFFSET_MAX = 1_000_000
PATIENT_NAME, TIME_ZONE = 0x00100010, 0x00080201
_CONTROLS = frozenset(("includefield", "fuzzymatching", "limit", "offset", "accept", "emptyvaluematching", "multiplevaluematching"))
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_PATIENT = (PATIENT_NAME, attributes.PATIENT_ID, 0x00100021, 0x00100030, 0x00100040)
# PS3.18 tables 10.6.3-3 to 10.6.3-5, and what viewers show beside it
DEFAULTS: dict[Level, tuple[int, ...]] = {
    Level.STUDY: (
        attributes.STUDY_DATE, attributes.STUDY_TIME, 0x00080050, attributes.MODALITIES, 0x00080090, TIME_ZONE, 0x00081030,
        *_PATIENT, attributes.STUDY_UID, 0x00200010, 0x00201206, 0x00201208,
    ),
    Level.SERIES: (
        0x00080060, TIME_ZONE, 0x0008103E, attributes.STUDY_UID, attributes.SERIES_UID, 0x00200011, 0x00201209, 0x00400244, 0x00400245,
        0x00400275, 0x00180015,
    ),
    Level.IMAGE: (
        0x00080016, attributes.INSTANCE_UID, TIME_ZONE, 0x00083002, attributes.STUDY_UID, attributes.SERIES_UID, 0x00200013, 0x00280010,
        0x00280011, 0x00280100, 0x00280008,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class WebQuery:
    """Checked: what to match and answer, which part of the matches, and what the client should be told (RFC 7234 5.5, code 299)."""

    query: Query
    limit: int
    offset: int
    is_limited: bool  # the client said how many it wants
    names: tuple[str, ...] = ()  # of fuzzy matching
    warnings: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """Raises QueryError for values that their VR does not have."""
        plan = plan_make(self.query)
        for name in self.names:
            plan.add(ATTRIBUTES[PATIENT_NAME], _words_match(name))
        return plan


@dataclass
class _Asked:
    """Parameters as they are read."""

    values: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    fields: list[tuple[int, ...]] = field(default_factory=list)
    is_all: bool = False
    is_fuzzy: bool = False
    limit: int | None = None
    offset: int = 0


def web_query(*, level: Level, parameters: Iterable[tuple[str, str]], unique: dict[int, str]) -> WebQuery:
    """`unique`: the UIDs of the address. Raises QueryError; its words name the parameter and nothing of its value."""
    asked = _asked(parameters)
    for tag, uid in unique.items():
        if asked.values.get((tag,), [uid]) != [uid]:
            raise QueryError("a UID of the address is asked for a second time")
        asked.values[(tag,)] = [uid]
    warnings: list[str] = []
    names: tuple[str, ...] = ()
    if asked.is_fuzzy and (PATIENT_NAME,) in asked.values:
        names = tuple(asked.values.pop((PATIENT_NAME,)))
        asked.fields.append((PATIENT_NAME,))
    elif asked.is_fuzzy:
        warnings.append("fuzzymatching is done for PatientName only")
    wanted = _wanted(level, asked, unique)
    query = query_parse(level=level.name, keys=_keys(asked, wanted), is_patient_root=False, is_relational=True)
    if query.has_unsupported:
        warnings.append("one or more attributes are not supported: they were neither matched nor returned")
    most = LIMIT[level]
    if asked.limit is not None and asked.limit > most:
        warnings.append(f"limit is {most} at the most")
    limit = min(most if asked.limit is None else asked.limit, most)
    known = tuple((key, attribute) for key, attribute in query.answers if attribute is not None)
    return WebQuery(replace(query, answers=known), limit, asked.offset, asked.limit is not None, names, tuple(warnings))


def _asked(parameters: Iterable[tuple[str, str]]) -> _Asked:
    asked = _Asked()
    for name, value in parameters:
        if name not in _CONTROLS:
            asked.values.setdefault(path_read(name), []).append(value)
        elif name == "includefield":
            for one in filter(None, (part.strip() for part in value.split(","))):
                if one.lower() == "all":
                    asked.is_all = True
                else:
                    asked.fields.append(path_read(one))
        elif name in {"limit", "offset"}:
            number = _number(name, value)
            asked.limit, asked.offset = (number, asked.offset) if name == "limit" else (asked.limit, number)
        elif name == "fuzzymatching":
            asked.is_fuzzy = _truth(name, value)
        elif name != "accept" and _truth(name, value):
            raise QueryError(f"{name} is not supported")
    return asked


def _number(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value.strip()) or int(value) > OFFSET_MAX:
        raise QueryError(f"{name} is not a whole number from 0 to {OFFSET_MAX}")
    return int(value)


def _truth(name: str, value: str) -> bool:
    if value.strip().lower() not in {"true", "false"}:
        raise QueryError(f"{name} is neither true nor false")
    return value.strip().lower() == "true"


@lru_cache(maxsize=1024)
def path_read(text: str) -> tuple[int, ...]:
    """A keyword, eight hexadecimal digits, or several with dots between (PS3.18 8.3.4.1). Raises QueryError."""
    steps = text.split(".")
    if len(steps) > 2 or not all(_NAME.fullmatch(step) for step in steps):
        raise QueryError("a parameter is no attribute: keywords or eight hexadecimal digits, with dots between")
    return tuple(_tag(step) for step in steps)


def _tag(step: str) -> int:
    found = tag_for_keyword(step)
    if found is None and _TAG.fullmatch(step):
        found = int(step, 16)
    if found is None:
        raise QueryError(f"{step} is neither a keyword of PS3.6 nor eight hexadecimal digits")
    return found


def _vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def _wanted(level: Level, asked: _Asked, unique: dict[int, str]) -> set[int]:
    """What is answered: the level's own, those of the levels above that the address leaves open, and what the client names."""
    wanted = set(DEFAULTS[level])
    for above in range(Level.STUDY, level):
        if attributes.UNIQUE[above] not in unique:
            wanted.update(DEFAULTS[Level(above)])
    if asked.is_all:
        wanted.update(tag for tag, attribute in ATTRIBUTES.items() if attribute.level <= level)
        if level != Level.STUDY:
            wanted.discard(attributes.SOP_CLASSES)
    return wanted | {path[0] for path in asked.fields}


def _keys(asked: _Asked, wanted: set[int]) -> list[Key]:
    keys: dict[int, Key] = {tag: Key(tag, ATTRIBUTES[tag].vr if tag in ATTRIBUTES else _vr(tag)) for tag in wanted}
    for path, values in asked.values.items():
        tag = path[0]
        attribute = ATTRIBUTES.get(tag)
        vr = attribute.vr if attribute is not None else _vr(tag)
        if len(path) == 1:
            if vr == "SQ" and any(values):
                raise QueryError("a sequence is asked for by one of its attributes")
            keys[tag] = Key(tag, vr, _value(vr, values))
            continue
        if vr != "SQ":
            raise QueryError("an attribute with a dot behind it is no sequence")
        known = dict(attribute.items) if attribute is not None else {}
        item = Key(path[1], known.get(path[1], _vr(path[1])), _value(known.get(path[1], _vr(path[1])), values))
        before = keys[tag].items if tag in keys else ()
        keys[tag] = Key(tag, vr, items=(*before, item))
    return list(keys.values())


def _value(vr: str, values: list[str]) -> str:
    """Several values of a UID or a code string are a list, in one parameter or in repeated ones (PS3.18 8.3.4.4)."""
    if vr == "UI":
        values = [part.strip() for value in values for part in re.split(r"[,\\]", value) if part.strip()]
        if any(set("*?") & set(value) for value in values) and values != ["*"]:
            raise QueryError("a UID has no wildcards")
    elif len(values) > 1 and vr != "CS":
        raise QueryError("an attribute is asked for more than once")
    return "\\".join(values)


def _words_match(value: str) -> Match:
    """Every word of the key begins a word of one of the three groups: "joh" and "doe" find DOE^JOHN, "ohn" doesn't."""
    words = [word for word in re.split(r"[\s^=*?]+", group_fold(value)) if word]
    if not words:
        raise QueryError("a key has no letters to compare")
    sql, params = [], []
    for word in words[:8]:
        pattern = "(^|[ ^-])" + re.sub(r"([^\w\s])", r"\\\1", word)
        sql.append("(p.name_key ~ %s OR p.name_ideographic_key ~ %s OR p.name_phonetic_key ~ %s)")
        params += [pattern] * 3
    return Match(" AND ".join(sql), tuple(params))
