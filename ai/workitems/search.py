"""What a search for workitems asks (PS3.18 11.9, 8.3.4) and which data sets match. Pure; `selectors` brings the rows."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR

from ai.workitems import dataset as ds
from imaging.query.keys import QueryError
from imaging.query.moments import MomentError, Span, date_span, datetime_read, datetime_span, span_holds
from imaging.query.web import path_read

LIMIT, LIMIT_MAX, OFFSET_MAX, KEYS_MAX, STEPS_MAX = 200, 1000, 1_000_000, 32, 4
CONTROLS = frozenset({"limit", "offset", "includefield", "fuzzymatching"})
ALWAYS = (
    ds.SOP_CLASS, ds.SOP_INSTANCE, ds.STATE, ds.PRIORITY, ds.LABEL, ds.WORKLIST_LABEL, ds.START, ds.READINESS, ds.WORKITEM_CODE,
    ds.STATION, ds.STUDY, ds.PATIENT_NAME, ds.PATIENT_ID, "00404011", "00100030", "00100040", "0040A370",
)  # fmt: skip
WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBER, _UNFIT = re.compile(r"[0-9]{1,9}"), re.compile("[\0-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Key:
    """One attribute that must match; `path` leads through sequences to it."""

    path: tuple[str, ...]
    value: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Search:
    """A whole request. `include` is None for everything."""

    keys: tuple[Key, ...]
    include: frozenset[str] | None
    limit: int
    offset: int
    warnings: tuple[str, ...] = ()

    def value(self, tag: str) -> str:
        """What is asked of a top-level attribute, for the index; empty when nothing."""
        return next((key.value for key in self.keys if key.path == (tag,)), "")

    def matches(self, found: Mapping[str, Any]) -> bool:
        return all(any(key.holds(value) for value in _values(found, key.path)) for key in self.keys)

    def answer(self, found: Mapping[str, Any]) -> ds.Dataset:
        if self.include is None:
            return dict(sorted(found.items()))
        wanted = {*ALWAYS, *self.include, *(key.path[0] for key in self.keys)}
        return {tag: found[tag] for tag in sorted(wanted) if tag in found}


def search_read(parameters: Iterable[tuple[str, str]]) -> Search:
    """Raises QueryError, whose words name the parameter and nothing of its value."""
    keys: list[Key] = []
    include: set[str] | None = set()
    numbers = {"limit": LIMIT, "offset": 0}
    warnings = []
    for name, value in parameters:
        if _UNFIT.search(value):
            raise QueryError("a parameter has control characters or is no UTF-8")
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name == "fuzzymatching":
            if value.strip().lower() == "true":
                warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
        elif name == "includefield":
            include = _included(include, value)
        else:
            keys.append(_key(name, value))
    if len(keys) > KEYS_MAX:
        raise QueryError("there are too many parameters")
    return Search(
        keys=tuple(key for key in keys if key.value), include=frozenset(include) if include is not None else None,
        limit=min(numbers["limit"], LIMIT_MAX), offset=numbers["offset"], warnings=tuple(warnings),
    )  # fmt: skip


def _included(include: set[str] | None, value: str) -> set[str] | None:
    for one in filter(None, (part.strip() for part in value.split(","))):
        if one == "all":
            return None
        if include is not None:
            include.add(_path(one)[0])
    return include


def _number(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value.strip()) or int(value) > OFFSET_MAX:
        raise QueryError(f"{name} is not a whole number from 0 to {OFFSET_MAX}")
    return int(value)


def _path(name: str) -> tuple[str, ...]:
    steps = name.split(".")
    if len(steps) > STEPS_MAX:
        raise QueryError("a parameter leads too deep")
    path = tuple(f"{path_read(step)[0]:08X}" for step in steps)
    if ds.TRANSACTION in path:
        raise QueryError("the Transaction UID is nobody's to ask for")
    return path


def _key(name: str, value: str) -> Key:
    path = _path(name)
    vr = _vr(path[-1])
    if vr == "SQ" and value:
        raise QueryError("a sequence is asked for by one of its attributes")
    return Key(path, value, _matcher(vr, value.strip()))


@lru_cache(maxsize=1024)
def _vr(tag: str) -> str:
    try:
        return dictionary_VR(int(tag, 16))[:2]
    except KeyError:
        return "UN"


def _matcher(vr: str, value: str) -> Callable[[Any], bool]:
    """How values of this kind are compared (PS3.4 C.2.2.2): dates by range, UIDs and codes by list, texts by wildcard."""
    if vr in ("DT", "DA"):
        return _moment(vr, value)
    is_wild = vr in WILD and any(sign in value for sign in "*?")
    if vr == "UI" or (vr == "CS" and not is_wild):
        wanted = {part.strip() for part in re.split(r"[,\\]", value)}
        return lambda found: str(found) in wanted
    if is_wild:
        # nothing but * and ? is special
        pattern = re.compile(translate(value.replace("[", "[[]")), re.IGNORECASE if vr == "PN" else 0)
        return lambda found: pattern.match(_text(found)) is not None
    if vr == "PN":
        return lambda found: _text(found).casefold() == value.casefold()
    return lambda found: _text(found) == value


def _moment(vr: str, value: str) -> Callable[[Any], bool]:
    try:
        span = (date_span(value) if vr == "DA" else datetime_span(value)) if value else Span("", "", False)
    except MomentError as error:
        raise QueryError(str(error)) from None

    def holds(found: Any) -> bool:
        try:
            low = str(found) if vr == "DA" else datetime_read(str(found))[0]
        except MomentError:
            return False
        return span_holds(span, low)

    return holds


def _text(found: Any) -> str:
    return str(found.get("Alphabetic", "") if isinstance(found, dict) else "" if found is None else found).strip()


def _values(found: Mapping[str, Any], path: tuple[str, ...]) -> list[Any]:
    """Every value that a path leads to; a single None when there is none, which only universal matching takes."""
    values = (found.get(path[0]) or {}).get("Value") or []
    if len(path) == 1:
        return values
    return [value for item in values if isinstance(item, dict) for value in _values(item, path[1:])]
