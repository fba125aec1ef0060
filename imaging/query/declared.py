"""Attributes that a hospital has declared as keys of its own: what an object has of them, and how a key is compared with it.

The index worker and the re-index job read objects with this, `imaging.query.plan` asks with it. Nothing here touches the database.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from imaging.header import BINARY_VRS, Header
from imaging.query.attributes import ALIASES, ATTRIBUTES, EXTRA_CHARS, Attribute, Level
from imaging.query.fold import FOLDED_CHARS, group_fold, name_fold, name_key, text_fold
from imaging.query.keys import Key, QueryError
from imaging.query.match import (
    Match,
    datetime_key,
    decimal_read,
    group_regex,
    integer_read,
    key_test,
    name_folded,
    spanned,
    text_folded,
    text_match,
    uids_read,
)
from imaging.query.moments import date_key, date_span, datetime_span, time_key, time_span

# Those that make sense as a key: no sequences, no bulk data, no measured curves.
VRS = frozenset((
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UC", "UI", "UL", "UR", "US", "UT",
))  # fmt: skip
WHOLE_VRS = frozenset(("LT", "ST", "UR", "UT"))  # one value only: a backslash is a letter there (PS3.5 6.2)
INTEGER_VRS = frozenset(("IS", "SL", "SS", "UL", "US"))
EXACT_VRS = frozenset(("AS", "UI", "UR"))
LEVELS = {"study": Level.STUDY, "series": Level.SERIES, "instance": Level.IMAGE}
VALUES_CAP = 32  # of one attribute in one object
ANSWERED = 64  # different values of a study's or a series' objects in one answer
_KEYS_OF_NAME = 4  # the whole, and the three groups
_SPANS = {"DA": date_span, "TM": time_span, "DT": datetime_span}


class DeclaredValue(NamedTuple):
    """One value of one object, ready for its row."""

    tag_id: int
    number: int
    value: str
    key: str


@dataclass(frozen=True, slots=True)
class DeclaredTag:
    id: int
    tag: int
    vr: str
    level: Level
    creator: str = ""
    is_building: bool = False

    @property
    def creator_tag(self) -> int:
        """Where a private block is reserved (PS3.5 7.8.1)."""
        return self.tag & 0xFFFF0000 | self.tag >> 8 & 0xFF


@dataclass(frozen=True)
class DeclaredTags:
    """Those of one hospital."""

    tags: tuple[DeclaredTag, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tags)

    @cached_property
    def wanted(self) -> frozenset[int]:
        """Tags that may have to be read: a private element lies in whatever block its object has reserved."""
        found = {one.tag for one in self.tags if not one.creator}
        for one in self.tags:
            if one.creator:
                group, low = one.tag & 0xFFFF0000, one.tag & 0xFF
                found |= {group | block for block in range(0x10, 0x100)}
                found |= {group | block << 8 | low for block in range(0x10, 0x100)}
        return frozenset(found)

    @cached_property
    def attributes(self) -> Mapping[int, Attribute]:
        """What can be asked for: the standard keys and these."""
        if not self.tags:
            return ATTRIBUTES
        found = dict(ATTRIBUTES)
        for one in self.tags:
            found[one.tag] = _attribute(one)
            if one.creator:
                found[one.creator_tag] = Attribute(one.creator_tag, "LO", Level.STUDY, creator=one.creator, is_creator=True)
        return found


NONE = DeclaredTags()


def _attribute(one: DeclaredTag) -> Attribute:
    return Attribute(
        one.tag, one.vr, one.level, _values_sql(one), declared=one.id, creator=one.creator, is_building=one.is_building,
    )  # fmt: skip


def _of_owner(level: Level, tag_id: int) -> str:
    alias = ALIASES[level]
    return f"v.tenant_id = {alias}.tenant_id AND v.owner_id = {alias}.id AND v.query_tag_id = {int(tag_id)}"


def _values_sql(one: DeclaredTag) -> str:
    """What is answered: an instance's values in their order; of a study or series the different values of its objects."""
    rows = f"FROM imaging_queryvalue v WHERE {_of_owner(one.level, one.id)} AND v.value <> ''"
    if one.vr in WHOLE_VRS:
        return f"(SELECT v.value {rows} ORDER BY v.instance_id LIMIT 1)"  # noqa: S608 constants and our own number
    if one.level == Level.IMAGE:
        return f"(SELECT string_agg(v.value, '\\' ORDER BY v.number) {rows})"  # noqa: S608 constants and our own number
    return (
        "(SELECT string_agg(w.value, '\\' ORDER BY w.first, w.value) FROM (SELECT v.value, min(v.number) AS first "  # noqa: S608 as above
        f"{rows} GROUP BY v.value ORDER BY 2, 1 LIMIT {ANSWERED}) w)"
    )


# --- of an object ----------------------------------------------------------------------------------------------------


def declared_values(header: Header, tags: DeclaredTags) -> tuple[DeclaredValue, ...]:
    """What the object has of the declared attributes, in the rows' form."""
    found = []
    for one in tags.tags:
        element = _element(header, one)
        if element is not None:
            for number, text in enumerate(_texts(header, element, one.vr)[:VALUES_CAP]):
                if text:
                    found += list(_rows(one, number, text[:EXTRA_CHARS]))
    return tuple(found)


def _element(header: Header, one: DeclaredTag) -> int | None:
    """Where the object has it; a private one by its creator, whose block may be another one in each object (PS3.5 7.8.1)."""
    if not one.creator:
        return one.tag if one.tag in header else None
    group = one.tag & 0xFFFF0000
    for reserved in header.values:
        if group + 0x10 <= reserved <= group + 0xFF and header.text(reserved) == one.creator:
            element = group | (reserved & 0xFF) << 8 | one.tag & 0xFF
            if element in header:
                return element
    return None


def _texts(header: Header, element: int, vr: str) -> list[str]:
    sent = header.vrs.get(element, b"").decode("ascii", "replace")
    if sent in {"", "UN"}:  # implicit VR, or a private element that somebody has passed on: it has the VR that was declared
        header = Header(header.values, {**header.vrs, element: vr.encode()}, header.encoding, None)
    elif sent not in VRS:
        return []
    seen = header.vr(element)
    if seen in BINARY_VRS:
        return [str(number) for number in header.ints(element)]
    if vr in WHOLE_VRS:
        return [header.text(element)]
    return list(header.texts(element))


def _rows(one: DeclaredTag, number: int, text: str) -> Iterator[DeclaredValue]:
    if one.vr != "PN":
        yield DeclaredValue(one.id, number, text, value_key(one.vr, text))
        return
    # a row for each group beside the whole name: any of the three is found by an index
    first = number * _KEYS_OF_NAME
    yield DeclaredValue(one.id, first, text, name_key(text))
    for at, group in enumerate(name_fold(text), start=first + 1):
        if group:
            yield DeclaredValue(one.id, at, "", group)


def value_key(vr: str, text: str) -> str:
    """A value as it is compared; empty when it is none of its VR, and then no key finds it."""
    if vr == "DA":
        return date_key(text)
    if vr == "TM":
        return time_key(text)
    if vr == "DT":
        return datetime_key(text)
    if vr in EXACT_VRS:
        return text[:FOLDED_CHARS]
    if vr in INTEGER_VRS or vr == "DS":
        return number_key(vr, text)
    return text_fold(text)


def number_key(vr: str, text: str) -> str:
    """The same number has one key, however it is written."""
    try:
        return repr(decimal_read(text) + 0.0) if vr == "DS" else str(integer_read(text))
    except QueryError:
        return ""


# --- of a key --------------------------------------------------------------------------------------------------------


def declared_match(attribute: Attribute, key: Key) -> Match:
    """PS3.4 C.2.2.2 for the attribute's VR: any value of any object of the study or series. Raises QueryError."""
    if attribute.is_creator:
        return Match() if key_test("LO", key)(attribute.creator) else Match("FALSE")
    vr, value = attribute.vr, key.value
    if vr == "UI":
        return _held(attribute, Match("v.key = ANY(%s)", (list(uids_read(value)),)))
    if "\\" in value and vr != "CS":
        raise QueryError("a key has more than one value")
    if vr in _SPANS:
        return _held(attribute, _span_match(vr, value))
    if vr in EXACT_VRS:
        return _held(attribute, Match("v.key = %s AND v.value = %s", (value[:FOLDED_CHARS], value)))
    if vr in INTEGER_VRS or vr == "DS":
        number = repr(decimal_read(value) + 0.0) if vr == "DS" else str(integer_read(value))
        return _held(attribute, Match("v.key = %s", (number,)))
    if vr == "PN":
        return _held(attribute, _name_match(value))
    parts = [text_match("v.key", text_folded(part)) for part in value.split("\\") if part]
    if not parts:
        raise QueryError("a key has no letters to compare")
    if any(not part.sql for part in parts):
        return Match()  # one of the list is *
    sql = " OR ".join(f"({part.sql})" for part in parts)
    return _held(attribute, Match(f"({sql})", tuple(param for part in parts for param in part.params)))


def _held(attribute: Attribute, match: Match) -> Match:
    condition = f" AND {match.sql}" if match.sql else ""
    sql = f"EXISTS (SELECT 1 FROM imaging_queryvalue v WHERE {_of_owner(attribute.level, attribute.declared)}{condition})"  # noqa: S608 ours
    return Match(sql, match.params)


def _span_match(vr: str, value: str) -> Match:
    span = spanned(_SPANS[vr], value)
    sql, params = ["v.key > ''"], []
    if span.low:
        sql.append("v.key >= %s")
        params.append(span.low)
    if span.high:
        sql.append("v.key <= %s")
        params.append(span.high)
    return Match(" AND ".join(sql), tuple(params))


def _name_match(value: str) -> Match:
    """A key without = finds any of the three groups, one with = compares group by group."""
    if "=" not in value:
        match = text_match("v.key", name_folded(value))
        # the whole name's key begins with =, a group's never does
        return Match(f"(v.key < '=' OR v.key >= '>') AND {match.sql}" if match.sql else "", match.params)
    groups = [group_fold(group) or "*" for group in value.split("=")[:3]]
    groups += ["*"] * (3 - len(groups))
    return Match("v.key >= '=' AND v.key < '>' AND v.key ~ %s", ("^=" + "=".join(map(group_regex, groups)) + "=$",))

