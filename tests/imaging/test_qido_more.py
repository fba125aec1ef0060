"""QIDO-RS (PS3.18 10.6), what is easily got wrong: zones, fuzzy names, lists, wildcards, items of sequences, deep pages."""

from urllib.parse import quote

import pytest
from pydicom.dataset import Dataset

from imaging.query import plan
from tests.dicom_files import ct_slice, series_of
from tests.imaging.test_qido import found, get, store, value

pytestmark = pytest.mark.database


@pytest.fixture
def studies(mercy) -> list[str]:
    """Of a day each; the last began at 23:30, six hours behind UTC."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X1", "99M", "Knee"
    doe = ct_slice(StudyDate="20260301", ReferringPhysicianName="House^Gregory", ProcedureCodeSequence=[code])
    roe = ct_slice(StudyDate="20260302", PatientID="P2", PatientName="O'ROE^RICHARD", Modality="MR", PatientAge="040Y")
    late = ct_slice(StudyDate="20260303", StudyTime="233000", TimezoneOffsetFromUTC="-0600", PatientID="P3", Modality="US")
    store(mercy, doe, roe, late)
    return [doe.StudyInstanceUID, roe.StudyInstanceUID, late.StudyInstanceUID]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("StudyDate=20260304&TimezoneOffsetFromUTC=%2B0000", [2]), ("StudyDate=20260304&TimezoneOffsetFromUTC=+0000", [2]),
        ("StudyDate=20260303&TimezoneOffsetFromUTC=%2B0000", []), ("StudyDate=20260303&TimezoneOffsetFromUTC=-0600", [2]),
        ("StudyDate=20260303", [2]), ("StudyDate=20260302-20260304&StudyTime=0500-0600&TimezoneOffsetFromUTC=%2B0000", [2]),
        ("StudyDate=-20260302&TimezoneOffsetFromUTC=%2B0900", [1, 0]), ("TimezoneOffsetFromUTC=-0600", [2, 1, 0]),
        ("ModalitiesInStudy=MR,US", [2, 1]), ("fuzzymatching=true&ReferringPhysicianName=greg%20ho", [0]),
        ("fuzzymatching=true&ReferringPhysicianName=ouse", []), ("fuzzymatching=true&PatientName=o'roe", [1]),
        ("PatientAge=040Y", [1]), ("fuzzymatching=true&PatientName=*RICH*", [1]),
    ],
)  # fmt: skip
def test_keys(client, mercy, studies, query, places) -> None:
    """"date and time ranges with time zone", "`fuzzymatching`", "UID lists and repeated keys" of code strings too."""
    assert [value(one, "0020000D") for one in found(client, mercy, f"studies?{query}")] == [studies[place] for place in places]


@pytest.mark.parametrize(
    "query",
    [
        "PatientID=a%00b", "PatientName=%FF", "PatientAge=0%2AY", "StudyDate=2026%2A", "NumberOfStudyRelatedSeries=1%3F",
        "StudyDate=20260301&TimezoneOffsetFromUTC=Chicago", "StudyDate=20260301-x&TimezoneOffsetFromUTC=%2B0000", "limit=%0A1",
    ],
)  # fmt: skip
def test_malformed(client, mercy, query) -> None:
    """"400 where it is malformed": wildcards where the VR has none, bytes that are no text, zones that are none."""
    assert get(client, mercy, f"studies?{query}").status_code == 400


def test_fuzzy_says_where_it_was_literal(client, mercy, studies) -> None:
    """"`Warning` header where a key is not supported": a name that was compared literally, beside one that was not."""
    query = "studies?fuzzymatching=true&PatientName=doe"
    assert "Warning" not in get(client, mercy, query)
    assert "fuzzymatching" in get(client, mercy, f"{query}&NameOfPhysiciansReadingStudy=x")["Warning"]
    assert "fuzzymatching" in get(client, mercy, "studies?fuzzymatching=true&PatientName=doe*")["Warning"]


def test_a_path_includes_one_attribute_of_the_items(client, mercy, studies) -> None:
    """"`includefield` (... sequence paths)": what the path names; the whole sequence when it is named itself."""
    [one] = found(client, mercy, f"studies?StudyInstanceUID={studies[0]}&includefield=ProcedureCodeSequence.CodeMeaning")
    assert one["00081032"] == {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["Knee"]}}]}
    [one] = found(client, mercy, f"studies?StudyInstanceUID={studies[0]}&includefield={quote('00081032.00080104,00081032')}")
    assert len(value(one, "00081032")) == 3


@pytest.mark.parametrize("path", ["studies", "series", "instances", "instances?PatientName=DOE*", "studies?PatientID=P*"])
def test_deep_pages_are_the_same_pages(client, mercy, studies, monkeypatch, path) -> None:
    """"QIDO page (limit, offset)": the statement for deep offsets gives what the plain one gives."""
    store(mercy, *series_of(3))
    whole = found(client, mercy, path)
    monkeypatch.setattr(plan, "DEEP", 0)
    mark = "&" if "?" in path else "?"
    assert found(client, mercy, path) == whole
    assert [one for at in range(len(whole)) for one in found(client, mercy, f"{path}{mark}limit=1&offset={at}")] == whole
    study = f"studies/{value(whole[0], '0020000D')}/instances"
    deep = found(client, mercy, study)
    monkeypatch.undo()
    assert deep == found(client, mercy, study)
