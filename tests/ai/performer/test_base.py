"""A performer's DICOMweb base: de-identified objects of one job out, results in, and nothing of anybody else."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from django.test import Client
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ai.models import Job, ReturnedObject, Workitem
from ai.outgoing import job_folder
from ai.returned import keeping
from ai.returned.keeping import returned_objects
from imaging.inbox import inbox_objects
from journal.models import AuditEvent
from tests.ai.performing import Requester, connection_make, integrator, job_make, performer, uid, workitem_make
from tests.dicom_files import ct_slice, part10, series_of
from tests.web import web_run

pytestmark = pytest.mark.database
DICOM = "application/dicom"
SR, SEG = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.66.4"
TEN_MINUTES = timedelta(minutes=10)


class Work:
    """A job of a connection, sent, its files de-identified (here: made up), its workitem on the list."""

    def __init__(self, hospital: Any, platform: str = "vendor-a") -> None:
        self.hospital = hospital
        self.connection = connection_make(hospital, platform)
        self.job = job_make(hospital, self.connection)
        self.objects = series_of(3, PatientName="SURROGATE", PatientID="S1")
        self.folder: Path = job_folder(tenant_id=hospital.tenant.id, job_id=self.job.id)
        self.folder.mkdir(parents=True)
        for number, ds in enumerate(self.objects):
            (self.folder / f"{number}.dcm").write_bytes(part10(ds))
        self.study, self.series = str(self.objects[0].StudyInstanceUID), str(self.objects[0].SeriesInstanceUID)
        self.workitem = workitem_make(hospital, self.job, study_uid=self.study, series_uid=self.series)

    @property
    def base(self) -> str:
        return f"/t/{self.hospital.slug}/performer/{self.job.uuid}/dicomweb"

    def token(self, **options: Any) -> Requester:
        return Requester(self.base, performer(self.hospital, self.connection, **options).auth)

    def short(self) -> Requester:
        """With the short-lived token of this one job."""
        return self.token(job=self.job.uuid, lives=TEN_MINUTES)


def instance(work: Work, number: int = 0) -> str:
    return f"/studies/{work.study}/series/{work.series}/instances/{work.objects[number].SOPInstanceUID}"


def result(study: str, sop_class: str = SR) -> Dataset:
    ds = ct_slice(SOPClassUID=sop_class, Modality="SR", StudyInstanceUID=study, PatientName="SURROGATE")
    del ds.PixelData
    return ds


def body_of(*datasets: Dataset) -> bytes:
    parts = [b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part10(ds) + b"\r\n" for ds in datasets]
    return b"".join(parts) + b"--b--\r\n"


def stow(client: Requester, path: str, *datasets: Dataset) -> Any:
    return Client().generic(
        "POST", client.base + path, body_of(*datasets), content_type=f'multipart/related; type="{DICOM}"; boundary=b',
        headers=client.auth,
    )  # fmt: skip


# --- out ------------------------------------------------------------------------------------------------------------


def test_a_real_client_fetches_its_study(mercy, tmp_path) -> None:
    """"A short-lived single-study token when the vendor pulls pixels from us": dicomweb-client, over HTTP, QIDO, WADO and metadata."""
    work = Work(mercy)
    client = work.short()
    with web_run(tmp_path) as web:
        remote = DICOMwebClient(f"{web.address}{work.base}", headers={"Authorization": client.auth["authorization"]})
        (study,) = remote.search_for_studies()
        assert study["0020000D"]["Value"] == [work.study]
        (series,) = remote.search_for_series(work.study)
        assert series["0020000E"]["Value"] == [work.series]
        assert series["00201209"]["Value"] == [3]
        assert len(remote.search_for_instances(work.study, work.series)) == 3
        assert len(remote.search_for_instances(work.study, limit=2)) == 2
        found = remote.retrieve_study(work.study)
        assert {one.SOPInstanceUID for one in found} == {one.SOPInstanceUID for one in work.objects}
        assert all(one.PatientName == "SURROGATE" for one in found)
        assert [one.pixel_array.tobytes() for one in found] == [one.PixelData for one in work.objects]
        metadata = remote.retrieve_series_metadata(work.study, work.series)
        assert len(metadata) == 3
        pixels = remote.retrieve_bulkdata(web.address + metadata[0]["7FE00010"]["BulkDataURI"])
        assert pixels == [work.objects[0].PixelData]
        assert web.faults() == []
    with mercy.scope():
        assert AuditEvent.objects.filter(action="performer.read", object_id=str(work.job.uuid)).exists()


def test_forms(mercy) -> None:
    """An instance by itself, a study as zip, metadata as XML; what matches nothing is 404 or []."""
    work = Work(mercy)
    client = work.short()
    whole = client.call("GET", instance(work), accept=DICOM)
    assert whole.headers["Content-Type"].startswith(DICOM)
    assert b"".join(whole) == (work.folder / "0.dcm").read_bytes()
    assert client.call("GET", f"/studies/{work.study}", accept="application/zip").status_code == 200
    xml = 'multipart/related; type="application/dicom+xml"'
    assert client.call("GET", f"/studies/{work.study}/metadata", accept=xml).status_code == 200
    assert client.call("GET", "/studies?PatientID=S1").json()[0]["00100020"]["Value"] == ["S1"]
    assert client.call("GET", "/studies?PatientID=S2").json() == []
    assert client.call("GET", f"/studies/{work.study}/instances?SOPInstanceUID={work.objects[1].SOPInstanceUID}").json()
    assert client.call("GET", "/studies?NoSuchKey=1").status_code == 400
    series = f"/studies/{work.study}/series"
    for path in ("/studies/1.2.3", f"{series}/1.2.3", "/studies/1.2.3/series", f"{series}/1.2.3/metadata"):
        assert client.call("GET", path).status_code == 404, path


# --- whose ----------------------------------------------------------------------------------------------------------


def doors(client: Requester, work: Work) -> set[int]:
    paths = ["/studies", f"/studies/{work.study}", f"/studies/{work.study}/metadata", instance(work), f"{instance(work)}/bulkdata/7FE00010"]
    answers = [client.call("GET", path, accept="*/*").status_code for path in paths]
    return {*answers, stow(client, "/studies", result(work.study)).status_code}


def test_what_is_not_yours_is_not_there(mercy, olaf) -> None:
    """"foreign workitem/study = 404": another hospital, another connection, another job of the same, and roles that are no performer."""
    work, other = Work(mercy), Work(mercy, "vendor-b")
    elsewhere = Work(olaf)
    second = job_make(mercy, work.connection, "other")
    assert doors(work.short(), work) == {200}
    assert doors(work.token(), work) == {200}
    assert doors(Requester(work.base, other.short().auth), work) == {404}
    assert doors(Requester(work.base, other.token().auth), work) == {404}
    assert doors(Requester(work.base, elsewhere.short().auth), work) == {404}
    assert doors(Requester(work.base, work.token(job=second.uuid).auth), work) == {404}
    assert doors(Requester(work.base, integrator(mercy).auth), work) == {403}
    assert doors(Requester(work.base, {}), work) == {401}
    assert doors(work.token(job=work.job.uuid, lives=timedelta(seconds=-1)), work) == {401}


def test_while_the_job_is_open(mercy) -> None:
    """"limited to studies of its open workitems": with the workitem ended, or the job, the pixels are gone."""
    work = Work(mercy)
    mine, lock = performer(mercy, work.connection), uid()
    mine.put(work.workitem, "IN PROGRESS", lock)
    assert doors(work.token(), work) == {200}
    mine.put(work.workitem, "CANCELED", lock)
    assert doors(work.token(), work) == {404}
    assert doors(work.short(), work) == {200}, "a job without a workitem has its own token"
    with mercy.scope():
        Job.objects.filter(id=work.job.id).update(state=Job.State.DONE)
        assert Workitem.objects.get().state == "CANCELED"
    assert doors(work.short(), work) == {404}


# --- in -------------------------------------------------------------------------------------------------------------


def test_results_are_stowed(mercy, monkeypatch) -> None:
    """"the same room takes STOW into the performer base": durable, of this job, not archived, gathered like those of C-STORE."""
    work = Work(mercy)
    made = [result(work.study), result(work.study, SEG)]
    answer = stow(work.short(), f"/studies/{work.study}", *made)
    assert answer.status_code == 200, answer.content
    assert len(answer.json()["00081199"]["Value"]) == 2
    assert work.base in answer.json()["00081190"]["Value"][0]
    with mercy.scope():
        assert returned_objects(connection_id=work.connection.id, study_uid=work.study) == []
        monkeypatch.setattr(keeping, "QUIET", keeping.QUIET * 0)
        found = returned_objects(connection_id=work.connection.id, study_uid=work.study, job_id=work.job.id)
        assert returned_objects(connection_id=work.connection.id, study_uid=work.study, job_id=work.job.id + 1) == []
    assert {str(dcmread(one.path).SOPInstanceUID) for one in found} == {str(ds.SOPInstanceUID) for ds in made}
    assert not [one for found in inbox_objects(limit=100) for one in found if one.tenant_id == mercy.tenant.id]


def test_what_is_no_result_is_refused(mercy, settings) -> None:
    """Images, other studies and garbage are refused part by part; the good ones beside them stay."""
    work = Work(mercy)
    client = work.short()
    mixed = stow(client, f"/studies/{work.study}", ct_slice(StudyInstanceUID=work.study), result(work.study), result(generate_uid()))
    assert mixed.status_code == 202
    assert [one["00081197"]["Value"] for one in mixed.json()["00081198"]["Value"]] == [[0x0122], [0xA900]]
    assert stow(client, "/studies", ct_slice()).status_code == 409
    nothing = Client().generic("POST", f"{client.base}/studies", b"no dicom", content_type=DICOM, headers=client.auth)
    assert nothing.status_code == 409
    assert client.call("POST", "/studies", b"x", content_type="text/plain").status_code == 415
    with mercy.scope():
        assert ReturnedObject.objects.count() == 1
    assert len(list((settings.MEDHUB_OBJECTS / "returned" / str(mercy.tenant.id)).iterdir())) == 1
