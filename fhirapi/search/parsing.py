"""One search parameter of any form -> a Term: plain, with a modifier, chained, reversed (`_has`), or common to all types."""

from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES, Param, ResourceType
from fhirapi.search.composites import composite_term
from fhirapi.search.dates import updated_condition
from fhirapi.search.terms import All, AnyOf, Column, Ids, PointedAtBy, PointsAt, Term
from fhirapi.search.values import Context, plain, value_term, values_split
from fhirapi.validation import ID
from imaging.selectors import study_uuids_holding

CHAIN_MAX = 3
LIST_KEYS = ("List.entry.item",)


def system_term(context: Context, rtypes: tuple[str, ...], name: str, value: str) -> Term | None:
    """A parameter of one type, or one that all of several types know. None: it is unknown."""
    if len(rtypes) == 1:
        return type_term(context, TYPES[rtypes[0]], name, value)
    terms = []
    for rtype in rtypes:
        term = type_term(context, TYPES[rtype], name, value)
        if term is None:
            return None
        terms.append(All((Column("{r}.rtype = %s", (TYPES[rtype].number,)), term)))
    return AnyOf(tuple(terms))


def compartment_term(context: Context, rtypes: tuple[str, ...], patient: str) -> Term:
    """What belongs to a patient (CompartmentDefinition/patient): any of the type's parameters that say so."""
    terms: list[Term] = []
    for rtype in (TYPES[name] for name in rtypes):
        of_type = Column("{r}.rtype = %s", (rtype.number,))
        if rtype.name == "Patient":
            terms.append(All((of_type, Ids((patient,), rtype.number))))
        for name in rtype.compartment:
            term = value_term(context, rtype, rtype.by_name[name], "", f"Patient/{patient}")
            terms.append(All((of_type, term)))
    return AnyOf(tuple(terms))


def type_term(context: Context, rtype: ResourceType, name: str, value: str, depth: int = 0) -> Term | None:
    """A parameter of one type. Raises FhirError 400 for a modifier or chain that it does not have."""
    if depth > CHAIN_MAX:
        raise FhirError(400, f"More than {CHAIN_MAX} links in a chain.", code="too-costly")
    if name.startswith("_has:"):
        return _has_term(context, rtype, name, value, depth)
    head, dot, rest = name.partition(".")
    plain_name, colon, modifier = head.partition(":")
    if plain_name in COMMON and not (dot or colon):
        return COMMON[plain_name](context, rtype, value)
    param = rtype.by_name.get(plain_name)
    if param is None:
        if dot or colon:
            raise FhirError(400, "A modifier or chain of a search parameter is not supported.", code="not-supported")
        return None
    if dot:
        return _chain_term(context, param, modifier, rest, value, depth)
    if param.kind == "composite":
        if modifier:
            raise FhirError(400, f"The modifier of {param.name} is not supported.", code="not-supported")
        return composite_term(context, rtype, param, value)
    if not param.keys or (rtype.name, param.name) in ELSEWHERE:
        return _instance_term(value) if not modifier else value_term(context, rtype, param, "unknown", value)
    return value_term(context, rtype, param, modifier, value)


def _chain_term(context: Context, param: Param, modifier: str, rest: str, value: str, depth: int) -> Term:
    """`subject:Patient.name=x` (FHIR R4 3.1.1.5.6); without a type, every target that knows the next parameter."""
    wanted = [modifier] if modifier else [name for name in param.targets if name not in context.hidden]
    if param.kind != "reference" or (modifier and modifier not in param.targets):
        raise FhirError(400, f"{param.name} leads to no such resource.", code="not-supported")
    context.shown_check(modifier)
    plain_rest = rest.partition(".")[0].partition(":")[0]
    terms: list[Term] = []
    for target in (TYPES[name] for name in wanted if name in TYPES):
        is_known = plain_rest in target.by_name or plain_rest in COMMON or rest.startswith("_has:")
        inner = type_term(context, target, rest, value, depth + 1) if is_known else None
        if inner is not None:
            terms.append(PointsAt(param.keys, target.number, (inner,)))
    if not terms:
        raise FhirError(400, f"No resource that {param.name} leads to has the chained parameter.", code="not-supported")
    return AnyOf(tuple(terms)) if len(terms) > 1 else terms[0]


def _has_term(context: Context, rtype: ResourceType, name: str, value: str, depth: int) -> Term:
    """`_has:Observation:patient:code=x` (FHIR R4 3.1.1.5.7)."""
    parts = name.split(":", 3)
    source = TYPES.get(parts[1]) if len(parts) == 4 else None
    param = source.by_name.get(parts[2]) if source else None
    if source is None or param is None or param.kind != "reference" or rtype.name not in param.targets:
        raise FhirError(400, "_has names no reference to this type.", code="not-supported")
    context.shown_check(source.name)
    inner = type_term(context, source, parts[3], value, depth + 1)
    if inner is None:
        raise FhirError(400, "_has names a search parameter that is not known.", code="not-supported")
    return PointedAtBy(param.keys, source.number, (inner,))


def _ids(context: Context, rtype: ResourceType, value: str) -> Term:
    return Ids(tuple(text for text in map(plain, values_split(value)) if ID.fullmatch(text)), rtype.number)


def _updated(context: Context, rtype: ResourceType, value: str) -> Term:
    conditions = [updated_condition(value=text, zone=context.zone) for text in values_split(value)]
    text = "(" + " OR ".join(sql for sql, _ in conditions) + ")"
    return Column(text, tuple(moment for _, moments in conditions for moment in moments))


def _list(context: Context, rtype: ResourceType, value: str) -> Term:
    """`_list`: what a List of the hospital's names (FHIR R4 3.1.1.4.16)."""
    ids = tuple(text for text in values_split(value) if ID.fullmatch(text))
    return PointedAtBy(LIST_KEYS, TYPES["List"].number, (Ids(ids, TYPES["List"].number),))


def _instance_term(value: str) -> Term:
    """ImagingStudy's `instance`: the DICOM tables know which study holds it, so the index does not repeat each image."""
    uids = [plain(text).rpartition("|")[2].removeprefix("urn:oid:") for text in values_split(value)]
    return Ids(tuple(map(str, study_uuids_holding(sop_instance_uids=uids))), TYPES["ImagingStudy"].number)


COMMON = {"_id": _ids, "_lastUpdated": _updated, "_list": _list}
ELSEWHERE = {("ImagingStudy", "instance")}
