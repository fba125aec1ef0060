"""Events of subscribers, noted in the transaction that writes what they are about: one statement for all that was written.

Whether a version meets a search is what a search would find: the same terms, over the rows just written.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from fhirapi.registry import TYPES
from fhirapi.search.terms import Sql, conjunction
from fhirapi.subscriptions.known import Watch, watches
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

TASK = "fhirapi.tasks.subscription_run_task"  # by path: what is below the doors does not import them
COLUMNS = "tenant_id, id, subscriber_id, rtype, fhir_id, version, at, due_at"


class Version(Protocol):
    """A version that was written."""

    @property
    def rtype(self) -> str: ...
    @property
    def fhir_id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def is_changed(self) -> bool: ...


def events_note(*, versions: Sequence[Version]) -> None:
    """Note for each subscriber what of this it waits for. In the scope of the write; nothing to do for most hospitals."""
    tenant_id = tenant_id_current()
    found = [
        (watch, of_type)
        for watch in watches(tenant_id=tenant_id)
        if (of_type := [one for one in versions if one.rtype == watch.rtype and one.is_changed and one.version])
    ]
    if not found:
        return
    now = timezone.now()
    selects = [_select(tenant_id, watch, of_type) for watch, of_type in found]
    text = " UNION ALL ".join(one.text for one in selects)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO fhirapi_subscriptionevent ({COLUMNS}) SELECT %s, f.id, f.subscriber_id, f.rtype, f.fhir_id, f.version, "  # noqa: S608
            f"%s, %s FROM ({text}) f RETURNING subscriber_id",
            [tenant_id, now, now, *(value for one in selects for value in one.values)],
        )
        subscriber_ids = {row[0] for row in cursor.fetchall()}
    subscribers_nudge(subscriber_ids=subscriber_ids)


def _select(tenant_id: int, watch: Watch, versions: Sequence[Version]) -> Sql:
    where = conjunction(watch.terms, "r")
    text = (
        "SELECT c.id, %s::bigint AS subscriber_id, %s::text AS rtype, c.fhir_id, c.version "  # noqa: S608 constants
        "FROM unnest(%s::bigint[], %s::text[], %s::integer[]) AS c(id, fhir_id, version) JOIN fhir_resource r "
        f"ON r.tenant_id = %s AND r.rtype = %s AND r.fhir_id = c.fhir_id WHERE TRUE{where.text}"
    )
    values = (
        watch.subscriber_id, watch.rtype, [id_new() for _ in versions], [one.fhir_id for one in versions],
        [one.version for one in versions], tenant_id, TYPES[watch.rtype].number, *where.values,
    )  # fmt: skip
    return Sql(text, values)


def subscribers_nudge(*, subscriber_ids: Iterable[int]) -> None:
    """Only a hint: the sweep finds what is due."""
    for subscriber_id in sorted(subscriber_ids):
        send = partial(task_send, import_string(TASK), tenant_id=tenant_id_current(), subscriber_id=subscriber_id)
        transaction.on_commit(send, robust=True)
