"""The ladder that a platform climbs: off, test, shadow, pilot, live. Each step is a person's, on record, and can be taken back."""

from collections.abc import Sequence
from typing import Literal, get_args

from django.utils import timezone

from ai.models import Connection, Stage, StageChange
from journal.audit import Actor, audit_record

Step = Literal["off", "test", "shadow", "pilot", "live"]
STEPS: tuple[str, ...] = get_args(Step)
MAX_READERS = 200


def stage_of(connection: Connection) -> str:
    return str(connection.stage) if connection.is_enabled else "off"


def stage_set(*, connection_id: int, step: Step, readers: Sequence[str] | None = None, note: str = "", actor: Actor) -> Connection:
    """Up or down the ladder. `readers`: ids of the users who see its results in the pilot; None leaves them.

    What was issued in shadow stays there: only what comes after the step is shown. Raises ValueError for no step.
    """
    if step not in STEPS:
        raise ValueError(step)
    row = Connection.objects.select_for_update().get(id=connection_id)
    before = stage_of(row)
    row.is_enabled = step != "off"
    if step != "off":
        row.stage = Stage(step)
    if readers is not None:
        row.pilot_readers = list(readers)[:MAX_READERS]
    row.failures, row.broken_until = 0, None
    row.save(update_fields=["is_enabled", "stage", "pilot_readers", "failures", "broken_until"])
    if before != step:
        StageChange.objects.create(
            connection=row, before=before, after=step, note=note[:200], by=actor.name[:64], at=timezone.now()
        )
    audit_record(
        actor=actor, action=f"connection.stage.{step}", object_type="Connection", object_id=str(row.id), detail={"before": before}
    )
    return row


def connection_switch(*, connection_id: int, is_enabled: bool, actor: Actor) -> None:
    """Off: nothing more is sent and nothing more is asked for; jobs wait, or are refused, with the reason. On: where it was before."""
    row = Connection.objects.get(id=connection_id)
    stage_set(connection_id=connection_id, step=row.stage if is_enabled else "off", actor=actor)


def stage_changes(*, connection_id: int) -> list[StageChange]:
    """Newest first."""
    return list(StageChange.objects.filter(connection_id=connection_id).order_by("-id")[:100])
