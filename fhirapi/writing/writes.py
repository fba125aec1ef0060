"""What clients write: creates, updates, patches and deletions, one or thousands in a constant number of statements.

Views and transactions call `changes_write` in a scope; whatever refuses one change refuses all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fhirapi.differences import differences_look
from fhirapi.interactions import is_writable
from fhirapi.jsontext import InvalidJsonError, json_load
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.servicerequests import RTYPE as REQUEST
from fhirapi.servicerequests import requests_hear
from fhirapi.store import (
    HUB,
    REST,
    YIELDED,
    Draft,
    Key,
    Row,
    Written,
    draft_make,
    drafts_write,
    fresh_statements,
    graves_read,
    lock_name,
    lock_take,
    rows_delete,
    rows_read,
)
from fhirapi.subscriptions.asking import Wish, subscription_read
from fhirapi.subscriptions.known import fhir_base
from fhirapi.subscriptions.matching import events_note
from fhirapi.subscriptions.rows import Author, subscription_drop, subscription_keep
from fhirapi.validation import ID, InvalidResourceError, resource_check
from journal.audit import Actor, audit_statement, audit_written
from journal.wall.ids import id_new
from journal.wall.reads import tenant_run
from journal.wall.scope import tenant_id_current, tenant_named
from tenants.selectors import tenant_zone

Resource = dict[str, Any]
SUBSCRIPTION = "Subscription"
ACTOR = Actor(name="system:fhir")  # whose write it was, the write's own line says
HEARD = frozenset({REQUEST, SUBSCRIPTION})  # types whose writes change more than the store


@dataclass(frozen=True, kw_only=True)
class Change:
    """One wish: exactly one of `resource`, `patch` and `is_deletion`. `version` is If-Match, `is_absent` If-None-Match: *."""

    rtype: str
    fhir_id: str
    resource: Resource | None = None
    patch: Callable[[Resource], Resource] | None = None
    is_deletion: bool = False
    is_new: bool = False  # the id is ours and was never used
    version: int | None = None
    is_absent: bool = False

    @property
    def key(self) -> Key:
        return TYPES[self.rtype].number, self.fhir_id

    @property
    def action(self) -> str:
        """Its name in the audit trail, once it is known that something was there before."""
        if self.is_deletion:
            return "fhir.delete"
        return "fhir.patch" if self.patch else "fhir.update"


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a change. `version` is 0 for a deletion of what was gone already."""

    rtype: str
    fhir_id: str
    status: int
    action: str
    version: int = 0
    last_updated: datetime | None = None
    content: str = ""
    is_changed: bool = True  # False where that was there already
    patient: str | None = None  # whom it is about, of what was written


class ChangeRefusedError(Exception):
    """One of several changes was refused: which one, and why."""

    def __init__(self, position: int, cause: Exception) -> None:
        super().__init__(position)
        self.position = position
        self.cause = cause


def fhir_id_new() -> str:
    return str(id_new())


def change_write(*, change: Change, author: Author | None = None) -> Done:
    """One change on its own. Raises what refuses it."""
    try:
        return changes_write(changes=[change], author=author)[0]
    except ChangeRefusedError as error:
        raise error.cause from None


def fresh_write(*, tenant_id: int, actor: Actor, change: Change) -> Done:
    """A create under an id of ours, with its line in the audit trail: nothing to lock or to look at, so one round trip. Outside a scope."""
    with tenant_named(tenant_id):
        _type_check(change)
        draft = _draft(change, change.resource or {})
        written, statements = fresh_statements(draft=draft)
        fact = ("fhir.create", change.rtype, change.fhir_id)
        statements.append(audit_statement(tenant_id=tenant_id, actor=actor, facts=[fact]))
    tenant_run(tenant_id=tenant_id, statements=statements)
    audit_written(tenant_id=tenant_id)
    return Done(
        rtype=change.rtype, fhir_id=change.fhir_id, status=201, action="fhir.create", version=1, last_updated=written.at,
        content=written.texts[change.key],
    )  # fmt: skip


def changes_write(*, changes: Sequence[Change], author: Author | None = None) -> list[Done]:
    """All of them or none, with the events of those who subscribed. `author` answers for the Subscriptions among them.

    Raises ChangeRefusedError, StoreConflictError when a row moved under a lock.
    """
    drafts: dict[Key, Draft] = {}
    wishes: dict[str, Wish] = {}
    for position, change in enumerate(changes):
        with _refusing(position):
            _type_check(change)
            if change.resource is not None:  # checked before anything is locked
                drafts[change.key] = _draft(change, _asked(change, change.resource, wishes))
    known = [change.key for change in changes if not change.is_new]
    rows: dict[Key, Row] = {}
    graves: dict[Key, tuple[int, int]] = {}
    if known:
        lock_take(names=[lock_name(key=key) for key in known])
        rows = rows_read(keys=known, is_content_wanted=True)
        graves = graves_read(keys=[key for key in known if key not in rows])
    for position, change in enumerate(changes):
        with _refusing(position):
            row = rows.get(change.key)
            _precondition_check(change, row, is_known=row is not None or change.key in graves)
            if change.patch and row:
                drafts[change.key] = _draft(change, _asked(change, change.patch(json_load(row.content.encode())), wishes))
    done = _write(changes, drafts, rows, graves)
    _subscribed(changes, done, wishes, author)
    events_note(versions=[one for one in done if one.content])
    return done


def _asked(change: Change, resource: Resource, wishes: dict[str, Wish]) -> Resource:
    """What is stored of a resource: a Subscription is understood first, and its status is the hub's."""
    if change.rtype != SUBSCRIPTION:
        return resource
    resource_check(resource=resource)
    tenant_id = tenant_id_current()
    stored, wishes[change.fhir_id] = subscription_read(
        resource=resource, tenant_id=tenant_id, base=fhir_base(tenant_id=tenant_id), zone=lambda: tenant_zone(tenant_id=tenant_id)
    )
    return stored


def _subscribed(changes: Sequence[Change], done: Sequence[Done], wishes: dict[str, Wish], author: Author | None) -> None:
    if gone := [change.fhir_id for change in changes if change.rtype == SUBSCRIPTION and change.is_deletion]:
        subscription_drop(fhir_ids=gone)
    for position, one in enumerate(done):
        if one.rtype == SUBSCRIPTION and one.fhir_id in wishes:
            with _refusing(position):
                if author is None:
                    raise FhirError(403)
                subscription_keep(fhir_id=one.fhir_id, wish=wishes[one.fhir_id], author=author)


def _write(
    changes: Sequence[Change], drafts: dict[Key, Draft], rows: dict[Key, Row], graves: dict[Key, tuple[int, int]]
) -> list[Done]:
    doomed = {change.key: rows[change.key] for change in changes if change.is_deletion and change.key in rows}
    at = rows_delete(rows=doomed) if doomed else None
    written = drafts_write(drafts=list(drafts.values()), rows=rows, graves=graves)

    def done(change: Change) -> Done:
        row, grave = rows.get(change.key), graves.get(change.key)
        draft = drafts.get(change.key)
        names: dict[str, Any] = {"rtype": change.rtype, "fhir_id": change.fhir_id, "patient": draft.index.patient if draft else None}
        if change.is_deletion:
            return Done(**names, status=204, action=change.action, version=row.version + 1 if row else 0, last_updated=at)
        if row is None:
            version, text = (grave[0] if grave else 0) + 1, written.texts[change.key]
            return Done(**names, status=201, action="fhir.create", version=version, last_updated=written.at, content=text)
        if text := written.texts.get(change.key, ""):
            return Done(
                **names, status=200, action=change.action, version=row.version + 1, last_updated=written.at, content=text
            )
        return Done(
            **names, status=200, action=change.action, version=row.version, last_updated=row.last_updated, content=row.content,
            is_changed=False,
        )  # fmt: skip

    # Known by id before: one of them may be a patient of our images, whom the client tells otherwise now.
    people = [change.fhir_id for change in changes if change.rtype == "Patient" and change.key in written.texts and change.key in rows]
    differences_look(fhir_ids=people)
    _requests_tell(changes, drafts, written, doomed)
    return [done(change) for change in changes]


def _requests_tell(changes: Sequence[Change], drafts: dict[Key, Draft], written: Written, doomed: dict[Key, Row]) -> None:
    """ServiceRequests are orders before their write is answered."""
    requests = [change for change in changes if change.rtype == REQUEST]
    told = [drafts[change.key].body for change in requests if change.key in written.texts]
    deleted = [change.fhir_id for change in requests if change.key in doomed]
    if told or deleted:
        requests_hear(actor=ACTOR, resources=told, deleted=deleted)


@contextmanager
def _refusing(position: int) -> Iterator[None]:
    try:
        yield
    except (FhirError, InvalidResourceError, InvalidJsonError) as error:
        raise ChangeRefusedError(position, error) from None


def _type_check(change: Change) -> None:
    if not is_writable(change.rtype):
        raise FhirError(405, f"{change.rtype} is written by the hub and only read over REST.")
    if not ID.fullmatch(change.fhir_id):
        raise FhirError(400, "The id in the address is no FHIR id.", code="value")


def _draft(change: Change, resource: Resource) -> Draft:
    if resource.get("resourceType") != change.rtype or resource.get("id") != change.fhir_id:
        raise FhirError(400, "resourceType and id of the body must be those of the address (FHIR R4 3.1.0.4).")
    return draft_make(resource=resource, writer=REST)


def _precondition_check(change: Change, row: Row | None, *, is_known: bool) -> None:
    """If-Match and If-None-Match (FHIR R4 3.1.0.5), what is not there, and what belongs to the hub."""
    if change.version is not None and (row is None or row.version != change.version):
        raise FhirError(412, "If-Match does not name the current version.")
    if change.is_absent and row is not None:
        raise FhirError(412, "If-None-Match: a current version is there.")
    if row is None and not is_known and (change.is_deletion or change.patch):
        raise FhirError(404)
    if row is None and change.patch:
        raise FhirError(410)
    if row is not None and (change.is_deletion or change.key[0] not in YIELDED):
        hub_check(rtype=change.rtype, row=row)


def hub_check(*, rtype: str, row: Row) -> None:
    """Raise FhirError 403 for what the hub wrote."""
    if row.writer == HUB:
        raise FhirError(403, f"This {rtype} is the hub's own and only read over REST.", code="business-rule")
