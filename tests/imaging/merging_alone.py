"""A merge and its undoing in a transaction of their own: for a process that is killed in it."""

from imaging.merging.services import patient_merge_undo, patients_merge
from journal.audit import Actor
from journal.wall.scope import tenant_scope

ACTOR = Actor(name="user:test")


def merge_alone(*, tenant_id: int, surviving_id: int, gone_id: int) -> None:
    with tenant_scope(tenant_id):
        patients_merge(actor=ACTOR, surviving_id=surviving_id, gone_id=gone_id, origin="api")


def undo_alone(*, tenant_id: int, merge_id: int) -> None:
    with tenant_scope(tenant_id):
        patient_merge_undo(actor=ACTOR, merge_id=merge_id)
