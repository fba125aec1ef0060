"""Search over the store: one statement for a page, one where the driver is in doubt, one for a total. Views call it with a Query.

It starts from the rarest condition and filters by the rest. Common tokens are walked in the order of their list.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connection

from fhirapi.index.periods import NO_DATE
from fhirapi.outcomes import FhirError
from fhirapi.registry import NAMES, ONE, TYPES
from fhirapi.search.include import Include, included
from fhirapi.search.sort import NEWEST, OLDEST, UPDATED, Position, Sort, after, order_by
from fhirapi.search.terms import All, Patients, Sql, Term, Tokens, conjunction, sql_join, unmet
from fhirapi.store import Document
from journal.wall.scope import tenant_id_current

LONG = 2000  # resources; what finds so many is common
BY_DATE = ((NEWEST,), (OLDEST,))  # the orders of a posting list
LISTS_MAX = 8  # that one statement walks side by side
NOWHERE = 0  # no hash: what nothing is found by
TIMEOUT_MS = 5000
CANCELED = "57014"  # SQLSTATE query_canceled


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search, understood: all terms must be met. `rtypes` is more than one only in a search of the whole system."""

    rtypes: tuple[str, ...]
    hidden: frozenset[str] = frozenset()  # types that includes leave out
    terms: tuple[Term, ...] = ()
    includes: tuple[Include, ...] = ()
    sorts: tuple[Sort, ...] = (NEWEST,)
    count: int = 50
    is_count_only: bool = False
    is_total: bool = False
    after: Position | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one request gets. `last` is where the next page goes on, None on the last one; `total` only when asked for."""

    matches: tuple[Document, ...]
    included: tuple[Document, ...] = ()
    total: int | None = None
    last: Position | None = None


def resource_search(*, query: Query) -> Page:
    """One page of what the hospital in scope holds. Raises FhirError 504 where that would take too long."""
    with time_limit():
        plan = _plan(query)
        if query.is_count_only:
            return Page(matches=(), total=_count(query, plan))
        total = query.after[2] if query.after else _count(query, plan) if query.is_total else None
        rows = _page_rows(query, plan)
        page, is_more = rows[: query.count], len(rows) > query.count
        matches = tuple(_document(row[-5:]) for row in page)
        keys = len(query.sorts)
        return Page(
            matches=matches,
            included=included(
                query.includes, rids=[row[keys] for row in page], documents=matches, hidden=query.hidden
            ) if page else (),
            total=total,
            last=(tuple(page[-1][:keys]), page[-1][keys], total) if is_more else None,
        )


@dataclass(frozen=True)
class _Plan:
    """What a search starts from: everything that a rare term finds, a common one's list, or without a term the whole type."""

    term: Term | None
    is_rare: bool = False

    @property
    def start(self) -> Sql | None:
        return self.term.start() if self.term and self.is_rare else None


@contextmanager
def time_limit() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)]
        )
        before = cursor.fetchone()[0]
        try:
            yield
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != CANCELED:
                raise
            raise FhirError(504, code="too-costly") from None
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])


def _page_rows(query: Query, plan: _Plan) -> list[tuple[Any, ...]]:
    """(keys..., rid, type, fhir_id, version, last_updated, content), one more than asked for: that one proves a next page."""
    names = [*(f"k{number}" for number in range(len(query.sorts))), "rid"]
    order = order_by(query.sorts, names)
    limit = query.count + 1
    branches = _branches(query, plan)
    parts = " UNION ALL ".join(f"({branch.text} ORDER BY {order} LIMIT {limit})" for branch in branches)
    texts = ", ".join(f"page.{name}::text" for name in names[:-1])
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH page AS MATERIALIZED (SELECT DISTINCT {', '.join(names)} FROM ({parts}) b ORDER BY {order} LIMIT {limit}) "  # noqa: S608
            f"SELECT {texts}, page.rid, r.rtype, r.fhir_id, r.version, r.last_updated, r.content FROM page "
            "JOIN fhir_resource r ON r.tenant_id = %s AND r.rid = page.rid "
            f"ORDER BY {order_by(query.sorts, [f'page.{name}' for name in names])}",
            [*(value for branch in branches for value in branch.values), tenant_id_current()],
        )
        return list(cursor.fetchall())


def _count(query: Query, plan: _Plan) -> int:
    only = query.terms[0] if len(query.terms) == 1 else None
    if isinstance(only, Tokens) and (listed := only.start()):  # its list is counted without looking at a resource
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(DISTINCT s.rid) FROM ({listed.text}) s", list(listed.values))  # noqa: S608 constants
            return int(cursor.fetchone()[0])
    terms = conjunction(_rest(query, plan), "r")
    source = _among(plan.start)
    kinds, numbers = _kinds(query)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM fhir_resource r WHERE r.tenant_id = %s AND {kinds}{source.text}{terms.text}",  # noqa: S608
            [tenant_id_current(), *numbers, *source.values, *terms.values],
        )
        return int(cursor.fetchone()[0])


def _kinds(query: Query) -> tuple[str, list[Any]]:
    numbers = [TYPES[name].number for name in query.rtypes]
    return ("r.rtype = %s", numbers) if len(numbers) == 1 else ("r.rtype = ANY(%s)", [numbers])


def _branches(query: Query, plan: _Plan) -> list[Sql]:
    """SELECTs of (keys, rid) that together find everything."""
    if isinstance(plan.term, Patients):
        return [_set_branch(query, Sql(" AND r.patient = %s", (patient,)), plan) for patient in plan.term.ids or ("",)]
    if plan.is_rare:
        return [_set_branch(query, _among(plan.start), plan)]
    walked = _walked(plan.term)
    tenant_id = tenant_id_current()
    if walked and query.sorts in BY_DATE:
        in_list = "fhir_posting w WHERE w.tenant_id = %s AND w.hv = %s"
        return [walk for hv in walked.hashes or (NOWHERE,) for walk in _walks(query, Sql(in_list, (tenant_id, hv)))]
    if query.sorts in BY_DATE or (len(query.sorts) == 1 and query.sorts[0].text == UPDATED):
        of_type = "fhir_resource w WHERE w.tenant_id = %s AND w.rtype = %s"
        numbers = [TYPES[name].number for name in query.rtypes]
        return [walk for number in numbers for walk in _walks(query, Sql(of_type, (tenant_id, number)))]
    return [_set_branch(query, Sql(""), plan)]


def _among(start: Sql | None) -> Sql:
    """Only these rows. As an array: their number is not known to the planner, which reads an index for each."""
    return Sql(f" AND r.rid = ANY(ARRAY({start.text}))", start.values) if start else Sql("")


def _rest(query: Query, plan: _Plan) -> Sequence[Term]:
    return unmet(query.terms, plan.term) if plan.is_rare else query.terms


def _set_branch(query: Query, start: Sql, plan: _Plan) -> Sql:
    """All that meets the terms, to be sorted."""
    keys = [sort.key("r") for sort in query.sorts]
    kinds, numbers = _kinds(query)
    where = sql_join(
        [conjunction(_rest(query, plan), "r"), *(_and(part) for part in after(query.sorts, keys, "r.rid", query.after))], ""
    )
    columns = sql_join([Sql(f"{key.text} AS k{number}", key.values) for number, key in enumerate(keys)], ", ")
    return Sql(
        f"SELECT {columns.text}, r.rid FROM fhir_resource r WHERE r.tenant_id = %s AND {kinds}{start.text}{where.text}",  # noqa: S608
        (*columns.values, tenant_id_current(), *numbers, *start.values, *where.values),
    )


def _walks(query: Query, source: Sql) -> list[Sql]:
    """A list in the page's order, alias `w`. By the oldest date, those without one follow behind the others."""
    if query.sorts == (OLDEST,):
        dated, undated = (Sql(f" AND w.sort_date {sign} %s", (NO_DATE,)) for sign in (">", "="))
        return [_walk(query, "w.sort_date", source, dated), _walk(query, "'infinity'::timestamptz", source, undated)]
    return [_walk(query, "w.last_updated" if query.sorts[0].text == UPDATED else "w.sort_date", source, Sql(""))]


def _walk(query: Query, key: str, source: Sql, more: Sql) -> Sql:
    """Each resource of a list is looked at until the page is full.

    OFFSET 0 keeps the planner from turning the walk into a join of everything: under row level security it knows nothing
    about how many resources meet a term.
    """
    follow = sql_join([more, *(_and(part) for part in after(query.sorts, [Sql(key)], "w.rid", query.after))], "")
    terms = conjunction(query.terms, "r")
    place, _, condition = source.text.partition(" WHERE ")
    look = Sql("")
    if query.terms:
        text = (
            f" CROSS JOIN LATERAL (SELECT FROM fhir_resource r WHERE r.tenant_id = %s AND r.rid = w.rid{terms.text} OFFSET 0) f"  # noqa: S608
        )
        look = Sql(text, (tenant_id_current(), *terms.values))
    return Sql(
        f"SELECT {key} AS k0, w.rid FROM {place}{look.text} WHERE {condition}{follow.text}",  # noqa: S608 constants
        (*look.values, *source.values, *follow.values),
    )


def _and(part: Sql) -> Sql:
    return Sql(f" AND {part.text}", part.values)


def _plan(query: Query) -> _Plan:
    """The condition that finds fewest: ids and identifiers, a patient, then the shortest list."""
    exact = next((term for term in query.terms if term.rank == ONE and term.start()), None)
    patients = next((term for term in query.terms if isinstance(term, Patients)), None)
    if exact or patients:
        return _Plan(exact or patients, is_rare=True)
    able = [term for term in query.terms if term.start()]
    if not able:
        return _Plan(None)
    if len(able) == 1 and query.sorts in BY_DATE and (only := _walked(able[0])) and len(only.hashes) == 1:
        return _Plan(able[0])  # nothing to choose
    sizes = _sizes(able)
    size, _, place = min((size, term.rank, place) for place, (term, size) in enumerate(zip(able, sizes, strict=True)))
    if size < LONG:
        return _Plan(able[place], is_rare=True)
    # All are common. A list in the page's order soon meets enough of them; any other would have to be sorted as a whole.
    return _Plan(next((term for term in able if _walked(term)), None) if query.sorts in BY_DATE else None)


def _walked(term: Term | None) -> Tokens | None:
    """The lists of a term that come in the order of the main date."""
    if isinstance(term, All):
        term = next((part for part in term.terms if isinstance(part, Tokens)), None)
    return term if isinstance(term, Tokens) and term.start() and len(term.hashes) <= LISTS_MAX else None


def _sizes(terms: Sequence[Term]) -> list[int]:
    """How many each term finds, looked at no further than LONG."""
    starts = [start for term in terms if (start := term.start())]
    counts = ", ".join(f"(SELECT count(*) FROM (SELECT FROM ({start.text}) s LIMIT {LONG}) l)" for start in starts)  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {counts}", [value for start in starts for value in start.values])
        return list(cursor.fetchone())


def _document(row: Sequence[Any]) -> Document:
    number, fhir_id, version, last_updated, content = row
    return Document(rtype=NAMES[number], fhir_id=fhir_id, version=version, last_updated=last_updated, content=content)
