"""What a platform gets of an object: every clause of the profile on objects made for it."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import PrivateBlock
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from ai.deident.engine import object_deidentify
from ai.deident.profile import DEFAULT, SCANNER_NUMBERS, Profile
from ai.deident.rules import table
from imaging.header import part10_read
from tests.ai.deident.objects import (
    FRAME,
    KEYS,
    OTHER_KEYS,
    SERIES,
    STUDY,
    clean,
    code,
    dataset,
    key_objects,
    presentation,
    reference,
    segmentation,
    slices,
    structured_report,
    write,
)
from tests.dicom_files import ct_slice

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def test_a_ct_keeps_what_it_is_and_loses_whose_it_is(tmp_path: Path) -> None:
    [image] = slices(
        1, StudyDescription="CT Chest JANE DOE 5 mm", InstitutionName="Mercy", OperatorsName="X^Y", PatientComments="text",
        OtherPatientIDs="4711", PatientAge="066Y", PatientWeight="70", DeviceSerialNumber="SN1", StudyID="S1",
    )  # fmt: skip
    told, done = clean(image, tmp_path)
    assert told.PatientID == told.PatientName == done.patient != "P1"
    assert (told.PatientBirthDate, told.ReferringPhysicianName if "ReferringPhysicianName" in told else "") == ("", "")
    assert (told.PatientSex, told.PatientAge, told.PatientWeight, told.DeviceSerialNumber) == ("F", "066Y", 70, "SN1")
    assert "OtherPatientIDs" not in told
    assert "PatientComments" not in told
    assert told.StudyDescription == "CT Chest 5 mm"
    assert (told.InstitutionName, told.OperatorsName) == ("REMOVED", "REMOVED")
    assert told.AccessionNumber not in ("", "A1")
    assert told.StudyID not in ("", "S1", told.AccessionNumber)
    assert (told.Rows, told.PixelSpacing, told.RescaleIntercept, told.PixelData) == (16, [1, 1], -1024, image.PixelData)
    assert (told.StudyTime, told.Modality, told.BodyPartExamined) == ("101500", "CT", "CHEST")
    assert told.StudyDate < "20260222"


def test_the_basic_profile_alone_keeps_nothing_of_the_options(tmp_path: Path) -> None:
    told, _ = clean(slices(1, PatientAge="066Y", DeviceSerialNumber="SN1", StationName="CT1")[0], tmp_path, profile=Profile())
    assert (told.StudyDate, told.StudyTime, told.PatientSex) == ("", "", "")
    assert "PatientAge" not in told
    assert "StudyDescription" not in told
    assert (told.DeviceSerialNumber, told.StationName) == ("REMOVED", "REMOVED")
    assert told.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_was_done_is_recorded(tmp_path: Path) -> None:
    """"what was done recorded in (0012,0062-0064)"."""
    told, done = clean(slices(1, DeidentificationMethod="by Dr. Planted")[0], tmp_path)
    assert told.PatientIdentityRemoved == "YES"
    assert all(len(part) <= 64 for part in told.DeidentificationMethod)
    assert "Planted" not in str(told)
    codes = tuple(item.CodeValue for item in told.DeidentificationMethodCodeSequence)
    assert codes == done.codes == ("113100", "113103", "113105", "113107", "113108", "113109", "113111")
    assert {item.CodingSchemeDesignator for item in told.DeidentificationMethodCodeSequence} == {"DCM"}
    assert all(len(item.CodeMeaning) <= 64 for item in told.DeidentificationMethodCodeSequence)
    assert told.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_encoding_keeps_its_pixels(tmp_path: Path, syntax) -> None:
    """Native in both orders, and deflated: same transfer syntax, same pixel bytes, file meta in step with the data set."""
    [image] = slices(1, PixelData=bytes(range(256)) * 2, ReferencedImageSequence=[reference(ct_slice())])
    told, done = clean(image, tmp_path, syntax=syntax)
    assert told.file_meta.TransferSyntaxUID == syntax
    assert told.file_meta.MediaStorageSOPInstanceUID == told.SOPInstanceUID == done.sop_uid == KEYS.uid(image.SOPInstanceUID)
    assert told.PixelData == image.PixelData
    assert (told.Rows, told.PixelSpacing) == (16, [1, 1])
    assert told.ReferencedImageSequence[0].ReferencedSOPInstanceUID.startswith("2.25.")


def test_the_preamble_and_the_senders_name_go(tmp_path: Path) -> None:
    [image] = slices(1)
    source = write(image, tmp_path / "in")
    data = bytearray(source.read_bytes())
    data[:128] = b"PLANTED".ljust(128, b"\1")
    source.write_bytes(data)
    object_deidentify(source, tmp_path / "out", profile=DEFAULT, keys=KEYS)
    assert (tmp_path / "out").read_bytes()[:128] == bytes(128)
    assert (tmp_path / "out").stat().st_mode & 0o77 == 0


def test_a_retry_and_a_late_image_get_the_same_surrogates(tmp_path: Path) -> None:
    first, late = slices(2)
    told, again = clean(first, tmp_path)[0], clean(first, tmp_path)[0]
    assert told == again
    after, _ = clean(late, tmp_path)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "AccessionNumber", "StudyDate"):
        assert told[keyword].value == after[keyword].value
    other, _ = clean(first, tmp_path, keys=OTHER_KEYS)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "AccessionNumber", "StudyDate"):
        assert told[keyword].value != other[keyword].value


def test_the_same_mapping_holds_in_every_reference(tmp_path: Path) -> None:
    """"same mapping inside sequences, SR, SEG, PR"."""
    images = slices(2)
    study, series, sop, frame = (KEYS.uid(uid) for uid in (STUDY, SERIES, f"{SERIES}.1", FRAME))
    report, _ = clean(structured_report(images), tmp_path)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert (report.StudyInstanceUID, evidence.StudyInstanceUID) == (study, study)
    assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == series
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == sop
    uids = {item.ConceptNameCodeSequence[0].CodeValue: item.UID for item in report.ContentSequence if item.ValueType == "UIDREF"}
    assert uids["110180"] == study
    assert report.ContentSequence[-1].ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == sop
    mask, _ = clean(segmentation(images), tmp_path)
    assert mask.FrameOfReferenceUID == frame
    assert mask.ReferencedSeriesSequence[0].SeriesInstanceUID == series
    first = mask.PerFrameFunctionalGroupsSequence[0]
    assert first.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID == sop
    state, _ = clean(presentation(images), tmp_path)
    assert state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == sop
    keys, _ = clean(key_objects(images), tmp_path)
    assert keys.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == sop


def test_a_report_keeps_its_tree_and_loses_its_words(tmp_path: Path) -> None:
    """Structured content is never sent with texts or names: they get dummies, and (0012,0064) says 113104."""
    told, done = clean(structured_report(slices(1)), tmp_path)
    person, text, day, *_, number = told.ContentSequence
    assert (person.PersonName, text.TextValue) == ("REMOVED", "REMOVED")
    assert number.MeasuredValueSequence[0].NumericValue == "12.5"
    assert day.Date == told.StudyDate
    assert "113104" in done.codes
    assert "lanted" not in str(told)


def test_a_drawing_is_removed(tmp_path: Path) -> None:
    told, _ = clean(presentation(slices(1)), tmp_path)
    assert "GraphicAnnotationSequence" not in told
    assert (told.ContentLabel, told.ContentCreatorName) == ("REMOVED", "REMOVED")


def test_overlays_and_curves_are_removed(tmp_path: Path) -> None:
    [image] = slices(1)
    image.add_new(0x60003000, "OW", b"\xff" * 32)
    image.add_new(0x60000010, "US", 16)
    image.add_new(0x60000102, "US", 0)
    image.add_new(0x50003000, "OW", b"\xff" * 32)
    told, _ = clean(image, tmp_path)
    assert not [element for element in told if element.tag.group in (0x5000, 0x6000)]


def test_an_icon_goes(tmp_path: Path) -> None:
    """An icon is a small picture of the large one: (0088,0200) is X, and pixels in any other sequence go as well."""
    icon = dataset(Rows=1, Columns=1, BitsAllocated=8, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelData=b"\1\2")
    [image] = slices(1, IconImageSequence=[icon], ReferencedImageSequence=[icon])
    told, _ = clean(image, tmp_path)
    assert "IconImageSequence" not in told
    assert "PixelData" not in told.ReferencedImageSequence[0]
    assert told.PixelData == image.PixelData


def _private(image: Dataset, creator: str, group: int, element: int, vr: str, value: object) -> PrivateBlock:
    block = image.private_block(group, creator, create=True)
    block.add_new(element, vr, value)
    return block


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_private_elements_stay_only_by_name_of_their_creator(tmp_path: Path, syntax) -> None:
    """113111 by an allow-list of creator and element, whatever block the creator got; only numbers."""
    [image] = slices(1)
    _private(image, "SOMEBODY", 0x0019, 0x0C, "IS", "1000")
    _private(image, "SIEMENS MR HEADER", 0x0019, 0x0C, "IS", "800")
    _private(image, "SIEMENS MR HEADER", 0x0019, 0x0D, "LO", "Planted")
    _private(image, "Philips PET Private Group", 0x7053, 0x00, "DS", "0.5")
    told, _ = clean(image, tmp_path, syntax=syntax)
    kept = {(element.tag, str(element.value)) for element in told if element.tag.is_private}
    expected = {(0x00190011, "SIEMENS MR HEADER"), (0x0019110C, "800"), (0x70530010, "Philips PET Private Group"), (0x70531000, "0.5")}
    if syntax.is_implicit_VR:  # read back as UN where the dictionary has none
        assert {tag for tag, _ in kept} == {tag for tag, _ in expected}
    else:
        assert kept == expected
    assert not [element for element in clean(image, tmp_path, profile=Profile())[0] if element.tag.is_private]


@pytest.mark.parametrize(("vr", "value"), [("LO", "DOE JANE"), ("UN", b"DOE JANE"), ("SQ", [Dataset()]), ("OB", b"DOE JANE")])
def test_an_allowed_private_element_with_something_else_in_it_goes(tmp_path: Path, vr: str, value: object) -> None:
    [image] = slices(1)
    _private(image, "SIEMENS MR HEADER", 0x0019, 0x0C, vr, value)
    told, _ = clean(image, tmp_path)
    assert not [element for element in told if element.tag.is_private]
    assert len(SCANNER_NUMBERS) > 4


def test_a_sequence_sent_as_unknown_is_cleaned_inside(tmp_path: Path) -> None:
    """UN of undefined length holds implicit little endian (PS3.5 6.2.2)."""
    [image] = slices(1)
    inner = (
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        + b"\x08\x00\x50\x11\x1a\x00\x00\x00" + b"1.2.840.10008.5.1.4.1.1.2\0"
        + b"\x08\x00\x55\x11\x0a\x00\x00\x00" + b"1.2.3.4.55"
        + b"\x10\x00\x10\x00\x08\x00\x00\x00" + b"DOE^JANE"
        + b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    )  # fmt: skip
    source = write(image, tmp_path / "in")
    data = source.read_bytes()
    place = data.index(b"\x10\x00\x10\x00PN")
    source.write_bytes(data[:place] + b"\x08\x00\x40\x11UN\0\0\xff\xff\xff\xff" + inner + data[place:])
    done = object_deidentify(source, tmp_path / "out", profile=DEFAULT, keys=KEYS)
    written = (tmp_path / "out").read_bytes()
    assert b"JANE" not in written
    assert b"1.2.3.4.55" not in written
    told = dcmread(tmp_path / "out")
    assert told[0x00081140].value[0].ReferencedSOPInstanceUID == KEYS.uid("1.2.3.4.55")
    assert done.uids["sop"][KEYS.uid("1.2.3.4.55")] == "1.2.3.4.55"


def test_ages_over_89_are_told_as_one(tmp_path: Path) -> None:
    """45 CFR 164.514(b)(2)(i)(C)."""
    ages = {age: clean(slices(1, PatientAge=age)[0], tmp_path)[0].PatientAge for age in ("089Y", "090Y", "103Y", "018M")}
    assert ages == {"089Y": "089Y", "090Y": "090Y", "103Y": "090Y", "018M": "018M"}


def test_a_name_that_is_a_word_of_anatomy_goes_too(tmp_path: Path) -> None:
    told, _ = clean(slices(1, PatientName="HAND^ORBIT", StudyDescription="CT ORBIT of Hand right")[0], tmp_path)
    assert told.StudyDescription == "CT of right"


def test_an_object_without_patient_id_gets_one(tmp_path: Path) -> None:
    told, done = clean(slices(1, PatientID="", PatientName=None)[0], tmp_path)
    assert told.PatientID == told.PatientName == done.patient != ""
    assert done.original_patient == ""


def test_the_caller_may_say_who_the_person_is(tmp_path: Path) -> None:
    source = write(slices(1, PatientID="")[0], tmp_path / "in")
    done = [object_deidentify(source, tmp_path / "out", profile=DEFAULT, keys=KEYS, patient=who) for who in ("7", "7", "8")]
    assert done[0].patient == done[1].patient != done[2].patient


def test_every_dummy_has_its_vr(tmp_path: Path) -> None:
    """Type 1 attributes keep a value that their VR allows: an object with each D of the table can be read and validated."""
    [image] = slices(1)
    planted = 0
    for name, actions in table().items():
        if "D" not in actions["basic"] or "x" in name or name in ("00420011", "0040a730"):
            continue
        tag = int(name, 16)
        vr = DicomDictionary[tag][0]
        value = {"DA": "20260301", "DT": "20260301", "TM": "10", "AS": "001Y", "UI": generate_uid(), "SQ": [Dataset()]}.get(vr, "PLANTED")
        image[tag] = DataElement(tag, vr, b"PLANTED " if vr in ("OB", "UN") else value)
        planted += 1
    told, _ = clean(image, tmp_path, profile=Profile())
    assert planted > 100
    assert "PLANTED" not in str(told)
    for element in told:
        assert DataElement(element.tag, element.VR, element.value, validation_mode=2) is not None
    assert b"PLANTED" not in b"".join(path.read_bytes() for path in tmp_path.glob("out-*"))


@pytest.mark.parametrize("room", [100, 2000])
def test_half_an_object_is_none(tmp_path: Path, room: int) -> None:
    """A disk without room, here a limit on the size of files: nothing is left that somebody could send."""
    source = write(slices(1, PixelData=bytes(512 * 8), Rows=64, Columns=32)[0], tmp_path / "in")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            object_deidentify(source, tmp_path / "out", profile=DEFAULT, keys=KEYS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()


def test_from_one_file_system_to_another(tmp_path: Path) -> None:
    """Where the kernel can't copy between the two by itself, the bytes are the same."""
    image = slices(1, PixelData=bytes(range(256)) * 2)[0]
    object_deidentify(write(image, tmp_path / "in"), tmp_path / "out", profile=DEFAULT, keys=KEYS)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # noqa: S108 another file system is the point
        object_deidentify(write(image, Path(memory) / "in"), tmp_path / "other", profile=DEFAULT, keys=KEYS)
    assert (tmp_path / "other").read_bytes() == (tmp_path / "out").read_bytes()


def test_the_engine_knows_nothing_of_the_house() -> None:
    """No Django, no models, no database: files in, files out."""
    code_ = "import sys, ai.deident.reidentify, ai.deident.payload; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code_], cwd=Path(__file__).parents[3], check=False).returncode == 0


def test_the_header_is_one_that_the_house_reads(tmp_path: Path) -> None:
    """The archive's own walker reads what is sent: tags ascend, lengths are right."""
    told, _ = clean(segmentation(slices(2), ConceptNameCodeSequence=[code("1", "x")]), tmp_path)
    [path] = tmp_path.glob("out-*")
    assert part10_read(path).header.uid(0x0020000D) == told.StudyInstanceUID
