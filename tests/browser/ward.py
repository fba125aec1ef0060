"""Two hospitals as they look on a busy morning: what the pictures in docs/screens show.

Images come from `python -m sandbox.phantoms` and, where they are, from ../shared/dicom/real. What is shown as done or not
analysable was really computed by MedHub Quantify; only clocks and the states that pass too quickly to be seen are set.
"""

import io
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import F
from django.utils import timezone
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ai.models import Decision, Job, Report, Result
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.inbox import object_write
from imaging.models import Association, Node, Study, WorkItem
from journal.models import Delivery
from journal.outbox import event_publish
from tenants import services
from tests import house
from tests.browser import scenes
from tests.conftest import Hospital
from tests.dicom_files import SHARED, ct_slice, series_of

ROOT = Path(__file__).resolve().parents[2]
ALGORITHM = "lung-density-mask"
# States that a machine leaves within seconds: rows of ordinary studies are put into them.
PASSING = (
    (Job.State.QUEUED, "", 3, "KOWALCZYK^AGNIESZKA", "F", "19880714"),
    (Job.State.SENT, "", 6, "NGUYEN^VAN ANH", "M", "19720930"),
    (Job.State.FAILED, "MedHub Quantify did not answer within 60 s, 8 attempts", 52, "WOLFESCHLEGELSTEINHAUSENBERGERDORFF^"
     "HUBERT BLAINE^MAXIMILIAN", "M", "19380131"),
    (Job.State.REFUSED, "the hospital's plan is past due: nothing is sent until it is paid", 95, "OKAFOR^CHIDINMA", "F", "20190405"),
    (Job.State.QUARANTINED, "the answer names images that were not sent", 130, "MÜLLER-LÜDENSCHEIDT^JÖRG^^Dr.", "M", "19510000"),
)  # fmt: skip


def hospital_open(*, slug: str, name: str, zone: str, called: str, calling: str) -> Hospital:
    tenant = services.tenant_create(slug=slug, name=name, time_zone=zone, quiet_seconds=0)
    services.called_ae_set(tenant=tenant, ae_title=called)
    token = services.token_create(tenant=tenant, name="EHR", role="integrator")
    hospital = Hospital(tenant=tenant, slug=slug, token=token, called_ae=called, calling_ae=calling)
    with hospital.scope():
        Node.objects.create(ae_title=calling)
        Node.objects.create(ae_title="MERCY_PACS", addresses=["203.0.113.7"])
        entitlement_set(state="active")
        quantify = connection_create(platform="medhub-quantify")
        rule_set(
            name="Chest CT to the lung density mask", connection=quantify, algorithm=ALGORITHM,
            conditions=[{"fact": "modality", "is": ["CT"]}],
        )  # fmt: skip
    return hospital


def phantom(folder: Path, **changes: Any) -> Iterator[Dataset]:
    """A drawn thorax as its own study; keywords override attributes by their DICOM keyword."""
    if not folder.exists():
        command = [sys.executable, "-m", "sandbox.phantoms", "--out", str(folder), "--slices", "60", "--matrix", "192"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    for path in sorted(folder.glob("*.dcm")):
        ds = dcmread(path)
        for keyword, value in {**uids, "SOPInstanceUID": generate_uid(), **changes}.items():
            setattr(ds, keyword, value)
        yield ds


def real(name: str, **changes: Any) -> list[Dataset]:
    """A real anonymised file under another name, or nothing where the shared folder is absent."""
    path = SHARED / "real" / f"{name}.dcm"
    if not path.exists():
        return []
    ds = dcmread(path)
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return [ds]


def keep(hospital: Hospital, datasets: Any) -> str:
    """Into the inbox in the transfer syntax it has. Returns the study's UID, empty when there was nothing."""
    uid = ""
    for ds in datasets:
        target = io.BytesIO()
        ds.file_meta.MediaStorageSOPInstanceUID, uid = ds.SOPInstanceUID, str(ds.StudyInstanceUID)
        ds.save_as(target, enforce_file_format=True)
        object_write(tenant_id=hospital.tenant.id, source=0, trace_id="0" * 32, parts=[target.getvalue()])
    return uid


def person(name: str, number: str, sex: str, born: str, **more: Any) -> dict[str, Any]:
    return {
        "SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "PatientID": number, "IssuerOfPatientID": "MERCY",
        "PatientSex": sex, "PatientBirthDate": born, "StudyDate": timezone.now().strftime("%Y%m%d"), "StudyTime": "081500", **more,
    }  # fmt: skip


def fill(mercy: Hospital, folder: Path) -> dict[str, str]:
    """Studies in every AI state. Returns the uuids of those that have pictures of their own."""
    images = folder / "phantom"
    uids = {
        "report": keep(mercy, phantom(images, **person(
            "Yamada^Tarou=山田^太郎=やまだ^たろう", "MRN-20817743", "M", "19610412", StudyDescription="CT Chest low dose",
            AccessionNumber="ACC-2026-004417",
        ))),
        "not_analysable": keep(mercy, phantom(images, **person(
            "DOE^JANE", "MRN-20451234", "F", "19711102", StudyDescription="CT Chest with contrast",
            ContrastBolusAgent="Iohexol 350", PatientAge="054Y",
        ))),
        "xray": keep(mercy, real("cxr-mono1-440", **person(
            "O'BRIEN-FITZGERALD^MÁIRE^CAOIMHE", "MRN-20993321", "F", "19440229", StudyDescription="Chest PA", BodyPartExamined="CHEST",
        ))),
        "mr": keep(mercy, real("mr-brain-lgg", **person("HAUGEN^SOLVEIG", "77", "F", "19700519", StudyDescription="MR Head w/o"))),
        "us": keep(mercy, real("us-palette", **person("BABY OF OKAFOR^^", "NB-1", "", "20260227", PatientAge="012D"))),
    }  # fmt: skip
    house.settle(mercy, seconds=90)
    for at, (_, _, _, name, sex, born) in enumerate(PASSING):
        uids[f"passing{at}"] = _ordinary(mercy, PatientName=name, PatientSex=sex, PatientBirthDate=born, PatientID=f"MRN-3000{at}")
    house.complete(mercy)
    house.deliver(mercy)
    _states_set(mercy, uids)
    uids["routing"] = _ordinary(mercy, PatientName="CASTELLANOS^RAÚL", PatientID="MRN-31110", PatientSex="M")
    house.complete(mercy)
    half = list(phantom(images, **person("LINDQVIST^ELSA", "MRN-31111", "F", "", StudyDescription="CT Chest w/o", PatientAge="009M")))
    uids["receiving"] = keep(mercy, half[:37])
    house.index(mercy)
    with mercy.scope():
        found = {study.study_uid: study for study in Study.objects.all()}
        _clocks_set(found, uids)
        return {page: str(found[uid].uuid) for page, uid in uids.items() if uid}


def _ordinary(hospital: Hospital, count: int = 24, **changes: Any) -> str:
    given = {"SpecificCharacterSet": "ISO_IR 192", "StudyDate": timezone.now().strftime("%Y%m%d"), **changes}
    datasets = series_of(count, **given)
    house.store(hospital, datasets)
    house.index(hospital)
    return str(datasets[0].StudyInstanceUID)


def _states_set(mercy: Hospital, uids: dict[str, str]) -> None:
    now = timezone.now()
    with mercy.scope():
        for at, (state, reason, minutes, *_) in enumerate(PASSING):
            job = Job.objects.get(study__study_uid=uids[f"passing{at}"])
            job.state, job.reason, job.due_at, job.created_at = state, reason, None, now - timedelta(minutes=minutes - 1)
            if state != Job.State.QUEUED:
                job.sent_at = job.created_at + timedelta(seconds=2)
            job.save()


def _clocks_set(found: dict[str, Study], uids: dict[str, str]) -> None:
    """Arrivals of a morning; the study with the report keeps the clock of what really happened to it."""
    minutes = {f"passing{at}": row[2] for at, row in enumerate(PASSING)}
    minutes |= {"receiving": 0, "routing": 1, "not_analysable": 18, "xray": 33, "mr": 190, "us": 60 * 26}
    for name, past in minutes.items():
        if uids.get(name):
            _earlier(found[uids[name]], timedelta(minutes=past))


def _earlier(study: Study, shift: timedelta) -> None:
    """The study's whole way, moved into the past as one."""
    ours = {"study_id": study.id}
    Study.objects.filter(id=study.id).update(
        first_received_at=F("first_received_at") - shift, stored_at=F("stored_at") - shift, completed_at=F("completed_at") - shift
    )
    Decision.objects.filter(**ours).update(created_at=F("created_at") - shift)
    if Report.objects.filter(**ours).update(issued_at=F("issued_at") - shift):  # the other jobs were put into their state above
        Result.objects.filter(job__study_id=study.id).update(received_at=F("received_at") - shift)
        Job.objects.filter(**ours).update(created_at=F("created_at") - shift, sent_at=F("sent_at") - shift)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhir_resource SET last_updated = last_updated - %s WHERE tenant_id = %s AND fhir_id = %s",
            [shift, study.tenant_id, str(study.uuid)],
        )


def trouble(mercy: Hospital) -> None:
    """What needs a person: two dead letters, a duplicate that differs, another person's image, an object nobody can read, a
    commitment that no node took, a study without its order.
    """
    again = series_of(1, PatientName="DOE^JOHN", PatientID="MRN-40001")
    house.store(mercy, again)
    again[0].PixelData = bytes([1, 0]) * 256
    house.store(mercy, again)
    mixed = series_of(2, PatientName="ROE^RICHARD", PatientID="MRN-40002")
    mixed[1].PatientID = "MRN-40003"
    house.store(mercy, mixed)
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[b"\0" * 128 + b"DICM" + b"\xff" * 64])
    house.index(mercy)
    with mercy.scope():
        study = Study.objects.order_by("id").first()
        assert study is not None
        event_publish(name="study.changed", ids={"study_id": study.id, "version": study.version})
        event_publish(name="report.issued", ids={"report_id": 1})
        for delivery, error in zip(Delivery.objects.order_by("-id")[:2], ("DoesNotExist", "OperationalError"), strict=True):
            delivery.state, delivery.attempts, delivery.due_at, delivery.last_error = Delivery.State.DEAD, 8, None, error
            delivery.save()
    scenes.doubts_make(mercy, study)


def conflict(mercy: Hospital) -> int:
    """An image of another patient in a study. Returns the work item."""
    return _item(mercy, "patient-conflict", PatientName="LINDGREN^ASTRID", PatientID="MRN-44172", PatientBirthDate="19071114")


def duplicate(mercy: Hospital) -> int:
    """An image that came twice with different content. Returns the work item."""
    return _item(mercy, "duplicate", StudyDescription="CT Chest, corrected", InstanceNumber=12, is_same_object=True)


def _item(mercy: Hospital, kind: str, *, is_same_object: bool = False, **changes: Any) -> int:
    facts = {
        "SpecificCharacterSet": "ISO_IR 192", "PatientName": "LINDQVIST^ELSA", "PatientID": "MRN-31111", "PatientBirthDate": "19540817",
        "StudyDescription": "CT Chest", "SeriesDescription": "Lung 1.0", "IssuerOfPatientID": "MERCY",
    }  # fmt: skip
    first = ct_slice(**facts)
    uids = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID}
    if is_same_object:
        uids["SOPInstanceUID"] = first.SOPInstanceUID
    for ds in (first, ct_slice(**{**facts, **uids, **changes})):
        house.store(mercy, [ds])
        house.index(mercy)
    with mercy.scope():
        return int(WorkItem.objects.filter(kind=kind).order_by("-id")[0].id)


def associations(mercy: Hospital) -> None:
    now = timezone.now()
    rows = (
        (mercy.calling_ae, mercy.called_ae, "203.0.113.12", 1, "open", "", 17),
        (mercy.calling_ae, mercy.called_ae, "203.0.113.12", 18, "released", "", 60),
        ("MERCY_PACS", mercy.called_ae, "203.0.113.7", 33, "released", "", 1),
        ("WORKSTATION_07", mercy.called_ae, "198.51.100.23", 41, "refused", "calling AE title not recognized", 0),
        ("MERCY_PACS", mercy.called_ae, "203.0.113.7", 190, "aborted", "aborted by the peer after 311 of 312 images", 311),
        (mercy.calling_ae, mercy.called_ae, "2001:db8:85a3:8d3:1319:8a2e:370:7348", 60 * 26, "lost", "no heartbeat", 4),
    )
    with mercy.scope():
        for calling, called, address, minutes, outcome, reason, stored in rows:
            began = now - timedelta(minutes=minutes)
            Association.objects.create(
                calling_ae=calling, called_ae=called, address=address, started_at=began, seen_at=now, outcome=outcome, reason=reason,
                ended_at=None if outcome == "open" else began + timedelta(seconds=9), stored=stored,
            )  # fmt: skip
