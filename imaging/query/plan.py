"""From a checked query to one SQL statement over patient, study, series and instance rows, and to values in answer order.

`imaging.query.rows` runs it. No ORM object is made for a match.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from imaging.query import attributes
from imaging.query.attributes import ALIASES, Attribute, Level, extra_name
from imaging.query.declared import declared_match
from imaging.query.keys import Query
from imaging.query.match import Match, Test, Value, match_make, started_match

_TABLES = ("imaging_patient p", "imaging_study s", "imaging_series e", "imaging_instance i")
_JOINS = {
    Level.PATIENT: "JOIN imaging_patient p ON p.tenant_id = s.tenant_id AND p.id = s.patient_id",
    Level.STUDY: "JOIN imaging_study s ON s.tenant_id = {0}.tenant_id AND s.id = {0}.study_id",
    Level.SERIES: "JOIN imaging_series e ON e.tenant_id = i.tenant_id AND e.id = i.series_id",
}
# A study whose objects were all put aside is not there yet.
_EXISTS = {
    Level.PATIENT: "EXISTS (SELECT 1 FROM imaging_study x WHERE x.tenant_id = p.tenant_id AND x.patient_id = p.id "
    "AND x.number_of_instances > 0)",
    Level.STUDY: "s.number_of_instances > 0",
}

DEEP = 100  # rows skipped before a page, from which on its ids are looked for first

Read = Callable[[Sequence[Any], dict[int, dict[str, Any]]], Value]


@dataclass
class Plan:
    """What to select and how to read a selected row."""

    level: Level
    is_exact: bool  # one person, study or accession is asked for
    _where: list[str] = field(default_factory=list)
    _params: list[Any] = field(default_factory=list)
    _columns: list[str] = field(default_factory=list)
    _levels: set[Level] = field(default_factory=set)
    _inner: set[Level] = field(default_factory=set)  # those that conditions need
    _answers: list[int | Read | None] = field(default_factory=list)
    _tests: list[tuple[Read, Test]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._columns.append(f"{ALIASES[self.level]}.id")

    def page_sql(self, tenant_id: int, *, limit: int) -> tuple[str, list[Any]]:
        """Whole rows of the first matches."""
        sql, params = self._from_where(tenant_id)
        return f"SELECT {', '.join(self._columns)} {sql} LIMIT %s", [*params, limit]

    @property
    def is_tested(self) -> bool:
        """Some rows of the statement may not match after all."""
        return bool(self._tests)

    def ordered_sql(self, tenant_id: int, *, unique: Mapping[Level, object], limit: int, offset: int) -> tuple[str, list[Any]]:
        """Studies newest first; series and instances by number inside of their study or series, else as they came.

        An order that an index gives: a page of a large archive must not sort it whole.
        """
        if self.level == Level.STUDY:
            order = "s.started_key DESC, s.id DESC"
        elif self.level == Level.SERIES:
            order = "e.number NULLS LAST, e.id" if Level.STUDY in unique else "e.id"
        elif Level.SERIES in unique:
            order = "i.number NULLS LAST, i.id"
        elif Level.STUDY in unique:
            self._levels.add(Level.SERIES)
            order = "e.number NULLS LAST, e.id, i.number NULLS LAST, i.id"
        else:
            order = "i.id"
        if offset >= DEEP:
            return self._deep_sql(tenant_id, order=order, limit=limit, offset=offset)
        sql, params = self._from_where(tenant_id)
        return f"SELECT {', '.join(self._columns)} {sql} ORDER BY {order} LIMIT %s OFFSET %s", [*params, limit, offset]

    def _deep_sql(self, tenant_id: int, *, order: str, limit: int, offset: int) -> tuple[str, list[Any]]:
        """Ids of the page first, from the tables that conditions and order need: rows that are skipped are not joined."""
        every, alias = set(self._levels), ALIASES[self.level]
        self._levels = self._inner | ({Level.SERIES} if order.startswith("e.") else set())
        inside, params = self._from_where(tenant_id)
        self._levels = every
        sql = (
            f"SELECT {', '.join(self._columns)} {self._tables()} "  # noqa: S608 expressions of our own
            f"JOIN (SELECT {alias}.id {inside} ORDER BY {order} LIMIT %s OFFSET %s) page ON page.id = {alias}.id "
            f"WHERE {self._tenant()} ORDER BY {order}"
        )
        return sql, [*params, limit, offset, *self._tenants(tenant_id)]

    def ids_sql(self, tenant_id: int, *, limit: int) -> tuple[str, list[Any]]:
        """The ids of all matches."""
        sql, params = self._from_where(tenant_id)
        return f"SELECT {ALIASES[self.level]}.id {sql} LIMIT %s", [*params, limit]

    def rows_sql(self, tenant_id: int, ids: list[int]) -> tuple[str, list[Any]]:
        """Whole rows by id."""
        sql = f"SELECT {', '.join(self._columns)} {self._tables()} WHERE {self._tenant()} AND {ALIASES[self.level]}.id = ANY(%s)"
        return sql, [*self._tenants(tenant_id), ids]

    def values(self, row: Sequence[Any]) -> list[Value] | None:
        """Values in the order of the query's answers; None when the row does not match after all."""
        parsed: dict[int, dict[str, Any]] = {}
        for read, test in self._tests:
            if not test(read(row, parsed)):
                return None
        return [
            row[answer] if answer.__class__ is int else answer(row, parsed) if answer else None  # type: ignore[operator, index]
            for answer in self._answers
        ]

    def _aliases(self) -> list[str]:
        return [ALIASES[level] for level in sorted({self.level, *self._levels}, reverse=True)]

    def _tenant(self) -> str:
        return " AND ".join(f"{alias}.tenant_id = %s" for alias in self._aliases())

    def _tenants(self, tenant_id: int) -> list[int]:
        return [tenant_id] * len(self._aliases())

    def _tables(self) -> str:
        levels = set(self._levels)
        if Level.PATIENT in levels and self.level > Level.STUDY:
            levels.add(Level.STUDY)
        joins = [_JOINS[at].format(ALIASES[self.level]) for at in sorted(levels - {self.level}, reverse=True)]
        return " ".join([f"FROM {_TABLES[self.level]}", *joins])

    def _from_where(self, tenant_id: int) -> tuple[str, list[Any]]:
        conditions = [self._tenant(), *self._where]
        if self.level in _EXISTS:
            conditions.append(_EXISTS[self.level])
        elif Level.STUDY in self._inner:
            conditions.append(_EXISTS[Level.STUDY])  # true of any study with a series; its index knows no others
        return f"{self._tables()} WHERE {' AND '.join(conditions)}", [*self._tenants(tenant_id), *self._params]

    def column(self, attribute: Attribute) -> int | Read:
        """Select an attribute once; its place in a row, or how to read it from an extra column. Never 0, the id's place."""
        if attribute.is_creator:
            return lambda row, parsed: attribute.creator
        self._levels.add(attribute.level)
        expression = attribute.column or f"{ALIASES[attribute.level]}.extra"
        if expression not in self._columns:
            self._columns.append(expression)
        position = self._columns.index(expression)
        return _extra_read(position, extra_name(attribute.tag)) if attribute.is_extra else position

    def add(self, attribute: Attribute, match: Match) -> None:
        if match.sql:
            self._levels.add(attribute.level)
            self._inner.add(attribute.level)
            self._where.append(match.sql)
            self._params += match.params
        if match.test is not None:
            place = self.column(attribute)
            self._tests.append((_column_read(place) if isinstance(place, int) else place, match.test))

    def answer(self, attribute: Attribute | None) -> None:
        self._answers.append(self.column(attribute) if attribute else None)


def _column_read(position: int) -> Read:
    return lambda row, _: row[position]


def _extra_read(position: int, name: str) -> Read:
    def read(row: Sequence[Any], parsed: dict[int, dict[str, Any]]) -> Value:
        if position not in parsed:
            parsed[position] = orjson.loads(row[position] or "{}")
        return parsed[position].get(name)

    return read


def plan_make(query: Query) -> Plan:
    """Raises QueryError for values that their VR does not have."""
    matches = [
        (attribute, declared_match(attribute, key) if attribute.declared or attribute.is_creator else match_make(attribute, key))
        for attribute, key in query.conditions
    ]
    combined = _combined(query)
    if combined is not None:
        whole = (attributes.ATTRIBUTES[attributes.STUDY_DATE], combined)
        matches = [
            (attribute, match) for attribute, match in matches
            if attribute.tag not in {attributes.STUDY_DATE, attributes.STUDY_TIME}
        ] + [whole]  # fmt: skip
    plan = Plan(query.level, is_exact=any(match.is_exact for _, match in matches))
    for attribute, match in matches:
        plan.add(attribute, match)
    patient = query.unique.get(Level.PATIENT)
    if patient and query.level > Level.PATIENT:
        # Below the patient level the number names one patient: there its case counts.
        plan.add(attributes.ATTRIBUTES[attributes.PATIENT_ID], Match("p.patient_id = %s", (patient[0],)))
    for _, attribute in query.answers:
        plan.answer(attribute)
    return plan


def _combined(query: Query) -> Match | None:
    given = {attribute.tag: key.value for attribute, key in query.conditions}
    if not query.is_combined or not {attributes.STUDY_DATE, attributes.STUDY_TIME} <= given.keys():
        return None
    return started_match(given[attributes.STUDY_DATE], given[attributes.STUDY_TIME])
