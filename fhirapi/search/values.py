"""The values of a search parameter -> a Term, by kind and modifier (FHIR R4 3.1.1.4 to 3.1.1.5.3)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fhirapi.index.hashes import branch_number, posted_hash, present_hash, reference_hash, token_hash, uri_hash
from fhirapi.index.quantities import near_rows, quantity_rows
from fhirapi.index.values import IDENTIFIER, NORM_MAX, OF_TYPE, TEXT, normalized
from fhirapi.outcomes import FhirError
from fhirapi.registry import OR_MAX, TYPES, VALUE_SETS, Param, ResourceType
from fhirapi.search.dates import Zone, date_rows
from fhirapi.search.terms import All, Not, Patients, Rows, Sql, Term, Tokens, sql_join
from fhirapi.validation import ID

OR_PART = re.compile(r"(?:[^\\,]|\\.|\\$)+", re.DOTALL)  # up to a comma that no backslash escapes
LAST_CHARACTER = "\U0010ffff"
Form = tuple[str | None, str | None]  # (system, code) as token_hash takes them


@dataclass(frozen=True, kw_only=True)
class Context:
    """Whose search it is, and what its values may lean on."""

    tenant_id: int
    base: str
    zone: Zone
    hidden: frozenset[str] = frozenset()  # types that a chain must not ask about

    def shown_check(self, rtype: str) -> None:
        """Raise FhirError 403 for a type that the caller may not see: whether a chain finds any would tell."""
        if rtype in self.hidden:
            raise FhirError(403)


def value_term(context: Context, rtype: ResourceType, param: Param, modifier: str, text: str) -> Term:
    """One parameter with its modifier. Raises FhirError 400 for a modifier that does not go with it, or a malformed value."""
    if modifier == "missing":
        return _missing(context, param, text)
    reader = READERS.get((param.kind, modifier))
    if reader is None and param.kind == "reference" and modifier in param.targets:
        values = [value if "/" in value else f"{modifier}/{value}" for value in values_split(text)]
        return _reference_term(context, rtype, param, [value for value in values if f"{modifier}/" in value])
    if reader is None:
        raise FhirError(400, f"The modifier of {param.name} is not supported.", code="not-supported")
    return reader(context, rtype, param, values_split(text))


def values_split(text: str) -> list[str]:
    """The OR list of a value, split at commas that no backslash escapes (FHIR R4 3.1.1.4.2)."""
    values = OR_PART.findall(text)
    if not values:
        raise FhirError(400, "A parameter has no value between its commas.", code="value")
    if len(values) > OR_MAX:
        raise FhirError(400, f"More than {OR_MAX} values in one parameter.", code="too-costly")
    return values


def plain(text: str) -> str:
    return re.sub(r"\\([\\,|$])", r"\1", text)


def parts_split(value: str, separator: str) -> list[str]:
    """Split at separators that no backslash escapes; the parts keep their escapes."""
    return re.findall(rf"((?:[^\\{separator}]|\\.|\\$)*)(?:[{separator}]|\Z)", value, re.DOTALL)[: value.count(separator) + 1]


def token_form(value: str) -> Form:
    """`code`, `system|code`, `|code` or `system|` (FHIR R4 3.1.1.4.10)."""
    found = re.match(r"((?:[^\\|]|\\.)*)\|(.*)", value, re.DOTALL)
    return (plain(found[1]), plain(found[2]) or None) if found else (None, plain(value))


def _missing(context: Context, param: Param, text: str) -> Term:
    if text not in {"true", "false"} or param.kind == "composite":
        raise FhirError(400, f"The value of {param.name}:missing is neither true nor false.", code="value")
    present = Tokens(tuple(present_hash(tenant_id=context.tenant_id, key=key) for key in param.keys))
    return Not(present) if text == "true" else present


def token_hashes(context: Context, rtype: ResourceType, keys: Sequence[str], form: Form) -> list[int]:
    """Of one form, in each branch. Bare codes are asked by themselves: their binding implies the system."""
    hashes = []
    for key in keys:
        implied = rtype.systems.get(key, "")
        system, code = form
        if implied and system is not None:
            if system not in ("", implied):
                continue
            system = None
            if code is None:
                hashes.append(present_hash(tenant_id=context.tenant_id, key=key))
                continue
        hashes.append(token_hash(tenant_id=context.tenant_id, key=key, system=system, code=code))
    return hashes


def _token(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    forms = [token_form(value) for value in values]
    hashes = [one for form in forms for one in token_hashes(context, rtype, param.keys, form)]
    tokens = Tokens(tuple(hashes), param.rank)
    keys = [key for key in param.keys if key in rtype.identifiers]
    # Two values may share a 64-bit hash; what names a person or a study is compared as it stands as well.
    return All((tokens, _identifier_rows([branch_number(key + IDENTIFIER) for key in keys], forms))) if keys else tokens


def _identifier_rows(numbers: list[int], forms: Sequence[Form]) -> Rows:
    options = []
    for system, code in forms:
        parts = [Sql("x.norm = %s", (code[:NORM_MAX],))] if code is not None else []
        parts += [Sql("x.exact = %s", (system,))] if system is not None else []
        options += [sql_join([Sql("x.param = %s", (number,)), *parts], " AND ") for number in numbers]
    return Rows("fhir_string", tuple(options), is_start=False)


def _not(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return Not(_token(context, rtype, param, values))


def _of_type(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    """`system|code|value` of an identifier's type."""
    hashes = []
    for value in values:
        parts = [plain(part) for part in parts_split(value, "|")]
        if len(parts) != 3 or not all(parts[1:]):
            raise FhirError(400, f"{param.name}:of-type is not system|code|value.", code="value")
        hashes += [posted_hash(context.tenant_id, key + OF_TYPE, *parts) for key in param.keys]
    if not any(key in rtype.identifiers for key in param.keys):
        raise FhirError(400, f"{param.name} is no identifier, so has no :of-type.", code="not-supported")
    return Tokens(tuple(hashes), param.rank)


def _in(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    hashes: list[int] = []
    for value in values:
        codes = VALUE_SETS.get(plain(value).split("|")[0])
        if codes is None:
            raise FhirError(400, f"The value set of {param.name}:in is not held here.", code="not-supported")
        hashes += [one for form in codes for one in token_hashes(context, rtype, param.keys, form)]
    return Tokens(tuple(dict.fromkeys(hashes)), param.rank)


def _not_in(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return Not(_in(context, rtype, param, values))


def _token_text(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    """The beginning of a word of a display, text or type's text."""
    keys = [key + TEXT for key in param.keys]
    return _text_rows(keys, [Sql("strpos(' ' || x.norm, %s) > 0", (f" {text}",)) for text in _texts(values)])


def _string(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return _text_rows(param.keys, [_beginning(text) for text in _texts(values)])


def _contains(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return _text_rows(param.keys, [Sql("strpos(x.norm, %s) > 0", (text,)) for text in _texts(values)])


def _exact(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    pairs = zip(_texts(values), map(plain, values), strict=True)
    return _text_rows(param.keys, [Sql("x.norm = %s AND x.exact = %s", pair) for pair in pairs])


def _texts(values: list[str]) -> list[str]:
    """Values as the index holds them."""
    texts = [normalized(plain(value))[:NORM_MAX] for value in values]
    if not all(texts):
        raise FhirError(400, "A text to search for is empty.", code="value")
    return texts


def _beginning(text: str) -> Sql:
    return Sql("x.norm >= %s AND x.norm < %s", (text, text + LAST_CHARACTER))


def _text_rows(keys: Sequence[str], conditions: Sequence[Sql]) -> Rows:
    numbers = [branch_number(key) for key in keys]
    options = (Sql(f"x.param = %s AND {one.text}", (number, *one.values)) for one in conditions for number in numbers)
    return Rows("fhir_string", tuple(options))


def _uri(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    uris = [plain(value) for value in values]
    return Tokens(
        tuple(uri_hash(tenant_id=context.tenant_id, key=key, uri=uri) for key in param.keys for uri in uris), param.rank
    )


def _uri_below(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return _text_rows(param.keys, [_beginning(plain(value)[:NORM_MAX]) for value in values])


def _uri_above(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    """Every URI that the value begins with."""
    uris = [plain(value)[:NORM_MAX] for value in values]
    above = [uri[:length] for uri in uris for length in range(1, len(uri) + 1)]
    return _text_rows(param.keys, [Sql("x.norm = ANY(%s)", (above,))])


def _reference_term(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    """`id`, `Type/id`, an absolute URL of this server, or another's as it stands in the resource."""
    found = [target for value in values for target in _targets(context, param, plain(value))]
    local = [(kind, fhir_id) for kind, fhir_id in found if kind]
    if param.keys == (rtype.patient_key,) and len(local) == len(found) and all(kind == "Patient" for kind, _ in local):
        return Patients(tuple(fhir_id for _, fhir_id in local))
    hashes = tuple(
        reference_hash(tenant_id=context.tenant_id, key=key, target=f"{kind}/{fhir_id}" if kind else fhir_id)
        for key in param.keys
        for kind, fhir_id in found
    )
    tokens = Tokens(hashes, param.rank)
    if not found or len(local) < len(found) or not all(kind in TYPES for kind, _ in local):
        return tokens
    options = [
        Sql("x.param = %s AND x.target_type = %s AND x.target_id = %s", (key, TYPES[kind].number, fhir_id))
        for key in param.keys
        for kind, fhir_id in local
    ]
    rows = Rows("fhir_ref", tuple(options), is_start=False)
    return All((tokens, rows))


def _targets(context: Context, param: Param, value: str) -> list[tuple[str, str]]:
    """(type, id); a URL that is none of ours has no type."""
    local = value.removeprefix(f"{context.base}/")
    kind, slash, rest = local.partition("/")
    if not slash and ":" not in local:
        return [(target, local) for target in param.targets if target in TYPES and ID.fullmatch(local)]
    fhir_id = rest.split("/_history/")[0]
    if kind in param.targets and ID.fullmatch(fhir_id):
        return [(kind, fhir_id)]
    return [("", value)] if ":" in value and local == value else []


def _reference_identifier(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    """The identifier that a reference states by itself (FHIR R4 3.1.1.4.11)."""
    forms = [token_form(value) for value in values]
    hashes = (
        token_hash(tenant_id=context.tenant_id, key=key + IDENTIFIER, system=system, code=code)
        for key in param.keys
        for system, code in forms
    )
    return Tokens(tuple(hashes), param.rank)


def _date(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return date_rows(keys=param.keys, values=values, zone=context.zone)


def _quantity(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return quantity_rows(numbers=[branch_number(key) for key in param.keys], values=[_parts(value) for value in values])


def _parts(value: str) -> list[str]:
    return [plain(part) for part in parts_split(value, "|")]


def _near(context: Context, rtype: ResourceType, param: Param, values: list[str]) -> Term:
    return near_rows(numbers=[branch_number(key) for key in param.keys], values=[_parts(value) for value in values])


Reader = Callable[[Context, ResourceType, Param, list[str]], Term]
READERS: dict[tuple[str, str], Reader] = {
    ("token", ""): _token,
    ("token", "not"): _not,
    ("token", "of-type"): _of_type,
    ("token", "in"): _in,
    ("token", "not-in"): _not_in,
    ("token", "text"): _token_text,
    ("string", ""): _string,
    ("string", "exact"): _exact,
    ("string", "contains"): _contains,
    ("uri", ""): _uri,
    ("uri", "below"): _uri_below,
    ("uri", "above"): _uri_above,
    ("reference", ""): _reference_term,
    ("reference", "identifier"): _reference_identifier,
    ("date", ""): _date,
    ("quantity", ""): _quantity,
    ("number", ""): _quantity,
    ("special", ""): _near,
}
