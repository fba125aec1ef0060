"""Orders of a search, and where a page goes on: keyset paging on any keys, so no page shifts under inserts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhirapi.index.hashes import branch_number
from fhirapi.index.periods import NO_DATE
from fhirapi.index.values import IDENTIFIER, LOCAL, TEXT
from fhirapi.registry import Leaf, Param, ResourceType
from fhirapi.search.terms import Sql
from journal.wall.scope import tenant_id_current

Position = tuple[
    tuple[str, ...], int, int | None
]  # (keys as text, rid) of a page's last match, and the total if one was asked for


@dataclass(frozen=True, kw_only=True)
class Sort:
    """One key of an order. `text` is SQL over `{r}`, an alias of fhir_resource; a resource without a value comes last."""

    text: str
    cast: str
    is_descending: bool
    values: tuple[Any, ...] = ()

    def key(self, r: str) -> Sql:
        return Sql(self.text.replace("{r}", r), self.values)


NEWEST = Sort(text="{r}.sort_date", cast="timestamptz", is_descending=True)  # the default, in the order of every posting list
OLDEST = Sort(
    text="CASE WHEN {r}.sort_date = %s THEN 'infinity'::timestamptz ELSE {r}.sort_date END",
    cast="timestamptz", is_descending=False, values=(NO_DATE,),
)  # fmt: skip
UPDATED = "{r}.last_updated"
LAST = {"timestamptz": ("'infinity'", "'-infinity'"), "float8": ("'Infinity'", "'-Infinity'"), "text": ("chr(1114111)", "''")}


def sort_make(*, rtype: ResourceType, name: str, is_descending: bool) -> Sort | None:
    """The key that `_sort` names, None for none of ours."""
    if name == "_lastUpdated":
        return Sort(text=UPDATED, cast="timestamptz", is_descending=is_descending)
    if name == "_id":
        return Sort(text='{r}.fhir_id COLLATE "C"', cast="text", is_descending=is_descending)
    if name == rtype.date and rtype.date:
        return NEWEST if is_descending else OLDEST
    param = rtype.by_name.get(name)
    if param is None or param.kind in {"composite", "special"}:
        return None
    return _by_rows(rtype, param, is_descending)


def _by_rows(rtype: ResourceType, param: Param, is_descending: bool) -> Sort:
    leaves = [leaf for leaf in rtype.leaves if leaf.key in param.keys]
    table, column, cast, names = _source(param, leaves)
    pick, last = ("max", LAST[cast][1]) if is_descending else ("min", LAST[cast][0])
    if not table:  # a plain code stands in the content alone
        path = "$" + "".join(f".{step}" for step in param.keys[0].split(".")[1:] if step.isidentifier())
        found = "jsonb_path_query_first({r}.content::jsonb, %s::jsonpath) #>> '{}'"
        return Sort(text=f'coalesce({found}, {last}) COLLATE "C"', cast="text", is_descending=is_descending, values=(path,))
    collate = ' COLLATE "C"' if cast == "text" else ""
    text = (
        f"coalesce((SELECT {pick}(x.{column}) FROM {table} x WHERE x.tenant_id = %s AND x.rid = {{r}}.rid "  # noqa: S608 constants
        f"AND x.param = ANY(%s)), {last}){collate}"
    )
    return Sort(text=text, cast=cast, is_descending=is_descending, values=(tenant_id_current(), names))


def _source(param: Param, leaves: Sequence[Leaf]) -> tuple[str, str, str, list[Any]]:
    """(table, column, cast, values of its column `param`) that hold what a parameter is sorted by."""
    keys = list(param.keys)
    if param.kind == "date":
        return "fhir_date", "lo", "timestamptz", [branch_number(key + end) for key in keys for end in ("", LOCAL)]
    if param.kind in {"quantity", "number"}:
        return "fhir_quantity", "lo", "float8", [branch_number(key) for key in keys]
    if param.kind == "reference":
        return "fhir_ref", "target_id", "text", keys
    if param.kind in {"string", "uri"}:
        return "fhir_string", "norm", "text", [branch_number(key) for key in keys]
    ftypes = {leaf.ftype for leaf in leaves}
    if "Identifier" in ftypes:
        return "fhir_string", "norm", "text", [branch_number(key + IDENTIFIER) for key in keys]
    if ftypes & {"CodeableConcept", "Coding"}:
        return "fhir_string", "norm", "text", [branch_number(key + TEXT) for key in keys]
    return "", "", "text", []


def order_by(sorts: Sequence[Sort], names: Sequence[str]) -> str:
    """`names` are the keys' columns and, at the end, the one of the row's id: it breaks every tie."""
    ways = [sort.is_descending for sort in sorts] + [sorts[0].is_descending]
    return ", ".join(f"{name} {'DESC' if way else 'ASC'}" for name, way in zip(names, ways, strict=True))


def after(sorts: Sequence[Sort], keys: Sequence[Sql], rid: str, position: Position | None) -> list[Sql]:
    """What comes behind a position in this order."""
    if position is None:
        return []
    texts, last, _ = position
    ways = [sort.is_descending for sort in sorts] + [sorts[0].is_descending]
    columns = [*keys, Sql(rid)]
    marks = [Sql(f"%s::{sort.cast}", (text,)) for sort, text in zip(sorts, texts, strict=True)] + [Sql("%s::bigint", (last,))]
    if len(set(ways)) == 1:  # one row comparison, which an index answers
        sign = "<" if ways[0] else ">"
        left, right = (", ".join(part.text for part in parts) for parts in (columns, marks))
        return [Sql(f"({left}) {sign} ({right})", tuple(v for part in [*columns, *marks] for v in part.values))]
    return [_stepwise(columns, marks, ways)]


def _stepwise(columns: Sequence[Sql], marks: Sequence[Sql], ways: Sequence[bool]) -> Sql:
    """(a > x) or (a = x and b < y) or ..., where the keys go different ways."""
    options, values = [], []
    for place in range(len(columns)):
        parts = []
        for number in range(place + 1):
            sign = "=" if number < place else ("<" if ways[number] else ">")
            parts.append(f"{columns[number].text} {sign} {marks[number].text}")
            values += [*columns[number].values, *marks[number].values]
        options.append(f"({' AND '.join(parts)})")
    return Sql(f"({' OR '.join(options)})", tuple(values))
