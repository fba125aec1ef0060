"""Parameters that say how an answer looks: `_count`, `_sort`, `_total`, `_summary`, `_elements`, `_include` and their kin."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fhirapi.outcomes import FhirError
from fhirapi.registry import COUNT_DEFAULT, COUNT_MAX, TYPES, ResourceType
from fhirapi.search.form import Form
from fhirapi.search.include import ANY_TYPE, Include
from fhirapi.search.sort import NEWEST, Sort, sort_make

SORTS_MAX, INCLUDES_MAX, ELEMENTS_MAX = 5, 20, 100
ELEMENT = re.compile(r"[a-z][A-Za-z0-9]{0,63}(\.[a-z][A-Za-z0-9]{0,63})*")


@dataclass
class Options:
    """What is gathered while the parameters are walked."""

    rtypes: tuple[str, ...]
    sorts: tuple[Sort, ...] = (NEWEST,)
    includes: list[Include] = field(default_factory=list)
    count: int = COUNT_DEFAULT
    is_count_only: bool = False
    is_total: bool = False
    form: Form = Form()


def option_read(options: Options, name: str, value: str) -> bool:
    """Take one in. False: it is not supported as it stands."""
    plain, _, modifier = name.partition(":")
    if plain in {"_include", "_revinclude"}:
        return _include(options, plain == "_revinclude", modifier, value)
    if modifier:
        raise FhirError(400, f"The modifier of {plain} is not supported.", code="not-supported")
    return OPTIONS[plain](options, value)


def _count(options: Options, value: str) -> bool:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise FhirError(400, "_count is no number.", code="value")
    count = min(int(value), COUNT_MAX)
    options.count = count or COUNT_DEFAULT
    if count == 0:  # FHIR R4 3.1.1.5.3: the same as _summary=count
        options.is_count_only = True
    return True


def _total(options: Options, value: str) -> bool:
    options.is_total = value in {"accurate", "estimate"}
    return value in {"accurate", "estimate", "none"}


def _summary(options: Options, value: str) -> bool:
    if value == "count":
        options.is_count_only = True
    elif value in {"true", "text", "data"}:
        options.form = Form(summary=value, elements=options.form.elements)
    return value in {"count", "true", "text", "data", "false"}


def _elements(options: Options, value: str) -> bool:
    names = [name.strip() for name in value.split(",")]
    # `Type.element` names a type of a search of several.
    names = [name.partition(".")[2] if name.partition(".")[0] in TYPES else name for name in names]
    if len(names) > ELEMENTS_MAX or not all(ELEMENT.fullmatch(name) for name in names):
        raise FhirError(400, "_elements is no list of element names.", code="value")
    options.form = Form(summary=options.form.summary, elements=tuple(dict.fromkeys(name.split(".")[0] for name in names)))
    return True


def _sort(options: Options, value: str) -> bool:
    names = value.split(",")
    if len(names) > SORTS_MAX:
        raise FhirError(400, f"More than {SORTS_MAX} keys in _sort.", code="too-costly")
    if len(options.rtypes) > 1 and not {name.lstrip("-") for name in names} <= {"_lastUpdated", "_id"}:
        return False
    rtype = TYPES[options.rtypes[0]]
    found = [sort_make(rtype=rtype, name=name.removeprefix("-"), is_descending=name.startswith("-")) for name in names]
    sorts = tuple(sort for sort in found if sort is not None)
    if len(sorts) < len(names):
        return False
    options.sorts = sorts
    return True


def _include(options: Options, is_reverse: bool, modifier: str, value: str) -> bool:
    """`Type:parameter`, `Type:parameter:TargetType`, `Type:*` or `*` (FHIR R4 3.1.1.5.5)."""
    if modifier not in {"", "iterate", "recurse"}:
        raise FhirError(400, "The modifier of an include is not supported.", code="not-supported")
    if len(options.includes) >= INCLUDES_MAX:
        raise FhirError(400, f"More than {INCLUDES_MAX} includes.", code="too-costly")
    name, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    if (name not in TYPES and value != "*") or (target and target not in TYPES):
        return False
    # `*` is every reference of the matches, and of what comes along with them under :iterate.
    every: Iterable[str] = [] if is_reverse else TYPES if modifier else options.rtypes
    sources = [TYPES[one] for one in ([name] if name in TYPES else every)]
    keys = [
        key
        for source in sources
        for param in source.params
        if param.kind == "reference" and code in {param.name, "*", ""} and (code or value == "*")
        and (not target or target in param.targets)
        for key in param.keys
    ]  # fmt: skip
    if not keys:
        return False
    number = TYPES[target].number if target else _only_target(sources, code)
    options.includes.append(Include(
        keys=tuple(dict.fromkeys(keys)), target=number, is_reverse=is_reverse, is_iterate=bool(modifier)
    ))  # fmt: skip
    return True


def _only_target(sources: list[ResourceType], code: str) -> int:
    """`patient` stands for the same element as `subject`, but leads to patients alone."""
    targets = {target for source in sources for param in source.params if param.name == code for target in param.targets}
    return TYPES[targets.pop()].number if len(targets) == 1 and targets <= set(TYPES) else ANY_TYPE


def _accepted(options: Options, value: str) -> bool:
    """`_contained=false` is what happens anyway."""
    return value == "false"


OPTIONS: dict[str, Callable[[Options, str], bool]] = {
    "_count": _count,
    "_total": _total,
    "_summary": _summary,
    "_elements": _elements,
    "_sort": _sort,
    "_contained": _accepted,
    "_include": lambda options, value: _include(options, False, "", value),
    "_revinclude": lambda options, value: _include(options, True, "", value),
}
