"""Search over the store: one statement for a page, one where the driver is in doubt, one for a total. Views call it with a Query.

It starts from the rarest condition and filters by the rest. Common tokens are walked in the order of their list.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection

from fhirapi.index.hashes import spread_hash
from fhirapi.index.periods import NO_DATE
from fhirapi.outcomes import FhirError
from fhirapi.registry import NAMES, ONE, TYPES
from fhirapi.search.dates import dates_bounds
from fhirapi.search.include import Include, Owned, included
from fhirapi.search.sort import NEWEST, OLDEST, UPDATED, Position, Sort, after, order_by
from fhirapi.search.terms import All, Between, Dates, Patients, Rows, Sql, Term, Tokens, beside, conjunction, sql_join, unmet
from fhirapi.store import Document
from journal.wall.scope import tenant_id_current

LONG = 2000  # resources; what finds so many is common
WALKED = 100  # from so many on a walk is sooner done than a look at all of them
BY_DATE = ((NEWEST,), (OLDEST,))  # the orders of a posting list
LIST = "fhir_posting w WHERE w.tenant_id = %s AND w.hv = %s"
LISTS_MAX = 8  # that one statement walks side by side
NOWHERE = 0  # no hash: what nothing is found by
TIMEOUT_MS = 5000
CANCELED = "57014"  # SQLSTATE query_canceled


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search, understood: all terms must be met. `rtypes` is more than one only in a search of the whole system."""

    rtypes: tuple[str, ...]
    hidden: frozenset[str] = frozenset()  # types that includes leave out
    owned: Owned | None = None  # types of which includes hold one patient's alone
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
                query.includes, rids=[row[keys] for row in page], documents=matches, hidden=query.hidden, owned=query.owned
            ) if page else (),
            total=total,
            last=(tuple(page[-1][:keys]), page[-1][keys], total) if is_more else None,
        )


@dataclass(frozen=True)
class _Plan:
    """What a search starts from: everything that a rare term finds, a common one's list, or without a term the whole type.

    `is_walked`: a page is met sooner along a list in the page's order, although the term is rare enough to count from.
    """

    term: Term | None
    is_rare: bool = False
    is_walked: bool = False
    walk: Term | None = None

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
    source = _among(query, plan)
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
    if plan.is_rare and not plan.is_walked:
        return [_set_branch(query, _among(query, plan), plan)]
    walked = _walked(plan.walk if plan.is_walked else plan.term)
    tenant_id = tenant_id_current()
    if walked and query.sorts in BY_DATE:
        rest = [term for term in query.terms if term is not walked]
        lists = [Sql(LIST, (tenant_id, hv)) for hv in walked.hashes or (NOWHERE,)]
        return [walk for one in lists for walk in _walks(query, one, rest)] + _spread_walks(query)
    if query.sorts in BY_DATE or (len(query.sorts) == 1 and query.sorts[0].text == UPDATED):
        of_type = "fhir_resource w WHERE w.tenant_id = %s AND w.rtype = %s"
        types = [Sql(of_type, (tenant_id, TYPES[name].number)) for name in query.rtypes]
        return [walk for one in types for walk in _walks(query, one, query.terms)] + _spread_walks(query)
    return [_set_branch(query, Sql(""), plan)]


def _among(query: Query, plan: _Plan) -> Sql:
    """Only these rows. As an array: their number is not known to the planner, which reads an index for each.

    What side tables tell narrows them before a resource is looked at, which is wide.
    """
    start = plan.start
    if start is None:
        return Sql("")
    conditions = [term.where("s") for term in _told(query, plan)]
    if not conditions:
        return Sql(f" AND r.rid = ANY(ARRAY({start.text}))", start.values)
    joined = sql_join(conditions, " AND ")
    text = f"SELECT s.rid FROM ({start.text}) s CROSS JOIN LATERAL (SELECT WHERE {joined.text} OFFSET 0) t"  # noqa: S608 constants
    return Sql(f" AND r.rid = ANY(ARRAY({text}))", (*start.values, *joined.values))


def _told(query: Query, plan: _Plan) -> list[Rows]:
    """Terms that side tables decide by the rid alone. A patient's resources lie together: they are looked at as they are."""
    if plan.start is None or isinstance(plan.term, Patients):
        return []
    return [term for term in unmet(query.terms, plan.term) if isinstance(term, Rows)]


def _rest(query: Query, plan: _Plan) -> Sequence[Term]:
    """What is left to ask of the resources that a search starts from."""
    if plan.start is None:
        return query.terms
    told = _told(query, plan)
    return [term for term in unmet(query.terms, plan.term) if not any(term is other for other in told)]


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


def _walks(query: Query, source: Sql, terms: Sequence[Term]) -> list[Sql]:
    """A list in the page's order, alias `w`. A bound on the main date bounds it; `_spread_walks` finds what begins outside."""
    low, high = _bounds(query)
    return _ordered(query, source, terms, low, high)


def _ordered(query: Query, source: Sql, terms: Sequence[Term], low: datetime | None, high: datetime | None) -> list[Sql]:
    """By the oldest date, those without one follow behind the others."""
    ends = [Sql(f" AND w.sort_date {sign} %s", (end,)) for sign, end in ((">", low), ("<", high)) if end]
    if query.sorts != (OLDEST,):
        key = "w.last_updated" if query.sorts[0].text == UPDATED else "w.sort_date"
        return [_walk(query, key, source, terms, sql_join(ends, ""))]
    dated, undated = (Sql(f" AND w.sort_date {sign} %s", (NO_DATE,)) for sign in (">", "="))
    found = [_walk(query, "w.sort_date", source, terms, sql_join([dated, *ends], ""))]
    return found if low else [*found, _walk(query, "'infinity'::timestamptz", source, terms, undated)]


def _bounds(query: Query) -> tuple[datetime | None, datetime | None]:
    """Between which moments the matches begin: (low, high), by the terms on the type's main date."""
    keys = TYPES[query.rtypes[0]].date_keys if len(query.rtypes) == 1 and query.sorts in BY_DATE else ()
    return dates_bounds(query.terms, keys[0]) if keys else (None, None)


def _spread_walks(query: Query) -> list[Sql]:
    """What a lower bound passes over: values that last longer than a day or two have a list of their own."""
    low, high = _bounds(query)
    if low is None:
        return []
    (key,), tenant_id = TYPES[query.rtypes[0]].date_keys, tenant_id_current()
    spread = Sql(LIST, (tenant_id, spread_hash(tenant_id=tenant_id, key=key)))
    return _ordered(query, spread, query.terms, None, high)


def _walk(query: Query, key: str, source: Sql, terms: Sequence[Term], more: Sql) -> Sql:
    """Each entry of a list is looked at until the page is full; at the resource itself only where nothing beside it tells.

    OFFSET 0 keeps the planner from turning the walk into a join of everything: under row level security it knows nothing
    about how many resources meet a term.
    """
    follow = sql_join([more, *(_and(part) for part in after(query.sorts, [Sql(key)], "w.rid", query.after))], "")
    place, _, condition = source.text.partition(" WHERE ")
    told = {id(term): beside(term, "w") for term in terms}
    conditions = [condition for condition in told.values() if condition]
    others = [term for term in terms if told[id(term)] is None]
    looks = []
    if conditions:
        joined = sql_join(conditions, " AND ")
        looks.append(Sql(f" CROSS JOIN LATERAL (SELECT WHERE {joined.text} OFFSET 0) t", joined.values))
    if others:
        asked = conjunction(others, "r")
        text = (
            f" CROSS JOIN LATERAL (SELECT FROM fhir_resource r WHERE r.tenant_id = %s AND r.rid = w.rid{asked.text} OFFSET 0) f"  # noqa: S608
        )
        looks.append(Sql(text, (tenant_id_current(), *asked.values)))
    look = sql_join(looks, "")
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
        is_walked = size > WALKED and query.sorts in BY_DATE and _is_in_order(query, able[place])
        walk = next((term for term in (able[place], *able) if _walked(term)), None) if is_walked else None
        return _Plan(able[place], is_rare=True, is_walked=is_walked, walk=walk)
    # All are common. A list in the page's order soon meets enough of them; any other would have to be sorted as a whole.
    return _Plan(next((term for term in able if _walked(term)), None) if query.sorts in BY_DATE else None)


def _is_in_order(query: Query, term: Term) -> bool:
    """Whether a page soon comes along the list that this term is, or that it bounds."""
    if isinstance(term, Between | Dates):
        keys = TYPES[query.rtypes[0]].date_keys if len(query.rtypes) == 1 else ()
        return (keys[0] if keys else "") in ((term.key,) if isinstance(term, Between) else term.keys)
    return bool(_walked(term))


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
