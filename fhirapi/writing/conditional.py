"""Conditional interactions (FHIR R4 3.1.0.7.1, 3.1.0.8.1): what a search that identifies one resource finds.

Two requests with the same criteria wait for each other: without that, parallel senders make one patient several times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fhirapi.interactions import GUARDED
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.search.pages import resource_search
from fhirapi.search.query import query_parse
from fhirapi.sources import hospital_read
from fhirapi.store import Document, lock_take
from journal.wall.scope import tenant_id_current

FORM = frozenset({"_format", "_pretty"})  # about the answer, not about what is meant
# About the result; what is no criterion and no search parameter either is refused by the strict reading of the rest.
RESULT = frozenset({
    "_sort", "_count", "_include", "_revinclude", "_summary", "_total", "_elements", "_contained", "_containedType", "_cursor",
    "_maxresults",
})  # fmt: skip
PAIRS_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """A type and the search that must identify one of it."""

    rtype: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def lock(self) -> str:
        return f"match/{self.rtype}/{sorted(self.pairs)!r}"


def criteria_read(*, rtype: str, query: str) -> Criteria:
    """`identifier=...`, with or without `?` or `Type?` before it. Raises FhirError 412 when it says nothing."""
    text = query.removeprefix(rtype).removeprefix("?")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=PAIRS_MAX)
    except ValueError:
        raise FhirError(400, "The criteria are too many.", code="too-costly") from None
    return criteria_make(rtype=rtype, pairs=pairs)


def criteria_make(*, rtype: str, pairs: Sequence[tuple[str, str]]) -> Criteria:
    """Raises FhirError 412 for no criteria: everybody would match."""
    kept = tuple((name, value) for name, value in pairs if name not in FORM)
    if rtype not in TYPES:
        raise FhirError(404, code="not-supported")
    if rtype in GUARDED:  # nothing refers to what was seen by whom; whether there is any would tell
        raise FhirError(403)
    if not kept:
        raise FhirError(412, "A conditional interaction needs search criteria.")
    if any(name.partition(":")[0] in RESULT for name, _ in kept):
        raise FhirError(400, "A parameter about the result is no criterion.", code="not-supported")
    return Criteria(rtype=rtype, pairs=kept)


def criteria_lock(*, several: Sequence[Criteria]) -> None:
    """Hold these criteria until the transaction ends. Before any lock of a resource, so that two never wait in a ring."""
    if several:
        lock_take(names=[criteria.lock for criteria in several])


def criteria_match(*, criteria: Criteria, base: str) -> Document | None:
    """What they identify. Raises FhirError 412 when that is more than one; an unknown parameter is 400, never ignored."""
    parsed = query_parse(
        tenant_id=tenant_id_current(), rtype=criteria.rtype, pairs=[*criteria.pairs, ("_count", "2")], base=base,
        zone=lambda: hospital_read().zone, is_strict=True,
    )  # fmt: skip
    matches = resource_search(query=parsed.query).matches
    if len(matches) > 1:
        raise FhirError(412, "The criteria match more than one resource.", code="multiple-matches")
    return matches[0] if matches else None
