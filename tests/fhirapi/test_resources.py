"""The pure to_fhir functions: what DICOM and AI rows look like as FHIR, valid by the R4B models and the official R4 schema."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fhirapi
from ai.findings import Algorithm, Coding, Finding, Note, Wording
from ai.reading.fhir import bundle_read
from fhirapi.projections import report_resources
from fhirapi.registry import TYPES
from fhirapi.resources import imaging_study, patient
from fhirapi.resources.parts import number
from fhirapi.sources import HospitalRow, PatientRow, ReportRow, SeriesRow, StudyRow, report_content
from fhirapi.validation import resource_check
from tests.ai.encoding.cases import content_of, sources_make
from tests.fhirapi.conftest import LUNG, TEST_DOUBLE, content_make, measurement, uid_new

SCHEMA = Path(fhirapi.__file__).with_name("fhir-r4.schema.json")
HOSPITAL = HospitalRow(uuid=UUID("6f1c8f0e-3f0a-4d0e-9a51-0c8f6d0b7a11"), zone=ZoneInfo("America/Chicago"))
NOTICE = "AI-generated, preliminary, not a medical device"


@cache
def official() -> Any:
    """HL7's own schema, compiled: an oracle that shares no code with our check."""
    definitions = json.loads(SCHEMA.read_text())["definitions"]
    roots = [{"$ref": f"#/definitions/{name}"} for name in TYPES if name in definitions]
    return fastjsonschema.compile(
        {"$schema": "http://json-schema.org/draft-06/schema#", "definitions": definitions, "oneOf": roots}
    )


def valid(*resources: dict[str, Any]) -> None:
    for resource in resources:
        resource_check(resource=resource)
        official()(resource)


def person(**values: Any) -> PatientRow:
    defaults = {
        "id": 1, "uuid": uuid4(), "issuer": "MERCY", "patient_id": "4711", "variant": "", "name": "Doe^Jane^Q^Dr^Jr",
        "birth_date": "19700102", "sex": "F",
    }  # fmt: skip
    return PatientRow(**(defaults | values))


def study(**values: Any) -> StudyRow:
    series = SeriesRow(
        series_uid=uid_new(), modality="CT", number=2, description="lung", body_part="CHEST", laterality="",
        instances=((uid_new(), "1.2.840.10008.5.1.4.1.1.2", 1), (uid_new(), "1.2.840.10008.5.1.4.1.1.2", None)),
    )  # fmt: skip
    defaults = {
        "id": 1, "uuid": uuid4(), "study_uid": uid_new(), "patient": person(), "accession_number": "A1", "accession_issuer": "",
        "study_date": "20260115", "study_time": "081530.25", "utc_offset": "", "description": "CT chest",
        "referrer": "Ref^Erring", "body_part": "CHEST", "modalities": ("CT",), "is_complete": True, "is_from_ai": False,
        "series": (series,),
    }  # fmt: skip
    return StudyRow(**(defaults | values))


def report(
    *, status: str = "preliminary", conclusion: str = "Low attenuation area 2.75 %.", of: StudyRow | None = None, **content: Any
) -> ReportRow:
    of = of or study()

    class Named:
        study_uid = of.study_uid

    return ReportRow(
        uuid=uuid4(), status=status, conclusion=conclusion, issued_at=datetime(2026, 1, 15, 15, 0, 0, 123456, tzinfo=UTC),
        content=content_make(Named(), **content), study=of,  # type: ignore[arg-type]
    )  # fmt: skip


def built(row: ReportRow) -> dict[str, list[dict[str, Any]]]:
    resources = report_resources(report=row, hospital=HOSPITAL)
    valid(*resources)
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in resources:
        found.setdefault(resource["resourceType"], []).append(resource)
    return found


def as_patient(**values: Any) -> dict[str, Any]:
    resource = patient.to_fhir(patient=person(**values), hospital=HOSPITAL.uuid)
    valid(resource)
    return resource


def as_study(**values: Any) -> dict[str, Any]:
    resource = imaging_study.to_fhir(study=study(**values), hospital=HOSPITAL.uuid, zone=HOSPITAL.zone)
    valid(resource)
    return resource


class TestPatient:
    """ "Patient: identifier (issuer, PatientID), name from PN, gender map, birthDate only when valid"."""

    def test_a_plain_one(self) -> None:
        found = as_patient()
        (identifier,) = found["identifier"]
        assert (identifier["value"], identifier["use"], identifier["assigner"]) == ("4711", "usual", {"display": "MERCY"})
        assert identifier["system"] == f"https://medicalcloudaihub.com/fhir/sid/{HOSPITAL.uuid}/patient-id/MERCY"
        name = {
            "use": "official",
            "text": "Dr Jane Q Doe Jr",
            "family": "Doe",
            "given": ["Jane", "Q"],
            "prefix": ["Dr"],
            "suffix": ["Jr"],
        }
        assert found["name"] == [name]
        assert (found["gender"], found["birthDate"]) == ("female", "1970-01-02")

    @pytest.mark.parametrize(
        ("issuer", "system"),
        [("1.2.840.99", "urn:oid:1.2.840.99"), ("https://ehr.example/mrn", "https://ehr.example/mrn"), ("urn:x:y", "urn:x:y"),
         ("urn:oid:9.1", f"https://medicalcloudaihub.com/fhir/sid/{HOSPITAL.uuid}/patient-id/urn%3Aoid%3A9.1"),
         ("urn:uuid:1", f"https://medicalcloudaihub.com/fhir/sid/{HOSPITAL.uuid}/patient-id/urn%3Auuid%3A1"),
         ("a b/ü", f"https://medicalcloudaihub.com/fhir/sid/{HOSPITAL.uuid}/patient-id/a%20b%2F%C3%BC"),
         ("", f"https://medicalcloudaihub.com/fhir/sid/{HOSPITAL.uuid}/patient-id")],
    )  # fmt: skip
    def test_issuers(self, issuer: str, system: str) -> None:
        """An issuer that is a URI or an OID is the system; any other says nothing outside its hospital."""
        assert as_patient(issuer=issuer)["identifier"][0]["system"] == system

    def test_without_a_number_there_is_no_identifier(self) -> None:
        assert "identifier" not in as_patient(patient_id=" ")

    def test_another_person_under_the_same_number(self) -> None:
        assert as_patient(variant="f00")["identifier"][0]["use"] == "temp"

    def test_three_ways_of_writing_a_japanese_name(self) -> None:
        """ "ideographic/phonetic with the iso21090-EN-representation extension" (PS3.5 H.3.1, example 1)."""
        names = as_patient(name="Yamada^Tarou=山田^太郎=やまだ^たろう")["name"]
        url = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
        assert [name["extension"] for name in names] == [[{"url": url, "valueCode": code}] for code in ("ABC", "IDE", "SYL")]
        assert [name["family"] for name in names] == ["Yamada", "山田", "やまだ"]
        assert [name["given"] for name in names] == [["Tarou"], ["太郎"], ["たろう"]]
        assert [name["text"] for name in names] == ["Tarou Yamada", "山田 太郎", "やまだ たろう"]

    def test_a_name_without_an_alphabetic_group(self) -> None:
        (name,) = as_patient(name="=山田^太郎")["name"]
        assert name["extension"][0]["valueCode"] == "IDE"

    @pytest.mark.parametrize("name", ["", "^^^^", " = = ", "\x00\x1b", "^" * 40])
    def test_names_that_say_nothing(self, name: str) -> None:
        assert "name" not in as_patient(name=name)

    @pytest.mark.parametrize(
        ("sex", "gender"), [("M", "male"), ("F", "female"), ("O", "other"), ("U", "unknown"), ("?", "unknown"), ("", None)]
    )
    def test_gender(self, sex: str, gender: str | None) -> None:
        assert as_patient(sex=sex).get("gender") == gender

    @pytest.mark.parametrize(
        ("da", "date"),
        [("20240229", "2024-02-29"), ("20230229", None), ("19701301", None), ("1970", "1970"), ("197002", "1970-02"),
         ("00000000", None), ("1970.01.02", None), ("", None), ("１９７００１０２", None)],
    )  # fmt: skip
    def test_birth_date(self, da: str, date: str | None) -> None:
        assert as_patient(birth_date=da).get("birthDate") == date


class TestImagingStudy:
    """ "ImagingStudy with series and instances", after research section 7."""

    def test_identifiers(self) -> None:
        found = as_study(study_uid="1.2.3", accession_number="A1", accession_issuer="1.9.9")
        assert [(i["system"], i["value"]) for i in found["identifier"]] == [
            ("urn:dicom:uid", "urn:oid:1.2.3"),
            ("urn:oid:1.9.9", "A1"),
        ]
        assert len(as_study(accession_number="")["identifier"]) == 1

    def test_status(self) -> None:
        """ "status registered while receiving / available when complete"."""
        assert as_study(is_complete=False)["status"] == "registered"
        assert as_study(is_complete=True)["status"] == "available"

    @pytest.mark.parametrize(
        ("date", "time", "offset", "started"),
        [
            ("20260115", "081530.25", "", "2026-01-15T08:15:30-06:00"),
            ("20260715", "081530", "", "2026-07-15T08:15:30-05:00"),
            ("20260115", "0815", "+0530", "2026-01-15T08:15:00+05:30"),
            ("20260115", "235960", "-0000", "2026-01-15T23:59:59-00:00"),
            ("20260115", "08:15:30", "+9999", "2026-01-15T08:15:30-06:00"),
            ("20260115", "08", "", "2026-01-15"),
            ("20260115", "256000", "", "2026-01-15"),
            ("20260115", "", "+0100", "2026-01-15"),
            ("18500115", "081530", "", "1850-01-15T14:06:06+00:00"),
            ("20261332", "081530", "", None),
            ("", "081530", "", None),
        ],
    )
    def test_started(self, date: str, time: str, offset: str, started: str | None) -> None:
        """ "started uses study_date/time + utc_offset (else the tenant's zone)"."""
        assert as_study(study_date=date, study_time=time, utc_offset=offset).get("started") == started

    def test_series_and_instances(self) -> None:
        row = study()
        found = imaging_study.to_fhir(study=row, hospital=HOSPITAL.uuid, zone=HOSPITAL.zone)
        assert (found["numberOfSeries"], found["numberOfInstances"]) == (1, 2)
        (series,) = found["series"]
        assert (series["uid"], series["number"], series["numberOfInstances"]) == (row.series[0].series_uid, 2, 2)
        assert series["modality"] == {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}
        assert series["bodySite"]["code"] == "816094009"
        first, second = series["instance"]
        assert first == {
            "uid": row.series[0].instances[0][0], "number": 1,
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
        }  # fmt: skip
        assert "number" not in second

    def test_odd_series(self) -> None:
        """No modality is said to be unknown, a negative number is left out, an unmapped body part keeps its word."""
        odd = replace(study().series[0], modality="", number=-1, body_part="BIGTOE", laterality="L", description="\x1b ")
        found = as_study(series=(odd,))
        (series,) = found["series"]
        assert series["modality"]["extension"][0]["valueCode"] == "unknown"
        assert "modality" not in found
        assert (series.get("number"), series.get("description")) == (None, None)
        assert (series["bodySite"], series["laterality"]["code"]) == ({"display": "BIGTOE"}, "7771000")

    def test_a_study_without_instances(self) -> None:
        found = as_study(series=())
        assert (found["numberOfSeries"], "series" in found) == (0, False)

    def test_a_study_that_an_ai_made_says_so(self) -> None:
        assert as_study(is_from_ai=True)["meta"]["security"][0]["code"] == "AIAST"
        assert "meta" not in as_study()


class TestReport:
    """ "codes, identifiers, AIAST label and status of research section 7"."""

    def test_measurements(self) -> None:
        """ "Observation with valueQuantity (UCUM), method text, bodySite, component for parameters, device, derivedFrom/partOf"."""
        row = report()
        found = built(row)
        first, second = found["Observation"]
        assert first["valueQuantity"] == {"value": 2.75, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
        assert second["valueQuantity"] == {
            "value": -912.333,
            "unit": "HU",
            "system": "http://unitsofmeasure.org",
            "code": "[hnsf'U]",
        }
        assert first["code"]["coding"][0]["system"] == "https://medicalcloudaihub.com/fhir/CodeSystem/quantify"
        assert first["code"]["text"] == "laa-950 of the lungs"
        assert first["method"] == {"text": "voxels below the threshold, both lungs"}
        assert first["bodySite"]["coding"][0]["code"] == LUNG.code
        threshold, series = first["component"]
        assert threshold["code"]["coding"][0]["code"] == "112032"
        assert threshold["valueQuantity"]["value"] == -950
        assert series["valueString"] == row.content.series_uid
        image = {"reference": f"ImagingStudy/{row.study.uuid}"}
        assert (first["partOf"], first["derivedFrom"]) == ([image], [image])
        assert first["device"] == {"reference": f"Device/{found['Device'][0]['id']}"}
        assert first["effectiveDateTime"] == "2026-01-15T08:15:30-06:00"
        assert first["issued"] == "2026-01-15T15:00:00.123Z"

    def test_the_report_itself(self) -> None:
        row = report()
        found = built(row)
        (main,) = found["DiagnosticReport"]
        assert main["id"] == str(row.uuid)
        assert main["status"] == "preliminary"
        assert {c["coding"][0]["code"] for c in main["category"]} == {"LP29684-5", "RAD"}
        assert main["code"]["coding"][0] == {"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}
        assert [r["reference"] for r in main["result"]] == [f"Observation/{o['id']}" for o in found["Observation"]]
        assert main["imagingStudy"] == [{"reference": f"ImagingStudy/{row.study.uuid}"}]
        assert main["performer"] == [{"reference": f"Organization/{found['Organization'][0]['id']}"}]
        assert main["conclusion"] == f"Low attenuation area 2.75 %.\n{NOTICE}"
        generic = built(report(of=study(body_part="KNEE", modalities=("MR",))))
        assert generic["DiagnosticReport"][0]["code"]["coding"][0]["code"] == "18748-4"

    def test_every_ai_resource_is_labelled(self) -> None:
        """ "Every AI resource carries meta.security AIAST and the words where people read"."""
        for name, resources in built(report()).items():
            for resource in resources:
                labels = [label["code"] for label in resource.get("meta", {}).get("security", [])]
                assert labels == ([] if name in {"Patient", "Organization"} else ["AIAST"]), name
                if name in {"DiagnosticReport", "Observation"}:
                    assert "preliminary, not a medical device" in json.dumps(resource)

    def test_a_test_double_is_test_data(self) -> None:
        """ "A connection to a stand-in is marked *test*" (DESIGN section 6), in label and in name."""
        found = built(
            report(is_test_double=True, algorithm=Algorithm(name="lung-density", version="1", manufacturer=TEST_DOUBLE))
        )
        assert [label["code"] for label in found["Observation"][0]["meta"]["security"]] == ["AIAST", "HTEST"]
        assert found["Device"][0]["manufacturer"] == TEST_DOUBLE
        assert found["Organization"][0]["name"] == TEST_DOUBLE

    def test_the_device_is_the_algorithm(self) -> None:
        """ "manufacturer exactly as in ReportContent.algorithm": a new version is a new Device."""
        (device,) = built(report())["Device"]
        assert (device["manufacturer"], device["deviceName"][0]["name"], device["version"][0]["value"]) == (
            "MedHub Quantify",
            "lung-density",
            "1.2.0",
        )
        (again,) = built(report())["Device"]
        (newer,) = built(report(algorithm=Algorithm(name="lung-density", version="1.3.0", manufacturer="MedHub Quantify")))[
            "Device"
        ]
        assert device["id"] == again["id"] != newer["id"]

    def test_provenance(self) -> None:
        """ "target = all, agent author = Device on behalf of its maker, entity source = ImagingStudy"."""
        row = report()
        found = built(row)
        (provenance,) = found["Provenance"]
        targets = [f"DiagnosticReport/{row.uuid}", *(f"Observation/{o['id']}" for o in found["Observation"])]
        assert [target["reference"] for target in provenance["target"]] == targets
        (agent,) = provenance["agent"]
        assert agent["who"] == {"reference": f"Device/{found['Device'][0]['id']}"}
        assert agent["onBehalfOf"] == {"reference": f"Organization/{found['Organization'][0]['id']}"}
        study_entity, pixels = provenance["entity"]
        assert study_entity["what"] == {"reference": f"ImagingStudy/{row.study.uuid}"}
        assert pixels["what"]["identifier"]["value"] == row.content.input_sha256

    def test_not_analysable(self) -> None:
        """ "a DiagnosticReport of its own (conclusion "not analysable: <reason>"), one Observation with dataAbsentReason"."""
        reason = Note(code="slice-spacing", text="The slices are 10 mm apart; at most 2.5 mm can be measured.")
        found = built(report(measurements=(), not_analysable=reason, conclusion="whatever"))
        (observation,) = found["Observation"]
        assert observation["dataAbsentReason"]["text"] == reason.text
        assert [c["code"] for c in observation["dataAbsentReason"]["coding"]] == ["not-performed", "slice-spacing"]
        assert not [name for name in observation if name.startswith("value")]
        (main,) = found["DiagnosticReport"]
        assert main["conclusion"] == f"not analysable: {reason.text}\n{NOTICE}"
        assert reason.text in main["text"]["div"]
        assert main["result"] == [{"reference": f"Observation/{observation['id']}"}]

    @pytest.mark.parametrize("status", ["preliminary", "final", "amended", "cancelled", "entered-in-error"])
    def test_observations_move_with_the_report(self, status: str) -> None:
        """A decided report is not called preliminary any more, and stays called AI-generated."""
        found = built(report(status=status))
        assert {r["status"] for r in found["DiagnosticReport"] + found["Observation"]} == {status}
        conclusion = found["DiagnosticReport"][0]["conclusion"]
        assert "not a medical device" in conclusion
        assert ("preliminary" in conclusion) == (status == "preliminary")

    def test_hostile_text_is_escaped_in_the_narrative(self) -> None:
        """ "xss in patient name escaped in narrative": names, methods, notes and conclusions alike, and well-formed."""
        evil = "<script>alert('x')</script>\"&\x0b"
        row = report(
            of=study(patient=person(name=f"{evil}^Eve")), conclusion=f"{evil}\n{evil}", notes=(Note(code="n", text=evil),),
            algorithm=Algorithm(name=evil, version=evil, manufacturer=evil), measurements=(measurement("m", 1.0, "%", display=evil),),
        )  # fmt: skip
        (main,) = built(row)["DiagnosticReport"]
        div = main["text"]["div"]
        tree = ElementTree.fromstring(div)  # noqa: S314 our own output
        tags = {element.tag.rpartition("}")[2] for element in tree.iter()}
        assert tags <= {"div", "p", "b", "table", "tr", "th", "td"}
        assert "".join(tree.itertext()).count("<script>alert('x')</script>\"&") >= 8
        assert not re.search(r"<\s*script", div)

    def test_content_is_read_back_as_it_was_written(self) -> None:
        """`content` is dataclasses.asdict of a ReportContent, through JSON."""
        content = report(not_analysable=Note(code="a", text="b")).content
        assert report_content(json.loads(json.dumps(asdict(content)))) == content


    def test_content_with_everything_is_read_back(self) -> None:
        sources = sources_make()
        content = content_of(sources, is_flagged=True, wording=Wording(text="t", model="m"))
        assert report_content(json.loads(json.dumps(asdict(content)))) == content

    def test_content_of_an_older_version(self) -> None:
        """What it did not know is empty."""
        kept = asdict(report().content)
        for name in ("findings", "regions", "documents", "is_flagged", "wording"):
            del kept[name]
        for one in kept["measurements"]:
            for name in ("laterality", "images", "outlines", "tracking_uid"):
                del one[name]
        assert report_content(json.loads(json.dumps(kept))).findings == ()


class TestFindings:
    """ "results out as FHIR (the shape agreed for the FHIR server)": what a platform said without a number."""

    def observations(self, **values: Any) -> list[dict[str, Any]]:
        sources = sources_make()
        row = report()
        content = content_of(sources, study_uid=row.study.study_uid, **values)
        return built(replace(row, content=content))["Observation"]

    def test_a_coded_one(self) -> None:
        found = self.observations(measurements=())
        first = found[0]
        assert first["code"]["text"] == "Pneumothorax"
        assert first["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
        assert first["bodySite"]["coding"][0]["code"] == "39607008"
        assert "In the platform's words: Suspected pneumothorax" in [note["text"] for note in first["note"]]
        parts = {part["code"]["text"]: part for part in first["component"]}
        assert parts["Certainty of Finding"]["valueQuantity"]["value"] == 87.5
        assert parts["Laterality"]["valueCodeableConcept"]["text"] == "Left"
        assert len([part for part in first["component"] if part["code"]["text"] == "SOP Instance UID"]) == 1
        assert first["status"] == "preliminary"

    def test_words_are_words(self) -> None:
        assert self.observations(measurements=())[-1]["valueString"] == "Wörter, 言葉"

    def test_one_without_a_value_says_so(self) -> None:
        bare = Finding(code=Coding(system="http://snomed.info/sct", code="27925004", display="Nodule"), value=None, probability=0.5)
        (found,) = self.observations(measurements=(), findings=(bare,))
        assert found["dataAbsentReason"]["coding"][0]["code"] == "unknown"
        assert not [name for name in found if name.startswith("value")]

    def test_numbers_keep_their_ids_beside_findings(self) -> None:
        """A finding more changes nothing about the measurements that the EHR knows."""
        row = report()
        alone = [one["id"] for one in built(row)["Observation"]]
        (finding, *_) = content_of(sources_make()).findings
        beside = [one["id"] for one in built(replace(row, content=replace(row.content, findings=(finding,))))["Observation"]]
        assert beside[: len(alone)] == alone
        assert len(beside) == len(alone) + 1

    def test_a_flag_says_nothing_more(self) -> None:
        (found,) = self.observations(measurements=(), findings=(), is_flagged=True)
        assert (found["code"]["coding"][0]["code"], found["valueBoolean"]) == ("flagged", True)

    def test_our_reader_reads_them_back(self) -> None:
        row = report()
        content = content_of(sources_make(), study_uid=row.study.study_uid, is_flagged=True, notes=())
        resources = report_resources(report=replace(row, content=content), hospital=HOSPITAL)
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}
        answer = bundle_read(bundle, algorithm=content.algorithm)
        assert answer.is_flagged
        read = [(one.code, one.value, one.probability, one.body_site, one.laterality) for one in answer.findings]
        assert read == [(one.code, one.value, one.probability, one.body_site, one.laterality) for one in content.findings]
        assert [m.laterality for m in answer.measurements] == [m.laterality for m in content.measurements]

    def test_the_narrative_shows_them(self) -> None:
        row = report()
        content = content_of(sources_make(), study_uid=row.study.study_uid)
        (main,) = built(replace(row, content=content))["DiagnosticReport"]
        text = "|".join(ElementTree.fromstring(main["text"]["div"]).itertext())  # noqa: S314 our own output
        assert "Pneumothorax (Lung structure)|Present|87.5 %" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (2.7500000000000004, "2.75"),
        (5373.0, "5373"),
        (-950, "-950"),
        (1234567.8, "1234570"),
        (0.0, "0"),
        (0.000123456789, "0.000123457"),
    ],
)
def test_decimals_carry_no_float_noise(value: float, text: str) -> None:
    """ "Decimals: no float noise (round sensibly, e.g. 6 significant digits)"."""
    assert json.dumps(number(value)) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_measurement(value: float) -> None:
    """JSON would say null there."""
    with pytest.raises(ValueError, match="no number"):
        number(value)


received = st.text(max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "a\x0bb",
        "\ufffe",
        "\u00a0",
        "^",
        "a=b=c",
        "urn:oid:9.1",
        "urn:uuid:x",
        "http://a b",
        "1.02",
        "20260230",
        "2400",
    ]
)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(received, min_size=14, max_size=14))
def test_whatever_was_received_its_projection_is_fhir(values: list[str]) -> None:
    """ "everything that the hub emits today passes": a study that could not be projected would be lost to every reader."""
    issuer, number, name, born, sex, accession, accession_issuer, day, time, offset, words, referrer, part, modality = values
    who = person(issuer=issuer, patient_id=number, name=name, birth_date=born, sex=sex)
    series = replace(study().series[0], modality=modality, description=words, body_part=part, laterality=sex)
    row = study(
        patient=who, accession_number=accession, accession_issuer=accession_issuer, study_date=day, study_time=time, utc_offset=offset,
        description=words, referrer=referrer, body_part=part, modalities=(modality,), series=(series,),
    )  # fmt: skip
    resource_check(resource=patient.to_fhir(patient=who, hospital=HOSPITAL.uuid))
    resource_check(resource=imaging_study.to_fhir(study=row, hospital=HOSPITAL.uuid, zone=HOSPITAL.zone))
    for resource in report_resources(report=report(of=row, conclusion=words or "x"), hospital=HOSPITAL):
        resource_check(resource=resource)
