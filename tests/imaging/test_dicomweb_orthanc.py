"""Orthanc's DICOMweb plug-in as a client of ours: it sends by STOW-RS, asks by QIDO-RS, fetches by WADO-RS, with a bearer token."""

import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from pydicom import dcmread

from imaging.models import Instance
from imaging.part10 import part10_split
from imaging.storage import object_path
from tests import house
from tests.dicom_files import part10, series_of, shared_file
from tests.orthanc import Orthanc, need_dicomweb, orthanc_run
from tests.web import Web, web_run

pytestmark = [pytest.mark.database, pytest.mark.peers]
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web_run(tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest.fixture(scope="module")
def client_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    more = {"Plugins": [need_dicomweb()], "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False}}
    with orthanc_run(tmp_path_factory.mktemp("orthanc-web"), **more) as found:
        yield found


@pytest.fixture(params=[True, False], ids=["chunked", "whole"])
def orthanc(request: Any, client_of: Orthanc, web: Web, mercy: Any) -> Orthanc:
    """Empty, and told who we are; its bodies come in chunks or with a length."""
    client_of.clear()
    server = {
        "Url": f"{web.address}/t/{mercy.slug}/dicomweb/", "HttpHeaders": {"Authorization": f"Bearer {mercy.token}"},
        "ChunkedTransfers": request.param,
    }  # fmt: skip
    client_of.rest("/dicom-web/servers/ours", json.dumps(server).encode(), "PUT")
    return client_of


def asked(orthanc: Orthanc, what: str, **body: Any) -> Any:
    return orthanc.rest(f"/dicom-web/servers/ours/{what}", json.dumps(body).encode(), "POST")


def test_orthanc_sends_asks_and_fetches(orthanc: Orthanc, mercy: Any) -> None:
    """"Clients: ... Orthanc as DICOMweb client": a study by STOW-RS, found by QIDO-RS, fetched by WADO-RS; unchanged bytes."""
    slices = series_of(5, PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 192")
    files = {str(ds.SOPInstanceUID): part10(ds) for ds in slices}
    for raw in files.values():
        orthanc.rest("/instances", raw, "POST")
    (study,) = orthanc.rest("/studies")
    sent = asked(orthanc, "stow", Resources=[study], Synchronous=True)
    assert sent, "a job that succeeded"
    house.index(mercy)
    with mercy.scope():
        kept = {uid: object_path(key).read_bytes() for uid, key in Instance.objects.values_list("sop_instance_uid", "key")}
    assert kept == files

    uid = str(slices[0].StudyInstanceUID)
    (found,) = asked(orthanc, "qido", Uri="/studies", Arguments={"PatientName": "MULLER*", "StudyInstanceUID": uid})
    assert (found["0020000D"]["Value"], found["00100010"]["Value"]) == (uid, "Müller^Jürgen")
    answer = asked(orthanc, "get", Uri=f"/studies/{uid}/series", HttpHeaders={"Accept": "application/dicom+json"})
    assert [one["0020000E"]["Value"] for one in answer] == [[str(slices[0].SeriesInstanceUID)]]

    orthanc.clear()
    asked(orthanc, "retrieve", Resources=[{"Study": uid}], Synchronous=True)
    assert sorted(map(orthanc.file, orthanc.instances())) == sorted(files.values())


def test_orthanc_fetches_a_film_as_it_is_stored(orthanc: Orthanc, mercy: Any) -> None:
    """A compressed cine loop there and back: the same data set, never encoded again."""
    raw = shared_file("real/us-cine-30f.dcm").read_bytes()
    orthanc.rest("/instances", raw, "POST")
    asked(orthanc, "stow", Resources=orthanc.rest("/studies"), Synchronous=True)
    house.index(mercy)
    orthanc.clear()
    ds = dcmread(io.BytesIO(raw), stop_before_pixels=True)
    series = {"Study": str(ds.StudyInstanceUID), "Series": str(ds.SeriesInstanceUID)}
    asked(orthanc, "retrieve", Resources=[series], HttpHeaders=AS_STORED, Synchronous=True)
    (back,) = map(orthanc.file, orthanc.instances())
    assert back[part10_split(back)[1] :] == raw[part10_split(raw)[1] :]


def test_orthanc_without_a_token_gets_nothing(orthanc: Orthanc, web: Web, mercy: Any) -> None:
    """The same server without its header: no rows, no objects."""
    server = {"Url": f"{web.address}/t/{mercy.slug}/dicomweb/"}
    orthanc.rest("/dicom-web/servers/ours", json.dumps(server).encode(), "PUT")
    with pytest.raises(HTTPError):  # Orthanc's own status for a server that refuses it
        asked(orthanc, "qido", Uri="/studies", Arguments={})
    orthanc.rest("/instances", part10(series_of(1)[0]), "POST")
    with pytest.raises(HTTPError):
        asked(orthanc, "stow", Resources=orthanc.rest("/studies"), Synchronous=True)
    assert house.index(mercy) == 0
