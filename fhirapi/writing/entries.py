"""The entries of a batch or a transaction, read and checked (FHIR R4 3.1.0.11)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES

METHODS = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")
TAG = re.compile(r'(?:W/)?"(\d{1,9})"|(\d{1,9})')


class EntryRefusedError(Exception):
    """What one entry was refused for; a transaction fails as a whole with it."""

    def __init__(self, position: int, cause: Exception) -> None:
        super().__init__(position)
        self.position = position
        self.cause = cause


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One request of a bundle. `path` and `query` are the url below the base; the rest are headers by other names."""

    position: int
    method: str
    path: str
    query: str
    full_url: str
    resource: Any
    if_match: str
    if_none_match: str
    if_none_exist: str
    if_modified_since: str

    @property
    def rtype(self) -> str:
        return self.path.split("/")[0]

    @property
    def fhir_id(self) -> str:
        return self.path.partition("/")[2]

    @property
    def version(self) -> int | None:
        """ifMatch as a number. Raises FhirError 400 for what is no version."""
        if not self.if_match:
            return None
        found = TAG.fullmatch(self.if_match.strip())
        if not found:
            raise FhirError(400, 'ifMatch must be one version, as W/"3".', code="value")
        return int(found[1] or found[2])


def entries_read(*, bundle: dict[str, Any], base: str, limit: int) -> list[Entry]:
    """Raises FhirError 400 or 413 for the bundle, EntryRefusedError for an entry that is no request."""
    raw = bundle.get("entry", [])
    if not isinstance(raw, list):
        raise FhirError(400, "Bundle.entry is no list.", code="structure")
    if len(raw) > limit:
        raise FhirError(413, f"A bundle has at most {limit} entries.")
    return [entry_read(position=position, raw=one, base=base) for position, one in enumerate(raw)]


def entry_read(*, position: int, raw: Any, base: str) -> Entry:
    request = raw.get("request") if isinstance(raw, dict) else None
    if not isinstance(request, dict):
        raise EntryRefusedError(position, FhirError(400, "request is missing.", code="required"))
    texts = {
        name: request.get(name, "")
        for name in ("method", "url", "ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince")
    } | {"fullUrl": raw.get("fullUrl", "")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise EntryRefusedError(position, FhirError(400, "fullUrl or a member of request is no text.", code="structure"))
    if texts["method"] not in METHODS:
        raise EntryRefusedError(position, FhirError(400, "request.method is none of an entry's.", code="value"))
    path, _, query = texts["url"].removeprefix(base).lstrip("/").partition("?")
    if not path or "://" in path:
        # The base itself would be a bundle within the bundle.
        raise EntryRefusedError(position, FhirError(400, "request.url is no address below this base.", code="value"))
    return Entry(
        position=position, method=texts["method"], path=unquote(path), query=query, full_url=texts["fullUrl"],
        resource=raw.get("resource"), if_match=texts["ifMatch"], if_none_match=texts["ifNoneMatch"],
        if_none_exist=texts["ifNoneExist"], if_modified_since=texts["ifModifiedSince"],
    )  # fmt: skip


def write_check(entry: Entry) -> None:
    """A write names a type that is held, and brings a resource of it unless it deletes. Raises FhirError."""
    if entry.rtype not in TYPES or "/" in entry.fhir_id:
        raise FhirError(404, "This resource type is not held here; see the CapabilityStatement.", code="not-supported")
    if entry.method == "POST" and (entry.fhir_id or entry.query):
        raise FhirError(400, "A POST of a bundle creates: its url is a type, its criteria are ifNoneExist.", code="value")
    if entry.method in {"POST", "PUT"}:
        if not isinstance(entry.resource, dict) or entry.resource.get("resourceType") != entry.rtype:
            raise FhirError(400, "The entry's resource must be of the type of its url.", code="structure")
    elif entry.method == "PATCH" and not isinstance(entry.resource, dict):
        raise FhirError(400, "A PATCH needs Parameters, or a Binary with a JSON Patch.", code="required")
    if entry.method != "POST" and not entry.fhir_id and not entry.query:
        raise FhirError(412, "A conditional interaction needs search criteria.")


def names_check(*, entries: Sequence[Entry]) -> None:
    """No fullUrl is there twice (bdl-7): whom would a link mean?"""
    seen: set[str] = set()
    for entry in entries:
        if entry.full_url in seen:
            raise EntryRefusedError(entry.position, FhirError(400, "Another entry has the same fullUrl.", code="duplicate"))
        seen |= {entry.full_url} if entry.full_url else set()


def duplicates_check(*, keys: Sequence[tuple[int, str, str]]) -> None:
    """(position, type, id): no resource may be written twice (FHIR R4 3.1.0.11.2)."""
    seen: set[tuple[str, str]] = set()
    for position, rtype, fhir_id in keys:
        if (rtype, fhir_id) in seen:
            raise EntryRefusedError(position, FhirError(400, "Another entry writes the same resource.", code="duplicate"))
        seen.add((rtype, fhir_id))
