"""What a token's SMART scopes mean for one request: which types are as if they were not there, and what narrows those that are.

A narrowed scope (`system/Observation.rs?category=laboratory`) holds for read and for search of its own type. Where several types come
together (includes, chains, histories, $everything, exports) its type is left out: what may not be seen whole is not seen by the way.

A scope of the launch's patient (`patient/Observation.rs`) holds for what is in that patient's compartment (CompartmentDefinition/patient):
by read, search, include and $everything. Of types that are about nobody it opens those that the rest cannot be read without.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from fhirapi.jsontext import json_dump
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.search.include import Owned
from tenants.oauth.scopes import Access, Pairs, access_of

NOT_IN_SCOPE = "The token's scopes do not allow this."
LETTER_OF = {"POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d", "GET": "r", "HEAD": "r"}
CONDITIONAL = re.compile(r'"reference": ?"([A-Z][A-Za-z]+)\?')
SHARED = frozenset({"Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "Endpoint"})
OF_MANY = frozenset({"Group", "AuditEvent"})  # of the compartment, but each may be about others as well
# Goes on when its maker has left: programs that act for themselves alone make one.
OUTLIVING = "Subscription"


@cache
def owned_types() -> frozenset[str]:
    """Types whose resources belong to a patient, each to one."""
    return frozenset(name for name, rtype in TYPES.items() if name == "Patient" or rtype.compartment) - OF_MANY


class Scoped:
    """One request of a token with scopes. `patient` is that of the launch, `is_person` whether an app acts for somebody."""

    def __init__(self, scopes: str, *, patient: str = "", is_person: bool = False) -> None:
        self.access: Access = access_of(scopes)
        self.patient, self._is_person = patient, is_person

    def hidden(self, letters: str) -> frozenset[str]:
        """Types that may not be looked at with all of these letters, whole."""
        return frozenset(name for name in TYPES if not self._is_whole(name, letters))

    def owned(self, letters: str) -> Owned | None:
        """Of the hidden ones, those of which the patient's may be looked at, with nothing that narrows them further."""
        if not self.patient:
            return None
        rtypes = frozenset(
            name for name in owned_types()
            if not self._is_whole(name, letters) and all(self.access.own(name, letter) == [] for letter in letters)
        )  # fmt: skip
        return Owned(patient=self.patient, rtypes=rtypes) if rtypes else None

    def narrowed(self, rtype: str, letter: str) -> tuple[list[Pairs], bool]:
        """What narrows the type, empty for nothing, and whether only the patient's may be looked at.

        Raises FhirError 403 where nothing is allowed.
        """
        if self._is_whole(rtype, letter):
            return [], False
        own = self.access.own(rtype, letter) if self.patient and rtype in owned_types() else None
        if own is not None:
            return own, True
        found = self.access.narrowed(rtype, letter)
        if not found:
            raise FhirError(403, NOT_IN_SCOPE)
        return found, False

    def whole_check(self, rtype: str, letters: str) -> None:
        """Raises FhirError 403."""
        if not self._is_whole(rtype, letters):
            raise FhirError(403, NOT_IN_SCOPE)

    def _is_whole(self, rtype: str, letters: str) -> bool:
        if self._is_person and rtype == OUTLIVING and set(letters) - {"r", "s"}:
            return False
        return all(self.access.may(rtype, letter) or self._is_shared(rtype, letter) for letter in letters)

    def _is_shared(self, rtype: str, letter: str) -> bool:
        return bool(self.patient) and rtype in SHARED and self.access.own(rtype, letter) == []

    def entries_check(self, entries: Iterable[Any]) -> None:
        """The writes of a transaction, and what its conditional references would look for. Raises FhirError 403."""
        for entry in entries:
            if entry.method in {"GET", "HEAD"}:
                continue  # asked through its own view
            self.whole_check(entry.rtype, LETTER_OF[entry.method])
            if entry.query or entry.if_none_exist:
                self.criteria_check(entry.rtype, entry.query or entry.if_none_exist)
            if isinstance(entry.resource, dict):
                for rtype in set(CONDITIONAL.findall(json_dump(entry.resource))):
                    self.whole_check(rtype, "s")

    def criteria_check(self, rtype: str, query: str) -> None:
        """A conditional interaction tells whether something is there: it needs what a search does, and asks about nothing else."""
        self.whole_check(rtype, "s")
        names = [part.partition("=")[0] for part in query.lstrip("?").split("&")]
        if any("." in name or name.startswith("_has") or ":" in name for name in names):
            raise FhirError(403, "With scopes, criteria name parameters of their own type alone.")
