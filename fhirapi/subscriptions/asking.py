"""A Subscription as it is asked for: understood, or refused with words. The hub owns its status; a client may switch it off.

What its headers hold is taken out before the resource is stored (they are secrets): a client reads back their names.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from fhirapi.interactions import GUARDED
from fhirapi.models import Subscriber
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.search.dates import Zone, date_range
from fhirapi.search.options import OPTIONS
from fhirapi.search.query import query_parse
from fhirapi.search.terms import Term
from fhirapi.subscriptions.topics import (
    BY_CANONICAL,
    CONTENT,
    FILTER,
    HEARTBEAT,
    MAX_COUNT,
    TIMEOUT,
    Topic,
)

Json = dict[str, Any]
Content = Subscriber.Content
State = Subscriber.State
JSON_PAYLOADS = {"application/fhir+json", "application/json"}
HIDDEN = "(kept here, not shown)"
HEADERS_MAX, HEADER_CHARS, ENDPOINT_CHARS, FILTERS_MAX = 10, 4096, 2000, 10
TIMEOUT_MAX, COUNT_MAX, HEARTBEAT_MIN, HEARTBEAT_MAX = 10, 50, 5, 86_400
HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
OURS_TO_SET = {"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade", "expect"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A Subscription, understood. `headers` of None keeps the value that is known already."""

    rtype: str
    filters: tuple[str, ...]
    endpoint: str
    content: str
    topic: str = ""
    headers: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    heartbeat_seconds: int = 0
    timeout_seconds: int = TIMEOUT_MAX
    max_count: int = 1
    until: datetime | None = None
    is_off: bool = False


def _refused(words: str, code: str = "not-supported") -> FhirError:
    return FhirError(422, words, code=code)


def subscription_read(*, resource: Json, tenant_id: int, base: str, zone: Zone) -> tuple[Json, Wish]:
    """(what is stored, what is meant) of a valid resource. Raises FhirError 422, which says what cannot be done here."""
    channel = resource["channel"]
    if channel["type"] != "rest-hook":
        raise _refused("channel.type: only rest-hook is delivered here.")
    topic = BY_CANONICAL.get(resource["criteria"])
    if topic is None and "SubscriptionTopic/" in resource["criteria"]:
        raise _refused("criteria: no such topic; the CapabilityStatement lists them.")
    rtype, filters = _topic_filters(topic, resource) if topic else _criteria(resource["criteria"])
    for search in filters:
        search_terms(rtype=rtype, search=search, tenant_id=tenant_id, base=base, zone=zone)
    wish = Wish(
        rtype=rtype, filters=filters, topic=topic.name if topic else "", endpoint=endpoint_check(channel.get("endpoint", "")),
        content=_content(topic, channel), headers=_headers(channel.get("header", [])),
        heartbeat_seconds=_number(channel, HEARTBEAT, 0, HEARTBEAT_MIN, HEARTBEAT_MAX) if topic else 0,
        timeout_seconds=_number(channel, TIMEOUT, TIMEOUT_MAX, 1, TIMEOUT_MAX),
        max_count=_number(channel, MAX_COUNT, 10, 1, COUNT_MAX) if topic else 1,
        until=date_range(text=resource["end"], zone=zone)[1] if "end" in resource else None, is_off=resource["status"] == State.OFF,
    )  # fmt: skip
    stored = {name: value for name, value in resource.items() if name != "error"}
    stored["status"] = (State.OFF if wish.is_off else State.REQUESTED).value
    if wish.headers:
        stored["channel"] = channel | {"header": [f"{name}: {HIDDEN}" for name in wish.headers]}
    return stored, wish


def search_terms(*, rtype: str, search: str, tenant_id: int, base: str, zone: Zone) -> tuple[Term, ...]:
    """The conditions of one search. Raises FhirError 422 for what is not known, shapes an answer, or looks at other resources."""
    pairs = parse_qsl(search, keep_blank_values=True)
    for name, _ in pairs:
        if name.partition(":")[0] in OPTIONS or name.startswith("_"):
            raise _refused("criteria: parameters about the answer, and those that begin with _, are not watched.")
        if "." in name or name == "instance":
            raise _refused("criteria: chains, and the images of a study, are not watched.")
    try:
        parsed = query_parse(tenant_id=tenant_id, rtype=rtype, pairs=pairs, base=base, zone=zone, is_strict=True)
    except FhirError as error:
        raise FhirError(422, f"criteria: {error.diagnostics}", code=error.code) from None
    return parsed.query.terms


def _criteria(text: str) -> tuple[str, tuple[str, ...]]:
    """R4: `Type?search`, or the type alone."""
    rtype, _, search = text.lstrip("/").partition("?")
    if rtype not in TYPES or rtype in GUARDED or rtype == "Subscription":
        raise _refused("criteria: a type that is held and may be watched, then ? and a search, as DiagnosticReport?status=final.")
    return rtype, (search,) if search else ()


def _topic_filters(topic: Topic, resource: Json) -> tuple[str, tuple[str, ...]]:
    found = [topic.search]
    for text in _values(resource.get("_criteria", {}), FILTER):
        rtype, mark, search = str(text).partition("?")
        names = {name.partition(":")[0] for name, _ in parse_qsl(search, keep_blank_values=True)}
        if rtype != topic.rtype or not mark or not names <= topic.filters:
            raise _refused(f"criteria: a filter of this topic is {topic.rtype}? with any of {', '.join(sorted(topic.filters))}.")
        found.append(search)
    if len(found) > FILTERS_MAX:
        raise _refused(f"criteria: at most {FILTERS_MAX - 1} filters.", "too-costly")
    return topic.rtype, tuple(found)


def _content(topic: Topic | None, channel: Json) -> str:
    """How much a notification says. R4's own rest-hook without a payload says nothing, with one brings the resource."""
    payload = channel.get("payload", "")
    if payload and payload.partition(";")[0].strip() not in JSON_PAYLOADS:
        raise _refused("channel.payload: application/fhir+json, or none.")
    if topic is None:
        return Content.FULL if payload else Content.EMPTY
    said = next(iter(_values(channel.get("_payload", {}), CONTENT)), Content.ID_ONLY)
    if said not in Content.values:
        raise _refused(f"channel.payload: its content is one of {', '.join(Content.values)}.", "value")
    return str(said)


def endpoint_check(text: str) -> str:
    """https; anything else, and a private address, only where EGRESS_ALLOW names host and port. Raises FhirError 422."""
    words = "channel.endpoint: an https address that the outside can reach (the operator may allow others by EGRESS_ALLOW)."
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise _refused(words, "value") from None
    host = parts.hostname or ""
    if not host or parts.username or parts.password or parts.fragment or len(text) > ENDPOINT_CHARS or not text.isprintable():
        raise _refused(words, "value")
    is_allowed = f"{host}:{port}" in settings.EGRESS_ALLOW
    if not is_allowed and (parts.scheme != "https" or host == "localhost" or _is_private(host)):
        raise _refused(words, "value")
    if parts.scheme not in {"http", "https"}:
        raise _refused(words, "value")
    return text


def _is_private(host: str) -> bool:
    """Of an address; what a name leads to is looked at whenever something is sent (tenants.egress)."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _headers(lines: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for line in lines:
        name, mark, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not mark or not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value) or name.lower() in OURS_TO_SET:
            raise _refused("channel.header: lines of Name: value, none that the connection itself sets.", "value")
        found[name] = None if value == HIDDEN else value
    if len(found) > HEADERS_MAX or sum(len(line) for line in lines) > HEADER_CHARS:
        raise _refused(f"channel.header: at most {HEADERS_MAX} headers and {HEADER_CHARS} characters.", "too-long")
    return found


def _number(channel: Json, url: str, default: int, low: int, high: int) -> int:
    value = next(iter(_values(channel, url)), default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused("channel: an extension of it is no number.", "value")
    return default if value == 0 else min(max(value, low), high)


def _values(element: Json, url: str) -> list[Any]:
    """What the extensions of this address hold."""
    return [
        value
        for one in (element or {}).get("extension", ())
        if one.get("url") == url
        for name, value in one.items()
        if name.startswith("value")
    ]
