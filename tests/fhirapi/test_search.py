"""Search: every parameter, form of token, date precision, include and option that the CapabilityStatement promises."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fhirapi.index import values as index_values
from fhirapi.outcomes import FhirError
from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.search import values as query_values
from fhirapi.search.dates import date_range
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir, event, measurement, patient_resource, report_make, study_make

NOWHERE = "00000000-0000-0000-0000-000000000000"


class World:
    """Two patients of one hospital: Jane with a CT and a report, John with an MR still arriving."""

    def __init__(self, mercy: Hospital) -> None:
        with mercy.scope():
            self.jane = study_make(accession_number="ACC-1")
            self.john = study_make(
                patient={"name": "Roe^John", "patient_id": "a,b|c$d", "issuer": "1.2.3.4"}, modalities="MR", state="receiving",
                accession_number="ACC-2", accession_issuer="urn:oid:1.9",
            )  # fmt: skip
            self.john.series_set.update(modality="MR")
            self.report = report_make(self.jane)
            self.final = report_make(self.john, status="final", measurements=(measurement("volume", 5.0, "mL"),))
            for study in (self.jane, self.john):
                imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
            for report in (self.report, self.final):
                diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))


@pytest.fixture
def world(mercy: Hospital) -> World:
    return World(mercy)


def test_identifier_in_all_its_forms(world: World, fhir: Fhir) -> None:
    """ "`identifier` (all token forms)": value, system|value, system| and, for a study, the UID as DICOM writes it."""
    uid, study = world.jane.study_uid, [str(world.jane.uuid)]
    for value in (f"urn:oid:{uid}", uid, f"urn:dicom:uid|urn:oid:{uid}", f"urn:dicom:uid|{uid}", "ACC-1"):
        assert fhir.ids("ImagingStudy", f"identifier={quote(value)}") == study, value
    assert fhir.ids("ImagingStudy", "identifier=urn:oid:1.9|ACC-2") == [str(world.john.uuid)]
    assert fhir.ids("ImagingStudy", "identifier=urn:oid:1.9|") == [str(world.john.uuid)]
    for value in (f"urn:oid:1.9|{uid}", "urn:oid:1.9|ACC-1", "|ACC-1", uid[:-1], "acc-1", "|"):
        assert fhir.ids("ImagingStudy", f"identifier={quote(value)}") == [], value
    assert sorted(fhir.ids("ImagingStudy", "identifier=ACC-1,urn:oid:1.9|ACC-2")) == sorted([*study, str(world.john.uuid)])


def test_identifier_without_a_system(mercy: Hospital, fhir: Fhir) -> None:
    """`|value` means: and no system."""
    with mercy.scope():
        resources_put(resources=[patient_resource("bare", identifier=[{"value": "7"}]), patient_resource("7")])
    assert fhir.ids("Patient", "identifier=|7") == ["bare"]
    assert fhir.ids("Patient", "identifier=7") == ["bare"]


def test_separators_in_values_can_be_escaped(world: World, fhir: Fhir) -> None:
    """`\\,` `\\|` `\\$` and `\\\\` are characters of the value (R4 search, escaping)."""
    patient = [str(world.john.patient.uuid)]
    escaped = quote(r"a\,b\|c\$d")
    assert fhir.ids("Patient", f"identifier={escaped}") == patient
    assert fhir.ids("Patient", f"identifier=urn:oid:1.2.3.4|{escaped},none") == patient
    assert fhir.ids("Patient", f"identifier={quote('a,b|c$d')}") == []


@pytest.mark.parametrize("rtype", ["ImagingStudy", "DiagnosticReport", "Observation"])
@pytest.mark.parametrize("name", ["patient", "subject"])
def test_patient_in_all_its_forms(world: World, fhir: Fhir, rtype: str, name: str) -> None:
    """ "`patient` (Patient/x, x, and absolute URL)"; another server's patient is nobody here."""
    jane, john = str(world.jane.patient.uuid), str(world.john.patient.uuid)
    found = fhir.ids(rtype, f"{name}={jane}")
    assert found
    for value in (f"Patient/{jane}", f"{fhir.base}/Patient/{jane}", f"{jane},{NOWHERE}"):
        assert fhir.ids(rtype, f"{name}={value}") == found, value
    assert fhir.ids(rtype, f"{name}:Patient={jane}") == found
    both = fhir.ids(rtype, f"{name}={jane},{john}")
    assert set(found) < set(both)
    assert len(both) == len(set(both))
    for value in (f"https://elsewhere.example/fhir/Patient/{jane}", f"Group/{jane}", NOWHERE, "'; --", f"x/Patient/{jane}"):
        assert fhir.ids(rtype, f"{name}={quote(value)}") == [], value
    assert fhir.ids(rtype, f"{name}={jane}&{name}={john}") == []


def test_status_as_a_list(world: World, fhir: Fhir) -> None:
    """ "`status` (OR lists by comma)", with and without its system; a repeated parameter means both at once."""
    assert fhir.ids("ImagingStudy", "status=registered") == [str(world.john.uuid)]
    assert fhir.ids("ImagingStudy", "status=http://hl7.org/fhir/imagingstudy-status|registered") == [str(world.john.uuid)]
    assert fhir.ids("ImagingStudy", "status=http://hl7.org/fhir/diagnostic-report-status|registered") == []
    assert len(fhir.ids("ImagingStudy", "status=registered,available")) == 2
    assert len(fhir.ids("DiagnosticReport", "status=preliminary,final,amended")) == 2
    assert fhir.ids("DiagnosticReport", "status=preliminary&status=final") == []
    assert fhir.ids("DiagnosticReport", "status=final") == [str(world.final.uuid)]


def test_coded_parameters(world: World, fhir: Fhir) -> None:
    """code, category and modality by code and by system|code."""
    local = "https://medicalcloudaihub.com/fhir/CodeSystem/quantify"
    assert len(fhir.ids("Observation", "code=laa-950")) == 1
    assert len(fhir.ids("Observation", f"code={local}|laa-950,{local}|volume")) == 2
    assert fhir.ids("Observation", "code=http://loinc.org|laa-950") == []
    assert fhir.ids("DiagnosticReport", "code=http://loinc.org|24627-2") == [str(world.report.uuid)]
    assert len(fhir.ids("DiagnosticReport", "category=RAD")) == 2
    assert len(fhir.ids("Observation", "category=imaging")) == 3
    assert fhir.ids("ImagingStudy", "modality=MR") == [str(world.john.uuid)]


def test_parameters_narrow_each_other(world: World, fhir: Fhir) -> None:
    """Whichever parameter drives, the rest filters."""
    jane = str(world.jane.patient.uuid)
    assert fhir.ids("DiagnosticReport", f"patient={jane}&status=preliminary&code=24627-2") == [str(world.report.uuid)]
    assert fhir.ids("DiagnosticReport", f"patient={jane}&status=final") == []
    assert fhir.ids("ImagingStudy", f"identifier=ACC-2&patient={jane}") == []
    assert fhir.ids("ImagingStudy", f"_id={world.jane.uuid}&modality=MR") == []
    assert fhir.ids("Observation", "category=imaging&code=laa-950&status=final") == []


def test_ids(world: World, fhir: Fhir) -> None:
    """`_id` as a list; what cannot be an id finds nothing."""
    assert fhir.ids("DiagnosticReport", f"_id={world.report.uuid}") == [str(world.report.uuid)]
    assert len(fhir.ids("DiagnosticReport", f"_id={world.report.uuid},{world.final.uuid},{NOWHERE}")) == 2
    assert fhir.ids("DiagnosticReport", "_id=x!,not%20an%20id") == []


def test_references_between_results(world: World, fhir: Fhir) -> None:
    """result, part-of, derived-from, device, performer, target, agent and entity lead from one resource to the next."""
    (device,) = fhir.ids("Device")
    (maker,) = fhir.ids("Organization")
    found = fhir.ids("Observation", f"part-of=ImagingStudy/{world.jane.uuid}")
    assert len(found) == 2
    assert fhir.ids("Observation", f"derived-from={world.jane.uuid}") == found
    assert len(fhir.ids("Observation", f"device=Device/{device}")) == 3
    assert len(fhir.ids("Observation", f"performer={maker}")) == 3
    assert fhir.ids("DiagnosticReport", f"result=Observation/{found[0]}") == [str(world.report.uuid)]
    assert len(fhir.ids("DiagnosticReport", f"performer={maker}")) == 2
    assert len(fhir.ids("Provenance", f"target=DiagnosticReport/{world.report.uuid},Observation/{found[0]}")) == 1
    assert len(fhir.ids("Provenance", f"agent=Device/{device}")) == 2
    assert len(fhir.ids("Provenance", f"entity=ImagingStudy/{world.jane.uuid}")) == 1
    assert fhir.ids("Provenance", f"entity=Device/{device}") == []


def test_a_shared_hash_does_not_mix_up_people(mercy: Hospital, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "A 64-bit hash can collide: re-check `identifier` matches against the content" (research section 5)."""
    for module in (index_values, query_values):
        monkeypatch.setattr(module, "token_hash", lambda **_: 42)
    with mercy.scope():
        resources_put(resources=[patient_resource(name) for name in ("p1", "p2", "p3")])
    assert fhir.ids("Patient", "identifier=MRN-p2") == ["p2"]
    assert fhir.search("Patient", "identifier=MRN-p2&_summary=count")["total"] == 1


def test_include(world: World, fhir: Fhir) -> None:
    """ "`_include=DiagnosticReport:result` (also `:subject`, `:patient`)": each target once, after the matches."""
    results = fhir.get(f"DiagnosticReport/{world.report.uuid}").json()["result"]
    wanted = [result["reference"].partition("/")[2] for result in results]
    bundle = fhir.search("DiagnosticReport", f"_id={world.report.uuid}&_include=DiagnosticReport:result")
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == [str(world.report.uuid), *wanted]
    assert [entry["search"]["mode"] for entry in bundle["entry"]] == ["match", "include", "include"]
    for way in ("subject", "patient", "patient:Patient"):
        ids = fhir.ids("DiagnosticReport", f"_id={world.report.uuid}&_include=DiagnosticReport:{way}", mode="include")
        assert ids == [str(world.jane.patient.uuid)]
    three = "_include=Observation:device&_include=Observation:subject&_include=Observation:patient"
    assert len(fhir.ids("Observation", three, mode="include")) == 3
    assert fhir.ids("DiagnosticReport", f"_id={NOWHERE}&_include=DiagnosticReport:result", mode="include") == []


def _moved(hospital: Hospital, fhir_id: str, moment: datetime) -> None:
    with hospital.scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE fhir_resource SET last_updated = %s WHERE fhir_id = %s", [moment, fhir_id])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-03-08", "day night"), ("eq2026-03-08", "day night"), ("ne2026-03-08", "old next"),
        ("gt2026-03-08", "next"), ("sa2026-03-08", "next"), ("ge2026-03-08", "day night next"), ("lt2026-03-08", "old"),
        ("eb2026-03-08", "old"), ("le2026-03-08", "old day night"), ("2026-03", "day night next"),
        ("2025", "old"), ("gt2025", "day night next"),
        ("2026-03-08T10:30:15Z", "day"), ("2026-03-08T10:30Z", "day"), ("2026-03-08T10:30:15.123Z", "day"),
        ("2026-03-08T10:30:15.122Z", ""), ("gt2026-03-08T10:30:15.123Z", "night next"), ("ge2026-03-08T10:30:15.123Z", "day night next"),
        ("2026-03-08T05:30:15", "day"), ("2026-03-08T12:30:15%2B02:00", "day"), ("2026-03-08T12:30:15+02:00", "day"),
        ("2026-03-08,2025", "old day night"), ("ge2026-03-08&_lastUpdated=lt2026-03-09", "day night"),
    ],
)  # fmt: skip
def test_last_updated(mercy: Hospital, fhir: Fhir, value: str, found: str) -> None:
    """ "`_lastUpdated` (prefixes eq ne gt ge lt le sa eb; date precision; repeatable)"; days are the hospital's, here Chicago's."""
    moments = {
        "old": datetime(2025, 12, 31, 23, 0, tzinfo=ZoneInfo("America/Chicago")),
        "day": datetime(2026, 3, 8, 10, 30, 15, 123000, tzinfo=UTC),
        # The day that daylight saving begins has 23 hours: the next one starts at 05:00 UTC.
        "night": datetime(2026, 3, 9, 4, 59, 59, 999000, tzinfo=UTC),
        "next": datetime(2026, 3, 9, 5, 0, tzinfo=UTC),
    }
    with mercy.scope():
        resources_put(resources=[patient_resource(name) for name in moments])
    for name, moment in moments.items():
        _moved(mercy, name, moment)
    assert fhir.ids("Patient", f"_lastUpdated={value}&_sort=_lastUpdated") == found.split()


@pytest.mark.parametrize(
    "text",
    ["", "26", "2026-13", "2026-02-30", "2026-1-1", "0000", "9999", "2026-01-01T25:00Z", "now", "2026-01-01T10:00+99:00"],
)
def test_what_is_no_date_is_refused(fhir: Fhir, text: str) -> None:
    """400 with an OperationOutcome, never a guess."""
    with pytest.raises(FhirError):
        date_range(text=text, zone=lambda: ZoneInfo("UTC"))
    if text:
        assert fhir.get(f"Patient?_lastUpdated=ge{quote(text)}").status_code == 400


def test_sort_by_update(mercy: Hospital, fhir: Fhir) -> None:
    """ "`_sort=_lastUpdated|-_lastUpdated`", alone and with a token that drives."""
    names = ["p1", "p2", "p3", "p4"]
    with mercy.scope():
        resources_put(resources=[patient_resource(name, identifier=[{"value": "same"}]) for name in names])
    for step, name in enumerate(("p3", "p1", "p4", "p2")):
        _moved(mercy, name, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=step))
    for extra in ("", "&identifier=same", "&_id=p1,p2,p3,p4"):
        assert fhir.ids("Patient", f"_sort=_lastUpdated{extra}") == ["p3", "p1", "p4", "p2"]
        assert fhir.ids("Patient", f"_sort=-_lastUpdated{extra}") == ["p2", "p4", "p1", "p3"]


def test_without_a_sort_the_newest_study_comes_first(mercy: Hospital, fhir: Fhir) -> None:
    """The default order follows the clinical date; a study without one comes last."""
    with mercy.scope():
        studies = [study_make(study_date=date) for date in ("20240101", "", "20260101", "20250101")]
        for study in studies:
            imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
    order = [str(studies[position].uuid) for position in (2, 3, 0, 1)]
    assert fhir.ids("ImagingStudy") == order
    assert fhir.ids("ImagingStudy", "modality=CT,MR") == order


def test_counting(world: World, fhir: Fhir) -> None:
    """ "`_count=0`/_summary=count gives total", each resource once however many of the values it has."""
    for ask in ("_count=0", "_summary=count", "_count=0&_summary=count&_sort=_lastUpdated"):
        bundle = fhir.search("Observation", f"category=imaging,nothing&{ask}")
        assert bundle["total"] == 3
        assert "entry" not in bundle
    both = "identifier=" + ",".join([world.jane.study_uid, f"urn:oid:{world.jane.study_uid}", "ACC-1"])
    assert fhir.search("ImagingStudy", f"{both}&_summary=count")["total"] == 1
    assert fhir.ids("ImagingStudy", both) == [str(world.jane.uuid)]
    assert "total" not in fhir.search("Observation", "_summary=false")


def test_unknown_parameters(world: World, fhir: Fhir) -> None:
    """ "lenient by default -> ignored and said so in an OperationOutcome entry / self link omits it; strict -> 400"."""
    query = "status=final&shoe-size=44&_sort=size&_contained=true&empty=&Jane%20Doe=1"
    bundle = fhir.search("DiagnosticReport", query)
    assert bundle["link"] == [{"relation": "self", "url": f"{fhir.base}/DiagnosticReport?status=final"}]
    outcome = bundle["entry"][-1]
    assert outcome["search"]["mode"] == "outcome"
    said = outcome["resource"]["issue"][0]
    assert said["severity"] == "warning"
    for name in ("shoe-size", "_sort", "_contained", "empty"):
        assert name in said["diagnostics"]
    assert "Jane" not in said["diagnostics"]
    for prefer in ("handling=strict", "return=minimal, handling=strict", "respond-async; handling=strict"):
        response = fhir.get(f"DiagnosticReport?{query}", prefer=prefer)
        assert response.status_code == 400
        assert "Jane" not in response.content.decode()
    assert fhir.get("DiagnosticReport?status=final", prefer="handling=strict").status_code == 200
    assert fhir.get(f"DiagnosticReport?{query}", prefer="handling=lenient").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "status:above=final", "identifier:of-type=a|b", "code:of-type=a|b|c", "patient.shoe-size=1", "status.code=1", "shoe:size=1",
        "patient:Group=1", "_has:Observation:patient:code=1", "_has:Observation=1", "_has:Patient:link:shoe=1", "_count:exact=1",
        "code:in=http://loinc.org/vs", "status:missing=maybe", "date=yesterday", "date=gt", "_include:all=x",
        "patient.organization.partof.partof.name=too-long", "patient.name=%CC%81", "_type:exact=x",
        "_count=many", "_count=-1", "_count=1.5", "status=,", f"status={','.join(['x'] * 51)}", "_lastUpdated=xx2026", "_cursor=forged",
    ],
)  # fmt: skip
def test_what_must_not_be_guessed_at_is_refused(world: World, fhir: Fhir, query: str) -> None:
    """A modifier, a chain or a broken value is 400 even when lenient: ignoring it would answer with everybody's data."""
    response = fhir.get(f"DiagnosticReport?{query}")
    assert response.status_code == 400
    assert response.json()["resourceType"] == "OperationOutcome"


def test_post_search_equals_get(world: World, fhir: Fhir) -> None:
    """ "search by GET and POST _search": form parameters and those of the address count together."""
    jane = str(world.jane.patient.uuid)

    def post(path: str, body: Any, **kwargs: Any) -> Any:
        return fhir.client.post(f"{fhir.path}/{path}", body, headers=fhir.hospital.auth, **kwargs)

    form = "application/x-www-form-urlencoded"
    both = f"patient={jane}&status=preliminary,final"
    expected = fhir.ids("DiagnosticReport", both)
    assert expected == [str(world.report.uuid)]
    for path, body in (("DiagnosticReport/_search", both), (f"DiagnosticReport/_search?patient={jane}", "status=preliminary")):
        bundle = post(path, body, content_type=form).json()
        assert [entry["resource"]["id"] for entry in bundle["entry"]] == expected
        assert bundle["link"][0]["url"].startswith(f"{fhir.base}/DiagnosticReport?")
    assert len(post("DiagnosticReport/_search", "", content_type=form).json()["entry"]) == 2
    assert post("DiagnosticReport/_search", "{}", content_type="application/json").status_code == 415
    assert post("DiagnosticReport/_search", "a=" + "x" * 70_000, content_type=form).status_code == 413
    assert fhir.get("DiagnosticReport/_search").status_code == 405


def test_the_number_of_statements_is_constant(world: World, fhir: Fhir) -> None:
    """ "constant number of SQL statements per request", whatever a page holds."""

    def counted(query: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert fhir.get(query).status_code == 200
        return len(queries)

    include = "_include=DiagnosticReport:result&_include=DiagnosticReport:subject"
    assert counted(f"DiagnosticReport?_count=1&{include}") == counted(f"DiagnosticReport?{include}") <= 9
    assert counted("Observation?_count=1") == counted("Observation") <= 8
    assert counted(f"DiagnosticReport/{world.report.uuid}") <= 8
