"""How one key is compared (PS3.4 C.2.2.2.1 to C.2.2.2.6): conditions in SQL where rows have a column for it, else a test in Python.

Conditions that an index serves use leakproof operators only (=, <, >= on text "C" and numbers); LIKE and ~ only filter.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from imaging.header import uid_is_valid
from imaging.query import attributes, moments
from imaging.query.attributes import Attribute
from imaging.query.fold import group_fold, has_wildcards, name_fold, text_fold
from imaging.query.keys import Key, QueryError

Value = str | int | list[dict[str, str]] | None
Test = Callable[[Value], bool]

WILDCARD_VRS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"))
LISTED_VRS = frozenset(("UI", "CS"))  # several values in one key: any of them
NAME_COLUMNS = ("p.name_key", "p.name_ideographic_key", "p.name_phonetic_key")
_SIGNS = frozenset(".[]{}()+^$|\\-&#!/~")
_LAST_CHAR = "\U0010ffff"
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Match:
    """`sql` narrows in the database, `test` decides over the value as received; either may be absent."""

    sql: str = ""
    params: tuple[Any, ...] = ()
    test: Test | None = None
    is_exact: bool = False  # an index leads to a few rows


def match_make(attribute: Attribute, key: Key) -> Match:
    """Raises QueryError for a value that the VR does not have."""
    vr = attribute.vr
    if "\\" in key.value and vr not in LISTED_VRS:
        raise QueryError("a key has more than one value")
    special = _SPECIAL.get(attribute.tag)
    if special is not None:
        return special(attribute, key.value)
    if attribute.is_extra or attribute.is_counted:
        return Match(test=key_test(vr, key))
    if vr == "UI":
        return Match(f"{attribute.column} = ANY(%s)", (uids_read(key.value),), is_exact=attribute.tag in attributes.UNIQUE)
    if vr in {"IS", "US"}:
        return Match(f"{attribute.column} = %s", (integer_read(key.value),))
    if attribute.folded:
        return text_match(attribute.folded, text_folded(key.value))
    return _unfolded(attribute, key)


def _unfolded(attribute: Attribute, key: Key) -> Match:
    """A column without a folded sister: SQL may take a first cut, Python decides."""
    test = key_test(attribute.vr, key)
    if attribute.vr == "CS" and key.value.isascii() and "\\" not in key.value and not has_wildcards(key.value):
        return Match(f"upper({attribute.column}) = %s", (key.value.strip().upper(),), test)
    return Match(test=test)


def text_match(column: str, pattern: str) -> Match:
    if not has_wildcards(pattern):
        return Match(f"{column} = %s", (pattern,), is_exact=True)
    start = re.split(r"[*?]", pattern, maxsplit=1)[0]
    sql, params = [], []
    if start:
        sql.append(f"{column} >= %s AND {column} < %s")
        params += [start, start + _LAST_CHAR]
    if pattern != f"{start}*":
        sql.append(f"{column} LIKE %s")
        params.append(like_pattern(pattern))
    return Match(" AND ".join(sql), tuple(params))


def like_pattern(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _name_match(_: Attribute, value: str) -> Match:
    """Patient's Name: a key without = finds any of the three groups, one with = compares group by group."""
    if "=" in value:
        groups = [group_fold(group) for group in value.split("=")[:3]]
        found = [text_match(column, group) for column, group in zip(NAME_COLUMNS, groups, strict=False) if group not in {"", "*"}]
        glue = " AND "
    else:
        found = [text_match(column, name_folded(value)) for column in NAME_COLUMNS]
        glue = " OR "
    if not found:
        return Match()
    sql = glue.join(f"({match.sql})" for match in found)
    return Match(f"({sql})", tuple(p for match in found for p in match.params))


def _scanned_name_match(attribute: Attribute, value: str) -> Match:
    """A name in one column, `=smith^john^===`: the groups' own = keeps a wildcard inside its group."""
    if "=" in value:
        groups = [group_fold(group) or "*" for group in value.split("=")[:3]]
        groups += ["*"] * (3 - len(groups))
        pattern = "^=" + "=".join(group_regex(group) for group in groups) + "=$"
    else:
        pattern = f"={group_regex(name_folded(value))}="
    return Match(f"{attribute.folded} ~ %s", (pattern,))


def group_regex(group: str) -> str:
    return _regex(group, any_char="[^=]")


def _date_match(attribute: Attribute, value: str) -> Match:
    return _span_match(attribute.folded, spanned(moments.date_span, value))


def _time_match(attribute: Attribute, value: str) -> Match:
    return _span_match(attribute.folded, spanned(moments.time_span, value))


def _birth_date_match(attribute: Attribute, value: str) -> Match:
    span = spanned(moments.date_span, value)
    match = _span_match(f'{attribute.column} COLLATE "C"', span)
    return Match(match.sql, match.params, lambda stored: moments.span_holds(span, moments.date_key(str(stored or ""))))


def _span_match(column: str, span: moments.Span) -> Match:
    sql, params = [f"{column} > ''"], []
    if span.low:
        sql.append(f"{column} >= %s")
        params.append(span.low)
    if span.high:
        sql.append(f"{column} <= %s")
        params.append(span.high + "~")  # behind every longer key that begins so
    return Match(" AND ".join(sql), tuple(params))


def started_match(date: str, time: str, *, column: str = "s.started_key") -> Match | None:
    """Date and time ranges as one (PS3.4 C.2.2.2.5, combined matching); None when one of them is no range."""
    day, clock = spanned(moments.date_span, date), spanned(moments.time_span, time)
    if not (day.is_range and clock.is_range):
        return None
    low = day.low + clock.low if day.low else ""
    high = day.high + (clock.high or "~") if day.high else ""
    if low and high and low > high:
        raise QueryError("a range ends before it begins")
    return _span_match(column, moments.Span(low, high, True))


def _modalities_match(_: Attribute, value: str) -> Match:
    """Any modality of the study against any value of the key (PS3.4 C.3.4)."""
    regexes = [_regex(part.strip().upper(), any_char="[^,]") for part in value.split("\\") if part.strip()]
    return Match("',' || s.modalities || ',' ~ %s", (f",({'|'.join(regexes)}),",))


def _regex(pattern: str, *, any_char: str) -> str:
    """For PostgreSQL's ~, whose automaton does not backtrack. Only signs get a backslash: before a letter it has a meaning."""
    classes = {"*": f"{any_char}*", "?": any_char}
    return "".join(classes.get(char) or (f"\\{char}" if char in _SIGNS else char) for char in pattern)


def _classes_match(_: Attribute, value: str) -> Match:
    sql = (
        "EXISTS (SELECT 1 FROM imaging_instance x WHERE x.tenant_id = s.tenant_id AND x.study_id = s.id "
        "AND x.sop_class_uid = ANY(%s))"
    )
    return Match(sql, (uids_read(value),))


_SPECIAL: dict[int, Callable[[Attribute, str], Match]] = {
    0x00100010: _name_match,
    0x00080090: _scanned_name_match,
    0x00100030: _birth_date_match,
    0x00321032: _scanned_name_match,  # Requesting Physician
    0x00400006: _scanned_name_match,  # Scheduled Performing Physician's Name
    0x00400002: _date_match,  # Scheduled Procedure Step Start Date
    0x00400003: _time_match,  # and Time
    attributes.STUDY_DATE: _date_match,
    attributes.STUDY_TIME: _time_match,
    attributes.MODALITIES: _modalities_match,
    attributes.SOP_CLASSES: _classes_match,
}


def key_test(vr: str, key: Key) -> Test:
    """The comparison in Python; a value of several parts matches by any of them (PS3.4 C.2.2.2.1)."""
    if vr == "SQ":
        return _items_test(key)
    one = _ONE_VALUE.get(vr, _text_test)(key.value)
    if vr == "PN":
        return lambda stored: any(one(part) for part in str(stored or "").split("\\"))
    return lambda stored: stored not in {None, ""} and any(one(part) for part in str(stored).split("\\"))  # type: ignore[operator]


def _items_test(key: Key) -> Test:
    """PS3.4 C.2.2.2.6: one item has to match all keys of the item asked for."""
    tests = [
        (attributes.extra_name(item.tag), key_test(item.vr, item)) for item in key.items if not item.is_universal
    ]
    return lambda items: isinstance(items, list) and any(
        all(test(item.get(name)) for name, test in tests) for item in items
    )


def _text_test(value: str) -> Callable[[str], bool]:
    patterns = [text_folded(part) for part in value.split("\\") if part]
    return lambda stored: any(glob_match(pattern, text_fold(stored)) for pattern in patterns)


def _name_test(value: str) -> Callable[[str], bool]:
    groups = [group_fold(group) for group in value.split("=")[:3]]

    def test(stored: str) -> bool:
        names = name_fold(stored)
        if len(groups) == 1:
            return any(name and glob_match(groups[0], name) for name in names)
        return all(glob_match(group or "*", name) for group, name in zip(groups, names, strict=False))

    return test


def _exact_test(value: str) -> Callable[[str], bool]:
    return lambda stored: stored == value


def _uid_test(value: str) -> Callable[[str], bool]:
    uids = frozenset(uids_read(value))
    return lambda stored: stored in uids


def _integer_test(value: str) -> Callable[[str], bool]:
    number = integer_read(value)
    return lambda stored: bool(_INTEGER.fullmatch(stored)) and int(stored) == number


def _decimal_test(value: str) -> Callable[[str], bool]:
    number = decimal_read(value)
    return lambda stored: bool(_DECIMAL.fullmatch(stored.strip())) and float(stored) == number


def _span_test(read: Callable[[str], moments.Span], key: Callable[[str], str]) -> Callable[[str], Callable[[str], bool]]:
    def make(value: str) -> Callable[[str], bool]:
        span = spanned(read, value)
        return lambda stored: bool(low := key(stored)) and moments.span_holds(span, low)

    return make


def datetime_key(text: str) -> str:
    try:
        return moments.datetime_read(text)[0]
    except moments.MomentError:
        return ""


_ONE_VALUE: dict[str, Callable[[str], Callable[[str], bool]]] = {
    "PN": _name_test,
    "UI": _uid_test,
    "UR": _exact_test,
    "AS": _exact_test,
    "IS": _integer_test,
    "US": _integer_test,
    "DS": _decimal_test,
    "DA": _span_test(moments.date_span, moments.date_key),
    "TM": _span_test(moments.time_span, moments.time_key),
    "DT": _span_test(moments.datetime_span, datetime_key),
}


def glob_match(pattern: str, text: str) -> bool:
    """* and ? in time proportional to both lengths: a regular expression made from `*a*a*a*b` would take for ever."""
    at = seen = 0
    star, resume = -1, 0
    while seen < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, seen, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[seen]):
            at, seen = at + 1, seen + 1
        elif star >= 0:
            resume += 1
            at, seen = star + 1, resume
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def text_folded(value: str) -> str:
    return _something(text_fold(value))


def name_folded(value: str) -> str:
    return _something(group_fold(value))


def _something(folded: str) -> str:
    if not folded:
        raise QueryError("a key has no letters to compare")
    return folded


def spanned(read: Callable[[str], moments.Span], value: str) -> moments.Span:
    try:
        return read(value)
    except moments.MomentError as error:
        raise QueryError(str(error)) from None


def uids_read(value: str) -> Sequence[str]:
    uids = [part.strip(" \0") for part in value.split("\\") if part.strip(" \0")]
    if not uids or not all(uid_is_valid(uid) for uid in uids):
        raise QueryError("a UID is malformed; it has no wildcards")
    return uids


def integer_read(value: str) -> int:
    if not _INTEGER.fullmatch(value.strip()):
        raise QueryError("a number is none")
    return int(value)


def decimal_read(value: str) -> float:
    if not _DECIMAL.fullmatch(value.strip()):
        raise QueryError("a number is none")
    return float(value)
