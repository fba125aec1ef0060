"""SR objects: judged by dciodvfy, read again by highdicom and by our own reader, the same bytes each time."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from pydicom import DataElement, dcmread
from pydicom.dataset import Dataset

from ai.encoding.edition import EncodingError
from ai.encoding.sr import sr_encode
from ai.encoding.stamp import bytes_of
from ai.findings import NOTICE, Algorithm, Note, ReportContent, Wording
from tests.ai.encoding.cases import (
    ALGORITHM,
    EDITION,
    content_of,
    image,
    judged,
    phantom_make,
    reread,
    sources_make,
    untracked,
)
from tests.dicom_files import shared_file


def encoded(sources: list[Dataset] | None = None, **values: Any) -> tuple[ReportContent, Dataset]:
    sources = sources or sources_make()
    content = content_of(sources, **values)
    return content, sr_encode(content=content, sources=sources, edition=EDITION)


class TestAnSrOfAReport:
    """ "out ... as DICOM (SR TID 1500 with device, algorithm and tracking identifiers ...), validated with dciodvfy and re-read
    with highdicom"."""

    @pytest.mark.parametrize("is_3d", [True, False])
    def test_dciodvfy_has_nothing_to_say(self, is_3d: bool) -> None:
        sources = sources_make()
        judged(sr_encode(content=content_of(sources), sources=sources, edition=EDITION, is_3d=is_3d))

    def test_of_a_phantom_and_of_a_real_slice(self, tmp_path: Path) -> None:
        phantom = [dcmread(path, stop_before_pixels=True) for path in phantom_make(tmp_path)]
        judged(encoded(phantom)[1])
        real = dcmread(shared_file("real/lung-ct-lctsc.dcm"), stop_before_pixels=True)
        content = content_of([real] * 6)
        judged(sr_encode(content=content, sources=[real], edition=EDITION))

    def test_our_reader_finds_what_was_said(self) -> None:
        """Same numbers, codes, places and images, a private scheme's system included."""
        content, ds = encoded()
        answer = reread(ds)
        assert untracked(answer) == untracked(content)
        assert (answer.study_uid, answer.series_uid, answer.sop_uids) == (content.study_uid, content.series_uid, content.sop_uids)
        assert (answer.algorithm, answer.notes) == (ALGORITHM, content.notes)
        assert answer.findings[0].tracking_uid == "2.25.1234"
        assert all(item.tracking_uid.startswith("2.25.") for item in answer.measurements)

    def test_highdicom_finds_it_too(self, tmp_path: Path) -> None:
        content, ds = encoded()
        (tmp_path / "sr.dcm").write_bytes(bytes_of(ds))
        report = hd.sr.srread(tmp_path / "sr.dcm").content
        assert isinstance(report, hd.sr.MeasurementReport)
        plain = report.get_image_measurement_groups()
        (number,) = [m for group in plain for m in group.get_measurements() if m.name.value == "118565006"]
        assert (number.value, number.unit.value) == (5373.123456789, "mL")
        assert [group.roi.graphic_type.value for group in report.get_planar_roi_measurement_groups()] == ["CIRCLE"]
        assert len(report.get_volumetric_roi_measurement_groups()) == 1
        (device,) = report.get_observer_contexts()
        attributes = device.observer_identifying_attributes
        assert (attributes.name, attributes.manufacturer_name) == ("lung-density-mask 1.0.0", "MedHub Quantify")
        sites = [group.finding_sites[0].value.value for group in plain if group.finding_sites]
        assert sites[:2] == ["39607008", "39607008"]
        assert len(hd.sr.srread(tmp_path / "sr.dcm").get_evidence()) == len(content.sop_uids)

    def test_it_is_nobodys_final_word(self) -> None:
        _, ds = encoded()
        assert (ds.VerificationFlag, ds.CompletionFlag, ds.PreliminaryFlag) == ("UNVERIFIED", "PARTIAL", "PRELIMINARY")
        said = [item.TextValue for item in ds.ContentSequence if item.ValueType == "TEXT"]
        assert NOTICE in said

    def test_it_names_the_version_that_it_replaces(self) -> None:
        _, ds = encoded()
        (study,) = ds.PredecessorDocumentsSequence
        (instance,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        sources = sources_make()
        first = sr_encode(content=content_of(sources), sources=sources, edition=replace(EDITION, version=1, replaces=0))
        assert instance.ReferencedSOPInstanceUID == first.SOPInstanceUID != ds.SOPInstanceUID
        assert first.SeriesInstanceUID == ds.SeriesInstanceUID
        assert "PredecessorDocumentsSequence" not in first

    def test_a_retry_makes_the_same_bytes(self) -> None:
        sources = sources_make()
        content = content_of(sources)
        once, again = (bytes_of(sr_encode(content=content, sources=sources, edition=EDITION)) for _ in range(2))
        assert once == again
        other = sr_encode(content=content, sources=sources, edition=replace(EDITION, version=3))
        assert other.SOPInstanceUID != dcmread(io.BytesIO(once)).SOPInstanceUID


class TestNotAnalysable:
    def test_says_so_with_its_reason(self) -> None:
        """ "not analysable" is an SR too, and comes back as one."""
        reason = Note(code="spacing", text="slices 6.0 mm apart, at most 2.5")
        _, ds = encoded(measurements=(), findings=(), not_analysable=reason)
        judged(ds)
        answer = reread(ds)
        assert answer.not_analysable == reason
        assert not answer.is_seen

    def test_a_flag_says_nothing_more(self) -> None:
        _, ds = encoded(measurements=(), findings=(), is_flagged=True)
        judged(ds)
        answer = reread(ds)
        assert answer.is_flagged
        assert (answer.measurements, answer.findings) == ((), ())

    def test_nothing_to_say_is_no_object(self) -> None:
        with pytest.raises(EncodingError, match="no measurement"):
            encoded(measurements=(), findings=())


class TestWhoseItIs:
    """ "same Patient/Study module as the source; SeriesDescription and Manufacturer say platform/algorithm"."""

    def test_patient_and_study_as_received(self) -> None:
        sources = sources_make(PatientName="Yamada^Tarou=山田^太郎", IssuerOfPatientID="MERCY", PatientAge="066Y",
                               SpecificCharacterSet="ISO_IR 192")  # fmt: skip
        _, ds = encoded(sources)
        judged(ds)
        for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
                        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"):  # fmt: skip
            assert ds[keyword].value == sources[0][keyword].value, keyword
        assert ds.SpecificCharacterSet == "ISO_IR 192"

    @pytest.mark.parametrize("name", ["jp-ir87", "cn-gb18030", "kr-ir149", "arabic-ir127", "cyrillic-ir144", "hebrew-ir138"])
    def test_names_of_other_character_sets(self, name: str) -> None:
        real = dcmread(shared_file(f"charset/{name}.dcm"), stop_before_pixels=True)
        ds = sr_encode(content=content_of([real] * 6), sources=[real], edition=EDITION)
        again = dcmread(io.BytesIO(bytes_of(ds)))
        assert str(again.PatientName) == str(real.PatientName)

    def test_what_breaks_a_rule_is_kept(self) -> None:
        """A corrected PatientID would be another patient."""
        sources = sources_make()
        sources[0].add(DataElement("PatientID", "LO", "x" * 70, validation_mode=0))
        sources[0].add(DataElement("PatientBirthDate", "DA", "1960", validation_mode=0))
        _, ds = encoded(sources)
        again = dcmread(io.BytesIO(bytes_of(ds)))
        assert (again.PatientID, again.PatientBirthDate) == ("x" * 70, "1960")

    def test_who_made_it(self) -> None:
        _, ds = encoded()
        assert (ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions) == ("MedHub Quantify", "lung-density-mask", "1.0.0")
        assert ds.SeriesDescription == "MedHub Quantify: lung-density-mask"
        assert ds.UDISequence[0].UniqueDeviceIdentifier == ALGORITHM.udi
        assert ds.ContributingEquipmentSequence[0].Manufacturer == "MedicalCloudAIHub"

    def test_a_stand_in_never_bears_a_vendors_name(self) -> None:
        """ "MedHub Quantify (test double)" when content.is_test_double."""
        made_by = Algorithm(name="lung-density-mask", version="1", manufacturer="Aidoc")
        _, ds = encoded(is_test_double=True, platform="Aidoc", algorithm=made_by)
        assert b"Aidoc" not in bytes_of(ds)
        assert ds.Manufacturer == "MedHub Quantify (test double)"

    def test_times_are_in_the_zone_of_the_study(self) -> None:
        _, ds = encoded(sources_make(TimezoneOffsetFromUTC="-0600"))
        assert (ds.ContentDate, ds.ContentTime, ds.TimezoneOffsetFromUTC) == ("20260301", "063000", "-0600")

    def test_a_foreign_image_is_refused(self) -> None:
        sources, others = sources_make(), sources_make()
        with pytest.raises(EncodingError, match="not among its sources"):
            sr_encode(content=content_of(others), sources=sources, edition=EDITION)
        with pytest.raises(EncodingError, match="one study"):
            sr_encode(content=content_of(sources), sources=[*sources, *others], edition=EDITION)

    def test_a_draft_is_labelled_and_no_finding(self) -> None:
        wording = Wording(text="The lungs are clear.", model="gpt-oss:120b")
        content, ds = encoded(wording=wording)
        (item,) = [item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "draft-wording"]
        assert item.ConceptNameCodeSequence[0].CodeMeaning == "Draft wording by a language model, not a finding"
        assert item.TextValue == "The lungs are clear. (gpt-oss:120b)"
        assert untracked(reread(ds)) == untracked(content)


def test_frames_are_kept() -> None:
    multi = dcmread(shared_file("real/emri-10f.dcm"), stop_before_pixels=True)
    content = content_of([multi] * 6)
    content = replace(content, findings=(replace(content.findings[0], images=(image(multi, 2, 3),)),), measurements=())
    ds = sr_encode(content=content, sources=[multi], edition=EDITION)
    judged(ds)
    assert reread(ds).findings[0].images == (image(multi, 2, 3),)
