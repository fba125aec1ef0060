"""Hashes of what is searched for. They are made here and never in SQL: under row level security only leakproof operators may use
an index (research/fhir.md 5).
"""

from functools import lru_cache
from hashlib import blake2b


def hash64(*parts: object) -> int:
    """A signed 64-bit number for PostgreSQL's bigint."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def posted_hash(*parts: object) -> int:
    """Of a value that a search may start from: even, and so a row of fhir_posting as well."""
    return hash64(*parts) & ~1


def noted_hash(*parts: object) -> int:
    """Of a value that only narrows a search: odd, and kept in the resource's own array alone."""
    return hash64(*parts) | 1


def is_posted(token: int) -> bool:
    return not token & 1


@lru_cache(maxsize=4096)
def branch_number(key: str) -> int:
    """What rows hold for a branch of a search expression: made of its name, so it never changes its meaning."""
    return hash64("branch", key)


@lru_cache(maxsize=16384)
def token_hash(*, tenant_id: int, key: str, system: str | None, code: str | None) -> int:
    """The hash of one form of a token (FHIR R4 search, 3.1.1.4.10): `code`, `system|code`, `|code` or `system|`.

    `system` is None where the form names none and "" where it says that there is none.
    """
    if system is None:
        return posted_hash(tenant_id, key, "code", code)
    if code is None:
        return noted_hash(tenant_id, key, "system", system)
    return posted_hash(tenant_id, key, "both", system, code)


def reference_hash(*, tenant_id: int, key: str, target: str) -> int:
    """The hash of a literal reference `Type/id`, or of a URL as it stands."""
    return posted_hash(tenant_id, key, "reference", target)


def uri_hash(*, tenant_id: int, key: str, uri: str) -> int:
    return posted_hash(tenant_id, key, "uri", uri)


@lru_cache(maxsize=16384)
def present_hash(*, tenant_id: int, key: str) -> int:
    """Says that a resource has any value there, for `:missing`."""
    return noted_hash(tenant_id, key, "present")


def pair_hash(*, tenant_id: int, key: str, first: int, second: int) -> int:
    """Two tokens of one component: composites of tokens (FHIR R4 3.1.1.4.15)."""
    return noted_hash(tenant_id, key, "pair", first, second)


def spread_hash(*, tenant_id: int, key: str) -> int:
    """Says that a resource's dates there are several, or one of more than two days: no two bounds on a first moment hold it."""
    return posted_hash(tenant_id, key, "spread")
