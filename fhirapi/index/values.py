"""One value of a resource -> the rows and hashes that find it: a maker for each kind of search and FHIR type."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import product
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from fhirapi.index.hashes import (
    branch_number,
    hash64,
    pair_hash,
    posted_hash,
    reference_hash,
    spread_hash,
    token_hash,
    uri_hash,
)
from fhirapi.index.periods import SHORT, value_range
from fhirapi.registry import TYPES, Leaf
from tenants.selectors import tenant_get

DICOM_UID = "urn:dicom:uid"
URN = "urn:ietf:rfc:3986"
OID = "urn:oid:"
LOCAL = "#local"  # dates without an offset: days of the hospital, whatever its zone will be
TEXT = "#text"
IDENTIFIER = "#identifier"
OF_TYPE = "#of-type"
NORM_MAX = 240  # characters: a btree entry holds no more than 2,700 bytes


@dataclass
class Gathered:
    """The same while it is gathered. `tenant_id` goes into every hash: no two hospitals share one."""

    tenant_id: int
    tokens: set[int] = field(default_factory=set)
    refs: set[tuple[str, int, str]] = field(default_factory=set)
    dates: set[tuple[int, datetime, datetime]] = field(default_factory=set)
    quantities: set[tuple[int, float, float, int, int, int, str]] = field(default_factory=set)
    strings: set[tuple[int, str, str]] = field(default_factory=set)


Maker = Callable[[Gathered, Leaf, Any], None]
SPECIAL_VALUES = "http://terminology.hl7.org/CodeSystem/special-values"
OWN_URL = re.compile(r"https?://([^/\s]+)/t/([^/\s]+)/fhir/r4/(.+)")
LOCAL_REFERENCE = re.compile(r"([A-Z]\w+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
NAME_PARTS = ("text", "family", "given", "prefix", "suffix")
ADDRESS_PARTS = ("text", "line", "city", "district", "state", "postalCode", "country")
Forms = list[tuple[str | None, str | None]]


@lru_cache(maxsize=8192)
def normalized(text: str) -> str:
    """Without case and accents, blanks as one: how strings are compared (FHIR R4 3.1.1.4.8)."""
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c)).casefold()
    return " ".join(plain.split())


def token_forms(leaf: Leaf, value: Any) -> Forms:
    """(system, code) as `token_hash` takes them, in all forms that find a value."""
    if leaf.ftype == "CodeableConcept":
        return [form for coding in value.get("coding", ()) for form in _forms(coding.get("system", ""), coding.get("code"))]
    if leaf.ftype == "Coding":
        return _forms(value.get("system", ""), value.get("code"))
    if leaf.ftype == "Identifier":
        return _forms(value.get("system", ""), value.get("value"))
    if leaf.ftype == "ContactPoint":
        # R4 says that the use stands before the bar; most clients write the kind there, as R5 has it.
        return [*_forms(value.get("use", ""), value.get("value")), *_forms(value.get("system", ""), value.get("value"))]
    if leaf.ftype == "boolean":
        return _forms(SPECIAL_VALUES, "true" if value else "false")
    if leaf.system:  # a search for `system|code` is asked as `code` (fhirapi.search.values)
        return [(None, value)]
    return _forms("", value)


def _forms(system: str, code: str | None) -> Forms:
    if code is None:
        return [(system, None)] if system else []
    forms: Forms = [(None, code), (system, code)]
    if system:
        forms.append((system, None))
        # Radiology systems ask with the UID as DICOM writes it, without the URN that R4 wants around it.
        if code.startswith(OID) and system in {DICOM_UID, URN}:
            forms += [(None, code.removeprefix(OID)), (system, code.removeprefix(OID))]
    return forms


def _token(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    for system, code in token_forms(leaf, value):
        gathered.tokens.add(token_hash(tenant_id=gathered.tenant_id, key=leaf.key, system=system, code=code))
    if leaf.ftype == "Identifier":
        _identifier(gathered, leaf.key, value)
        _texts(gathered, leaf.key, [value.get("type", {}).get("text")])
    elif leaf.ftype == "CodeableConcept":
        _texts(gathered, leaf.key, [value.get("text"), *(coding.get("display") for coding in value.get("coding", ()))])
    elif leaf.ftype == "Coding":
        _texts(gathered, leaf.key, [value.get("display")])


def _identifier(gathered: Gathered, key: str, value: dict[str, Any]) -> None:
    """The value itself, since two may share a hash; and `:of-type` (FHIR R4 3.1.1.4.10)."""
    text = value.get("value")
    if text is None:
        return
    number = branch_number(key + IDENTIFIER)
    gathered.strings |= {(number, plain[:NORM_MAX], value.get("system", "")) for plain in (text, text.removeprefix(OID))}
    for coding in value.get("type", {}).get("coding", ()):
        if "code" in coding:
            form = (coding.get("system", ""), coding["code"], text)
            gathered.tokens.add(posted_hash(gathered.tenant_id, key + OF_TYPE, *form))


def _texts(gathered: Gathered, key: str, texts: Iterable[str | None]) -> None:
    number = branch_number(key + TEXT)
    gathered.strings |= {(number, normalized(text)[:NORM_MAX], "") for text in texts if text}


def _relative(tenant_id: int, text: str) -> str:
    """A reference by an address of this very hospital, as what it is: one of its own."""
    if not (found := OWN_URL.fullmatch(text)):
        return text
    host, slug, rest = found.groups()
    is_own = validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS) and slug == _slug(tenant_id)
    return rest if is_own else text


@lru_cache(maxsize=1024)
def _slug(tenant_id: int) -> str:
    return str(tenant_get(tenant_id=tenant_id).slug)


def _reference(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    text = _relative(gathered.tenant_id, value.get("reference", ""))
    if found := LOCAL_REFERENCE.fullmatch(text):
        rtype, fhir_id = found.groups()
        text = f"{rtype}/{fhir_id}"
        if rtype in TYPES:
            gathered.refs.add((leaf.key, TYPES[rtype].number, fhir_id))
    if text and not text.startswith("#"):
        gathered.tokens.add(reference_hash(tenant_id=gathered.tenant_id, key=leaf.key, target=text))
    if identifier := value.get("identifier"):
        key = leaf.key + IDENTIFIER
        for system, code in _forms(identifier.get("system", ""), identifier.get("value")):
            gathered.tokens.add(token_hash(tenant_id=gathered.tenant_id, key=key, system=system, code=code))


def _canonical(gathered: Gathered, leaf: Leaf, value: str) -> None:
    for target in {value, value.split("|")[0]}:
        gathered.tokens.add(reference_hash(tenant_id=gathered.tenant_id, key=leaf.key, target=target))


def _uri(gathered: Gathered, leaf: Leaf, value: str) -> None:
    for uri in {value, value.split("|")[0]} if leaf.ftype == "canonical" else {value}:
        gathered.tokens.add(uri_hash(tenant_id=gathered.tenant_id, key=leaf.key, uri=uri))
    gathered.strings.add((branch_number(leaf.key), value[:NORM_MAX], ""))


def _date(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    try:
        found = value_range(leaf.ftype, value)
    except ValueError:  # no day of the calendar, though written as one: nobody can ask for it
        return
    if found:
        low, high, is_local = found
        both = branch_number(leaf.key), branch_number(leaf.key + LOCAL)
        row = (both[is_local], low, high)
        if high - low > SHORT or any(one[0] in both and one != row for one in gathered.dates):
            gathered.tokens.add(spread_hash(tenant_id=gathered.tenant_id, key=leaf.key))
        gathered.dates.add(row)


def _string(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    number = branch_number(leaf.key)
    gathered.strings |= {(number, normalized(text)[:NORM_MAX], text) for text in _string_parts(leaf.ftype, value) if text}


def _string_parts(ftype: str, value: Any) -> Iterator[str | None]:
    parts = {"HumanName": NAME_PARTS, "Address": ADDRESS_PARTS}.get(ftype)
    if parts is None:
        yield value
        return
    for name in parts:
        part = value.get(name)
        yield from part if isinstance(part, list) else (part,)


def quantity_rows(leaf: Leaf, value: Any, group: str = "{}") -> Iterator[tuple[int, float, float, int, int, int, str]]:
    """(branch, low, high, code, unit, system, group). A comparator opens one side; a Range has two ends."""
    sides = _quantity_sides(leaf.ftype, value)
    if sides is not None:
        low, high, unit = sides
        code, name, system = (hash64(unit[part]) if unit.get(part) else 0 for part in ("code", "unit", "system"))
        yield branch_number(leaf.key), low, high, code, name, system, group


def _quantity_sides(ftype: str, value: Any) -> tuple[float, float, dict[str, Any]] | None:
    """Lowest, highest, and the quantity that names the unit."""
    if ftype == "Range":
        low, high = value.get("low", {}), value.get("high", {})
        return float(low.get("value", "-inf")), float(high.get("value", "inf")), low or high
    if ftype == "SampledData":
        origin, factor = value["origin"], float(value.get("factor", 1))
        numbers = [float(text) for text in value.get("data", "").split() if NUMBER.fullmatch(text)]  # E, U and L are none
        if not numbers or "value" not in origin:
            return None
        ends = [float(origin["value"]) + factor * end for end in (min(numbers), max(numbers))]
        return min(ends), max(ends), origin
    if "value" not in value:
        return None
    number, comparator = float(value["value"]), value.get("comparator", "")
    return (float("-inf") if "<" in comparator else number), (float("inf") if ">" in comparator else number), value


def _quantity(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    gathered.quantities.update(quantity_rows(leaf, value))


def _position(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    """`near`: latitude and longitude stand where other rows have low and high."""
    latitude, longitude = float(value["latitude"]), float(value["longitude"])
    if abs(latitude) <= 90 and abs(longitude) <= 180:  # no other place could be measured from
        gathered.quantities.add((branch_number(leaf.key), latitude, longitude, 0, 0, 0, "{}"))


def _component(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    """Observation.component: code with a value that is a concept or a quantity."""
    codes = _hashes(gathered, Leaf(key=f"{leaf.key}.code", kind="token", ftype="CodeableConcept"), value["code"])
    if concept := value.get("valueCodeableConcept"):
        second = Leaf(key=f"{leaf.key}.value.as(CodeableConcept)", kind="token", ftype="CodeableConcept")
        _pairs(gathered, leaf.key, codes, _hashes(gathered, second, concept))
    if quantity := value.get("valueQuantity"):
        group = "{" + ",".join(map(str, sorted(codes))) + "}"
        gathered.quantities.update(quantity_rows(Leaf(key=leaf.key, kind="quantity", ftype="Quantity"), quantity, group))


def _characteristic(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    """Group.characteristic: code with a concept or a boolean."""
    codes = _hashes(gathered, Leaf(key=f"{leaf.key}.code", kind="token", ftype="CodeableConcept"), value["code"])
    for ftype, name in (("CodeableConcept", "valueCodeableConcept"), ("boolean", "valueBoolean")):
        if name in value:
            second = Leaf(key=f"{leaf.key}.value.as({ftype})", kind="token", ftype=ftype)
            _pairs(gathered, leaf.key, codes, _hashes(gathered, second, value[name]))


def _relation(gathered: Gathered, leaf: Leaf, value: Any) -> None:
    """DocumentReference.relatesTo: the relation with its target."""
    code = Leaf(key=f"{leaf.key}.code", kind="token", ftype="code", system="implied")
    apart = Gathered(gathered.tenant_id)
    _reference(apart, Leaf(key=f"{leaf.key}.target", kind="reference", ftype="Reference"), value["target"])
    _pairs(gathered, leaf.key, _hashes(gathered, code, value["code"]), apart.tokens)


def _hashes(gathered: Gathered, leaf: Leaf, value: Any) -> set[int]:
    return {token_hash(tenant_id=gathered.tenant_id, key=leaf.key, system=s, code=c) for s, c in token_forms(leaf, value)}


def _pairs(gathered: Gathered, key: str, firsts: Iterable[int], seconds: Iterable[int]) -> None:
    pairs = product(firsts, seconds)
    gathered.tokens |= {pair_hash(tenant_id=gathered.tenant_id, key=key, first=one, second=two) for one, two in pairs}


MAKERS: dict[tuple[str, str], Maker] = {
    **{("token", t): _token for t in
       ("CodeableConcept", "Coding", "Identifier", "ContactPoint", "boolean", "code", "id", "string", "uri")},
    **{("string", t): _string for t in ("string", "markdown", "HumanName", "Address")},
    **{("date", t): _date for t in ("date", "dateTime", "instant", "Period", "Timing")},
    **{("quantity", t): _quantity for t in ("Quantity", "Age", "Duration", "Range", "SampledData")},
    **{("uri", t): _uri for t in ("uri", "url", "canonical")},
    ("reference", "Reference"): _reference,
    ("reference", "canonical"): _canonical,
    ("special", "Location.position"): _position,
    ("pair", "Observation.component"): _component,
    ("pair", "Group.characteristic"): _characteristic,
    ("pair", "DocumentReference.relatesTo"): _relation,
}  # fmt: skip
