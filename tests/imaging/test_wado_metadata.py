"""WADO-RS metadata and bulk data (PS3.18 10.4.1.1.4, Annex F): "one compressed metadata document per series with an ETag"."""

import contextlib
import gzip
import io
import json
import math
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from imaging.dicomweb.elements import object_open
from imaging.dicomweb.jsonmodel import object_json
from tests import house
from tests.dicom_files import ct_slice, part10, series_of, shared_file
from tests.imaging.test_manifest import FILES
from tests.imaging.test_wado import content, get, parts_of, place, sent, with_uids

JSON = "application/dicom+json"
XML = "accept=multipart/related;type=application/dicom%2Bxml"


def test_three_levels(client, mercy, olaf) -> None:
    """"metadata": study, series and instance say the same; strangers get 404."""
    slices = series_of(3)
    other = ct_slice(StudyInstanceUID=slices[0].StudyInstanceUID, SeriesNumber=2)
    sent(client, mercy, *(part10(ds) for ds in slices), part10(other))
    study, series = f"studies/{slices[0].StudyInstanceUID}", f"/series/{slices[0].SeriesInstanceUID}"
    whole = json.loads(content(get(client, mercy, f"{study}/metadata", JSON)))
    assert [one["00080018"]["Value"][0] for one in whole] == [ds.SOPInstanceUID for ds in [*slices, other]]
    assert json.loads(content(get(client, mercy, f"{study}{series}/metadata"))) == whole[:3]
    assert get(client, mercy, f"{place(slices[1])}/metadata").json() == whole[1:2]
    assert whole[0]["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "DOE^JANE"}]}
    assert whole[0]["7FE00010"]["BulkDataURI"] == f"/t/{mercy.slug}/dicomweb/{place(slices[0])}/bulkdata/7FE00010"
    for path in (f"{study}/metadata", f"{study}{series}/metadata", f"{place(other)}/metadata"):
        assert get(client, olaf, path).status_code == 404


def test_etag_gzip_and_a_change(client, mercy) -> None:
    """"ETag and 304; gzip": as it lies when accepted, inflated else; a late image makes another document."""
    slices = series_of(3)
    sent(client, mercy, *(part10(ds) for ds in slices[:2]))
    url = f"studies/{slices[0].StudyInstanceUID}/series/{slices[0].SeriesInstanceUID}/metadata"
    plain = get(client, mercy, url)
    packed = get(client, mercy, url, **{"accept-encoding": "gzip, br"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(content(packed)) == content(plain)
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert get(client, mercy, url, **{"if-none-match": plain.headers["ETag"]}).status_code == 304
    assert "Content-Encoding" not in get(client, mercy, url, **{"accept-encoding": "gzip;q=0"}).headers
    study = get(client, mercy, f"studies/{slices[0].StudyInstanceUID}/metadata", **{"accept-encoding": "gzip"})
    assert json.loads(gzip.decompress(content(study)))
    sent(client, mercy, part10(slices[2]))
    late = get(client, mercy, url, **{"if-none-match": plain.headers["ETag"]})
    assert late.status_code == 200
    assert len(json.loads(content(late))) == 3


def test_xml(client, mercy) -> None:
    """"+xml multipart": the Native DICOM Model (PS3.19 A.1), one part an object, control characters gone."""
    ds = ct_slice(PatientName="DOE^JANE=\x01", StudyDescription="a < b & c")
    sent(client, mercy, part10(ds))
    (kind, data), = parts_of(get(client, mercy, f"{place(ds)}/metadata", 'multipart/related; type="application/dicom+xml"'))
    assert kind == "application/dicom+xml"
    found = {one.get("keyword"): one for one in ElementTree.fromstring(data)}  # noqa: S314 our own
    text = "".join(found["StudyDescription"].itertext())
    assert text == "a < b & c"
    study = f"studies/{ds.StudyInstanceUID}/metadata?{XML}"
    assert len(parts_of(get(client, mercy, study))) == 1


@pytest.mark.parametrize("name", FILES)
def test_metadata_of_every_real_file(client, mercy, name) -> None:
    """Every file that is stored: 200, valid JSON, and what pydicom reads of it too, value by value where that is text."""
    raw = shared_file(name).read_bytes()
    answer = client.generic(
        "POST", f"/t/{mercy.slug}/dicomweb/studies", raw, content_type="application/dicom", headers=mercy.auth
    )
    house.index(mercy)
    if answer.status_code != 200:
        return
    with mercy.scope():
        from imaging.models import Instance

        one = Instance.objects.select_related("series", "study").get()
        path = f"studies/{one.study.study_uid}/series/{one.series.series_uid}/instances/{one.sop_instance_uid}"
    found = get(client, mercy, f"{path}/metadata").json()[0]
    assert found["00080018"]["Value"] == [one.sop_instance_uid]
    series = json.loads(content(get(client, mercy, f"{path.rsplit('/', 2)[0]}/metadata")))
    assert series == [found]
    assert parts_of(get(client, mercy, f"{path}/metadata?{XML}"))
    if name in ("broken/bad-vr.dcm",):
        return
    ds = dcmread(io.BytesIO(raw), force=True)
    for element in ds:
        tag = f"{element.tag:08X}"
        is_text = element.VR in ("LO", "SH", "UI", "CS", "DA") and element.VM == 1 and str(element.value).strip()
        if is_text and tag in found and tag != "00080005":
            assert found[tag]["Value"] == [str(element.value).strip()], tag
        assert element.tag.element == 0 or tag in found, tag


def test_three_groups_of_a_name(client, mercy) -> None:
    raw = shared_file("charset/jp-ir87.dcm").read_bytes()
    sent(client, mercy, raw)
    found = get(client, mercy, f"{place(dcmread(io.BytesIO(raw)))}/metadata").json()[0]
    name = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert found["00100010"]["Value"] == [name]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]


def test_numbers_that_json_has_not(client, mercy) -> None:
    """"NaN and infinities leave valid JSON": null in their place (PS3.18 Annex F has no other word for them)."""
    ds = ct_slice()
    ds.add_new(0x00189306, "FD", [math.nan, 1.5, math.inf])  # single collimation width
    ds.add_new(0x00281052, "DS", "nan")
    sent(client, mercy, part10(ds))
    answer = get(client, mercy, f"{place(ds)}/metadata")
    found = json.loads(content(answer), parse_constant=lambda name: pytest.fail(name))[0]
    assert found["00189306"]["Value"] == [None, 1.5, None]


def test_bulk_data(client, mercy) -> None:
    """"bulk data by URI", nested as well, with ranges (206, 416); what is small is inline."""
    ds = ct_slice()
    icon = Dataset()
    icon.Rows, icon.Columns, icon.PixelData = 64, 64, bytes(range(256)) * 16
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = [icon]
    ds.add_new(0x00091001, "OB", b"\1\2\3\4")
    ds.add_new(0x00090010, "LO", "OURS")
    sent(client, mercy, part10(ds))
    found = get(client, mercy, f"{place(ds)}/metadata").json()[0]
    assert found["00091001"] == {"vr": "OB", "InlineBinary": "AQIDBA=="}
    uri = found["00880200"]["Value"][0]["7FE00010"]["BulkDataURI"]
    assert uri.endswith("/bulkdata/00880200/1/7FE00010")
    assert client.get(uri, headers=mercy.auth).content == icon.PixelData
    (_, data), = parts_of(client.get(found["7FE00010"]["BulkDataURI"], headers={**mercy.auth, "accept": "multipart/related"}))
    assert data == ds.PixelData
    part = client.get(uri, headers={**mercy.auth, "range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, icon.PixelData[10:20])
    assert client.get(uri, headers={**mercy.auth, "range": "bytes=5000-"}).status_code == 416
    for wrong in ("00880200", "00880200/2/7FE00010", "00880200/0/7FE00010", "7FE0001", "zz", "00100099", "00880200/1"):
        assert get(client, mercy, f"{place(ds)}/bulkdata/{wrong}").status_code == 404, wrong


def test_bulk_data_of_real_files(client, mercy) -> None:
    """A PDF as what it is; encapsulated pixels as their frames; big endian pixels little endian."""
    raw = with_uids("objects/pdf.dcm")
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    pdf = get(client, mercy, f"{place(ds)}/bulkdata/00420011", "application/pdf")
    assert (pdf.headers["Content-Type"], content(pdf)[:5]) == ("application/pdf", b"%PDF-")
    raw = with_uids("real/us-cine-30f.dcm")
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    frames = parts_of(get(client, mercy, f"{place(ds)}/bulkdata/7FE00010", 'multipart/related; type="image/jpeg"'))
    assert len(frames) == 30
    assert all(data[:2] == b"\xff\xd8" for _, data in frames)
    raw = with_uids("syntax/ct-big-endian.dcm")
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    data = content(get(client, mercy, f"{place(ds)}/bulkdata/7FE00010"))
    assert data == ds.pixel_array.astype("<i2").tobytes()


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    ds = ct_slice(SOPClassUID=CTImageStorage, SOPInstanceUID=generate_uid())
    ds.StudyDescription = draw(st.text("abc \\^=<&", max_size=12))
    ds.add_new(0x00081115, "SQ", [Dataset() for _ in range(draw(st.integers(0, 3)))])
    ds.add_new(0x00189306, "FD", draw(st.lists(st.floats(), max_size=4)))
    ds.add_new(0x00280106, "US", draw(st.integers(0, 65535)))
    ds.add_new(0x00091001, "UN", draw(st.binary(max_size=40)))
    return ds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ds=datasets(), cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(140, 900), st.integers(0, 255)), max_size=8))
def test_damaged_objects_are_json_or_a_header_error(tmp_path, ds, cut, flips) -> None:
    """Whatever the bytes are: JSON of what can be walked, or one kind of error."""
    import orjson

    from imaging.header import HeaderError

    raw = bytearray(part10(ds))
    for at, value in flips:
        raw[min(at, len(raw) - 1)] = value
    path = tmp_path / "x.dcm"
    path.write_bytes(bytes(raw[: len(raw) - cut]))
    with contextlib.suppress(HeaderError), object_open(path) as opened:
        assert json.loads(orjson.dumps(object_json(opened, bulk=str)))
