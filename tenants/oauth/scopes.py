"""SMART scopes (SMART App Launch 2.2.0, "Scopes for requesting FHIR resources"), v1 and v2: what they say, and what they let do.

v1 `read` is r and s, `write` is c, u and d, `*` all. A query behind a v2 scope narrows it, for r and s only: letters that write are
dropped from such a scope. `system/` is for programs that act for themselves; `user/` is what a person may do here, `patient/` what
belongs to the patient of the launch: to be read and searched, never written.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

LETTERS = "cruds"
V1 = {"read": "rs", "write": "cud", "*": LETTERS}
SYSTEM, USER, PATIENT = "system", "user", "patient"
_SCOPE = re.compile(r"(system|user|patient)/([A-Z][A-Za-z]{1,63}|\*)\.(read|write|\*|c?r?u?d?s?)(?:\?(.{1,500}))?")
SCOPES_CHARS = 8_000
Pairs = tuple[tuple[str, str], ...]
# What an app may ask for besides data: context of a launch, and to go on when the person has left, or while they stay.
LAUNCH, LAUNCH_PATIENT, OFFLINE, ONLINE = "launch", "launch/patient", "offline_access", "online_access"
WORDS = (LAUNCH, LAUNCH_PATIENT, OFFLINE, ONLINE)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One scope: type or `*`, letters in their order, and what narrows it."""

    context: str = SYSTEM
    rtype: str
    letters: str
    query: Pairs = ()

    @property
    def text(self) -> str:
        return f"{self.context}/{self.rtype}.{self.letters}{'?' + urlencode(self.query) if self.query else ''}"

    def covers(self, rtype: str) -> bool:
        return self.rtype in {"*", rtype}


def scope_read(text: str) -> Scope | None:
    """None for what is no scope of data."""
    found = _SCOPE.fullmatch(text)
    if not found or not found[3]:
        return None
    letters, query = V1.get(found[3], found[3]), tuple(parse_qsl(found[4] or ""))
    if found[4] and (found[3] in V1 or found[2] == "*" or not query):
        return None
    if query or found[1] == PATIENT:
        letters = "".join(letter for letter in letters if letter in "rs")
    return Scope(context=found[1], rtype=found[2], letters=letters, query=query) if letters else None


def scopes_read(text: str) -> list[Scope]:
    """Those that are understood, in their order, each once."""
    return list(dict.fromkeys(scope for part in text[:SCOPES_CHARS].split() if (scope := scope_read(part))))


def words_read(text: str) -> list[str]:
    """Those of WORDS that are there, each once."""
    parts = text[:SCOPES_CHARS].split()
    return [word for word in WORDS if word in parts]


def scopes_granted(*, asked: str, allowed: str) -> list[Scope]:
    """What of `asked` lies within `allowed`, letter by letter; nothing asked is everything allowed."""
    limits = scopes_read(allowed)
    if not asked.strip():
        return limits
    found = []
    for wish in scopes_read(asked):
        for limit in limits:
            if (one := _within(wish, limit)) is not None:
                found.append(one)
    return list(dict.fromkeys(found))


def words_granted(*, asked: str, allowed: str) -> list[str]:
    """As `scopes_granted`, of the words."""
    limits = words_read(allowed)
    return [word for word in words_read(asked) if word in limits] if asked.strip() else limits


def _within(wish: Scope, limit: Scope) -> Scope | None:
    if wish.context != limit.context or not (limit.covers(wish.rtype) or wish.rtype == "*"):
        return None
    if limit.query and wish.query not in ((), limit.query):
        return None
    letters = "".join(letter for letter in LETTERS if letter in wish.letters and letter in limit.letters)
    rtype = limit.rtype if wish.rtype == "*" else wish.rtype
    return Scope(context=limit.context, rtype=rtype, letters=letters, query=wish.query or limit.query) if letters else None


def scopes_text(scopes: Iterable[Scope]) -> str:
    return " ".join(scope.text for scope in scopes)


class Access:
    """What a token's scopes let do with a type."""

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._scopes = [scope for scope in scopes if scope.context != PATIENT]
        self._own = [scope for scope in scopes if scope.context == PATIENT]

    def may(self, rtype: str, letter: str) -> bool:
        """With all of that type."""
        return any(scope.covers(rtype) and letter in scope.letters and not scope.query for scope in self._scopes)

    def narrowed(self, rtype: str, letter: str) -> list[Pairs]:
        """With what one of these searches finds; empty where all or nothing may be done."""
        if self.may(rtype, letter):
            return []
        return [scope.query for scope in self._scopes if scope.covers(rtype) and letter in scope.letters and scope.query]

    def own(self, rtype: str, letter: str) -> list[Pairs] | None:
        """With what is the patient's of the launch, and is found by one of these searches; None where nothing may be done."""
        found = [scope.query for scope in self._own if scope.covers(rtype) and letter in scope.letters]
        if not found:
            return None
        return [] if () in found else found


@lru_cache(maxsize=1024)
def access_of(text: str) -> Access:
    return Access(scopes_read(text))
