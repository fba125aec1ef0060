"""SMART scopes (SMART App Launch 2.2.0, "Scopes for requesting FHIR resources"), v1 and v2: what they say, and what they let do.

v1 `read` is r and s, `write` is c, u and d, `*` all. A query behind a v2 scope narrows it, for r and s only: letters that write are
dropped from such a scope.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

LETTERS = "cruds"
V1 = {"read": "rs", "write": "cud", "*": LETTERS}
_SCOPE = re.compile(r"(system)/([A-Z][A-Za-z]{1,63}|\*)\.(read|write|\*|c?r?u?d?s?)(?:\?(.{1,500}))?")
SCOPES_CHARS = 8_000
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One scope: type or `*`, letters in their order, and what narrows it."""

    rtype: str
    letters: str
    query: Pairs = ()

    @property
    def text(self) -> str:
        return f"system/{self.rtype}.{self.letters}{'?' + urlencode(self.query) if self.query else ''}"

    def covers(self, rtype: str) -> bool:
        return self.rtype in {"*", rtype}


def scope_read(text: str) -> Scope | None:
    """None for what is no scope that a system may have."""
    found = _SCOPE.fullmatch(text)
    if not found or not found[3]:
        return None
    letters, query = V1.get(found[3], found[3]), tuple(parse_qsl(found[4] or ""))
    if found[4] and (found[3] in V1 or found[2] == "*" or not query):
        return None
    if query:
        letters = "".join(letter for letter in letters if letter in "rs")
    return Scope(rtype=found[2], letters=letters, query=query) if letters else None


def scopes_read(text: str) -> list[Scope]:
    """Those that are understood, in their order, each once."""
    return list(dict.fromkeys(scope for part in text[:SCOPES_CHARS].split() if (scope := scope_read(part))))


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


def _within(wish: Scope, limit: Scope) -> Scope | None:
    if not (limit.covers(wish.rtype) or wish.rtype == "*"):
        return None
    if limit.query and wish.query not in ((), limit.query):
        return None
    letters = "".join(letter for letter in LETTERS if letter in wish.letters and letter in limit.letters)
    rtype = limit.rtype if wish.rtype == "*" else wish.rtype
    return Scope(rtype=rtype, letters=letters, query=wish.query or limit.query) if letters else None


def scopes_text(scopes: Iterable[Scope]) -> str:
    return " ".join(scope.text for scope in scopes)


class Access:
    """What a token's scopes let do with a type."""

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._scopes = scopes

    def may(self, rtype: str, letter: str) -> bool:
        """With all of that type."""
        return any(scope.covers(rtype) and letter in scope.letters and not scope.query for scope in self._scopes)

    def narrowed(self, rtype: str, letter: str) -> list[Pairs]:
        """With what one of these searches finds; empty where all or nothing may be done."""
        if self.may(rtype, letter):
            return []
        return [scope.query for scope in self._scopes if scope.covers(rtype) and letter in scope.letters and scope.query]


@lru_cache(maxsize=1024)
def access_of(text: str) -> Access:
    return Access(scopes_read(text))
