"""A message from its bytes to its acknowledgement: kept, then handled once, by what medhub/flow.py names for its type."""

import hashlib
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError
from django.db.models import Q
from django.utils import timezone
from django.utils.module_loading import import_string

from imaging.hl7.acks import SUCCESS, Outcome
from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told
from imaging.hl7.sources import source_of
from imaging.models import Hl7Message
from journal.audit import Actor, audit_record
from journal.faults import fault
from journal.trace import trace
from journal.wall.arrays import rows_insert
from journal.wall.scope import tenant_scope
from tenants.models import Hl7Source

log = logging.getLogger(__name__)
RESULT = "ORU^R01"
SHOWN = 200
LEFT_AFTER = timedelta(minutes=1)  # received, and neither handled nor sent again: whoever handled it is gone


class Handler(Protocol):
    """Called in the scope and transaction of the message. Raises MessageRefused; then nothing of it stays but the message itself.

    Another outcome than AA for what was kept all the same.
    """

    def __call__(self, *, actor: Actor, told: Told, source: Hl7Source, body: bytes) -> Outcome | None: ...


def handlers() -> Mapping[str, str]:
    """Type and event -> dotted path of what takes it. It lives in the composition root."""
    found: Mapping[str, str] = import_string(settings.MEDHUB_MESSAGES)
    return found


def message_take(*, body: bytes, address: str, fingerprint: str = "") -> tuple[Told | None, Outcome]:
    """Outside of any scope. MSH and what became of the message; of a stranger's nothing but MSH is read.

    Raises DatabaseError when it could not be kept or handled: then no acknowledgement may be sent.
    """
    told = None
    try:
        told = Told(body, is_head=True)
        source = source_of(told=told, address=address, fingerprint=fingerprint)
    except MessageRefused as error:
        log.warning("an HL7 message was not taken: %s", error)
        return told, Outcome(code=error.code, where=error.where, words=error.words)
    with trace(""), tenant_scope(source.tenant_id):
        message_id = _keep(told, source, body)
    fault("hl7.after_keep")
    return told, message_handle(tenant_id=source.tenant_id, message_id=message_id, source=source)


def _keep(told: Told, source: Hl7Source, body: bytes) -> int:
    key = {"source_id": source.id, "control_id": told.control_id[:199], "sha256": hashlib.sha256(body).hexdigest()}
    row = Hl7Message(**key, source_name=source.name, kind=told.kind[:16], body=body, received_at=timezone.now())
    rows_insert([row], is_conflict_ignored=True)
    found: int = Hl7Message.objects.values_list("id", flat=True).get(**key)
    return found


def message_handle(*, tenant_id: int, message_id: int, source: Hl7Source) -> Outcome:
    """Once: a message that was handled is answered as it was. A refusal undoes what the handler wrote, and is kept.

    Raises DatabaseError when the database is away: the sender comes again. What the database will not take at the second try
    either is answered with AE, or its sender would come again with it for ever.
    """
    try:
        try:
            return _handle(tenant_id, message_id, source)
        except IntegrityError:  # somebody else wrote the same person or order at the same moment
            return _handle(tenant_id, message_id, source)
    except MessageRefused as error:
        outcome = Outcome(code=error.code, where=error.where, words=error.words)
    except DatabaseError as error:
        if not isinstance(error, (DataError, IntegrityError)):
            raise
        log.warning("HL7 message %s: the database does not take it (%s)", message_id, type(error).__name__)
        outcome = Outcome(code="AE", where="MSH", words="it has a value that cannot be kept")
    except Exception as error:
        log.exception("HL7 message %s failed", message_id)
        outcome = Outcome(code="AE", where="MSH", words=f"it could not be handled here ({type(error).__name__})")
    with tenant_scope(tenant_id):
        _settle(message_id, outcome, state=Hl7Message.State.FAILED)
    return outcome


def _handle(tenant_id: int, message_id: int, source: Hl7Source) -> Outcome:
    actor = Actor(name=f"hl7:{source.id}")
    with trace(""), tenant_scope(tenant_id):
        row = Hl7Message.objects.select_for_update(of=("self",)).get(id=message_id)
        if row.state == Hl7Message.State.DONE:
            return Outcome(code=row.code or SUCCESS, where=row.place, words=row.reason)
        body = bytes(row.body)
        told = Told(body)
        if told.version and not told.version.startswith("2"):
            raise MessageRefused("MSH-12", "is a version of HL7 that is not read here", code="AR")
        done = _handler(told, source)(actor=actor, told=told, source=source, body=body) or Outcome()
        _settle(row.id, done, state=Hl7Message.State.DONE)
        audit_record(actor=actor, action="hl7.message", object_type="Hl7Message", object_id=str(row.id), detail={"kind": row.kind})
        fault("hl7.before_commit")
        return done


def _handler(told: Told, source: Hl7Source) -> Handler:
    path = handlers().get(told.kind)
    if path is None or (source.connection_id is not None) != (told.kind == RESULT):
        raise MessageRefused("MSH-9", "messages of this type are not taken here from this sender", code="AR")
    handler: Handler = import_string(path)
    return handler


def _settle(message_id: int, outcome: Outcome, *, state: str) -> None:
    row = Hl7Message.objects.get(id=message_id)
    facts: dict[str, Any] = {"state": state, "code": outcome.code, "place": outcome.where[:16], "reason": outcome.words[:200]}
    Hl7Message.objects.filter(id=message_id).update(**facts, attempts=row.attempts + 1, done_at=timezone.now())


def message_again(*, tenant_id: int, message_id: int) -> Outcome | None:
    """Handle one that failed or was left once more, outside of any scope. None where there is none such, or its source is gone."""
    with tenant_scope(tenant_id):
        row = Hl7Message.objects.defer("body").filter(id=message_id).first()
    source = Hl7Source.objects.filter(id=row.source_id, tenant_id=tenant_id).first() if row else None
    if row is None or source is None or not message_waits(row=row):
        return None
    return message_handle(tenant_id=tenant_id, message_id=row.id, source=source)


def message_aside(*, actor: Actor, message_id: int) -> bool:
    """Somebody has seen to it: it waits no more. It stays, and is handled if its sender comes again. False when it does not wait."""
    row = Hl7Message.objects.defer("body").filter(id=message_id).first()
    if row is None or not message_waits(row=row):
        return False
    Hl7Message.objects.filter(id=row.id, state=row.state).update(state=Hl7Message.State.ASIDE)
    audit_record(actor=actor, action="hl7.message.aside", object_type="Hl7Message", object_id=str(row.id))
    return True


def message_waits(*, row: Hl7Message) -> bool:
    """For a person: it failed, or it was kept and whoever handled it did not come to an end."""
    is_left = row.state == Hl7Message.State.RECEIVED and row.received_at < timezone.now() - LEFT_AFTER
    return is_left or row.state == Hl7Message.State.FAILED


def messages_list(*, before: int = 0, limit: int = SHOWN, only_failed: bool = False) -> list[Hl7Message]:
    """Newest first, without their bytes; `only_failed`: those that wait for a person."""
    rows = Hl7Message.objects.defer("body")
    if only_failed:
        left = Q(state=Hl7Message.State.RECEIVED, received_at__lt=timezone.now() - LEFT_AFTER)
        rows = rows.filter(Q(state=Hl7Message.State.FAILED) | left)
    if before:
        rows = rows.filter(id__lt=before)
    return list(rows.order_by("-id")[:limit])


__all__ = ["SUCCESS", "message_again", "message_aside", "message_handle", "message_take", "message_waits", "messages_list"]
