"""The conditions of a search. Each says two things in SQL: whether a resource meets it, and which resources it may start from.

`where` is exact. `start` may find more, never less: whoever starts from it filters by `where` as well, unless the term says
that both find the same (`is_exact`). Every statement names the tenant itself, beside row level security.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol

from fhirapi.index.hashes import is_posted, spread_hash
from fhirapi.registry import FEW, MANY, ONE, SOME
from journal.wall.scope import tenant_id_current

WALKS_MAX = 16  # of one term, side by side


@dataclass(frozen=True)
class Sql:
    text: str
    values: tuple[Any, ...] = ()


class Term(Protocol):
    """`rank`: how few resources it usually finds."""

    @property
    def rank(self) -> int: ...

    @property
    def is_exact(self) -> bool: ...

    def where(self, r: str) -> Sql:
        """A condition on the alias `r` of fhir_resource."""

    def start(self) -> Sql | None:
        """A SELECT of the rids to look at, or None where it would be everything."""


def sql_join(parts: Sequence[Sql], between: str) -> Sql:
    return Sql(between.join(part.text for part in parts), tuple(value for part in parts for value in part.values))


def beside(term: Term, w: str) -> Sql | None:
    """The same condition as `where`, on an entry `w` of a list (rid, sort_date): what rows beside the resource tell, which is wide.

    None for a term that has to look at the resource itself.
    """
    if isinstance(term, Rows):
        return term.where(w)
    if isinstance(term, Between):
        return Sql("TRUE")
    if isinstance(term, Tokens) and all(map(is_posted, term.hashes)):
        text = (
            f"EXISTS (SELECT FROM fhir_posting q WHERE q.tenant_id = %s AND q.hv = ANY(%s) AND q.sort_date = {w}.sort_date "  # noqa: S608
            f"AND q.rid = {w}.rid)"
        )
        return Sql(text, (tenant_id_current(), list(term.hashes)))
    return None


def conjunction(terms: Sequence[Term], r: str) -> Sql:
    """All of them, after what already stands in a WHERE."""
    joined = sql_join([term.where(r) for term in terms], " AND ")
    return Sql(f" AND {joined.text}" if terms else "", joined.values)


@dataclass(frozen=True)
class Tokens:
    """Any of these hashes."""

    hashes: tuple[int, ...]
    rank: int = MANY
    is_exact: ClassVar[bool] = True

    def where(self, r: str) -> Sql:
        return Sql(f"{r}.tok && %s::bigint[]", (list(self.hashes),))

    def start(self) -> Sql | None:
        if not all(map(is_posted, self.hashes)):
            return None
        text = "SELECT p.rid FROM fhir_posting p WHERE p.tenant_id = %s AND p.hv = ANY(%s)"
        return Sql(text, (tenant_id_current(), list(self.hashes)))


@dataclass(frozen=True)
class Patients:
    """Resources about one of these patients: by the compartment column, exact."""

    ids: tuple[str, ...]
    rank: int = FEW
    is_exact: ClassVar[bool] = True

    def where(self, r: str) -> Sql:
        return Sql(f"{r}.patient = ANY(%s)", (list(self.ids),))

    def start(self) -> Sql:
        text = "SELECT s.rid FROM fhir_resource s WHERE s.tenant_id = %s AND s.patient = ANY(%s)"
        return Sql(text, (tenant_id_current(), list(self.ids)))


@dataclass(frozen=True)
class Ids:
    """`_id`. `number` is the type's, where it is known."""

    ids: tuple[str, ...]
    number: int | None
    rank: int = ONE
    is_exact: ClassVar[bool] = True

    def where(self, r: str) -> Sql:
        return Sql(f"{r}.fhir_id = ANY(%s)", (list(self.ids),))

    def start(self) -> Sql | None:
        if self.number is None:
            return None
        text = "SELECT s.rid FROM fhir_resource s WHERE s.tenant_id = %s AND s.rtype = %s AND s.fhir_id = ANY(%s)"
        return Sql(text, (tenant_id_current(), self.number, list(self.ids)))


@dataclass(frozen=True)
class Rows:
    """A row of a side table (fhir_date, fhir_quantity, fhir_string, fhir_ref), alias `x`, that meets one of the options.

    An option that names one `x.param` and one range is one walk of an index; an OR of them would be a scan of the table.
    """

    table: str
    options: tuple[Sql, ...]
    rank: int = MANY
    is_start: bool = True
    is_exact: ClassVar[bool] = True

    def where(self, r: str) -> Sql:
        joined = sql_join(self.options, " OR ")
        text = f"EXISTS (SELECT FROM {self.table} x WHERE x.tenant_id = %s AND x.rid = {r}.rid AND ({joined.text}))"  # noqa: S608
        return Sql(text, (tenant_id_current(), *joined.values))

    def start(self) -> Sql | None:
        if not self.is_start:
            return None
        options = self.options if len(self.options) <= WALKS_MAX else (sql_join(self.options, " OR "),)
        text = f"SELECT x.rid FROM {self.table} x WHERE x.tenant_id = %s AND "  # noqa: S608 constants
        walks = [Sql(f"{text}({option.text})", (tenant_id_current(), *option.values)) for option in options]
        return sql_join(walks, " UNION ALL ")

    def narrowed(self, by: Sql) -> "Rows":
        """The same where each row must meet one thing more."""
        options = tuple(Sql(f"{option.text} AND {by.text}", (*option.values, *by.values)) for option in self.options)
        return replace(self, options=options)


@dataclass(frozen=True)
class Dates(Rows):
    """A date parameter. What meets it covers something behind `low` and begins before `high`, each where it bounds at all."""

    keys: tuple[str, ...] = ()
    low: datetime | None = None
    high: datetime | None = None


@dataclass(frozen=True)
class Between:
    """Where to start for dates that two terms of one parameter bound on both sides: rows that begin in between, and the spread ones.

    Each of the two by itself finds half of everything.
    """

    key: str
    numbers: tuple[int, ...]
    low: datetime
    high: datetime
    rank: int = SOME
    is_exact: ClassVar[bool] = False

    def where(self, r: str) -> Sql:
        return Sql("TRUE")

    def start(self) -> Sql:
        tenant_id = tenant_id_current()
        walk = "SELECT x.rid FROM fhir_date x WHERE x.tenant_id = %s AND x.param = %s AND x.lo > %s AND x.lo < %s"
        walks = [Sql(walk, (tenant_id, number, self.low, self.high)) for number in self.numbers]
        spread = spread_hash(tenant_id=tenant_id, key=self.key)
        walks.append(Sql("SELECT p.rid FROM fhir_posting p WHERE p.tenant_id = %s AND p.hv = %s", (tenant_id, spread)))
        return sql_join(walks, " UNION ALL ")


@dataclass(frozen=True)
class Column:
    """A condition on the resource's own columns; `{r}` stands for its alias."""

    text: str
    values: tuple[Any, ...]
    rank: int = MANY
    is_exact: ClassVar[bool] = False

    def where(self, r: str) -> Sql:
        return Sql(self.text.replace("{r}", r), self.values)

    def start(self) -> Sql | None:
        return None


@dataclass(frozen=True)
class Not:
    term: Term
    rank: int = MANY
    is_exact: ClassVar[bool] = False

    def where(self, r: str) -> Sql:
        inner = self.term.where(r)
        return Sql(f"NOT ({inner.text})", inner.values)

    def start(self) -> Sql | None:
        return None


@dataclass(frozen=True)
class All:
    terms: tuple[Term, ...]
    is_exact: ClassVar[bool] = False

    @property
    def rank(self) -> int:
        return min(term.rank for term in self.terms)

    def where(self, r: str) -> Sql:
        joined = sql_join([term.where(r) for term in self.terms], " AND ")
        return Sql(f"({joined.text})", joined.values)

    def start(self) -> Sql | None:
        starts = [(term.rank, number, start) for number, term in enumerate(self.terms) if (start := term.start())]
        return min(starts, key=lambda found: found[:2])[2] if starts else None


@dataclass(frozen=True)
class AnyOf:
    """At least one of these; none of none."""

    terms: tuple[Term, ...]

    @property
    def is_exact(self) -> bool:
        return all(term.is_exact for term in self.terms)

    @property
    def rank(self) -> int:
        return max((term.rank for term in self.terms), default=ONE)

    def where(self, r: str) -> Sql:
        joined = sql_join([term.where(r) for term in self.terms], " OR ")
        return Sql(f"({joined.text})" if self.terms else "FALSE", joined.values)

    def start(self) -> Sql | None:
        starts = [start for term in self.terms if (start := term.start())]
        if not self.terms or len(starts) < len(self.terms):
            return None
        joined = sql_join(starts, ") UNION ALL (")
        return Sql(f"({joined.text})", joined.values)


@dataclass(frozen=True)
class PointsAt:
    """A reference, in one of these branches, to a resource of a type that meets the terms (chaining, FHIR R4 3.1.1.5.6)."""

    keys: tuple[str, ...]
    number: int
    terms: tuple[Term, ...]
    rank: int = SOME
    is_exact: ClassVar[bool] = True

    def where(self, r: str) -> Sql:
        f, t = f"{r}f", f"{r}t"
        inner = conjunction(self.terms, t)
        text = (
            f"EXISTS (SELECT FROM fhir_ref {f} JOIN fhir_resource {t} ON {t}.rtype = {f}.target_type "  # noqa: S608
            f"AND {t}.fhir_id = {f}.target_id WHERE {f}.tenant_id = %s AND {t}.tenant_id = %s AND {f}.rid = {r}.rid "
            f"AND {f}.param = ANY(%s) AND {f}.target_type = %s{inner.text})"
        )
        return Sql(text, (tenant_id_current(), tenant_id_current(), list(self.keys), self.number, *inner.values))

    def start(self) -> Sql:
        found = found_sql(self.number, self.terms)
        text = (
            f"SELECT f.rid FROM ({found.text}) t JOIN fhir_ref f ON f.target_id = t.fhir_id "  # noqa: S608
            "WHERE f.tenant_id = %s AND f.param = ANY(%s) AND f.target_type = %s"
        )
        return Sql(text, (*found.values, tenant_id_current(), list(self.keys), self.number))


@dataclass(frozen=True)
class PointedAtBy:
    """A resource of another type that meets the terms refers to this one (`_has`, FHIR R4 3.1.1.5.7)."""

    keys: tuple[str, ...]
    number: int
    terms: tuple[Term, ...]
    rank: int = SOME
    is_exact: ClassVar[bool] = True

    def where(self, r: str) -> Sql:
        f, t = f"{r}f", f"{r}t"
        inner = conjunction(self.terms, t)
        text = (
            f"EXISTS (SELECT FROM fhir_ref {f} JOIN fhir_resource {t} ON {t}.rid = {f}.rid WHERE {f}.tenant_id = %s "  # noqa: S608
            f"AND {t}.tenant_id = %s AND {f}.param = ANY(%s) AND {f}.target_type = {r}.rtype AND {f}.target_id = {r}.fhir_id "
            f"AND {t}.rtype = %s{inner.text})"
        )
        return Sql(text, (tenant_id_current(), tenant_id_current(), list(self.keys), self.number, *inner.values))

    def start(self) -> Sql:
        found = found_sql(self.number, self.terms)
        text = (
            f"SELECT s.rid FROM ({found.text}) t JOIN fhir_ref f ON f.rid = t.rid JOIN fhir_resource s "  # noqa: S608
            "ON s.rtype = f.target_type AND s.fhir_id = f.target_id "
            "WHERE f.tenant_id = %s AND f.param = ANY(%s) AND s.tenant_id = %s"
        )
        return Sql(text, (*found.values, tenant_id_current(), list(self.keys), tenant_id_current()))


def found_sql(number: int, terms: Sequence[Term]) -> Sql:
    """A SELECT of (rid, fhir_id) of the resources of a type that meet the terms, from the first that can start."""
    starts = [(term.rank, place, start) for place, term in enumerate(terms) if (start := term.start())]
    text = "SELECT t.rid, t.fhir_id FROM fhir_resource t WHERE t.tenant_id = %s AND t.rtype = %s"
    if not starts:
        where = conjunction(terms, "t")
        return Sql(text + where.text, (tenant_id_current(), number, *where.values))
    _, first, start = min(starts, key=lambda found: found[:2])
    where = conjunction(unmet(terms, terms[first]), "t")
    # As an array: their number is not known to the planner, which reads an index for each.
    values = (tenant_id_current(), number, *start.values, *where.values)
    return Sql(f"{text} AND t.rid = ANY(ARRAY({start.text})){where.text}", values)


def unmet(terms: Sequence[Term], start: Term | None) -> Sequence[Term]:
    """What is left to look at in resources that `start` found."""
    return [term for term in terms if not (term is start and term.is_exact)]
