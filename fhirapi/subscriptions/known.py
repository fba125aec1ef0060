"""Which types a hospital's subscribers watch: asked before every write, so a process remembers it for a moment.

A new subscriber is not active before every process has looked again (`rows.subscription_keep` makes its first step wait).
"""

import threading
import time
from dataclasses import dataclass

import orjson
from django.conf import settings

from fhirapi.models import Subscriber
from fhirapi.outcomes import FhirError
from fhirapi.search.terms import Term
from fhirapi.subscriptions.asking import search_terms
from journal.wall.reads import tenant_rows
from tenants.selectors import tenant_get, tenant_zone

MOST = 10_000
QUERY = "SELECT id, rtype, filters FROM fhirapi_subscriber WHERE tenant_id = %s AND state <> %s ORDER BY id"


@dataclass(frozen=True)
class Watch:
    """What one subscriber waits for."""

    subscriber_id: int
    rtype: str
    terms: tuple[Term, ...]


_lock = threading.Lock()
_known: dict[int, tuple[float, tuple[Watch, ...]]] = {}


def watches(*, tenant_id: int) -> tuple[Watch, ...]:
    """Of everyone who is not switched off: what happens while a receiver is away is kept for it."""
    now = time.monotonic()
    found = _known.get(tenant_id)
    if found is not None and now < found[0]:
        return found[1]
    rows = tenant_rows(tenant_id=tenant_id, sql=QUERY, values=[tenant_id, Subscriber.State.OFF])
    made = tuple(watch for row in rows if (watch := _watch(tenant_id, *row)) is not None)
    with _lock:
        if len(_known) >= MOST:
            _known.clear()
        _known[tenant_id] = (now + settings.MEDHUB_SUBSCRIPTION_KNOWN_SECONDS, made)
    return made


def watches_forget(*, tenant_id: int) -> None:
    """This process looks again at once."""
    with _lock:
        _known.pop(tenant_id, None)


def is_watched(*, tenant_id: int, rtype: str) -> bool:
    return any(watch.rtype == rtype for watch in watches(tenant_id=tenant_id))


def fhir_base(*, tenant_id: int) -> str:
    """Where the hospital's FHIR door stands for the world outside."""
    return f"{settings.MEDHUB_PUBLIC_URL}/t/{tenant_get(tenant_id=tenant_id).slug}/fhir/r4"


def _watch(tenant_id: int, subscriber_id: int, rtype: str, filters: str) -> Watch | None:
    terms: list[Term] = []
    try:
        for search in orjson.loads(filters):
            terms += search_terms(
                rtype=rtype, search=search, tenant_id=tenant_id, base=fhir_base(tenant_id=tenant_id),
                zone=lambda: tenant_zone(tenant_id=tenant_id),
            )  # fmt: skip
    except FhirError:  # a parameter that an older version knew
        return None
    return Watch(subscriber_id, rtype, tuple(terms))
