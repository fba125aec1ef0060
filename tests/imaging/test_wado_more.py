"""WADO-URI, capabilities and delete: "WADO-URI; OPTIONS / capabilities; ... delete with the rights for it"."""

import io
from xml.etree import ElementTree

import pytest
from PIL import Image
from pydicom import dcmread

from imaging.models import Instance, Series, StorageUse, Study
from imaging.storage import object_path
from journal.models import AuditEvent
from tenants.services import token_create
from tests import house
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.test_wado import content, get, parts_of, place, sent

pytestmark = pytest.mark.database


def admin(hospital) -> dict[str, str]:
    return {"authorization": f"Bearer {token_create(tenant=hospital.tenant, name='admin', role='admin')}"}


def test_wado_uri(client, mercy, olaf) -> None:
    """PS3.18 9: the object as stored or in an asked syntax, a picture by default; 400 for what is missing, 404 for strangers."""
    ds = ct_slice()
    raw = part10(ds)
    sent(client, mercy, raw)
    uri = f"wado?requestType=WADO&studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}&objectUID={ds.SOPInstanceUID}"
    assert get(client, mercy, f"{uri}&contentType=application/dicom").content == raw
    other = get(client, mercy, f"{uri}&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2")
    assert dcmread(io.BytesIO(other.content)).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
    picture = get(client, mercy, f"{uri}&windowCenter=40&windowWidth=400&frameNumber=1")
    assert (picture.headers["Content-Type"], Image.open(io.BytesIO(picture.content)).size) == ("image/jpeg", (16, 16))
    assert get(client, mercy, f"{uri}&contentType=image/png").headers["Content-Type"] == "image/png"
    assert get(client, mercy, f"{uri}&contentType=video/mpeg").status_code == 406
    assert get(client, mercy, f"{uri}&frameNumber=2").status_code == 404
    assert get(client, mercy, f"{uri}&frameNumber=x").status_code == 400
    assert get(client, mercy, "wado?requestType=WADO&studyUID=1.2").status_code == 400
    assert get(client, olaf, uri).status_code == 404


def test_capabilities(client, mercy) -> None:
    """OPTIONS of the root: every address of the doors, in JSON or WADL."""
    root = f"/t/{mercy.slug}/dicomweb/"
    answer = client.options(root, headers=mercy.auth)
    assert answer.status_code == 200
    resources = {one["path"]: one for one in answer.json()["application"]["resources"]["resource"]}
    study = resources["studies/{study_uid}"]
    assert study["method"] == ["DELETE", "GET", "POST"]
    assert "application/zip" in study["representation"]
    wadl = client.options(root, headers={**mercy.auth, "accept": "application/vnd.sun.wadl+xml"})
    paths = [one.get("path") for one in ElementTree.fromstring(wadl.content).iter() if one.tag.endswith("}resource")]  # noqa: S314
    assert paths == list(resources)


def test_delete_wants_its_own_right(client, mercy, olaf, settings) -> None:
    """"delete with the rights for it": 403 for who may only read and store, 404 for strangers; then nothing is left of it."""
    slices = series_of(3)
    other = ct_slice(StudyInstanceUID=slices[0].StudyInstanceUID, SeriesNumber=2)
    sent(client, mercy, *(part10(ds) for ds in slices), part10(other))
    study = f"/t/{mercy.slug}/dicomweb/studies/{slices[0].StudyInstanceUID}"
    one = f"/t/{mercy.slug}/dicomweb/{place(slices[0])}"
    assert client.delete(one, headers=mercy.auth).status_code == 403
    assert client.delete(one, headers=admin(olaf)).status_code == 404
    with mercy.scope():
        path, before = object_path(Instance.objects.get(sop_instance_uid=slices[0].SOPInstanceUID).key), StorageUse.objects.get()
    auth = admin(mercy)
    assert content(get(client, mercy, f"studies/{slices[0].StudyInstanceUID}/metadata"))
    assert client.delete(one, headers=auth).status_code == 204
    assert client.delete(one, headers=auth).status_code == 404
    assert not path.exists()
    assert len(parts_of(get(client, mercy, f"studies/{slices[0].StudyInstanceUID}"))) == 3
    with mercy.scope():
        use, row = StorageUse.objects.get(), Study.objects.get()
        assert (before.objects_kept - use.objects_kept, before.bytes_kept - use.bytes_kept) == (1, len(part10(slices[0])))
        assert (row.number_of_series, row.number_of_instances, Series.objects.count()) == (2, 3, 2)
    assert client.delete(f"{study}/series/{slices[0].SeriesInstanceUID}", headers=auth).status_code == 204
    assert client.delete(study, headers=auth).status_code == 204
    assert client.delete(study, headers=auth).status_code == 404
    assert [one for one in (settings.MEDHUB_OBJECTS / f"t/{mercy.tenant.id}").rglob("*") if one.is_file()] == []
    assert get(client, mercy, f"studies/{slices[0].StudyInstanceUID}/metadata").status_code == 404
    with mercy.scope():
        row = Study.objects.get()
        assert (row.number_of_series, row.number_of_instances, row.modalities) == (0, 0, "")
        levels = AuditEvent.objects.filter(action="dicom.delete").values_list("object_type", flat=True)
        assert sorted(levels) == ["Instance", "Series", "Study"]
    house.settle(mercy)
    sent(client, mercy, part10(slices[0]))
    assert content(get(client, mercy, place(slices[0]), "application/dicom")) == part10(slices[0])
