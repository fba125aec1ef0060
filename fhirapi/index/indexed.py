"""What a resource is found by: hashes, references, dates, quantities and texts. The store writes it, the search asks for it."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Any

from fhirapi.definitions.accessors import ACCESSORS
from fhirapi.index.hashes import branch_number, present_hash
from fhirapi.index.periods import NO_DATE
from fhirapi.index.values import LOCAL, MAKERS, Gathered, Maker
from fhirapi.registry import TYPES, Leaf


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """One resource as the index sees it; each row's columns are those of its table after `rid` (fhirapi.index.postings)."""

    tokens: tuple[int, ...] = ()
    refs: tuple[tuple[str, int, str], ...] = ()  # (branch, number of the target's type, id)
    dates: tuple[tuple[int, datetime, datetime], ...] = ()  # (branch, first moment, first moment after)
    quantities: tuple[tuple[int, float, float, int, int, int, str], ...] = ()  # (branch, low, high, code, unit, system, group)
    strings: tuple[tuple[int, str, str], ...] = ()  # (branch, normalized, as written)
    patient: str | None = None
    sort_date: datetime = NO_DATE

    @property
    def digest(self) -> bytes:
        rows = (self.tokens, self.refs, self.dates, self.quantities, self.strings, self.patient, self.sort_date)
        return blake2b(repr(rows).encode(), digest_size=8).digest()


def resource_index(*, tenant_id: int, resource: dict[str, Any]) -> Indexed:
    """Everything that the registry says about this resource's type, taken from its content."""
    from_type = TYPES[resource["resourceType"]]
    gathered = Gathered(tenant_id)
    makers = _makers(from_type.name)
    before = None
    for found in ACCESSORS[from_type.name](resource):
        number, value = found
        if value is not None and found != before:  # the images of a series have one class
            leaf, make = makers[number]
            before = found
            gathered.tokens.add(present_hash(tenant_id=tenant_id, key=leaf.key))
            make(gathered, leaf, value)
    return Indexed(
        tokens=tuple(sorted(gathered.tokens)),
        refs=tuple(sorted(gathered.refs)),
        dates=tuple(sorted(gathered.dates)),
        quantities=tuple(sorted(gathered.quantities)),
        strings=tuple(sorted(gathered.strings)),
        patient=_patient_of(resource, gathered),
        sort_date=_sort_date(resource["resourceType"], gathered),
    )


@cache
def _makers(rtype: str) -> tuple[tuple[Leaf, Maker], ...]:
    return tuple((leaf, MAKERS[leaf.kind, leaf.ftype if leaf.kind != "pair" else leaf.key]) for leaf in TYPES[rtype].leaves)


@cache
def _date_numbers(rtype: str) -> frozenset[int]:
    return frozenset(branch_number(key + end) for key in TYPES[rtype].date_keys for end in ("", LOCAL))


def _sort_date(rtype: str, gathered: Gathered) -> datetime:
    """The first moment of the type's main date."""
    numbers = _date_numbers(rtype)
    return min((low for number, low, _ in gathered.dates if number in numbers), default=NO_DATE)


def _patient_of(resource: dict[str, Any], gathered: Gathered) -> str | None:
    """The patient whom a resource is about; a Patient is about itself."""
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    key, number = TYPES[resource["resourceType"]].patient_key, TYPES["Patient"].number
    return (
        next((fhir_id for branch, target, fhir_id in gathered.refs if branch == key and target == number), None)
        if key
        else None
    )
