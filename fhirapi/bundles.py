"""Searchset Bundles, composed of stored texts without reading them. The search views call it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from fhirapi.history import Version
from fhirapi.outcomes import outcome
from fhirapi.search.pages import Page
from fhirapi.store import Document, instant

Pairs = Sequence[tuple[str, str]]
METHODS = {"C": ("POST", "201"), "U": ("PUT", "200"), "D": ("DELETE", "204")}


def searchset(*, page: Page, links: Sequence[tuple[str, str]], base: str, ignored: Sequence[str], now: datetime) -> bytes:
    """The Bundle's text: matches in their order, then includes, then an outcome if something was ignored."""
    head: dict[str, Any] = {"resourceType": "Bundle", "meta": {"lastUpdated": instant(now)}, "type": "searchset"}
    if page.total is not None:
        head["total"] = page.total
    head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    return _composed(head, _entries(page, base, ignored))


def history_bundle(
    *, versions: Sequence[Version], total: int | None, links: Sequence[tuple[str, str]], base: str, now: datetime
) -> bytes:
    """What happened, newest first, each with its request and response (FHIR R4 2.36.5)."""
    head: dict[str, Any] = {"resourceType": "Bundle", "meta": {"lastUpdated": instant(now)}, "type": "history"}
    if total is not None:
        head["total"] = total
    head["link"] = [{"relation": relation, "url": url} for relation, url in links]
    return _composed(head, (_version(version, base) for version in versions))


def response_bundle(*, kind: str, entries: Iterable[str]) -> bytes:
    """The answer to a batch or a transaction, from the texts of its entries."""
    return _composed({"resourceType": "Bundle", "type": f"{kind}-response"}, entries)


def entry_text(*, head: dict[str, Any], members: dict[str, str]) -> str:
    """An entry from what is ours and from texts that are kept as they are."""
    parts = [f'"{name}":{text}' for name, text in members.items() if text]
    text = orjson.dumps(head).decode()
    return f"{text[:-1]}{',' if head else ''}{','.join(parts)}}}" if parts else text


def _composed(head: dict[str, Any], entries: Iterable[str]) -> bytes:
    text, joined = orjson.dumps(head).decode(), ",".join(entries)
    # An empty array is no FHIR (R4 2.6.2), so an empty page has no entry at all.
    return (f'{text[:-1]},"entry":[{joined}]}}' if joined else text).encode()


def _version(version: Version, base: str) -> str:
    path = f"{version.rtype}/{version.fhir_id}"
    method, status = METHODS[version.method]
    head = {
        "fullUrl": f"{base}/{path}",
        "request": {"method": method, "url": version.rtype if method == "POST" else path},
        "response": {"status": status, "etag": f'W/"{version.version}"', "lastModified": instant(version.at)},
    }
    return entry_text(head=head, members={"resource": version.content})


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
