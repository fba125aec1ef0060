"""What DICOM rows look like as FHIR: people and studies, whatever was received."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirapi.projections import report_resources
from fhirapi.resources import imaging_study, patient
from fhirapi.validation import resource_check
from tests.fhirapi.projecting import HOSPITAL, as_patient, as_study, person, report, study


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
