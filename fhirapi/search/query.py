"""Search parameters as the caller wrote them -> a Query, what was kept of them, and what was not understood.

Unknown parameters are ignored and said so, or refused under `Prefer: handling=strict`. An unsupported modifier or chain is always
refused: ignoring one would answer with everybody's data (FHIR R4 3.1.1.4.5).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter

import orjson

from fhirapi.interactions import GUARDED
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.search.dates import Zone, dates_between
from fhirapi.search.form import Form
from fhirapi.search.include import Owned
from fhirapi.search.options import OPTIONS, Options, option_read
from fhirapi.search.pages import Query
from fhirapi.search.parsing import compartment_term, system_term
from fhirapi.search.sort import Position
from fhirapi.search.terms import All, AnyOf, Term
from fhirapi.search.values import Context
from tenants.crypto import SecretLostError, secret_open, secret_seal

CURSOR = "_cursor"
ABOUT_THE_ANSWER = {"_format", "_pretty"}  # about its form, not about what is found
PARAMETERS_MAX = 100
PLAIN_NAME = re.compile(r"[_a-z][A-Za-z-]{0,31}")  # only such a name may be repeated to the caller

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """`kept` is the search as we understood it, for the self and next links; `ignored` names what was not."""

    query: Query
    kept: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    form: Form = Form()


def query_parse(
    *, tenant_id: int, rtype: str, pairs: Pairs, base: str, zone: Zone, is_strict: bool, patient: str = "",
    hidden: frozenset[str] = frozenset(GUARDED), owned: Owned | None = None, place: str | None = None,
    within: Sequence[tuple[tuple[str, str], ...]] = (),
) -> Parsed:
    """Understand a search. Raises FhirError 400 for what must not be guessed at.

    An empty `rtype` searches the types that `_type` names, or all; `patient` narrows to the compartment of one. Types in `hidden`
    are neither found by the way nor asked about: 403; of those that are `owned` as well, includes find the one patient's. `place` is the
    patient whom the address names, where that is not `patient`. What is found is `within` what one of these searches finds.
    """
    if len(pairs) > PARAMETERS_MAX:
        raise FhirError(400, f"More than {PARAMETERS_MAX} parameters.", code="too-costly")
    if any("\0" in name or "\0" in value for name, value in pairs):  # no FHIR text has one, and no text of PostgreSQL's
        raise FhirError(400, "A parameter holds a NUL.", code="value")
    context = Context(tenant_id=tenant_id, base=base, zone=zone, hidden=hidden - {rtype})
    options = Options(rtypes=(rtype,) if rtype else _types(pairs, hidden))
    terms: list[Term] = []
    kept, ignored, cursor = [], [], ""
    for name, value in pairs:
        if name in ABOUT_THE_ANSWER or (name == "_type" and not rtype):
            kept += [(name, value)] if name == "_type" else []
        elif name == CURSOR and value:
            cursor = value
        elif value and _read(context, options, terms, name, value):
            kept.append((name, value))
        else:
            ignored.append(name if PLAIN_NAME.fullmatch(name) else "(unnamed)")
    if ignored and is_strict:
        raise FhirError(400, f"Not supported under handling=strict: {', '.join(sorted(set(ignored)))}.", code="not-supported")
    if within:
        terms.append(_within(context, options.rtypes, within))
    if patient:
        terms.append(compartment_term(context, options.rtypes, patient))
    query = Query(
        rtypes=options.rtypes, hidden=context.hidden - (owned.rtypes if owned else frozenset()), owned=owned,
        terms=(*terms, *dates_between(terms)),
        includes=tuple(dict.fromkeys(options.includes)), sorts=options.sorts,
        count=options.count, is_count_only=options.is_count_only, is_total=options.is_total,
        after=_cursor_read(cursor, tenant_id, _place(rtype, patient if place is None else place), kept) if cursor else None,
    )  # fmt: skip
    return Parsed(query=query, kept=tuple(kept), ignored=tuple(dict.fromkeys(ignored)), form=options.form)


def _within(context: Context, rtypes: tuple[str, ...], searches: Sequence[tuple[tuple[str, str], ...]]) -> Term:
    """Any of these searches. What one of them does not say in our words would be ignored, and so find everything: 403."""
    found: list[Term] = []
    for pairs in searches:
        terms = [system_term(context, rtypes, name, value) if name.partition(":")[0] not in OPTIONS else None for name, value in pairs]
        known = [term for term in terms if term is not None]
        if not known or len(known) < len(terms):
            raise FhirError(403, "The token's scopes narrow this type by what is not understood here.")
        found.append(All(tuple(known)) if len(known) > 1 else known[0])
    return AnyOf(tuple(found)) if len(found) > 1 else found[0]


def cursor_make(*, tenant_id: int, rtype: str, kept: Pairs, position: Position, patient: str = "") -> str:
    """Where a page ended, sealed for this hospital and this very search: what is sorted by may be a name."""
    return secret_seal(orjson.dumps([_search_digest(_place(rtype, patient), kept), *position]), tenant_id=tenant_id)


def _cursor_read(cursor: str, tenant_id: int, place: str, kept: Pairs) -> Position:
    try:
        digest, keys, rid, total = orjson.loads(secret_open(cursor, tenant_id=tenant_id))
    except SecretLostError:
        digest = ""
    if digest != _search_digest(place, kept):
        raise FhirError(400, "The page link is not one of this search's.", code="value")
    return tuple(keys), rid, total


def _search_digest(place: str, kept: Pairs) -> str:
    return sha256(orjson.dumps(["fhirapi.cursor", place, sorted(kept, key=itemgetter(0))])).hexdigest()


def _place(rtype: str, patient: str) -> str:
    return f"Patient/{patient}/{rtype}" if patient else rtype


def _types(pairs: Pairs, hidden: frozenset[str]) -> tuple[str, ...]:
    """`_type` of a search of the whole system (FHIR R4 3.1.1.1)."""
    wanted = [name for key, value in pairs if key == "_type" for name in value.split(",")]
    if not set(wanted) <= set(TYPES):
        raise FhirError(400, "_type names a type that is not held here.", code="value")
    if hidden & set(wanted):
        raise FhirError(403)
    return tuple(dict.fromkeys(wanted)) or tuple(name for name in TYPES if name not in hidden)


def _read(context: Context, options: Options, terms: list[Term], name: str, value: str) -> bool:
    """Take one parameter in. False: it is not one of ours."""
    if name.partition(":")[0] in OPTIONS:
        return option_read(options, name, value)
    term = system_term(context, options.rtypes, name, value)
    if term is not None:
        terms.append(term)
    return term is not None
