"""Composite parameters, `code$value` (FHIR R4 3.1.1.4.15): both parts of one resource, or of one component of it."""

from dataclasses import replace

from fhirapi.index.hashes import branch_number, pair_hash
from fhirapi.index.quantities import quantity_rows
from fhirapi.outcomes import FhirError
from fhirapi.registry import Param, ResourceType
from fhirapi.search.terms import All, AnyOf, Sql, Term, Tokens
from fhirapi.search.values import Context, parts_split, plain, token_form, token_hashes, value_term, values_split


def composite_term(context: Context, rtype: ResourceType, param: Param, text: str) -> Term:
    """Raises FhirError 400 where a value has not two parts."""
    terms: list[Term] = []
    for value in values_split(text):
        parts = parts_split(value, "$")
        if len(parts) != 2 or not all(parts):
            raise FhirError(400, f"{param.name} is not two values with a $ between.", code="value")
        terms += [_term(context, rtype, param, key, parts) for key in param.keys]
    return AnyOf(tuple(terms)) if len(terms) > 1 else terms[0]


def _term(context: Context, rtype: ResourceType, param: Param, key: str, parts: list[str]) -> Term:
    first, second = (_below(rtype, rtype.by_name[name], key) for name in param.components)
    if key == rtype.name:  # one code and one value a resource: both at once are both of one
        return All((value_term(context, rtype, first, "", parts[0]), value_term(context, rtype, second, "", parts[1])))
    codes = token_hashes(context, rtype, first.keys, token_form(parts[0]))
    start = Tokens(tuple(codes), first.rank)
    if second.kind == "quantity":
        value = [plain(part) for part in parts_split(parts[1], "|")]
        rows = quantity_rows(numbers=[branch_number(key)], values=[value])
        return All((start, rows.narrowed(Sql("x.keys && %s::bigint[]", (codes,)))))
    values = _second_hashes(context, rtype, second, parts[1])
    pairs = [pair_hash(tenant_id=context.tenant_id, key=key, first=one, second=two) for one in codes for two in values]
    return All((start, Tokens(tuple(pairs))))


def _second_hashes(context: Context, rtype: ResourceType, param: Param, text: str) -> list[int]:
    if param.kind == "token":
        return token_hashes(context, rtype, param.keys, token_form(text))
    term = value_term(context, rtype, param, "", text)
    tokens = term.terms[0] if isinstance(term, All) else term
    return list(tokens.hashes) if isinstance(tokens, Tokens) else []


def _below(rtype: ResourceType, param: Param, key: str) -> Param:
    """A component parameter with only those of its branches that belong to this part of the resource."""
    groups = {leaf.key for leaf in rtype.leaves if leaf.kind == "pair"}
    keys = [one for one in param.keys if one.startswith(f"{key}.")]
    if key == rtype.name:
        keys = [one for one in keys if not any(one.startswith(f"{group}.") for group in groups)]
    return replace(param, keys=tuple(keys))
