"""The seam between a workitem that has ended and the results of its job: `services` calls it, `ai.dispatch` reads the outcome."""

from dataclasses import dataclass
from typing import Literal

from django.utils import timezone

from ai.models import Job, Workitem
from ai.workitems import dataset as ds


@dataclass(frozen=True)
class ObjectReference:
    """An object that a performer says it has made; UIDs as the performer knows them."""

    study_uid: str
    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Outcome:
    """How the workitem of a job ended. `reason_code` is of a canceled one: (value, scheme); a performer's free text is not kept."""

    workitem_uid: str
    state: Literal["COMPLETED", "CANCELED"]
    objects: tuple[ObjectReference, ...] = ()
    reason_code: tuple[str, str] = ("", "")


def workitem_ended(*, job_id: int) -> None:
    """A job's workitem is COMPLETED or CANCELED: its next step is due now. In the transaction that ended it; a second call is harmless."""
    Job.objects.filter(id=job_id, state=Job.State.SENT).update(due_at=timezone.now())


def workitem_outcome(*, job_id: int) -> Outcome | None:
    """How the newest workitem of a job ended; None while it has not. In a scope."""
    item = Workitem.objects.filter(job_id=job_id).order_by("-id").first()
    if item is None or item.state not in (Workitem.State.COMPLETED, Workitem.State.CANCELED):
        return None
    (performed,) = ds.items_of(item.dataset, ds.PERFORMED)[:1] or ({},)
    (progress,) = ds.items_of(item.dataset, ds.PROGRESS)[:1] or ({},)
    (reason,) = ds.items_of(progress, ds.DISCONTINUED)[:1] or ({},)
    return Outcome(
        workitem_uid=item.workitem_uid, state="COMPLETED" if item.state == Workitem.State.COMPLETED else "CANCELED",
        objects=tuple(references(ds.items_of(performed, ds.OUTPUT))),
        reason_code=(ds.text_of(reason, ds.CODE_VALUE), ds.text_of(reason, ds.CODE_SCHEME)),
    )  # fmt: skip


def references(output: list[ds.Dataset]) -> list[ObjectReference]:
    """What an Output Information Sequence names (PS3.3 table 10-3b)."""
    found = []
    for item in output:
        study, series = ds.text_of(item, ds.STUDY), ds.text_of(item, "0020000E")
        found += [
            ObjectReference(study, series, ds.text_of(one, "00081150"), ds.text_of(one, "00081155"))
            for one in ds.items_of(item, "00081199")
        ]
    return found
