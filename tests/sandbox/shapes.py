"""Does an object have the shape that Stripe's own SDK says it has? By the annotations of its classes."""

import sys
import typing
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin

import stripe
from stripe import ListObject, StripeObject

MAX_DEPTH = 8


def problems(thing: Any, cls: type, *, where: str = "", depth: int = 0) -> list[str]:
    """Members that the SDK does not know, that it says are always there and are not, and values of another kind."""
    where = where or cls.__name__
    if depth > MAX_DEPTH:
        return []
    known = typing.get_type_hints(cls, localns=_Names())
    hints = {name: known[name] for name in cls.__annotations__ if get_origin(known[name]) is not typing.ClassVar}
    found = [f"{where}.{name}: the SDK knows no such member" for name in thing if name not in hints]
    found += [f"{where}.{name}: is missing" for name, hint in hints.items() if name not in thing and not _may_be_none(hint)]
    for name, value in thing.items():
        if name in hints:
            found += _value(value, hints[name], f"{where}.{name}", depth)
    return found


class _Names(dict[str, Any]):
    """What the SDK's annotations may name: it loads its classes when they are asked for."""

    def __missing__(self, name: str) -> Any:
        plain = name.removesuffix("Resource")  # how some modules call what another class has the name of
        for place in (stripe, *(module for path, module in sys.modules.items() if path.startswith("stripe."))):
            if (found := getattr(place, plain, None)) is not None:
                return found
        return Any  # of a module that nothing here asks for


def _may_be_none(hint: Any) -> bool:
    return type(None) in get_args(hint) if get_origin(hint) in (Union, type(int | str)) else hint is type(None)


def _value(value: Any, hint: Any, where: str, depth: int) -> list[str]:
    origin = get_origin(hint)
    if origin in (Union, type(int | str)):
        return min((_value(value, one, where, depth) for one in get_args(hint)), key=len)
    if hint is type(None):
        return [] if value is None else [f"{where}: is not null"]
    if origin is Literal:
        return [] if value in get_args(hint) else [f"{where}: {value!r} is none of {get_args(hint)[:6]}"]
    kind = origin or hint
    if not isinstance(kind, type):
        return []
    if issubclass(kind, list):
        return _listed(value if isinstance(value, list) else None, hint, where, depth)
    if issubclass(kind, ListObject):
        is_list = isinstance(value, dict) and value.get("object") == "list"
        return _listed(value["data"] if is_list else None, hint, where, depth)
    if issubclass(kind, StripeObject):
        return _object(value, hint, where, depth)
    kind = str if kind is Decimal else kind  # so it stands in JSON
    is_right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    return [] if is_right else [f"{where}: {type(value).__name__} instead of {kind.__name__}"]


def _listed(items: list[Any] | None, hint: Any, where: str, depth: int) -> list[str]:
    if items is None:
        return [f"{where}: is no list"]
    return [one for item in items for one in _value(item, get_args(hint)[0], f"{where}[]", depth)]


def _object(value: Any, hint: Any, where: str, depth: int) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: is no object"]
    is_typed = bool(getattr(hint, "__annotations__", None)) and get_origin(hint) is None
    return problems(value, hint, where=where, depth=depth + 1) if is_typed else []
