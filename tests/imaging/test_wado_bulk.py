"""All bulk data of a study, series or instance at once: `.../bulkdata` (PS3.18 10.4)."""

import email
import json
import re
from typing import Any

import pytest
from django.test import Client
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from imaging.models import Instance
from imaging.storage import object_path
from tests import house
from tests.dicom_files import part10, series_of, shared_file
from tests.imaging.test_manifest import FILES
from tests.imaging.test_stow import post
from tests.imaging.test_stow_metadata import KIND, body, stored
from tests.imaging.test_wado import content, get, place, sent, with_uids

pytestmark = pytest.mark.database
J2K, EXPLICIT, JPEG = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def located(answer: Any) -> list[tuple[str, str, bytes]]:
    """Content-Location, transfer syntax and bytes of each part."""
    assert answer.status_code == 200, content(answer)
    rest, found = content(answer), []
    boundary = answer.headers["Content-Type"].split("boundary=")[1]
    while not rest.startswith(f"--{boundary}--".encode()):
        head, rest = rest.split(b"\r\n\r\n", 1)
        fields = email.message_from_bytes(head.split(b"\r\n", 1)[1])
        length = int(fields["Content-Length"])
        found.append((fields["Content-Location"], fields["Content-Type"].split("transfer-syntax=")[1], rest[:length]))
        rest = rest[length + 2 :]
    return found


def uris(client, hospital, path: str) -> list[str]:
    document = json.loads(content(get(client, hospital, f"{path}/metadata")))
    return [f"http://testserver{uri}" for uri in re.findall(r'"BulkDataURI": "([^"]+)"', json.dumps(document))]


def test_every_level_gives_every_value_of_its_metadata(client, mercy, olaf) -> None:
    """"multipart of all bulk data of the resource with Content-Location each": the URIs of the metadata in its order, the values of
    those URIs; conditional like the rest."""
    slices = series_of(3)
    icon = dcmread(shared_file("real/pet-breast-icons.dcm"))
    sent(client, mercy, *map(part10, slices), shared_file("real/pet-breast-icons.dcm").read_bytes())
    study = f"studies/{slices[0].StudyInstanceUID}"
    for path, count in ((study, 3), (f"{study}/series/{slices[0].SeriesInstanceUID}", 3), (place(slices[1]), 1)):
        answer = get(client, mercy, f"{path}/bulkdata")
        assert answer.streaming
        parts = located(answer)
        assert [location for location, _, _ in parts] == uris(client, mercy, path)
        assert [data for _, _, data in parts] == [ds.PixelData for ds in (slices if count == 3 else slices[1:2])]
        assert get(client, mercy, f"{path}/bulkdata", **{"if-none-match": answer.headers["ETag"]}).status_code == 304
        assert get(client, olaf, f"{path}/bulkdata").status_code == 404
    parts = located(get(client, mercy, f"{place(icon)}/bulkdata"))
    assert len(parts) == 2, "the icon's pixels and the image's, each at its own place"
    for location, _, data in parts:
        assert content(client.get(location, headers=mercy.auth)) == data


def test_compressed_pixels(client, mercy) -> None:
    """Decoded for who names no syntax, as stored with `transfer-syntax=*`; frames are parts with one location."""
    cine, ct = with_uids("real/us-cine-30f.dcm"), with_uids("syntax/ct-j2k-lossless.dcm")
    sent(client, mercy, cine, ct)
    ds = dcmread(DicomBytesIO(ct))
    *_, (_, syntax, data) = located(get(client, mercy, f"{place(ds)}/bulkdata"))
    assert (syntax, data) == (EXPLICIT, ds.pixel_array.tobytes())
    *_, (_, syntax, data) = located(get(client, mercy, f"{place(ds)}/bulkdata", STORED))
    assert (syntax, data[:4]) == (J2K, b"\xff\x4f\xff\x51")
    film = dcmread(DicomBytesIO(cine))
    parts = located(get(client, mercy, f"{place(film)}/bulkdata", STORED))
    assert [(syntax, data[:2]) for _, syntax, data in parts] == [(JPEG, b"\xff\xd8")] * 30
    assert len({location for location, _, _ in parts}) == 1
    refused = get(client, mercy, f"{place(film)}/bulkdata", 'multipart/related; type="image/gif"')
    assert (refused.status_code, bool(refused.json()["available"])) == (406, True)


def test_an_icon_that_is_compressed(client, mercy) -> None:
    """Its code stream, at the URI that the metadata names and among all the rest."""
    raw = shared_file("real/mammo-ge-mlo.dcm").read_bytes()
    sent(client, mercy, raw)
    ds = dcmread(DicomBytesIO(raw))
    icons = [(uri, syntax, data) for uri, syntax, data in located(get(client, mercy, f"{place(ds)}/bulkdata")) if "00880200" in uri]
    assert [(syntax, data[:2]) for _, syntax, data in icons] == [("1.2.840.10008.1.2.4.70", b"\xff\xd8")]
    assert content(client.get(icons[0][0], headers=mercy.auth)) == icons[0][2]


def test_what_leaves_can_come_in_again(client, mercy, olaf) -> None:
    """Metadata and bulk data of a study as stored are a STOW-RS request of metadata and bulk data: the same pixels elsewhere."""
    raw = with_uids("real/us-cine-30f.dcm")
    sent(client, mercy, raw)
    ds = dcmread(DicomBytesIO(raw))
    study = f"studies/{ds.StudyInstanceUID}"
    metadata = json.loads(content(get(client, mercy, f"{study}/metadata")))
    parts = located(get(client, mercy, f"{study}/bulkdata", STORED))
    moved = [("image/jpeg", location.removeprefix("http://testserver"), data) for location, _, data in parts]
    path = f"/t/{olaf.slug}/dicomweb/studies"
    assert client.generic("POST", path, body(metadata, *moved), content_type=KIND, headers=olaf.auth).status_code == 200
    (found,) = stored(olaf)
    assert (found.pixel_array == ds.pixel_array).all()


def test_nothing_to_give(client, mercy) -> None:
    """404 with a reason where every value is in the metadata, 404 for what is not there."""
    ds = dcmread(shared_file("objects/rtplan.dcm"))
    sent(client, mercy, shared_file("objects/rtplan.dcm").read_bytes())
    answer = get(client, mercy, f"{place(ds)}/bulkdata")
    assert (answer.status_code, "every value is in the metadata" in answer.json()["error"]) == (404, True)
    assert get(client, mercy, "studies/1.2.3/bulkdata").status_code == 404


def test_one_value_at_a_time(client, mercy) -> None:
    """"streamed": the first values have left before the last object is looked at; one that is lost breaks the stream, so that nobody
    takes it for whole."""
    slices = series_of(4)
    sent(client, mercy, *map(part10, slices))
    with mercy.scope():
        object_path(Instance.objects.get(sop_instance_uid=slices[3].SOPInstanceUID).key).unlink()
    answer = get(client, mercy, f"studies/{slices[0].StudyInstanceUID}/bulkdata")
    assert (answer.status_code, answer.streaming) == (200, True)
    came: list[bytes] = []
    with pytest.raises(FileNotFoundError):
        came.extend(answer.streaming_content)
    assert b"".join(came).count(b"Content-Location") == 3


def test_no_real_file_breaks_it(client: Client, mercy) -> None:
    """Each stored file of the manifest: its parts or a reason, for plain pixels and for stored ones."""
    for name in FILES:
        post(client, mercy, shared_file(name).read_bytes(), kind="application/dicom")
    house.index(mercy)
    for row in json.loads(content(get(client, mercy, "instances?limit=200"))):
        path = "studies/{}/series/{}/instances/{}".format(*(row[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")))
        for accept in ("", STORED):
            answer = get(client, mercy, f"{path}/bulkdata", accept)
            said = uris(client, mercy, path)
            if answer.status_code == 404:
                assert said == [], path
            else:
                parts = located(answer)
                assert {location for location, _, _ in parts} == set(said), path
                assert all(data for _, _, data in parts), path
        for uri in said:
            assert client.get(uri, headers=mercy.auth).status_code in {200, 406}, uri
