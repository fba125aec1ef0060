"""What returns is of this job, or it is refused: every fault of a platform that the issue names, and some more."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import generate_uid

from ai.deident.cleaner import Geometry
from ai.deident.gate import GateRefused, references_check
from ai.deident.mapping import Mapping, Source
from tests.ai.deident.objects import (
    FRAME,
    OTHER_KEYS,
    SENT_ON,
    SERIES,
    STUDY,
    code,
    dataset,
    derived,
    evidence,
    job,
    key_objects,
    presentation,
    reference,
    segmentation,
    slices,
    structured_report,
    write,
)
from tests.dicom_files import shared_file

Made = Callable[[list[Dataset]], Dataset]


@pytest.fixture
def sent(tmp_path: Path) -> tuple[list[Dataset], Mapping]:
    """Three slices as a platform got them, and the mapping."""
    return job(slices(3), tmp_path)


def _refused(result: Dataset, mapping: Mapping, folder: Path, **options: object) -> str:
    with pytest.raises(GateRefused) as caught:
        references_check(write(result, folder / "result"), mapping=mapping, **options)
    words = caught.value.words
    assert words
    assert not any(uid in words for uid in (STUDY, SERIES, FRAME, mapping.patient))
    return caught.value.code


@pytest.mark.parametrize("made", [structured_report, segmentation, presentation, key_objects])
def test_a_result_of_this_job_passes(tmp_path: Path, sent, made: Made) -> None:
    images, mapping = sent
    path = write(made(images), tmp_path / "result")
    references_check(path, mapping=mapping)
    references_check(path.read_bytes(), mapping=Mapping.from_json(mapping.to_json()))


def _other_study(result: Dataset) -> None:
    result.StudyInstanceUID = generate_uid()


def _other_patient(result: Dataset) -> None:
    result.PatientID = "SOMEBODYELSE"


def _no_patient(result: Dataset) -> None:
    del result.PatientID


def _foreign_image(result: Dataset) -> None:
    series = result.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = generate_uid()


def _foreign_series(result: Dataset) -> None:
    result.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()


def _foreign_study(result: Dataset) -> None:
    result.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = generate_uid()


def _foreign_in_the_tree(result: Dataset) -> None:
    result.ContentSequence[-1].ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = generate_uid()


def _foreign_uidref(result: Dataset) -> None:
    next(item for item in result.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "110180").UID = generate_uid()


def _original_uid(result: Dataset) -> None:
    result.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = STUDY


def _original_as_own(result: Dataset) -> None:
    next(item for item in result.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "112040").UID = STUDY


def _nested_patient(result: Dataset) -> None:
    result.ContentSequence[0].PatientID = "SOMEBODYELSE"


def _wrong_class(result: Dataset) -> None:
    result.ContentSequence[-1].ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"


def _wrong_frame_number(result: Dataset) -> None:
    result.ContentSequence[-1].ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber = [1, 2]


def _swapped_kinds(result: Dataset) -> None:
    evidence_item = result.CurrentRequestedProcedureEvidenceSequence[0]
    evidence_item.ReferencedSeriesSequence[0].SeriesInstanceUID = result.StudyInstanceUID


def _no_class(result: Dataset) -> None:
    result.SOPClassUID = ""


@pytest.mark.parametrize(("spoil", "expected"), [
    (_other_study, "wrong_study"), (_other_patient, "wrong_patient"), (_no_patient, "wrong_patient"), (_foreign_image, "foreign_uid"),
    (_foreign_series, "foreign_uid"), (_foreign_study, "foreign_uid"), (_foreign_in_the_tree, "foreign_uid"),
    (_foreign_uidref, "foreign_uid"), (_original_uid, "foreign_uid"), (_original_as_own, "original_uid"),
    (_nested_patient, "wrong_patient"), (_wrong_class, "wrong_class"), (_wrong_frame_number, "wrong_matrix"),
    (_swapped_kinds, "foreign_uid"), (_no_class, "incomplete"),
])  # fmt: skip
def test_a_report_that_speaks_of_something_else_is_refused(tmp_path: Path, sent, spoil: Callable[[Dataset], None], expected: str) -> None:
    """"any foreign UID ... -> quarantine", "answers with another patient's UIDs"."""
    images, mapping = sent
    result = structured_report(images)
    path = write(result, tmp_path / "whole")
    references_check(path, mapping=mapping)
    spoil(result)
    if expected == "incomplete":
        result.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
        path = write(result, tmp_path / "result")
        path.write_bytes(path.read_bytes().replace(b"\x08\0\x16\0UI\x1e\0", b"\x08\0\x15\0UI\x1e\0"))
        with pytest.raises(GateRefused):
            references_check(path, mapping=mapping)
        return
    assert _refused(result, mapping, tmp_path) == expected


def test_another_hospitals_result_is_refused(tmp_path: Path, sent) -> None:
    """"answers for another hospital's job": the same study under another key is another study."""
    _, mapping = sent
    (tmp_path / "other").mkdir()
    theirs, _ = job(slices(3), tmp_path / "other", keys=OTHER_KEYS)
    assert _refused(structured_report(theirs), mapping, tmp_path) == "wrong_study"
    assert _refused(segmentation(theirs), mapping, tmp_path) == "wrong_study"


def test_another_patients_result_is_refused(tmp_path: Path, sent) -> None:
    """"answers with another patient's UIDs": of the same hospital, the same platform and the same key, in another job."""
    images, mapping = sent
    (tmp_path / "other").mkdir()
    theirs, _ = job(slices(3, PatientID="P2", StudyInstanceUID="1.2.3.4.1", SeriesInstanceUID="1.2.3.4.2"), tmp_path / "other")
    assert _refused(structured_report(theirs), mapping, tmp_path) == "wrong_study"
    for mixed in (structured_report(theirs), segmentation(theirs), presentation(theirs)):
        mixed.StudyInstanceUID, mixed.PatientID = images[0].StudyInstanceUID, images[0].PatientID
        assert _refused(mixed, mapping, tmp_path) == "foreign_uid"


def test_originals_are_refused(tmp_path: Path, sent) -> None:
    """A result that knows the real UIDs did not come from what we sent."""
    _, mapping = sent
    assert _refused(structured_report(slices(3)), mapping, tmp_path) == "wrong_study"


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID"])
def test_a_result_never_takes_the_place_of_an_image(tmp_path: Path, sent, keyword: str) -> None:
    """"its SOP/Series UIDs are allowed but must not collide": neither with a surrogate nor with an original."""
    images, mapping = sent
    for taken in (images[0][keyword].value, mapping.original(images[0][keyword].value)):
        result = structured_report(images)
        setattr(result, keyword, taken)
        assert _refused(result, mapping, tmp_path) == "collision"


def test_a_report_may_refer_to_the_platforms_other_results(tmp_path: Path, sent) -> None:
    images, mapping = sent
    mask = segmentation(images)
    result = structured_report(images)
    result.ContentSequence[-1].ContentSequence[0].ReferencedSOPSequence = [reference(mask)]
    result.CurrentRequestedProcedureEvidenceSequence = evidence(images)
    result.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence.append(
        dataset(SeriesInstanceUID=mask.SeriesInstanceUID, ReferencedSOPSequence=[reference(mask)])
    )
    assert _refused(result, mapping, tmp_path) == "foreign_uid"
    references_check(write(result, tmp_path / "ok"), mapping=mapping, own={mask.SOPInstanceUID, mask.SeriesInstanceUID})


@pytest.mark.parametrize(("attributes", "expected"), [
    ({"FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.4711"}, "wrong_frame"),
    ({"FrameOfReferenceUID": FRAME}, "wrong_frame"),
    ({"FrameOfReferenceUID": "1.2.840.10008.1.4.1.1"}, "wrong_frame"),
    ({"Rows": 8}, "wrong_matrix"),
    ({"Columns": 32, "PixelData": bytes(400)}, "wrong_matrix"),
    ({"PixelData": bytes(8)}, "truncated"),
    ({"NumberOfFrames": 300}, "truncated"),
])  # fmt: skip
def test_a_segmentation_elsewhere_is_refused(tmp_path: Path, sent, attributes: dict[str, object], expected: str) -> None:
    """"wrong frame of reference, wrong matrix -> quarantine"."""
    images, mapping = sent
    assert _refused(segmentation(images, **attributes), mapping, tmp_path) == expected


@pytest.mark.parametrize("change", [
    {"PixelMeasuresSequence": [dataset(PixelSpacing=[2, 2])]},
    {"PlaneOrientationSequence": [dataset(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])]},
    {"PixelMeasuresSequence": [dataset(PixelSpacing=[1.01, 1])]},
])  # fmt: skip
def test_a_segmentation_of_another_shape_is_refused(tmp_path: Path, sent, change: dict[str, object]) -> None:
    images, mapping = sent
    result = segmentation(images)
    for keyword, value in change.items():
        setattr(result.SharedFunctionalGroupsSequence[0], keyword, value)
    assert _refused(result, mapping, tmp_path) == "wrong_matrix"


def test_rounding_is_no_other_shape(tmp_path: Path) -> None:
    images, mapping = job(slices(2, PixelSpacing=["0.70312501", "0.70312501"]), tmp_path)
    result = segmentation(images)
    result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.703125, 0.703125]
    references_check(write(result, tmp_path / "ok"), mapping=mapping)


def test_a_derived_picture_without_a_frame_of_reference_has_any_size(tmp_path: Path, sent) -> None:
    """A rendered secondary capture is as large as it likes, but its references must be ours."""
    images, mapping = sent
    picture = {
        "Rows": 4, "Columns": 4, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 1, "PixelRepresentation": 0,
        "PhotometricInterpretation": "MONOCHROME2", "PixelData": bytes(16),
    }  # fmt: skip
    result = derived(images[0], "1.2.840.10008.5.1.4.1.1.7", "SC", SourceImageSequence=[reference(images[0])], **picture)
    references_check(write(result, tmp_path / "ok"), mapping=mapping)
    result.SourceImageSequence[0].ReferencedSOPInstanceUID = generate_uid()
    assert _refused(result, mapping, tmp_path) == "foreign_uid"


@pytest.mark.parametrize("made", [structured_report, segmentation])
def test_a_truncated_result_is_refused_wherever_it_ends(tmp_path: Path, sent, made: Made) -> None:
    """"sends a truncated SR"."""
    images, mapping = sent
    data = write(made(images), tmp_path / "whole").read_bytes()
    cuts = list(range(0, len(data) - 1, max(1, len(data) // 150))) + [len(data) - 1, len(data) - 2]
    codes = set()
    for cut in cuts:
        with pytest.raises(GateRefused) as caught:
            references_check(data[:cut], mapping=mapping)
        codes.add(caught.value.code)
    assert codes <= {"unreadable", "wrong_study", "wrong_patient", "incomplete", "truncated", "collision"}
    assert {"unreadable", "truncated"} <= codes


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_nothing_are_refused(noise: bytes) -> None:
    mapping = _mapping()
    for data in (noise, bytes(128) + b"DICM" + noise):
        with pytest.raises(GateRefused):
            references_check(data, mapping=mapping)


def _mapping() -> Mapping:
    return Mapping(
        study_uid="2.25.1", patient="A", original_patient="B", shift_days=9, sent_on=SENT_ON, uids={},
        sources={"2.25.3": Source("1", "2", Geometry())},
    )  # fmt: skip


def test_nesting_and_bombs_are_refused(tmp_path: Path, sent) -> None:
    images, mapping = sent
    result = structured_report(images)
    inner = dataset(ValueType="CONTAINER", ConceptNameCodeSequence=[code("1", "x")])
    for _ in range(80):
        inner = dataset(ContentSequence=[inner])
    result.ContentSequence.append(inner)
    assert _refused(result, mapping, tmp_path) == "unreadable"
    with pytest.raises(GateRefused):
        references_check(shared_file("broken/deep-nesting.dcm"), mapping=mapping)
    (tmp_path / "empty").touch()
    with pytest.raises(GateRefused):
        references_check(tmp_path / "empty", mapping=mapping)
