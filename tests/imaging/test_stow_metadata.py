"""STOW-RS, "JSON metadata + bulk": metadata and bulk data apart come together as objects (PS3.18 10.5.1)."""

import json
from typing import Any

import pytest
from django.urls import reverse
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import generate_uid

from imaging.dicomweb import stow_metadata
from imaging.inbox import inbox_root
from imaging.models import Instance
from imaging.storage import object_path
from tests import house
from tests.dicom_files import ct_slice, shared_file

pytestmark = pytest.mark.database
KIND = 'multipart/related; type="application/dicom+json"; boundary=b1'
PIXELS = "7FE00010"


def body(metadata: Any, *parts: tuple[str, str, bytes]) -> bytes:
    whole = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    content = b"--b1\r\nContent-Type: application/dicom+json\r\n\r\n" + whole + b"\r\n"
    for kind, location, data in parts:
        content += f"--b1\r\nContent-Type: {kind}\r\nContent-Location: {location}\r\n\r\n".encode() + data + b"\r\n"
    return content + b"--b1--\r\n"


def post(client, hospital, content: bytes):
    return client.generic("POST", reverse("stow", args=[hospital.slug]), content, content_type=KIND, headers=hospital.auth)


def described(**values: Any) -> tuple[dict[str, Any], bytes]:
    """Metadata of a slice without its pixels, and those."""
    ds = ct_slice(**values)
    pixels = ds.PixelData
    del ds.PixelData
    return ds.to_json_dict(), pixels


def stored(hospital) -> list[Any]:
    house.index(hospital)
    with hospital.scope():
        return [dcmread(object_path(key)) for key in Instance.objects.order_by("id").values_list("key", flat=True)]


def test_uncompressed_pixels_in_a_part_of_their_own(client, mercy) -> None:
    """Each value of the metadata and each byte of the pixels is in the object; text is UTF-8."""
    metadata, pixels = described(PatientName="Müller^Jürgen=山田^太郎")
    pointing = metadata | {PIXELS: {"vr": "OW", "BulkDataURI": "bulk/1"}}
    assert post(client, mercy, body([pointing], ("application/octet-stream", "bulk/1", pixels))).status_code == 200
    (found,) = stored(mercy)
    assert found.PixelData == pixels
    assert str(found.PatientName) == "Müller^Jürgen=山田^太郎"
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    del found.PixelData
    assert found.to_json_dict() == metadata | {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}


def test_compressed_frames(client, mercy) -> None:
    """A media type or a transfer syntax says how the pixels are coded; parts with one location are frames, in order."""
    metadata, _ = described()
    frames = [b"\xff\xd8" + bytes([n]) * 101 + b"\xff\xd9" for n in range(3)]
    metadata |= {"00280008": {"vr": "IS", "Value": [3]}, PIXELS: {"vr": "OB", "BulkDataURI": "p"}}
    answer = post(client, mercy, body([metadata], *(("image/jpeg", "p", frame) for frame in frames)))
    assert answer.status_code == 200
    (found,) = stored(mercy)
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert [frame.rstrip(b"\0") for frame in generate_frames(found.PixelData, number_of_frames=3)] == frames


def test_a_pdf(client, mercy) -> None:
    """An Encapsulated PDF whose document is a part."""
    metadata, _ = described(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    metadata["00420011"] = {"vr": "OB", "BulkDataURI": "http://there/doc"}
    assert post(client, mercy, body([metadata], ("application/pdf", "http://there/doc", b"%PDF-1.7 x"))).status_code == 200
    assert stored(mercy)[0].EncapsulatedDocument == b"%PDF-1.7 x"


def test_several_objects_some_of_them_wrong(client, mercy) -> None:
    """"200/202/409 with FailureReason from PS3.18 and readable comment per instance"."""
    good, pixels = described()
    without, _ = described()
    nothing: dict[str, Any] = {"00080016": {"vr": "UI"}}
    odd, _ = described()
    odd["00280010"] = {"vr": "US", "Value": [{"a": 1}]}
    items = [
        good | {PIXELS: {"vr": "OW", "BulkDataURI": "1"}}, without | {PIXELS: {"vr": "OW", "BulkDataURI": "not there"}}, nothing, odd,
    ]  # fmt: skip
    answer = post(client, mercy, body(items, ("application/octet-stream", "1", pixels)))
    assert answer.status_code == 202
    failed = answer.json()["00081198"]["Value"]
    assert [item["00081197"]["Value"][0] for item in failed] == [0xC000] * 3
    assert failed[0]["00081155"]["Value"] == without["00080018"]["Value"]
    assert "Content-Location" in failed[0]["00000902"]["Value"][0]
    assert len(stored(mercy)) == 1


@pytest.mark.parametrize("metadata", [b"{", b"[1]", b"[]", b"null", b"[" * 5000, b'"x"'])
def test_metadata_that_is_none(client, mercy, metadata: bytes) -> None:
    """400 with a reason, and nothing is left behind."""
    answer = post(client, mercy, body(metadata))
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert [path for path in (inbox_root() / str(mercy.tenant.id)).rglob("*") if path.is_file()] == []


def test_metadata_has_a_cap(client, mercy, monkeypatch) -> None:
    """Everything from outside has a limit."""
    monkeypatch.setattr(stow_metadata, "METADATA_BYTES", 100)
    assert post(client, mercy, body([described()[0]])).status_code == 413


def test_real_files_go_apart_and_come_back(client, mercy) -> None:
    """A CT, a scintigram, an SR and a dose: metadata as JSON, pixels as bulk; every value comes back."""
    for name in ("real/lung-ct-lctsc.dcm", "real/nm-heart-13f.dcm", "objects/sr-tid1500.dcm", "objects/rtdose-15f.dcm"):
        path = shared_file(name)
        ds = dcmread(path)
        ds.SOPInstanceUID = generate_uid()
        pixels = ds.get("PixelData")
        if pixels is not None:
            del ds.PixelData
        metadata = ds.to_json_dict()
        parts = []
        if pixels is not None:
            metadata[PIXELS] = {"vr": "OW", "BulkDataURI": "p"}
            parts = [("application/octet-stream", "p", pixels)]
        assert post(client, mercy, body([metadata], *parts)).status_code == 200
        found = stored(mercy)[-1]
        assert found.get("PixelData") == pixels
        for element in [element for element in ds if element.tag.element]:  # no group lengths
            assert found[element.tag].value == element.value or element.keyword == "SpecificCharacterSet"
