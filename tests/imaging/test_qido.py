"""QIDO-RS (PS3.18 10.6): "all levels and the two-level paths, all required and usual keys ... 400 where it is malformed"."""

import json
import secrets
from typing import Any
from xml.etree import ElementTree

import pytest
from dicomweb_client.api import DICOMwebClient
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from imaging.models import Instance, Study
from imaging.query import web
from imaging.query.attributes import ATTRIBUTES, Level
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice

pytestmark = pytest.mark.database


def get(client, hospital, path: str, accept: str = "application/dicom+json", **headers: str) -> Any:
    return client.get(f"/t/{hospital.slug}/dicomweb/{path}", headers={**hospital.auth, "Accept": accept, **headers})


def found(client, hospital, path: str) -> list[dict[str, Any]]:
    answer = get(client, hospital, path)
    assert answer.status_code == 200, answer.content
    return answer.json()


def value(match: dict[str, Any], tag: str) -> Any:
    return match[tag]["Value"][0]


def store(hospital, *datasets: Dataset) -> None:
    house.store(hospital, datasets)
    house.index(hospital)


@pytest.fixture
def archive(mercy):
    """Two people: one study with two series of two slices, one with a single slice of another day and modality."""
    first, series = generate_uid(), f"2.25.{secrets.randbits(64)}"
    common = {
        "StudyInstanceUID": first, "PatientID": "P1", "PatientName": "Müller^Jürgen=山田^太郎=やまだ^たろう", "StudyDate": "20260102",
        "SpecificCharacterSet": "ISO_IR 192",
    }  # fmt: skip
    second = ct_slice(
        PatientID="P2", PatientName="DOE^JANE", StudyDate="20251231", StudyTime="2350", Modality="MR", StudyDescription="KNEE",
    )  # fmt: skip
    asked = Dataset()
    asked.ScheduledProcedureStepID, asked.RequestedProcedureID = "STEP7", "RP7"
    slices = [ct_slice(**common, SeriesInstanceUID=series, SeriesNumber=1, InstanceNumber=n) for n in (2, 1)]
    common |= {"SeriesInstanceUID": f"{series}.2", "SeriesNumber": 2, "RequestAttributesSequence": [asked]}
    slices += [ct_slice(**common, InstanceNumber=n) for n in (1, 2)]
    store(mercy, *slices, second)
    return first, series, second


def test_every_address(client, mercy, archive) -> None:
    """"all levels and the two-level paths": newest study first, series and instances by number, UIDs and RetrieveURL always."""
    first, series, second = archive
    base = f"http://testserver/t/{mercy.slug}/dicomweb"
    assert [value(s, "0020000D") for s in found(client, mercy, "studies")] == [first, second.StudyInstanceUID]
    assert len(found(client, mercy, "series")) == 3
    assert len(found(client, mercy, "instances")) == 5
    assert [value(s, "0020000E") for s in found(client, mercy, f"studies/{first}/series")] == [series, f"{series}.2"]
    inside = found(client, mercy, f"studies/{first}/instances")
    order = [(series, 1), (series, 2), (f"{series}.2", 1), (f"{series}.2", 2)]
    assert [(value(i, "0020000E"), value(i, "00200013")) for i in inside] == order
    (one, two) = found(client, mercy, f"studies/{first}/series/{series}/instances")
    assert (value(one, "00200013"), value(two, "00200013")) == (1, 2)
    assert value(one, "00081190") == f"{base}/studies/{first}/series/{series}/instances/{value(one, '00080018')}"
    assert value(found(client, mercy, f"studies?StudyInstanceUID={first}")[0], "00081190") == f"{base}/studies/{first}"
    assert value(one, "00083002") == "1.2.840.10008.1.2.1"
    assert get(client, mercy, "studies/1.2.3/series").status_code == 404
    assert get(client, mercy, f"studies/{first}/series/1.2.3/instances").status_code == 404
    assert found(client, mercy, f"studies/{first}/series?Modality=MR") == []
    assert found(client, mercy, "series?StudyInstanceUID=1.2.3") == []


def test_answers_are_dicom_json(client, mercy, archive) -> None:
    """PS3.18 F.2: numbers are numbers, the three groups of a name, the attributes of table 10.6.3-3, nothing where nothing is."""
    first, series, _ = archive
    study = found(client, mercy, f"studies?0020000D={first}")[0]
    name = {"Alphabetic": "Müller^Jürgen", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert study["00100010"] == {"vr": "PN", "Value": [name]}
    assert study["00201208"] == {"vr": "IS", "Value": [4]}
    assert study["00201206"] == {"vr": "IS", "Value": [2]}
    assert study["00080061"] == {"vr": "CS", "Value": ["CT"]}
    assert study["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert study["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert study["00080090"] == {"vr": "PN"}
    assert list(study) == sorted(study)
    asked = value(found(client, mercy, f"studies/{first}/series?SeriesInstanceUID={series}.2")[0], "00400275")
    assert asked["00400009"] == {"vr": "SH", "Value": ["STEP7"]}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("PatientID=P1", 1), ("PatientName=muller*", 1), ("PatientName=*JANE", 1), ("PatientName=山田*", 1), ("PatientName=", 2),
        ("StudyDate=20260102", 1), ("StudyDate=20251231-20260102", 2), ("StudyDate=-20251231", 1), ("StudyDate=20260101-", 1),
        ("StudyTime=2300-2359", 1), ("ModalitiesInStudy=MR", 1), ("ModalitiesInStudy=MR&ModalitiesInStudy=CT", 2),
        ("00100020=P2&StudyDescription=kn*", 1), ("PatientID=P1&StudyDescription=KNEE", 0), ("PatientID=*", 2),
    ],
)  # fmt: skip
def test_matching(client, mercy, archive, query: str, count: int) -> None:
    """"keys ... date and time ranges": single value, universal, wildcard, range, list."""
    assert len(found(client, mercy, f"studies?{query}")) == count


def test_uid_lists(client, mercy, archive) -> None:
    """"UID lists and repeated keys": commas, backslashes and repetition name the same list; a wildcard is no UID."""
    first, _, second = archive
    both = (first, second.StudyInstanceUID)
    for query in (",".join(both), "\\".join(both), f"{both[0]}&StudyInstanceUID={both[1]}"):
        assert len(found(client, mercy, f"studies?StudyInstanceUID={query}")) == 2
    assert len(found(client, mercy, f"studies?StudyInstanceUID={first},1.2.3")) == 1
    assert get(client, mercy, "studies?StudyInstanceUID=1.2.*").status_code == 400


def test_attributes_of_the_levels_above(client, mercy, archive) -> None:
    """Relational: they match, and are answered where the address leaves the study open (PS3.18 table 10.6.3-4)."""
    first, series, _ = archive
    matches = found(client, mercy, "series?PatientID=P1&SeriesNumber=2")
    assert [value(s, "0020000E") for s in matches] == [f"{series}.2"]
    assert value(matches[0], "00100020") == "P1"
    assert len(found(client, mercy, "instances?StudyDate=20260102&InstanceNumber=1")) == 2
    assert "00100020" not in found(client, mercy, f"studies/{first}/series")[0]
    nested = found(client, mercy, f"studies/{first}/series?RequestAttributesSequence.ScheduledProcedureStepID=STEP7")
    assert len(nested) == 1
    assert found(client, mercy, f"studies/{first}/series?00400275.00401001=NONE") == []


def test_includefield(client, mercy, archive) -> None:
    """"`includefield` (names, tags, `all`, sequence paths)", repeated and with commas; the UIDs stay."""
    first = archive[0]
    plain = found(client, mercy, f"studies/{first}/series")[0]
    assert not {"00080070", "00081010", "00081090"} & set(plain)
    for query in ("includefield=Manufacturer,00081010&includefield=ManufacturerModelName", "includefield=all"):
        more = found(client, mercy, f"studies/{first}/series?{query}")[0]
        assert {"00080070", "00081010", "00081090", "0020000D", "0020000E"} <= set(more)
    assert "00400275" in found(client, mercy, f"studies/{first}/series?includefield=RequestAttributesSequence.RequestedProcedureID")[0]


def test_fuzzymatching(client, mercy, archive) -> None:
    """"`fuzzymatching`": each word begins a word of the name, without case and accents; "ohn" is none of JOHN."""
    for words in ("jur mul", "JURGEN", "jan", "山田"):
        assert len(found(client, mercy, f"studies?PatientName={words}&fuzzymatching=true")) == 1, words
    for words in ("ane", "uller", "jane john", "j.ne"):
        assert found(client, mercy, f"studies?PatientName={words}&fuzzymatching=true") == []
    assert "Warning" in get(client, mercy, "studies?PatientID=P1&fuzzymatching=true")


def test_pages(client, mercy, archive) -> None:
    """"`limit`/`offset`": pages are disjoint and whole; a page that is cut without being asked for says so."""
    whole = [value(i, "00080018") for i in found(client, mercy, "instances")]
    pages = [value(i, "00080018") for offset in range(0, 6, 2) for i in found(client, mercy, f"instances?limit=2&offset={offset}")]
    assert pages == whole
    assert found(client, mercy, "studies?limit=0") == []
    assert found(client, mercy, "studies?offset=1000000") == []
    assert len(found(client, mercy, "series?Manufacturer=*&limit=1&offset=1")) == 1


def test_too_many_are_cut_with_a_warning(client, mercy, archive, monkeypatch) -> None:
    monkeypatch.setitem(web.LIMIT, Level.IMAGE, 3)
    answer = get(client, mercy, "instances")
    assert len(answer.json()) == 3
    assert answer["Warning"].startswith("299 ")
    assert "offset" in answer["Warning"]
    assert "Warning" in get(client, mercy, "instances?limit=1000")


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1", "limit=x", "limit=1.5", "offset=-1", "limit=99999999999999999999", "fuzzymatching=perhaps", "Foo=1", "0010=1",
        "includefield=Foo", "StudyDate=garbage", "StudyDate=20260102-20250101", "StudyTime=99", "StudyInstanceUID=a.b", "a.b.c.d=1",
        "PatientID.PatientName=x", "StudyDate=20260101&StudyDate=20260102", "RequestAttributesSequence=x", "emptyvaluematching=true",
        "PatientName=^&fuzzymatching=true", "%00=1", "PatientName=" + "x" * 5000,
    ],
)  # fmt: skip
def test_malformed_is_400_with_a_reason(client, mercy, query: str) -> None:
    """"400 where it is malformed", in words, without the value."""
    answer = get(client, mercy, f"studies?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert "garbage" not in answer.content.decode()


def test_an_attribute_that_is_not_supported(client, mercy, archive) -> None:
    """"`Warning` header where a key is not supported": results come, and say that one key did nothing."""
    for query in ("SliceThickness=1.0", "00090010=X", "includefield=SliceThickness", "InstanceNumber=1"):
        answer = get(client, mercy, f"studies?{query}")
        assert (answer.status_code, len(answer.json())) == (200, 2)
        assert answer["Warning"].startswith("299 ")
    assert "Warning" not in get(client, mercy, "studies?PatientID=P1")


def test_forms_of_the_answer(client, mercy, archive) -> None:
    """"JSON and XML multipart": by header or `accept=`; 406 with the list for anything else."""
    for accept in ("application/json", "application/dicom+json", "*/*", "application/dicom+xml;q=0.1, application/json"):
        assert get(client, mercy, "studies", accept=accept)["Content-Type"] in {"application/dicom+json", "application/json"}
    answer = get(client, mercy, "studies", accept='multipart/related; type="application/dicom+xml"')
    boundary = answer["Content-Type"].partition("boundary=")[2].encode()
    parts = [part.partition(b"\r\n\r\n")[2].strip() for part in answer.content.split(b"--" + boundary)[1:-1]]
    names = [ElementTree.fromstring(part).find(".//{*}DicomAttribute[@keyword='PatientID']/{*}Value").text for part in parts]  # noqa: S314 our own
    assert names == ["P1", "P2"]
    assert get(client, mercy, "studies?accept=application/dicom%2Bjson", accept="text/html").status_code == 200
    refused = get(client, mercy, "studies", accept="text/html")
    assert refused.status_code == 406
    assert refused.json()["available"]


def test_two_hospitals_see_nothing_of_each_other(client, mercy, olaf, archive) -> None:
    """The wall: the same search finds nothing at the neighbour's, and a token opens its own hospital only."""
    assert found(client, olaf, "studies") == []
    assert get(client, olaf, f"studies/{archive[0]}/instances").status_code == 404
    assert client.get(f"/t/{mercy.slug}/dicomweb/studies", headers=olaf.auth).status_code == 404
    assert client.get(f"/t/{mercy.slug}/dicomweb/studies").status_code == 401


def test_searches_are_audited_once_and_cost_a_constant(client, mercy, archive) -> None:
    """"authentication and audit that cost less than the read": a row per actor and five minutes; no query in a loop."""
    for _ in range(3):
        found(client, mercy, "studies")
    with CaptureQueriesContext(connection) as few:
        found(client, mercy, "studies?limit=1")
    with CaptureQueriesContext(connection) as many:
        found(client, mercy, "instances")
    assert len(few) == len(many) <= 6  # token, BEGIN, hospital, time limit, matches, COMMIT
    with mercy.scope():
        assert AuditEvent.objects.filter(action="dicom.find").count() == 1


def test_dicomweb_client(mercy, archive, live_server) -> None:
    """"Clients: `dicomweb-client`": its own searches, with its strict eye for media types."""
    first, series, _ = archive
    web_client = DICOMwebClient(f"{live_server.url}/t/{mercy.slug}/dicomweb", headers=mercy.auth)
    assert len(web_client.search_for_studies(search_filters={"PatientName": "Mull*"})) == 1
    assert len(web_client.search_for_series(first, fields=["SeriesDescription"])) == 2
    assert len(web_client.search_for_instances(first, series, limit=1)) == 1
    assert len(web_client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "doe"})) == 1


OTHERS = ("limit", "offset", "includefield", "fuzzymatching", "Foo")
TEXT = some.text(some.sampled_from("abcABC^ *?\\=\"'%_.éß山-0129"), max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parameters=some.lists(
        some.tuples(some.sampled_from([*(f"{tag:08X}" for tag in ATTRIBUTES), *OTHERS]), TEXT), max_size=4,
    ),
    path=some.sampled_from(["studies", "series", "instances", "studies/1.2.3/series"]),
)  # fmt: skip
def test_whatever_is_asked_is_answered(client, mercy, parameters: list[tuple[str, str]], path: str) -> None:
    """"Property tests (hypothesis) on matching": JSON or a reason, never a 500."""
    answer = client.get(f"/t/{mercy.slug}/dicomweb/{path}", parameters, headers=mercy.auth)
    assert answer.status_code in {200, 400, 404}
    assert isinstance(json.loads(answer.content), list if answer.status_code == 200 else dict)


def test_paging_is_in_the_database(client, mercy, archive) -> None:
    """"no ORM object per instance on hot paths": one statement reads a page."""
    with mercy.scope():
        assert Study.objects.count() == 2
        assert Instance.objects.count() == 5
    with CaptureQueriesContext(connection) as queries:
        found(client, mercy, "studies?limit=1&offset=1")
    assert sum("imaging_study" in query["sql"] for query in queries) == 1

