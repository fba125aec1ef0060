"""Resources by the thousand, as NDJSON: what `fhir_import` writes, in the same way as a client's updates under ids of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fhirapi.jsontext import InvalidJsonError, json_load
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.store import lock_name, lock_take
from fhirapi.validation import InvalidResourceError
from fhirapi.writing.writes import Change, ChangeRefusedError, changes_write
from journal.audit import Actor, audit_facts_append
from journal.wall.scope import tenant_id_current, tenant_scope

ACTOR = Actor(name="system:fhir_import")
Line = tuple[int, bytes]  # its number in the file, from 1, and its text


@dataclass(frozen=True, kw_only=True)
class LineRefused:
    """Why a line was not written: the place in the resource and words of ours, never a value."""

    number: int
    reason: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a batch. `written` counts lines that are in the store now, `changed` those that made a new version."""

    written: int = 0
    changed: int = 0
    refused: tuple[LineRefused, ...] = ()


def lines_import(*, tenant_id: int, lines: Sequence[Line], is_going_on: bool) -> Imported:
    """Write a batch in one transaction. With a line refused nothing of it is kept, unless `is_going_on`: then all others are.

    A resource that is there twice is written twice, in the order of the lines.
    """
    changes, refused = _changes(lines)
    while not refused or is_going_on:
        try:
            with tenant_scope(tenant_id):
                # All at once, in one order: batches that are written side by side wait, and never in a ring.
                lock_take(names=[lock_name(key=change.key) for _, change in changes])
                changed = sum(_written([change for _, change in part]) for part in _parts(changes))
        except _PartRefusedError as error:
            number, _ = changes.pop(next(n for n, (_, change) in enumerate(changes) if change is error.change))
            refused.append(LineRefused(number=number, reason=_words(error.cause)))
            continue
        return Imported(written=len(changes), changed=changed, refused=_ordered(refused))
    return Imported(refused=_ordered(refused))


class _PartRefusedError(Exception):
    def __init__(self, change: Change, cause: Exception) -> None:
        super().__init__()
        self.change, self.cause = change, cause


def _written(changes: Sequence[Change]) -> int:
    try:
        done = changes_write(changes=changes)
    except ChangeRefusedError as error:
        raise _PartRefusedError(changes[error.position], error.cause) from None
    changed = [one for one in done if one.is_changed]
    # A row for each patient, not for each of a patient's thousand results: the history of each says when it came.
    facts = sorted({("fhir.import", "Patient", one.patient) if one.patient else ("fhir.import", one.rtype, one.fhir_id) for one in changed})
    if facts:
        audit_facts_append(tenant_id=tenant_id_current(), actor=ACTOR, facts=facts)
    return len(changed)


def _changes(lines: Sequence[Line]) -> tuple[list[tuple[int, Change]], list[LineRefused]]:
    changes: list[tuple[int, Change]] = []
    refused: list[LineRefused] = []
    for number, text in lines:
        try:
            changes.append((number, _change(json_load(text))))
        except (InvalidJsonError, FhirError) as error:
            refused.append(LineRefused(number=number, reason=_words(error)))
    return changes, refused


def _change(tree: Any) -> Change:
    if not isinstance(tree, dict) or not isinstance(tree.get("resourceType"), str):
        raise FhirError(400, "no resource: an object with a resourceType is needed")
    if not isinstance(tree.get("id"), str):
        raise FhirError(400, "the resource has no id")
    if tree["resourceType"] not in TYPES:
        raise FhirError(404, "this resource type is not held here")
    return Change(rtype=tree["resourceType"], fhir_id=tree["id"], resource=tree)


def _parts(changes: Sequence[tuple[int, Change]]) -> Iterator[list[tuple[int, Change]]]:
    """In their order, each resource once in a part."""
    part: list[tuple[int, Change]] = []
    seen: set[tuple[str, str]] = set()
    for one in changes:
        key = (one[1].rtype, one[1].fhir_id)
        if key in seen:
            yield part
            part, seen = [], set()
        part.append(one)
        seen.add(key)
    if part:
        yield part


def _words(error: Exception) -> str:
    if isinstance(error, InvalidJsonError):
        return error.user_message
    if isinstance(error, FhirError | InvalidResourceError):
        first = error.issues[0]
        return f"{first.expression}: {first.diagnostics}" if first.expression else first.diagnostics
    return type(error).__name__


def _ordered(refused: Sequence[LineRefused]) -> tuple[LineRefused, ...]:
    return tuple(sorted(refused, key=lambda one: one.number))
