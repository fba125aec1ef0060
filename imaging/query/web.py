"""A QIDO-RS request as a query (PS3.18 8.3.4, 10.6.1): parameters to the keys that C-FIND has too, and what is answered unasked.

`imaging.dicomweb.qido` is the door. Nothing here touches the database.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pydicom.datadict import dictionary_VR, tag_for_keyword

from imaging.query import attributes
from imaging.query.attributes import ATTRIBUTES, Attribute, Level
from imaging.query.fold import group_fold
from imaging.query.keys import Key, Query, QueryError, query_parse
from imaging.query.match import NAME_COLUMNS, WILDCARD_VRS, Match
from imaging.query.plan import Plan, plan_make
from imaging.query.zones import STARTED, zone_read, zoned_match

LIMIT = {Level.STUDY: 5_000, Level.SERIES: 5_000, Level.IMAGE: 20_000}  # answers of one request
OFFSET_MAX = 1_000_000
PATIENT_NAME, REFERRER, TIME_ZONE = 0x00100010, 0x00080090, 0x00080201
_CONTROLS = frozenset(("includefield", "fuzzymatching", "limit", "offset", "accept", "emptyvaluematching", "multiplevaluematching"))
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NAME = re.compile(r"[A-Za-z0-9]{1,64}")
_UNFIT = re.compile("[\x00-\x1f\x7f\ufffd]")  # PostgreSQL takes no NUL, and \ufffd stands for what was no UTF-8
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
    names: tuple[tuple[int, str], ...] = ()  # of fuzzy matching
    started: tuple[str, str, str] | None = None  # date, time and their zone, when the client names one
    items: dict[int, frozenset[int]] = field(default_factory=dict)  # of a sequence: what is answered, when not all
    warnings: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """Raises QueryError for values that their VR does not have."""
        plan = plan_make(self.query)
        for tag, name in self.names:
            plan.add(ATTRIBUTES[tag], _words_match(tag, name))
        if self.started is not None:
            date, time, zone = self.started
            plan.add(STARTED, zoned_match(date=date, time=time, zone=zone))
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


def web_query(
    *, level: Level, parameters: Iterable[tuple[str, str]], unique: dict[int, str], known: Mapping[int, Attribute] = ATTRIBUTES,
) -> WebQuery:
    """`unique`: the UIDs of the address; `known`: what can be asked for.

    Raises QueryError; its words name the parameter and nothing of its value.
    """
    asked = _asked(parameters)
    for tag, uid in unique.items():
        if asked.values.get((tag,), [uid]) != [uid]:
            raise QueryError("a UID of the address is asked for a second time")
        asked.values[(tag,)] = [uid]
    warnings: list[str] = []
    names = tuple(_fuzzy(asked)) if asked.is_fuzzy else ()
    if asked.is_fuzzy and (not names or any(_vr(path[-1]) == "PN" for path, values in asked.values.items() if any(values))):
        warnings.append("fuzzymatching is done for PatientName and ReferringPhysicianName only, and not beside wildcards")
    started = _started(asked)
    wanted = _wanted(level, asked, unique, known)
    query = query_parse(
        level=level.name, keys=_keys(asked, wanted, known), is_patient_root=False, is_relational=True, known=known,
    )  # fmt: skip
    if query.has_unsupported:
        warnings.append("one or more attributes are not supported: they were neither matched nor returned")
    building = [f"{key.tag:08X}" for key, attribute in query.answers if attribute is not None and attribute.is_building]
    if building:
        warnings.append(f"the index of {', '.join(building)} is still being built: matches and values may be missing")
    most = LIMIT[level]
    if asked.limit is not None and asked.limit > most:
        warnings.append(f"limit is {most} at the most")
    limit = min(most if asked.limit is None else asked.limit, most)
    known = tuple((key, attribute) for key, attribute in query.answers if attribute is not None)
    return WebQuery(
        replace(query, answers=known), limit, asked.offset, asked.limit is not None, names, started, _items(asked, wanted),
        tuple(warnings),
    )  # fmt: skip


def _asked(parameters: Iterable[tuple[str, str]]) -> _Asked:
    asked = _Asked()
    for name, value in parameters:
        if _UNFIT.search(value):
            raise QueryError("a parameter has control characters or is no UTF-8")
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


def _wanted(level: Level, asked: _Asked, unique: dict[int, str], known: Mapping[int, Attribute]) -> set[int]:
    """What is answered: the level's own, those of the levels above that the address leaves open, and what the client names."""
    wanted = set(DEFAULTS[level])
    for above in range(Level.STUDY, level):
        if attributes.UNIQUE[above] not in unique:
            wanted.update(DEFAULTS[Level(above)])
    if asked.is_all:
        wanted.update(tag for tag, attribute in known.items() if attribute.level <= level and not attribute.is_creator)
        if level != Level.STUDY:
            wanted.discard(attributes.SOP_CLASSES)
    return wanted | {path[0] for path in asked.fields}


def _keys(asked: _Asked, wanted: set[int], known: Mapping[int, Attribute]) -> list[Key]:
    keys: dict[int, Key] = {tag: Key(tag, known[tag].vr if tag in known else _vr(tag)) for tag in wanted}
    for path, values in asked.values.items():
        tag = path[0]
        attribute = known.get(tag)
        vr = attribute.vr if attribute is not None else _vr(tag)
        if len(path) == 1:
            if vr == "SQ" and any(values):
                raise QueryError("a sequence is asked for by one of its attributes")
            keys[tag] = Key(tag, vr, _value(vr, values))
            continue
        if vr != "SQ":
            raise QueryError("an attribute with a dot behind it is no sequence")
        kept = dict(attribute.items) if attribute is not None else {}
        item = Key(path[1], kept.get(path[1], _vr(path[1])), _value(kept.get(path[1], _vr(path[1])), values))
        before = keys[tag].items if tag in keys else ()
        keys[tag] = Key(tag, vr, items=(*before, item))
    return list(keys.values())


def _value(vr: str, values: list[str]) -> str:
    """Several values of a UID or a code string are a list, in one parameter or in repeated ones (PS3.18 8.3.4.4)."""
    if vr == "UI":
        values = [part.strip() for value in values for part in re.split(r"[,\\]", value) if part.strip()]
        if any(set("*?") & set(value) for value in values) and values != ["*"]:
            raise QueryError("a UID has no wildcards")
    elif vr == "CS":
        values = [value.replace(",", "\\") for value in values]  # no comma is in a code string: people write lists so
    elif len(values) > 1:
        raise QueryError("an attribute is asked for more than once")
    if vr not in WILDCARD_VRS and vr != "UR" and values != ["*"] and any(set("*?") & set(value) for value in values):
        raise QueryError("a wildcard stands in an attribute whose VR has none")
    return "\\".join(values)


def _fuzzy(asked: _Asked) -> list[tuple[int, str]]:
    """Take the names out that are matched by words; they are answered still."""
    names = []
    for tag in (PATIENT_NAME, REFERRER):
        values = asked.values.get((tag,), [])
        if len(values) == 1 and values[0] and not set("*?=") & set(values[0]):
            names.append((tag, values[0]))
            del asked.values[(tag,)]
            asked.fields.append((tag,))
    return names


def _started(asked: _Asked) -> tuple[str, str, str] | None:
    """Take date and time out when the client says of which zone they are. The offset itself matches nothing (PS3.18 8.3.4.1)."""
    zone = zone_read(asked.values.get((TIME_ZONE,), []))
    if not zone:
        return None
    del asked.values[(TIME_ZONE,)]
    asked.fields.append((TIME_ZONE,))
    given = [asked.values.get((tag,), []) for tag in (attributes.STUDY_DATE, attributes.STUDY_TIME)]
    if not any(value not in {"", "*"} for values in given for value in values):
        return None
    for tag in (attributes.STUDY_DATE, attributes.STUDY_TIME):
        if asked.values.pop((tag,), None) is not None:
            asked.fields.append((tag,))
    return _value("DA", given[0]), _value("TM", given[1]), zone


def _items(asked: _Asked, wanted: set[int]) -> dict[int, frozenset[int]]:
    """Of sequences that are there because of a path alone: that attribute alone (PS3.18 8.3.4.3)."""
    if asked.is_all:
        return {}
    paths = [path for path in asked.fields if len(path) == 2]
    whole = {path[0] for path in asked.fields if len(path) == 1} | {path[0] for path in asked.values}
    whole |= {tag for tags in DEFAULTS.values() for tag in tags}
    return {
        tag: frozenset(path[1] for path in paths if path[0] == tag) for tag in {path[0] for path in paths} if tag in wanted - whole
    }


def _words_match(tag: int, value: str) -> Match:
    """Every word of the key begins a word of the name: "joh" and "doe" find DOE^JOHN, "ohn" doesn't."""
    columns = NAME_COLUMNS if tag == PATIENT_NAME else (ATTRIBUTES[tag].folded,)
    words = [word for word in re.split(r"[\s^=*?]+", group_fold(value)) if word]
    if not words:
        raise QueryError("a key has no letters to compare")
    sql, params = [], []
    for word in words[:8]:
        pattern = "(^|[ ^=-])" + re.sub(r"([^\w\s])", r"\\\1", word)
        sql.append("(" + " OR ".join(f"{column} ~ %s" for column in columns) + ")")
        params += [pattern] * len(columns)
    return Match(" AND ".join(sql), tuple(params))
