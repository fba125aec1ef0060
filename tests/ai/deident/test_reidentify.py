"""There and back: what a platform returns is the hospital's again."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from ai.deident.gate import GateRefused
from ai.deident.reidentify import Restored, object_reidentify
from tests.ai.deident.objects import (
    FRAME,
    STUDY,
    clean,
    dataset,
    derived,
    job,
    key_objects,
    presentation,
    reference,
    segmentation,
    slices,
    structured_report,
    write,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
Made = Callable[[list[Dataset]], Dataset]
PERSON = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber")


def _ct(images: list[Dataset]) -> Dataset:
    """A derived image with every date and reference of its source."""
    made = derived(images[0], CTImageStorage, "CT", FrameOfReferenceUID=images[0].FrameOfReferenceUID)
    for keyword in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "BitsAllocated", "BitsStored",
                    "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PixelData"):  # fmt: skip
        setattr(made, keyword, images[0][keyword].value)
    made.AcquisitionDate = images[0].StudyDate
    made.ReferencedImageSequence = [reference(image) for image in images]
    return made


def _back(result: Dataset, mapping, original: Dataset, folder: Path, **options) -> tuple[Dataset, Restored]:
    source = write(result, folder / "result", **options)
    restored = object_reidentify(source, folder / "back", mapping=mapping, original=original, now=NOW)
    return dcmread(folder / "back"), restored


def _flat(ds: Dataset, keep: Callable[[object], bool]) -> list[tuple[str, str]]:
    return [(element.keyword, str(element.value)) for element in ds.iterall() if element.VR != "SQ" and keep(element)]


@pytest.mark.parametrize("made", [_ct, structured_report, segmentation, presentation, key_objects])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_there_and_back_gives_the_originals(tmp_path: Path, made: Made, syntax) -> None:
    """The result that a platform makes of surrogates, given back, is the one it would have made of the originals: every UID, every
    reference, every date, the patient and the study."""
    images = slices(3)
    _, mapping = job(images, tmp_path)
    truth = made(images)
    sent, _ = clean(truth, tmp_path, syntax=syntax)
    sent.SOPInstanceUID, sent.SeriesInstanceUID = generate_uid(), generate_uid()  # the platform's own
    back, restored = _back(_own_marks(sent, truth), mapping, images[0], tmp_path, syntax=syntax)
    assert (back.SOPInstanceUID, back.SeriesInstanceUID) == (sent.SOPInstanceUID, sent.SeriesInstanceUID)
    assert (restored.sop_uid, restored.series_uid, restored.study_uid) == (sent.SOPInstanceUID, sent.SeriesInstanceUID, STUDY)
    for keyword in PERSON:
        assert back[keyword].value == images[0][keyword].value, keyword
    truth.SOPInstanceUID, truth.SeriesInstanceUID = sent.SOPInstanceUID, sent.SeriesInstanceUID
    assert sorted(_flat(back, lambda e: e.VR == "UI")) == sorted(_flat(truth, lambda e: e.VR == "UI"))
    ours = ("ContributionDateTime",)
    days = [
        sorted(_flat(ds, lambda e: e.VR in ("DA", "DT") and e.keyword not in ours)) for ds in (back, truth)
    ]  # fmt: skip
    assert days[0] == days[1]
    assert back.get("PixelData") == truth.get("PixelData")
    assert back.file_meta.MediaStorageSOPInstanceUID == back.SOPInstanceUID


def _own_marks(sent: Dataset, truth: Dataset) -> Dataset:
    """Marks that a platform makes itself are never surrogates: give the cleaned object those of the truth again."""
    for one, other in zip(_levels(sent), _levels(truth), strict=False):
        for keyword in ("TrackingUID", "DimensionOrganizationUID"):
            if keyword in one:
                setattr(one, keyword, getattr(other, keyword))
        if one.get("ValueType") == "UIDREF" and one.ConceptNameCodeSequence[0].CodeValue == "112040":
            one.UID = other.UID
    return sent


def _levels(ds: Dataset):
    yield ds
    for element in ds:
        if element.VR == "SQ" and element.keyword not in ("DeidentificationMethodCodeSequence",):
            for item in element.value:
                yield from _levels(item)


def test_no_trace_of_de_identification_is_left(tmp_path: Path) -> None:
    images = slices(2)
    told, mapping = job(images, tmp_path)
    result = structured_report(told)
    result.PatientIdentityRemoved, result.DeidentificationMethod = "YES", "x"
    result.LongitudinalTemporalInformationModified = "MODIFIED"
    result.ContributingEquipmentSequence = [dataset(Manufacturer="Platform")]
    back, _ = _back(result, mapping, images[0], tmp_path)
    assert not {"PatientIdentityRemoved", "DeidentificationMethod", "LongitudinalTemporalInformationModified"} & set(back.dir())
    theirs, ours = back.ContributingEquipmentSequence
    assert (theirs.Manufacturer, ours.Manufacturer) == ("Platform", "MedicalCloudAIHub")
    assert (ours.PurposeOfReferenceCodeSequence[0].CodeValue, ours.ContributionDateTime) == ("109103", "20260302120000+0000")
    assert mapping.patient not in str(back)


def test_the_platforms_own_clock_is_not_shifted(tmp_path: Path) -> None:
    """What it dated itself is today; what it copied from the images is moved back to when it was."""
    images = slices(1)
    told, mapping = job(images, tmp_path)
    result = structured_report(told)
    result.ContentDate, result.ContentTime, result.InstanceCreationDate = "20260302", "110000", "20260302"
    result.SeriesDate = told[0].StudyDate
    result.ObservationDateTime = "20260302110000"
    back, restored = _back(result, mapping, images[0], tmp_path)
    assert (back.ContentDate, back.InstanceCreationDate, back.ObservationDateTime) == ("20260302", "20260302", "20260302110000")
    assert (back.StudyDate, back.SeriesDate) == ("20260301", "20260301")
    assert restored.dates == 2


def test_a_date_that_was_never_one_does_not_become_one(tmp_path: Path) -> None:
    """The dummy of a removed date comes back as it went, not as a day of 1905."""
    images = slices(1)
    told, mapping = job(images, tmp_path)
    result = structured_report(told)
    result.DateOfSecondaryCapture = "19000101"
    assert _back(result, mapping, images[0], tmp_path)[0].DateOfSecondaryCapture == "19000101"


def test_names_of_any_script_come_back(tmp_path: Path) -> None:
    """The original in ISO 2022 IR 87, the result in Latin 1: one character set that has both."""
    images = slices(1, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    images[0].RequestingService = "内科"
    told, mapping = job(images, tmp_path)
    result = structured_report(told)
    result.SpecificCharacterSet = "ISO_IR 100"
    result.ContentSequence[1].TextValue = "Größe 12 mm"
    back, _ = _back(result, mapping, images[0], tmp_path)
    assert str(back.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert back.RequestingService == "内科"
    assert back.ContentSequence[1].TextValue == "Größe 12 mm"
    assert back.SpecificCharacterSet == "ISO_IR 192"


def test_what_the_platform_wrote_about_a_person_goes(tmp_path: Path) -> None:
    """The patient is who the hospital says, not who the platform says."""
    images = slices(1, PatientComments="allergic")
    told, mapping = job(images, tmp_path)
    result = structured_report(told)
    result.PatientSex, result.PatientWeight, result.ReferringPhysicianName = "M", "1", "Somebody"
    back, _ = _back(result, mapping, images[0], tmp_path)
    assert (back.PatientSex, back.PatientComments) == ("F", "allergic")
    assert "PatientWeight" not in back
    assert "ReferringPhysicianName" not in back


@settings(max_examples=120, deadline=None)
@given(noise=st.binary(min_size=1, max_size=12), place=st.integers(132, 20_000), made=st.sampled_from((structured_report, segmentation)))
def test_a_damaged_result_is_refused_or_restored(noise: bytes, place: int, made: Made) -> None:
    """Whatever a platform sends, there is no third way, and the refusal holds none of its bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = slices(1)
        told, mapping = job(images, folder)
        source = write(made(told), folder / "result")
        data = bytearray(source.read_bytes())
        place = min(place, len(data) - len(noise))
        data[place : place + len(noise)] = noise
        source.write_bytes(data)
        try:
            object_reidentify(source, folder / "back", mapping=mapping, original=images[0], now=NOW)
        except GateRefused:
            assert not (folder / "back").exists()
        else:
            assert dcmread(folder / "back").PatientID == "P1"


def test_the_original_may_be_a_file(tmp_path: Path) -> None:
    images = slices(1)
    told, mapping = job(images, tmp_path)
    source, original = write(structured_report(told), tmp_path / "result"), write(images[0], tmp_path / "original")
    restored = object_reidentify(source, tmp_path / "back", mapping=mapping, original=original, now=NOW)
    assert dcmread(tmp_path / "back").PatientName == "DOE^JANE"
    assert restored.study_uid == STUDY


def test_nothing_comes_back_without_the_gate(tmp_path: Path) -> None:
    """"Order: validate -> reverse -> deliver"."""
    images = slices(1)
    told, mapping = job(images, tmp_path)
    result = structured_report(told)
    result.PatientID = "SOMEBODYELSE"
    with pytest.raises(GateRefused):
        _back(result, mapping, images[0], tmp_path)
    assert not (tmp_path / "back").exists()


def test_an_original_of_another_study_is_our_own_mistake(tmp_path: Path) -> None:
    images = slices(1)
    told, mapping = job(images, tmp_path)
    with pytest.raises(ValueError, match="another study"):
        _back(structured_report(told), mapping, slices(1, StudyInstanceUID=FRAME)[0], tmp_path)


def test_a_picture_is_given_back_by_its_header_alone(tmp_path: Path) -> None:
    """Text in a picture or document stays as the platform drew it; the caller is told."""
    images = slices(1)
    told, mapping = job(images, tmp_path)
    pdf = derived(told[0], "1.2.840.10008.5.1.4.1.1.104.1", "DOC", EncapsulatedDocument=b"%PDF", BurnedInAnnotation="NO")
    assert _back(pdf, mapping, images[0], tmp_path)[1].is_header_only
    assert not _back(structured_report(told), mapping, images[0], tmp_path)[1].is_header_only
