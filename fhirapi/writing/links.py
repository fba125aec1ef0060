"""Links between the entries of a transaction, and conditional references, made into what they mean (FHIR R4 3.1.0.11.2).

Only values that FHIR types as a reference or a uri are looked at, and the links of narratives; a string that looks alike stays.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhirapi.registry import TYPES

URN = re.compile(r"urn:(uuid|oid):\S+", re.IGNORECASE)
REST = re.compile(r"(?P<root>https?://\S+/)?(?P<path>(?P<type>[A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64})(/_history/\S+)?")
CONDITIONAL = re.compile(r"(?P<type>[A-Z][A-Za-z]+)\?(?P<query>.+)", re.DOTALL)
NARRATIVE = re.compile(r"""(?P<head><(?:a|img)\b[^<>]*?\s(?:href|src)\s*=\s*)(?P<quote>["'])(?P<url>[^"']*)(?P=quote)""")
# The members that hold a reference, uri, url, canonical, oid or uuid in the types that are held; value[x] by its suffix.
LINKS = frozenset({
    "reference", "url", "uri", "instantiatesUri", "instantiatesCanonical", "source", "profile", "valueUri", "valueUrl",
    "valueCanonical", "valueOid", "valueUuid", "sourceUri", "policy", "entityUri", "definitionUri", "definitionCanonical", "questionnaire",
    "policyRule", "authority",
})  # fmt: skip


def references(node: Any) -> Iterator[str]:
    """Every Reference.reference of a resource."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "reference" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def conditional(reference: str) -> tuple[str, str] | None:
    """(type, query) of a conditional reference: `Patient?identifier=...`."""
    found = CONDITIONAL.fullmatch(reference)
    return (found["type"], found["query"]) if found and found["type"] in TYPES else None


def rewritten(node: Any, replace: Callable[[str], str]) -> Any:
    """A copy in which every link is what `replace` makes of it."""
    if isinstance(node, dict):
        return {name: _member(name, value, replace) for name, value in node.items()}
    if isinstance(node, list):
        return [rewritten(item, replace) for item in node]
    return node


def replacer(*, targets: Mapping[str, str], root: str) -> Callable[[str], str]:
    """`targets`: fullUrl or conditional reference -> `Type/id`. `root` is that of the entry's own fullUrl, for relative links."""

    def replace(link: str) -> str:
        return targets.get(link) or (targets.get(root + link) if root else None) or link

    return replace


def root_of(full_url: str) -> str:
    """The base of a RESTful fullUrl, "" for a urn."""
    found = REST.fullmatch(full_url)
    return found["root"] or "" if found else ""


def _member(name: str, value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        if name in LINKS:
            return replace(value)
        return _narrative(value, replace) if name == "div" else value
    if name in LINKS and isinstance(value, list):
        return [replace(item) if isinstance(item, str) else rewritten(item, replace) for item in value]
    return rewritten(value, replace)


def _narrative(xhtml: str, replace: Callable[[str], str]) -> str:
    return NARRATIVE.sub(lambda found: f"{found['head']}{found['quote']}{replace(found['url'])}{found['quote']}", xhtml)
