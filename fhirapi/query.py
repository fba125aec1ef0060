"""Search parameters as the caller wrote them -> a Query, what was kept of them, and what was not understood.

Unknown parameters are ignored and said so, or refused under `Prefer: handling=strict`. An unsupported modifier or a chain is
always refused: ignoring one would answer with everybody's data (FHIR R4 3.1.1.4.5).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson
from django.core import signing

from fhirapi.dates import Condition, Zone, updated_condition
from fhirapi.index import DICOM_UID, OID, reference_hash, token_hash
from fhirapi.outcomes import FhirError
from fhirapi.registry import COUNT_DEFAULT, COUNT_MAX, OR_MAX, SORTS, TYPES, Param
from fhirapi.search import Position, Query, Term
from fhirapi.validation import ID

CURSOR = "_cursor"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLAIN_NAME = re.compile(r"[_a-z][A-Za-z-]{0,31}")  # only such a name may be repeated to the caller
OR_PART = re.compile(r"(?:[^\\,]|\\.|\\$)+", re.DOTALL)  # up to a comma that no backslash escapes

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """`kept` is the search as we understood it, for the self and next links; `ignored` names what was not."""

    query: Query
    kept: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]


@dataclass
class _Reading:
    """What is gathered while the parameters are walked."""

    tenant_id: int
    rtype: str
    base: str
    zone: Zone
    ids: list[tuple[str, ...]] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    patients: list[tuple[str, ...]] = field(default_factory=list)
    updated: list[Condition] = field(default_factory=list)
    includes: list[tuple[str, str]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    cursor: str = ""


def query_parse(*, tenant_id: int, rtype: str, pairs: Pairs, base: str, zone: Zone, is_strict: bool) -> Parsed:
    """Understand a search. Raises FhirError 400 for what must not be guessed at."""
    reading = _Reading(tenant_id=tenant_id, rtype=rtype, base=base, zone=zone)
    kept, ignored = [], []
    for name, value in pairs:
        if name in {"_format", "_pretty"}:  # about the answer's form, not about what is found
            continue
        if value and _read(reading, name, value):
            if name != CURSOR:
                kept.append((name, value))
        else:
            ignored.append(name if PLAIN_NAME.fullmatch(name) else "(unnamed)")
    if ignored and is_strict:
        raise FhirError(400, f"Not supported under handling=strict: {', '.join(sorted(set(ignored)))}.", code="not-supported")
    query = Query(
        rtype=rtype, ids=tuple(reading.ids), terms=tuple(reading.terms), patients=tuple(reading.patients),
        updated=tuple(reading.updated), includes=tuple(dict.fromkeys(reading.includes)),
        after=_cursor_read(reading, kept), **reading.options,
    )  # fmt: skip
    return Parsed(query=query, kept=tuple(kept), ignored=tuple(dict.fromkeys(ignored)))


def cursor_make(*, tenant_id: int, rtype: str, kept: Pairs, position: Position) -> str:
    """Where a page ended, signed for this hospital and this very search."""
    key, rid = position
    return signing.dumps([(key - EPOCH) // timedelta(microseconds=1), rid], salt=_salt(tenant_id, rtype, kept))


def _cursor_read(reading: _Reading, kept: Pairs) -> Position | None:
    if not reading.cursor:
        return None
    try:
        micros, rid = signing.loads(reading.cursor, salt=_salt(reading.tenant_id, reading.rtype, kept))
    except signing.BadSignature:
        raise FhirError(400, "The page link is not one of this search's.", code="value") from None
    return EPOCH + timedelta(microseconds=micros), rid


def _salt(tenant_id: int, rtype: str, kept: Pairs) -> str:
    return f"fhirapi.cursor.{sha256(orjson.dumps([tenant_id, rtype, sorted(kept)])).hexdigest()}"


def _read(reading: _Reading, name: str, value: str) -> bool:
    """Take one parameter in. False: it is not one of ours."""
    if name in READERS:
        return READERS[name](reading, value)
    plain, separator, modifier = name.partition(":")
    param = TYPES[reading.rtype].by_name.get(plain)
    if param and separator and param.kind == "reference" and modifier in param.targets:
        _read_reference(reading, param, [f"{modifier}/{text}" if "/" not in text else text for text in _values(value)])
        return True
    if separator or "." in name:
        raise FhirError(400, "A modifier or chain of a search parameter is not supported.", code="not-supported")
    if param is None:
        return False
    if param.kind == "token":
        _read_token(reading, param, _values(value))
    else:
        _read_reference(reading, param, _values(value))
    return True


def _values(text: str) -> list[str]:
    """The OR list of a value, split at commas that no backslash escapes (FHIR R4 3.1.1.4.2)."""
    values = OR_PART.findall(text)
    if not values:
        raise FhirError(400, "A parameter has no value between its commas.", code="value")
    if len(values) > OR_MAX:
        raise FhirError(400, f"More than {OR_MAX} values in one parameter.", code="too-costly")
    return values


def _plain(text: str) -> str:
    return re.sub(r"\\([\\,|$])", r"\1", text)


def _read_token(reading: _Reading, param: Param, values: list[str]) -> None:
    hashes, needles = [], []
    for value in values:
        left, bar, right = _bar_split(value)
        system, code = (left, right or None) if bar else (None, left)
        hashes.append(token_hash(tenant_id=reading.tenant_id, rtype=reading.rtype, param=param, system=system, code=code))
        if param.is_identifier:
            needles += _identifier_needles(system, code)
    reading.terms.append(Term(hashes=tuple(hashes), needles=tuple(needles), rank=param.rank))


def _bar_split(value: str) -> tuple[str, str, str]:
    """`system|code` at the first bar that no backslash escapes."""
    found = re.match(r"((?:[^\\|]|\\.)*)\|(.*)", value, re.DOTALL)
    if not found:
        return _plain(value), "", ""
    return _plain(found[1]), "|", _plain(found[2])


def _identifier_needles(system: str | None, code: str | None) -> list[str]:
    if code is None:
        return [_json_pair("system", system or "")]
    needles = [_json_pair("value", code)]
    if system in {None, DICOM_UID}:
        needles.append(_json_pair("value", OID + code))
    return needles


def _json_pair(name: str, value: str) -> str:
    """A member as the store wrote it."""
    return orjson.dumps({name: value}).decode()[1:-1]


def _read_reference(reading: _Reading, param: Param, values: list[str]) -> None:
    """`id`, `Type/id`, or an absolute URL of this server; another server's resource is never one of ours."""
    targets = [target for value in values for target in _targets(reading.base, param, _plain(value))]
    if param.is_patient:
        reading.patients.append(tuple(fhir_id for _, fhir_id in targets) or ("",))
        return
    hashes = [
        reference_hash(tenant_id=reading.tenant_id, rtype=reading.rtype, param=param, target=f"{kind}/{fhir_id}")
        for kind, fhir_id in targets
    ]
    needles = [_json_pair("reference", f"{kind}/{fhir_id}") for kind, fhir_id in targets]
    reading.terms.append(Term(hashes=tuple(hashes) or (0,), needles=tuple(needles) or ("\1",), rank=param.rank))


def _targets(base: str, param: Param, value: str) -> list[tuple[str, str]]:
    local = value.removeprefix(f"{base}/")
    kind, slash, fhir_id = local.partition("/")
    if not slash:
        return [(target, local) for target in param.targets if ID.fullmatch(local)]
    return [(kind, fhir_id)] if kind in param.targets and ID.fullmatch(fhir_id) else []


def _read_ids(reading: _Reading, value: str) -> bool:
    reading.ids.append(tuple(text for text in _values(value) if ID.fullmatch(text)))
    return True


def _read_updated(reading: _Reading, value: str) -> bool:
    conditions = [updated_condition(value=text, zone=reading.zone) for text in _values(value)]
    text = "(" + " OR ".join(sql for sql, _ in conditions) + ")"
    reading.updated.append((text, tuple(moment for _, moments in conditions for moment in moments)))
    return True


def _read_count(reading: _Reading, value: str) -> bool:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise FhirError(400, "_count is no number.", code="value")
    count = min(int(value), COUNT_MAX)
    reading.options["count"] = count or COUNT_DEFAULT
    if count == 0:  # FHIR R4 3.1.1.5.3: the same as _summary=count
        reading.options["is_count_only"] = True
    return True


def _read_summary(reading: _Reading, value: str) -> bool:
    if value == "count":
        reading.options["is_count_only"] = True
    return value in {"count", "false"}


def _read_sort(reading: _Reading, value: str) -> bool:
    if value not in SORTS:
        return False
    reading.options |= {"is_by_update": True, "is_descending": value.startswith("-")}
    return True


def _read_include(reading: _Reading, value: str) -> bool:
    """`Type:parameter` or `Type:parameter:TargetType`."""
    rtype, _, rest = value.partition(":")
    name, _, wanted = rest.partition(":")
    param = TYPES[reading.rtype].by_name.get(name)
    if rtype != reading.rtype or param is None or param.kind != "reference":
        return False
    if wanted and wanted not in param.targets:
        return False
    reading.includes += [(".".join(param.path), target) for target in param.targets if target == (wanted or target)]
    return True


def _read_cursor(reading: _Reading, value: str) -> bool:
    reading.cursor = value
    return True


READERS: dict[str, Callable[[_Reading, str], bool]] = {
    "_id": _read_ids,
    "_lastUpdated": _read_updated,
    "_count": _read_count,
    "_summary": _read_summary,
    "_sort": _read_sort,
    "_include": _read_include,
    CURSOR: _read_cursor,
}
