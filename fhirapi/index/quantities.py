"""Quantity and number search values (FHIR R4 3.1.1.4.6, 3.1.1.4.12): the range that a written precision means, and its prefixes."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fhirapi.index.hashes import hash64
from fhirapi.outcomes import FhirError
from fhirapi.registry import PREFIXES
from fhirapi.search.terms import Rows, Sql

NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?", re.ASCII)
# On a row's [lo, hi], which are one for a plain value: alternatives, each one walk of an index. `v` is the number itself, `a` and
# `b` its implied range, `p` and `q` that of `ap`.
Alternative = tuple[str, str]  # SQL, and the letters of its values
CONDITIONS: dict[str, tuple[Alternative, ...]] = {
    "eq": (("x.lo >= %s AND x.lo < %s AND x.hi < %s", "abb"),),
    "ne": (("x.lo < %s", "a"), ("x.lo >= %s", "b"), ("x.lo < x.hi AND x.lo >= %s AND x.lo < %s AND x.hi >= %s", "abb")),
    "gt": (("x.lo > %s", "v"), ("x.lo < x.hi AND x.lo <= %s AND x.hi > %s", "vv")),
    "ge": (("x.lo >= %s", "v"), ("x.lo < x.hi AND x.lo < %s AND x.hi >= %s", "vv")),
    "lt": (("x.lo < %s", "v"),),
    "le": (("x.lo <= %s", "v"),),
    "sa": (("x.lo > %s", "v"),),
    "eb": (("x.lo < %s AND x.hi < %s", "vv"),),
    "ap": (("x.lo >= %s AND x.lo <= %s", "pq"), ("x.lo < x.hi AND x.lo < %s AND x.hi >= %s", "pp")),
}
UNITS = {"km": 1.0, "m": 0.001, "mi": 1.609344, "[mi_i]": 1.609344, "ft": 0.0003048}
EARTH_KM, NEAR_KM = 6371.0088, 50.0


def quantity_rows(*, numbers: list[int], values: Sequence[list[str]]) -> Rows:
    """`[prefix]number`, `number|system|code` or `number||unit`. Raises FhirError 400 for no number."""
    options = [
        Sql(f"x.param = %s AND {part.text}", (number, *part.values))
        for parts in values
        for part in _value_parts(parts)
        for number in numbers
    ]
    return Rows("fhir_quantity", tuple(options))


def _value_parts(parts: list[str]) -> list[Sql]:
    if len(parts) not in {1, 3}:
        raise FhirError(400, "A quantity is not number, number|system|code or number||unit.", code="value")
    prefix = parts[0][:2] if parts[0][:2] in PREFIXES else "eq"
    number = _number(parts[0].removeprefix(prefix))
    half = Decimal(5).scaleb(_exponent(number) - 1)
    near = abs(number) / 10
    exact = float(number)
    # More digits than a double holds: the number itself must stay inside its own range.
    low, high = min(float(number - half), exact), max(float(number + half), math.nextafter(exact, math.inf))
    named = {"v": exact, "a": low, "b": high, "p": float(number - near), "q": float(number + near)}
    unit = _unit(parts)
    return [
        Sql(text + unit.text, (*(named[letter] for letter in letters), *unit.values)) for text, letters in CONDITIONS[prefix]
    ]


def _unit(parts: list[str]) -> Sql:
    system, code = parts[1:] if len(parts) == 3 else ("", "")
    text, values = "", []
    if system:
        text += " AND x.system = %s"
        values.append(hash64(system))
    if code:
        text += " AND x.code = %s" if system else " AND %s IN (x.code, x.unit)"
        values.append(hash64(code))
    return Sql(text, tuple(values))


def _number(text: str) -> Decimal:
    if not NUMBER.fullmatch(text):
        raise FhirError(400, "A number parameter is no number.", code="value")
    return Decimal(text)


def _exponent(number: Decimal) -> int:
    """Of the last digit that was written. 1e2 means [95, 105), as R4's own example has it."""
    exponent = int(number.as_tuple().exponent)
    return exponent - 1 if exponent > 0 else exponent


def near_rows(*, numbers: list[int], values: Sequence[list[str]]) -> Rows:
    """`latitude|longitude|distance|units` (Location.near), by the great circle."""
    options: list[str] = []
    bound: list[Any] = []
    for parts in values:
        if len(parts) not in {2, 3, 4} or not all(NUMBER.fullmatch(part) for part in parts[:3] if part):
            raise FhirError(400, "near is not latitude|longitude|distance|units.", code="value")
        unit = parts[3] if len(parts) == 4 and parts[3] else "km"
        if unit not in UNITS or not (parts[0] and parts[1]):
            raise FhirError(400, "near has no place, or a unit that is not supported.", code="value")
        distance = float(parts[2]) * UNITS[unit] if len(parts) > 2 and parts[2] else NEAR_KM
        options.append(
            "2 * %s * asin(least(1, sqrt(power(sin(radians(x.lo - %s) / 2), 2) + "
            "cos(radians(%s)) * cos(radians(x.lo)) * power(sin(radians(x.hi - %s) / 2), 2)))) <= %s"
        )
        latitude, longitude = float(parts[0]), float(parts[1])
        if abs(latitude) > 90 or abs(longitude) > 180:
            raise FhirError(400, "near is no place on earth.", code="value")
        bound += [EARTH_KM, latitude, latitude, longitude, distance]
    return Rows("fhir_quantity", (Sql(f"x.param = ANY(%s) AND ({' OR '.join(options)})", (numbers, *bound)),))
