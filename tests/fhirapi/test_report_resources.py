"""What AI results look like as FHIR: reports, findings, and their numbers."""

import json
import re
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

import pytest

from ai.findings import Algorithm, Coding, Finding, Note, Wording
from ai.reading.fhir import bundle_read
from fhirapi.projections import report_resources
from fhirapi.resources.parts import number
from fhirapi.sources import report_content
from tests.ai.encoding.cases import content_of, sources_make
from tests.fhirapi.conftest import LUNG, TEST_DOUBLE, measurement
from tests.fhirapi.projecting import HOSPITAL, NOTICE, built, person, report, study


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
