"""Our worklist as a platform sees it (`ai.contract.Worklist`): a workitem for a job, made of what the handle says and nothing else."""

import hashlib
from contextlib import suppress
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from ai.contract import Handle, PlatformError
from ai.models import Job, Workitem
from ai.workitems import dataset as ds
from ai.workitems.selectors import Viewer
from ai.workitems.services import dicom_now, workitem_cancel_request, workitem_create
from ai.workitems.states import UpsRefused
from imaging.part10 import part10_split
from journal.audit import Actor
from journal.wall.scope import tenant_scope

ACTOR = Actor(name="system:dispatch")
OURS = "99MEDHUB"
HEAD_BYTES = 4096


def workitem_uid_of(key: str) -> str:
    """The same key, the same workitem: 2.25 and 122 bits of the key's digest, marked as UUID version 8 (PS3.5 B.2, RFC 9562)."""
    digest = int.from_bytes(hashlib.sha256(b"ups:" + key.encode()).digest()[:16])
    digest = digest & ~(0xF << 76) | 0x8 << 76
    return f"2.25.{digest & ~(0x3 << 62) | 0x2 << 62}"


class OwnWorklist:
    """Of one hospital. Outside of a scope: it opens short ones."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id

    def create(self, handle: Handle, *, label: str) -> str:
        """Raises PlatformError when the handle's key is no job of this hospital."""
        with tenant_scope(self._tenant_id):
            job = _job(handle.idempotency_key)
            # a job that is sent again after its workitem has ended, or was taken back, gets another one, and that one while it lasts
            is_over = Q(state__in=[Workitem.State.CANCELED, Workitem.State.COMPLETED]) | Q(cancel_request__isnull=False)
            ended = Workitem.objects.filter(is_over, job=job).count()
            workitem_uid = workitem_uid_of(f"{handle.idempotency_key}#{ended}")
            if not Workitem.objects.filter(workitem_uid=workitem_uid).exists():
                content = workitem_content(handle, label=label, platform=job.connection.platform)
                with suppress(UpsRefused):  # another worker has made it in this very moment
                    workitem_create(
                        workitem_uid=workitem_uid, dataset=content, actor=ACTOR, connection=job.connection, job=job
                    )
        return workitem_uid

    def cancel(self, workitem_uid: str) -> None:
        """Nobody waits any more: at once while nobody has claimed it, else its performer is asked, once. Harmless when it has ended."""
        with tenant_scope(self._tenant_id):
            if Workitem.objects.filter(workitem_uid=workitem_uid, cancel_request__isnull=False).exists():
                return
            try:
                workitem_cancel_request(viewer=Viewer(), workitem_uid=workitem_uid, dataset={}, requesting_ae="", actor=ACTOR)
            except UpsRefused:
                return


def _job(key: str) -> Job:
    job: Job | None = None
    with suppress(ValueError):
        job = Job.objects.select_related("connection").filter(uuid=UUID(key)).first()
    if job is None:
        raise PlatformError("the job of this workitem is not there", is_permanent=True)
    return job


def workitem_content(handle: Handle, *, label: str, platform: str) -> ds.Dataset:
    """The workitem of a job: surrogates only, and where the pixels are (PS3.3 table 10-3b, retrieval by WADO-RS)."""
    patient = handle.patient_id[:64]
    reference = {
        "0040E020": ds.element("CS", "DICOM"),
        ds.STUDY: ds.element("UI", handle.study_uid),
        "0020000E": ds.element("UI", handle.series_uid),
        "00081199": ds.sequence(*_references(handle)),
    }
    if handle.pull_url:
        place = f"{handle.pull_url.rstrip('/')}/studies/{handle.study_uid}/series/{handle.series_uid}"
        reference["0040E025"] = ds.sequence({"00081190": ds.element("UR", place)})
    return {
        ds.PRIORITY: ds.element("CS", "HIGH" if handle.is_stat else "MEDIUM"),
        ds.LABEL: ds.element("LO", label[:64] or handle.algorithm[:64]),
        ds.WORKLIST_LABEL: ds.element("LO", platform[:64]),
        ds.START: ds.element("DT", dicom_now(timezone.now())),
        ds.READINESS: ds.element("CS", "READY"),
        ds.WORKITEM_CODE: ds.sequence(ds.code(handle.algorithm[:16], OURS, handle.algorithm[:64])),
        ds.STATION: ds.sequence(ds.code(platform[:16], OURS, platform[:64])),
        ds.PARAMETERS: ds.element("SQ"),
        ds.INPUT: ds.sequence(reference),
        ds.STUDY: ds.element("UI", handle.study_uid),
        ds.PATIENT_ID: ds.element("LO", *([patient] if patient else [])),
        ds.PATIENT_NAME: ds.element("PN", *([{"Alphabetic": patient}] if patient else [])),
        "00100030": ds.element("DA"), "00100040": ds.element("CS"), "0040A370": ds.element("SQ"),
    }  # fmt: skip


def _references(handle: Handle) -> list[ds.Dataset]:
    """Each object's class and UID, as the head of its file says."""
    found = []
    for path in handle.files:
        with open(path, "rb") as file:
            meta, _ = part10_split(file.read(HEAD_BYTES))
        if meta.get(0x00020003):
            found.append({"00081150": ds.element("UI", meta.get(0x00020002, "")), "00081155": ds.element("UI", meta[0x00020003])})
    return found
