"""A worklist query: keys read and checked, one statement by keyset, values in the order of the keys (PS3.4 K.4.1.1, K.6.1)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings

from imaging.header import HeaderError, header_read
from imaging.query.attributes import CHARACTER_SET, Attribute, extra_name
from imaging.query.keys import Key, QueryError, keys_read, sequence_items, value_check
from imaging.query.match import Match, Test, Value, match_make, started_match
from imaging.query.rows import QueryTooWideError, rows_fetch
from imaging.worklist.attributes import (
    ACCESSION_ISSUER,
    ORDER_ATTRIBUTES,
    START_DATE,
    START_TIME,
    STEP,
    STEP_ATTRIBUTES,
    STEPS,
)
from journal.wall.scope import tenant_scope

PAGE = 500

Answers = tuple[tuple[Key, Attribute | None], ...]
Read = Callable[[Sequence[Any], dict[int, dict[str, Any]]], Value]


@dataclass(frozen=True, slots=True)
class WorklistQuery:
    """Checked: conditions, and what is wanted back. `step_answers` is None when the sequence of steps is not."""

    conditions: tuple[tuple[Attribute, Key], ...]
    answers: Answers
    step_answers: Answers | None
    character_set: str

    @property
    def has_unsupported(self) -> bool:
        return any(attribute is None for _, attribute in (*self.answers, *(self.step_answers or ())))


@dataclass(frozen=True, slots=True)
class Row:
    """One match: values in the order of the answers."""

    values: list[Value]
    step_values: list[Value]


def worklist_parse(encoded: bytes, *, transfer_syntax_uid: str) -> WorklistQuery:
    """Raises QueryError; its words are fit for a peer."""
    try:
        header = header_read(encoded, transfer_syntax_uid=transfer_syntax_uid)
    except HeaderError:
        raise QueryError("the identifier cannot be read") from None
    keys = keys_read(header, ORDER_ATTRIBUTES)
    items = sequence_items(header, STEPS)
    if len(items) > 1:
        raise QueryError("a sequence key has one item")
    step_keys = keys_read(items[0], STEP_ATTRIBUTES) if items else ()
    if STEPS in header and not step_keys:  # nothing named in it: all that we have (PS3.4 C.2.2.2.6)
        step_keys = tuple(Key(tag, attribute.vr) for tag, attribute in sorted(STEP_ATTRIBUTES.items()))
    answers = tuple((key, ORDER_ATTRIBUTES.get(key.tag)) for key in keys)
    step_answers = tuple((key, STEP_ATTRIBUTES.get(key.tag)) for key in step_keys)
    conditions = [
        (attribute, key) for key, attribute in (*answers, *step_answers)
        if attribute is not None and key.tag != STEPS and not key.is_universal
    ]  # fmt: skip
    for _, key in conditions:
        value_check(key)
    return WorklistQuery(
        tuple(conditions), answers, step_answers if STEPS in header else None, header.text(CHARACTER_SET)
    )


@dataclass
class _Plan:
    """What to select and how to read a selected row."""

    where: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    columns: list[str] = field(default_factory=lambda: ["w.id", "w.started_key"])
    tests: list[tuple[Read, Test]] = field(default_factory=list)

    def read(self, attribute: Attribute | None) -> Read:
        """How to get an attribute of a row; its column is selected once."""
        if attribute is None or attribute.tag == STEPS:
            return _nothing
        if attribute.tag == ACCESSION_ISSUER:
            return _issuer_read(self._place("o.issuer"))
        place = self._place(attribute.column or ("w.extra" if attribute.level == STEP else "o.extra"))
        return _extra_read(place, extra_name(attribute.tag)) if attribute.is_extra else _column_read(place)

    def _place(self, column: str) -> int:
        if column not in self.columns:
            self.columns.append(column)
        return self.columns.index(column)

    def add(self, attribute: Attribute, match: Match) -> None:
        if match.sql:
            self.where.append(match.sql)
            self.params += match.params
        if match.test is not None:
            self.tests.append((self.read(attribute), match.test))

    def sql(self) -> str:
        """By keyset behind a step, in the order of the day; only what is still to be done."""
        conditions = [
            "w.tenant_id = %s", "o.tenant_id = %s", "p.tenant_id = %s", "w.is_listed", *self.where,
            "(w.started_key, w.id) > (%s, %s)",
        ]  # fmt: skip
        return (
            f"SELECT {', '.join(self.columns)} FROM imaging_scheduledstep w "  # noqa: S608 our own columns and conditions
            "JOIN imaging_order o ON o.tenant_id = w.tenant_id AND o.id = w.order_id "
            "JOIN imaging_patient p ON p.tenant_id = o.tenant_id AND p.id = o.patient_id "
            f"WHERE {' AND '.join(conditions)} ORDER BY w.started_key, w.id LIMIT %s"
        )

    def all_params(self, tenant_id: int, behind: tuple[str, int], limit: int) -> list[Any]:
        return [tenant_id, tenant_id, tenant_id, *self.params, *behind, limit]


def _nothing(row: Sequence[Any], parsed: dict[int, dict[str, Any]]) -> Value:
    return None


def _column_read(place: int) -> Read:
    return lambda row, _: row[place]


def _issuer_read(place: int) -> Read:
    return lambda row, _: [{extra_name(0x00400031): row[place]}] if row[place] else None


def _extra_read(place: int, name: str) -> Read:
    def read(row: Sequence[Any], parsed: dict[int, dict[str, Any]]) -> Value:
        if place not in parsed:
            parsed[place] = orjson.loads(row[place] or "{}")
        return parsed[place].get(name)

    return read


def _plan_make(query: WorklistQuery) -> _Plan:
    """Raises QueryError for values that their VR does not have."""
    plan = _Plan()
    matches = [(attribute, match_make(attribute, key)) for attribute, key in query.conditions]
    given = {attribute.tag: key.value for attribute, key in query.conditions}
    if {START_DATE, START_TIME} <= given.keys():
        # Two ranges mean one period, from the first moment to the last (table K.6-1, remark at the start time).
        period = started_match(given[START_DATE], given[START_TIME], column="w.started_key")
        if period is not None:
            matches = [(a, match) for a, match in matches if a.tag not in {START_DATE, START_TIME}]
            matches.append((STEP_ATTRIBUTES[START_DATE], period))
    for attribute, match in matches:
        plan.add(attribute, match)
    return plan


def _row(plan: _Plan, reads: list[Read], step_reads: list[Read], row: Sequence[Any]) -> Row | None:
    """None when the row does not match after all."""
    parsed: dict[int, dict[str, Any]] = {}
    if not all(test(read(row, parsed)) for read, test in plan.tests):
        return None
    return Row([read(row, parsed) for read in reads], [read(row, parsed) for read in step_reads])


def worklist_rows(
    query: WorklistQuery, *, tenant_id: int, limit: int | None = None, at_start: Callable[[], object] = lambda: None,
) -> Iterator[list[Row]]:
    """Pages of matches, earliest first, each in a short transaction. `at_start` runs in the first one (the audit record).

    Raises QueryError at the first step, QueryTooWideError behind the last page that is allowed.
    """
    left = settings.MEDHUB_QUERY_LIMIT if limit is None else limit
    plan = _plan_make(query)
    reads = [plan.read(attribute) for _, attribute in query.answers]
    step_reads = [plan.read(attribute) for _, attribute in query.step_answers or ()]
    behind = ("", 0)
    while True:
        size = min(PAGE, left)
        with tenant_scope(tenant_id):
            found = rows_fetch(plan.sql(), plan.all_params(tenant_id, behind, size + 1), tenant_id=tenant_id)
            if behind == ("", 0):
                at_start()
        yield [match for match in (_row(plan, reads, step_reads, row) for row in found[:size]) if match is not None]
        if len(found) <= size:
            return
        left -= size
        if left <= 0:
            raise QueryTooWideError
        behind = (found[size - 1][1], found[size - 1][0])
