"""WADO-RS retrieval of studies, series and instances (PS3.18 10.4): "as-stored bytes identical to what came"."""

import email
import hashlib
import io
import re
import zipfile
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice, part10, series_of, shared_file
from tests.imaging.test_stow import post

pytestmark = pytest.mark.database
ANY = "multipart/related; type=application/octet-stream; transfer-syntax=*"
STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ENCODINGS = ("implicit-le", "big-endian", "deflated", "rle", "jpegls", "j2k-lossless")
EXPLICIT, IMPLICIT, J2K, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


def get(client, hospital, path: str, accept: str = "", **more: str) -> Any:
    headers = {**hospital.auth, **({"accept": accept} if accept else {}), **more}
    return client.get(f"/t/{hospital.slug}/dicomweb/{path}", headers=headers)


def content(answer) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def parts_of(answer) -> list[tuple[str, bytes]]:
    """(Content-Type, bytes) of each part of a multipart answer, cut by the lengths that they name."""
    assert answer.headers["Content-Type"].startswith("multipart/related"), content(answer)
    rest, found = content(answer), []
    boundary = answer.headers["Content-Type"].split("boundary=")[1]
    while not rest.startswith(f"--{boundary}--".encode()):
        head, rest = rest.split(b"\r\n\r\n", 1)
        assert head.startswith(f"--{boundary}\r\n".encode())
        fields = email.message_from_bytes(head.split(b"\r\n", 1)[1])
        length = int(fields["Content-Length"])
        found.append((fields["Content-Type"], rest[:length]))
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    assert rest == f"--{boundary}--\r\n".encode()
    return found


def sent(client, hospital, *files: bytes) -> None:
    for one in files:
        assert post(client, hospital, one, kind="application/dicom").status_code == 200
    house.index(hospital)


def place(ds) -> str:
    return f"studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def with_uids(name: str) -> bytes:
    """A shared file; one that lacks its UIDs, or shares them with others, gets fresh ones."""
    ds = dcmread(shared_file(name))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = generate_uid(), generate_uid(), generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    target = io.BytesIO()
    ds.save_as(target)
    return target.getvalue()


def test_every_level_gives_the_bytes_that_came(client, mercy) -> None:
    """"study, series, instance": as stored, one part an object, in the order people look at them."""
    slices = series_of(3)
    files = [part10(ds) for ds in slices]
    other = ct_slice(StudyInstanceUID=slices[0].StudyInstanceUID, SeriesNumber=2)
    sent(client, mercy, *files, part10(other))
    study, series = f"studies/{slices[0].StudyInstanceUID}", f"/series/{slices[0].SeriesInstanceUID}"
    assert [data for _, data in parts_of(get(client, mercy, study, STORED))] == [*files, part10(other)]
    assert [data for _, data in parts_of(get(client, mercy, study + series))] == files
    answer = get(client, mercy, place(slices[1]))
    assert parts_of(answer) == [(f"application/dicom; transfer-syntax={EXPLICIT}", files[1])]
    plain = get(client, mercy, place(slices[1]), "application/dicom")
    assert (plain.content, plain.headers["Content-Type"]) == (files[1], f"application/dicom; transfer-syntax={EXPLICIT}")
    with mercy.scope():
        assert AuditEvent.objects.filter(action="dicom.retrieve").count() == 1


def test_what_is_not_there_or_not_yours(client, mercy, olaf) -> None:
    """Foreign and unknown ids answer 404, alike."""
    ds = ct_slice()
    sent(client, mercy, part10(ds))
    for path in (f"studies/{ds.StudyInstanceUID}", place(ds), f"{place(ds)}/frames/1"):
        assert get(client, olaf, path).status_code == 404
    for path in ("studies/1.2.3", f"studies/{ds.StudyInstanceUID}/series/1.2", place(ds) + "9"):
        assert get(client, mercy, path).status_code == 404


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_six_encodings_in_three_syntaxes(client, mercy, encoding) -> None:
    """"The six encodings of one CT give the same pixels through ... retrieval in three requested syntaxes"."""
    raw = shared_file(f"syntax/ct-{encoding}.dcm").read_bytes()
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    assert parts_of(get(client, mercy, place(ds), STORED))[0][1] == raw
    seen = set()
    for syntax in (EXPLICIT, IMPLICIT, J2K, RLE):
        kind, data = parts_of(get(client, mercy, place(ds), f"multipart/related; type=application/dicom; transfer-syntax={syntax}"))[0]
        assert kind.endswith(f"transfer-syntax={syntax}")
        found = dcmread(io.BytesIO(data))
        assert (found.file_meta.TransferSyntaxUID, found.SOPInstanceUID) == (syntax, ds.SOPInstanceUID)
        seen.add(hashlib.sha1(found.pixel_array.astype("<i2").tobytes()).hexdigest()[:12])  # noqa: S324 the manifest's mark
    assert seen == {"eb5b3a66f37c"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_six_encodings_through_frames(client, mercy, encoding) -> None:
    """The same pixels through frames; "Big-endian frames come out little endian"."""
    raw = shared_file(f"syntax/ct-{encoding}.dcm").read_bytes()
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    (kind, data), = parts_of(get(client, mercy, f"{place(ds)}/frames/1"))
    assert kind == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert hashlib.sha1(data).hexdigest().startswith("eb5b3a66f37c")  # noqa: S324 the manifest's mark
    (kind, data), = parts_of(get(client, mercy, f"{place(ds)}/frames/1", ANY))
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        assert kind == f"application/octet-stream; transfer-syntax={ds.file_meta.TransferSyntaxUID}"
        assert data in ds.PixelData


def test_nothing_that_is_accepted(client, mercy) -> None:
    """"406 with the list otherwise": in the body, for objects and for frames."""
    ds = ct_slice()
    sent(client, mercy, part10(ds))
    answer = get(client, mercy, place(ds), "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.100")
    assert answer.status_code == 406
    assert f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}' in answer.json()["available"]
    assert get(client, mercy, f"{place(ds)}/frames/1", "text/html").status_code == 406
    assert get(client, mercy, f"{place(ds)}/frames/1?accept=image/webp").status_code == 406


def test_etag_and_ranges(client, mercy) -> None:
    """"ETag and 304; ... range requests": a strong tag of the bytes; 206, 416."""
    ds = ct_slice()
    raw = part10(ds)
    sent(client, mercy, raw)
    whole = get(client, mercy, place(ds), "application/dicom")
    again = get(client, mercy, place(ds), "application/dicom", **{"if-none-match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert get(client, mercy, place(ds), "", **{"if-none-match": whole.headers["ETag"]}).status_code == 200
    for header, expected in (("bytes=0-9", raw[:10]), ("bytes=-4", raw[-4:]), ("bytes=100-", raw[100:])):
        part = get(client, mercy, place(ds), "application/dicom", range=header)
        assert (part.status_code, part.content) == (206, expected), header
    assert part.headers["Content-Range"] == f"bytes 100-{len(raw) - 1}/{len(raw)}"
    other = get(client, mercy, place(ds), "application/dicom", range="bytes=0-9", **{"if-range": '"another"'})
    assert (other.status_code, other.content) == (200, raw)
    beyond = get(client, mercy, place(ds), "application/dicom", range="bytes=99999999-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(raw)}")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("real/us-cine-30f.dcm", 30), ("real/xa-96f.dcm", 96), ("real/nm-heart-13f.dcm", 13), ("real/emri-10f.dcm", 10),
        ("objects/seg-overlap.dcm", 8), ("objects/sm-small.dcm", 25), ("objects/rtdose-15f.dcm", 15),
        ("objects/parametric-float.dcm", 1), ("objects/seg-labelmap.dcm", 20), ("syntax/ect-2f-fragments-nobot.dcm", 2),
        ("real/us-palette.dcm", 1), ("syntax/htj2k-rgb-lossless.dcm", 1), ("real/mammo-ge-mlo.dcm", 1), ("objects/seg-for-sr.dcm", 13),
    ],
)  # fmt: skip
def test_frames_of_real_files(client, mercy, name, count) -> None:
    """"frames (lists, encapsulated and native, empty offset tables, fragments)", each as pydicom decodes it; beyond: 404."""
    raw = with_uids(name)
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    expected = expected_frames(ds)
    numbers = [n for n in (count, 1, max(count // 2, 1))]
    found = parts_of(get(client, mercy, f"{place(ds)}/frames/{','.join(map(str, numbers))}"))
    for number, (_, data) in zip(numbers, found, strict=True):
        assert data.rstrip(b"\0") == expected[number - 1].rstrip(b"\0"), number
    beyond = get(client, mercy, f"{place(ds)}/frames/1,{count + 1}")
    assert beyond.status_code == 404
    assert str(count + 1) in beyond.json()["error"]


def expected_frames(ds) -> list[bytes]:
    """By pydicom, without colour conversion; one-bit frames packed again."""
    from pydicom.pixels import iter_pixels

    frames = [frame for frame in iter_pixels(ds, raw=True)]
    if ds.get("BitsAllocated") == 1:
        return [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in frames]
    return [np.ascontiguousarray(frame).astype(frame.dtype.newbyteorder("<")).tobytes() for frame in frames]


@pytest.mark.parametrize("numbers", ["0", "a", "1,", "1,0", "-1", "1;2", "1" * 12])
def test_malformed_frame_lists(client, mercy, numbers) -> None:
    """Frame 0 and garbage are 400."""
    ds = ct_slice()
    sent(client, mercy, part10(ds))
    assert get(client, mercy, f"{place(ds)}/frames/{numbers}").status_code == 400


@pytest.mark.parametrize("name", ["real/ecg-12lead.dcm", "broken/mr-truncated.dcm", "broken/oob-65535.dcm", "objects/pdf.dcm"])
def test_objects_without_whole_frames(client, mercy, name) -> None:
    """No pixels, or fewer bytes than the header claims: 404 in words, never a 500."""
    raw = with_uids(name)
    sent(client, mercy, raw)
    answer = get(client, mercy, f"{place(dcmread(io.BytesIO(raw), force=True))}/frames/1")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_a_study_as_zip(client, mercy) -> None:
    """"`application/zip` of a study, streamed, with DICOMDIR": the bytes that came, named by numbers, all in the directory."""
    named = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Ä=山田"}
    slices = series_of(3, **named)
    files = [part10(ds) for ds in slices]
    sent(client, mercy, *files, part10(ct_slice(StudyInstanceUID=slices[0].StudyInstanceUID, SeriesNumber=2, **named)))
    answer = get(client, mercy, f"studies/{slices[0].StudyInstanceUID}", "application/zip")
    assert (answer.streaming, answer.headers["Content-Type"]) == (True, "application/zip")
    with zipfile.ZipFile(io.BytesIO(content(answer))) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist()[:3]] == files
        assert re.fullmatch(r"(DICOM/S0{5}[12]/I0{6}[1-4] ){4}DICOMDIR ", "".join(f"{name} " for name in archive.namelist()))
        directory = dcmread(io.BytesIO(archive.read("DICOMDIR")))
        found = [(one.DirectoryRecordType, one) for one in directory.DirectoryRecordSequence]
        assert [kind for kind, _ in found] == ["PATIENT", "STUDY", "SERIES", "IMAGE", "IMAGE", "IMAGE", "SERIES", "IMAGE"]
        for _, one in found:
            if "ReferencedFileID" in one:
                assert dcmread(archive.open("/".join(one.ReferencedFileID))).SOPInstanceUID == one.ReferencedSOPInstanceUIDInFile
        assert str(found[0][1].PatientName) == named["PatientName"]
        places = {one.seq_item_tell for _, one in found}
        assert {one.OffsetOfTheNextDirectoryRecord for _, one in found} | {0} <= places | {0}
    assert get(client, mercy, place(slices[0]), "application/zip").status_code == 406


def test_the_directory_is_read_by_another_reader(client, mercy, tmp_path) -> None:
    """pydicom's file-set reader follows every offset of it."""
    slices = series_of(3)
    sent(client, mercy, *(part10(ds) for ds in slices))
    answer = get(client, mercy, f"studies/{slices[0].StudyInstanceUID}?accept=application/zip")
    with zipfile.ZipFile(io.BytesIO(content(answer))) as archive:
        archive.extractall(tmp_path)
    found = FileSet(tmp_path / "DICOMDIR")
    assert sorted(one.SOPInstanceUID for one in found) == sorted(ds.SOPInstanceUID for ds in slices)
    assert found.find_values("PatientID") == ["P1"]
