"""Searchset Bundles, composed of stored texts without reading them. The search views call it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from fhirapi.outcomes import outcome
from fhirapi.search import Page
from fhirapi.store import Document, instant

Pairs = Sequence[tuple[str, str]]


def searchset(*, page: Page, links: Sequence[tuple[str, str]], base: str, ignored: Sequence[str], now: datetime) -> bytes:
    """The Bundle's text: matches in their order, then includes, then an outcome if something was ignored."""
    head: dict[str, Any] = {"resourceType": "Bundle", "meta": {"lastUpdated": instant(now)}, "type": "searchset"}
    if page.total is not None:
        head["total"] = page.total
    head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    entries = ",".join(_entries(page, base, ignored))
    text = orjson.dumps(head).decode()
    # An empty array is no FHIR (R4 2.6.2), so an empty page has no entry at all.
    return (f'{text[:-1]},"entry":[{entries}]}}' if entries else text).encode()


def link_url(*, base: str, rtype: str, pairs: Pairs) -> str:
    return f"{base}/{rtype}?{urlencode(pairs)}" if pairs else f"{base}/{rtype}"


def _entries(page: Page, base: str, ignored: Sequence[str]) -> Iterator[str]:
    yield from (_entry(document, base, "match") for document in page.matches)
    yield from (_entry(document, base, "include") for document in page.included)
    if ignored:
        text = f"Not supported, so not taken into account: {', '.join(ignored)}."
        issue = orjson.dumps(outcome(severity="warning", code="not-supported", diagnostics=text)).decode()
        yield f'{{"resource":{issue},"search":{{"mode":"outcome"}}}}'


def _entry(document: Document, base: str, mode: str) -> str:
    url = orjson.dumps(f"{base}/{document.rtype}/{document.fhir_id}").decode()
    return f'{{"fullUrl":{url},"resource":{document.content},"search":{{"mode":"{mode}"}}}}'
