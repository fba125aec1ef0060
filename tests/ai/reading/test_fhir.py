"""FHIR answers: what a vendor's Bundle says, our own Bundle read back, and hostile JSON."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai.contract import PlatformError
from ai.findings import Algorithm, Note
from ai.reading.fhir import ABSENT, PRESENT, bundle_read
from fhirapi.projections import report_resources
from fhirapi.sources import HospitalRow, PatientRow, ReportRow, StudyRow
from tests.fhirapi.conftest import content_make

ALGORITHM = Algorithm(name="nodules", version="", manufacturer="MedHub Quantify (test double)")
UCUM, SCT, DCM = "http://unitsofmeasure.org", "http://snomed.info/sct", "http://dicom.nema.org/resources/ontology/DCM"


def concept(code: str, display: str, system: str = SCT) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


DIAMETER, NODULE, LUNG = concept("81827009", "Diameter"), concept("27925004", "Nodule"), concept("39607008", "Lung structure")


def observation(**values: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": DIAMETER, **values}


def mm(value: Any, **values: Any) -> dict[str, Any]:
    return {"value": value, "unit": "mm", "system": UCUM, "code": "mm", **values}


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


def refused(data: Any) -> str:
    with pytest.raises(PlatformError) as caught:
        bundle_read(data, algorithm=ALGORITHM)
    assert caught.value.is_permanent
    return caught.value.user_message


class TestWhatItSays:
    """ "Results into one typed model, from ... FHIR": DiagnosticReport + Observations R4."""

    def test_numbers_findings_and_who(self) -> None:
        device = {"resourceType": "Device", "version": [{"value": "2.0"}], "deviceName": [{"name": "nodules", "type": "model-name"}],
                  "udiCarrier": [{"deviceIdentifier": "0084"}]}  # fmt: skip
        study = {"resourceType": "ImagingStudy", "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]}
        certainty = {"code": concept("111012", "Certainty of Finding", DCM), "valueQuantity": {"value": 87.5, "code": "%"}}
        side = {"code": concept("272741003", "Laterality"), "valueCodeableConcept": concept("7771000", "Left")}
        answer = bundle_read(
            bundle(device, study, observation(valueQuantity=mm(7.5), bodySite=LUNG, method={"text": "longest axis"}),
                   observation(code=NODULE, valueCodeableConcept=concept("52101004", "Present"), component=[certainty, side]),
                   observation(code=concept("36118008", "Pneumothorax"), valueBoolean=False)),
            algorithm=ALGORITHM,
        )  # fmt: skip
        (number,) = answer.measurements
        assert (number.value, number.unit, number.method) == (7.5, "mm", "longest axis")
        nodule, pneumothorax = answer.findings
        assert (nodule.value, nodule.probability, nodule.laterality and nodule.laterality.display) == (PRESENT, 0.875, "Left")
        assert pneumothorax.value == ABSENT
        assert (answer.study_uid, answer.algorithm.version, answer.algorithm.udi) == ("1.2.3", "2.0", "0084")

    def test_components_are_results_where_the_observation_has_none(self) -> None:
        parts = [{"code": DIAMETER, "valueQuantity": mm(3)}, {"code": NODULE, "valueBoolean": True}]
        answer = bundle_read(observation(code=LUNG, component=parts), algorithm=ALGORITHM)
        assert [item.value for item in answer.measurements] == [3.0]
        assert [item.value for item in answer.findings] == [PRESENT]

    def test_contained_observations(self) -> None:
        report = {"resourceType": "DiagnosticReport", "status": "final", "conclusion": "One nodule.",
                  "contained": [observation(valueQuantity=mm(7))]}  # fmt: skip
        answer = bundle_read(report, algorithm=ALGORITHM)
        assert [item.value for item in answer.measurements] == [7.0]
        assert answer.notes == (Note(code="conclusion", text="One nodule."),)

    def test_words_alone_are_words(self) -> None:
        report = {"resourceType": "DiagnosticReport", "status": "final", "conclusion": "Nodule likely."}
        (finding,) = bundle_read(report, algorithm=ALGORITHM).findings
        assert (finding.value, finding.words) == (None, "Nodule likely.")

    def test_not_analysable(self) -> None:
        reason = {"coding": [{"system": "x", "code": "not-performed"}], "text": "too few slices"}
        answer = bundle_read(observation(dataAbsentReason=reason), algorithm=ALGORITHM)
        assert answer.not_analysable == Note(code="not-performed", text="too few slices")

    @pytest.mark.parametrize("reason", [None, Note(code="spacing", text="slices too far apart")])
    def test_our_own_resources_come_back(self, reason: Note | None) -> None:
        content = content_make(study_row(), not_analysable=reason, **({"measurements": ()} if reason else {}))  # type: ignore[arg-type]
        row = ReportRow(uuid=uuid4(), status="preliminary", conclusion="c", issued_at=datetime(2026, 1, 1, tzinfo=UTC),
                        content=content, study=study_row())  # fmt: skip
        resources = report_resources(report=row, hospital=HospitalRow(uuid=uuid4(), zone=ZoneInfo("UTC")))
        answer = bundle_read(bundle(*resources), algorithm=content.algorithm)
        assert answer.not_analysable == reason
        read = [(m.code, m.unit, m.unit_display, m.body_site, m.method, m.parameters) for m in answer.measurements]
        assert read == [(m.code, m.unit, m.unit_display, m.body_site, m.method, m.parameters) for m in content.measurements]
        for one, other in zip(answer.measurements, content.measurements, strict=True):
            assert one.value == pytest.approx(other.value, rel=1e-5)  # FHIR shows six digits


def study_row() -> StudyRow:
    person = PatientRow(id=1, uuid=uuid4(), issuer="", patient_id="1", variant="", name="Doe^Jane", birth_date="", sex="F")
    return StudyRow(
        id=1, uuid=uuid4(), study_uid="1.2.3", patient=person, accession_number="", accession_issuer="", study_date="20260101",
        study_time="", utc_offset="", description="", referrer="", body_part="CHEST", modalities=("CT",), is_complete=True,
        is_from_ai=False,
    )  # fmt: skip


class TestWhatIsNotTaken:
    @pytest.mark.parametrize(
        ("change", "code"),
        [({"modifierExtension": [{"url": "x"}]}, "modifier"), ({"status": "entered-in-error"}, "modifier"),
         ({"valueQuantity": mm(7, comparator="<")}, "no_value"), ({"valueQuantity": mm(7, code="furlong")}, "unit"),
         ({"valueQuantity": {"value": 7, "unit": "mm"}}, "unit")],
    )  # fmt: skip
    def test_and_noted(self, change: dict[str, Any], code: str) -> None:
        other = observation(code=NODULE, valueBoolean=True)
        answer = bundle_read(bundle(other, observation(valueQuantity=mm(7)) | change), algorithm=ALGORITHM)
        assert answer.measurements == ()
        assert [note.code for note in answer.notes] == [code]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "7", True, 10**400])
    def test_numbers_that_are_none(self, value: Any) -> None:
        assert refused(observation(valueQuantity=mm(value))) == "a value of the answer is no number"

    @pytest.mark.parametrize("value", [None, "false", 0, []])
    def test_a_yes_or_no_that_is_neither(self, value: Any) -> None:
        assert "neither" in refused(observation(valueBoolean=value))

    def test_withdrawn(self) -> None:
        report = {"resourceType": "DiagnosticReport", "status": "entered-in-error"}
        assert "withdrawn" in refused(bundle(report, observation(valueQuantity=mm(7))))

    def test_an_error_of_the_platform(self) -> None:
        assert "error of its own" in refused({"resourceType": "OperationOutcome", "issue": [{"diagnostics": "Patient DOE not found"}]})

    def test_two_studies(self) -> None:
        studies = [{"resourceType": "ImagingStudy", "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:1.{n}"}]} for n in (1, 2)]
        assert "several studies" in refused(bundle(*studies, observation(valueQuantity=mm(7))))

    @pytest.mark.parametrize("data", [None, [], "<html>", {}, {"resourceType": "Bundle"}, {"resourceType": "Bundle", "entry": "x"},
                                      {"resourceType": "Observation", "code": 5}, {"resourceType": "Patient"}])  # fmt: skip
    def test_other_shapes(self, data: Any) -> None:
        refused(data)

    def test_too_many(self) -> None:
        refused(bundle(*[{"resourceType": "Basic"}] * 4_001))
        refused(bundle(*[observation(valueQuantity=mm(7))] * 2_001))

    @settings(max_examples=200, deadline=None)
    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8),
                        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                            ["code", "coding", "system", "value", "component", "method", "note", "bodySite", "valueQuantity", "status",
                             "dataAbsentReason", "contained", "interpretation", "text"]), inner, max_size=6), max_leaves=20))  # fmt: skip
    def test_anything(self, inner: Any) -> None:
        for data in (inner, observation(**inner) if isinstance(inner, dict) and "code" not in inner and "status" not in inner else inner):
            try:
                bundle_read(data, algorithm=ALGORITHM)
            except PlatformError as error:
                assert error.is_permanent  # noqa: PT017
