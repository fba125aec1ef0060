"""What is never sent: objects that may carry a name in their pixels or in places nobody looks at, and what cannot be read whole."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import BaseTag
from pydicom.uid import (
    JPEGBaseline8Bit,
)

from ai.deident.blocks import Blocked
from ai.deident.engine import object_deidentify
from ai.deident.profile import DEFAULT, Profile
from tests.ai.deident.objects import (
    KEYS,
    STUDY,
    clean,
    dataset,
    slices,
    write,
)

BLOCKED = [
    ("burned_in", {"BurnedInAnnotation": "YES"}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US"}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "Modality": "US"}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.1", "Modality": "ES"}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4", "Modality": "XC"}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.5.1", "Modality": "OP"}),
    ("burned_in", {"SOPClassUID": "1.2.3.4.5", "Modality": "CT"}),
    ("burned_in", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "BurnedInAnnotation": "NO"}),
    ("burned_in", {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}),
    ("burned_in", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6", "Modality": "SM"}),
    ("burned_in", {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"], "BurnedInAnnotation": "NO"}),
    ("burned_in", {"ConversionType": "DF", "BurnedInAnnotation": "NO"}),
    ("burned_in", {"SamplesPerPixel": 3, "PixelData": bytes(16 * 16 * 6)}),
    ("burned_in", {"ReferencedImageSequence": [dataset(BurnedInAnnotation="YES")]}),
    ("document", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1", "PixelData": None}),
    ("document", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.2", "PixelData": None}),
    ("document", {"EncapsulatedDocument": b"%PDF"}),
    ("sound", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.4.1", "PixelData": None}),
    ("video", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.1.1", "BurnedInAnnotation": "NO"}),
    ("truncated", {"PixelData": bytes(510)}),
    ("incomplete", {"StudyInstanceUID": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("code_", "attributes"), BLOCKED)
def test_what_may_carry_a_name_is_blocked(tmp_path: Path, code_: str, attributes: dict[str, object]) -> None:
    """"burned-in pixels blocked unless cleaned": and documents, sound, video. Nothing is written."""
    [image] = slices(1)
    for keyword, value in attributes.items():
        delattr(image, keyword) if value is None else setattr(image, keyword, value)
    with pytest.raises(Blocked) as caught:
        clean(image, tmp_path)
    assert caught.value.code == code_
    assert not any(part in caught.value.words for part in ("DOE", "P1", STUDY))
    assert not list(tmp_path.glob("out-*"))


@pytest.mark.parametrize("sop_class", ["6.1", "7", "77.1.5.1", "77.1.4"])
def test_a_picture_that_says_it_has_no_annotation_passes(tmp_path: Path, sop_class: str) -> None:
    told, _ = clean(slices(1, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{sop_class}", BurnedInAnnotation="NO")[0], tmp_path)
    assert told.BurnedInAnnotation == "NO"


def test_cleaned_pixels_pass_and_are_recorded(tmp_path: Path) -> None:
    """113101 says that somebody cleaned them before; the object says so too."""
    profile = Profile(DEFAULT.options | {"113101"}, DEFAULT.safe_private)
    told, done = clean(slices(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1", BurnedInAnnotation="YES")[0], tmp_path, profile=profile)
    assert told.BurnedInAnnotation == "NO"
    assert "113101" in done.codes


def test_an_overlay_in_the_pixels_is_blocked(tmp_path: Path) -> None:
    """Before 2004 overlays lay in the unused high bits of the pixels (PS3.5 8.1.2): removing (60xx,3000) would not remove them."""
    [image] = slices(1)
    image.add_new(0x60000102, "US", 12)
    with pytest.raises(Blocked, match="unused bits"):
        clean(image, tmp_path)


def _jpeg(*segments: tuple[int, bytes]) -> bytes:
    """The segments of a JPEG stream that come before its coded data."""
    parts = [bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content for marker, content in segments]
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xda\0\2" + bytes(20) + b"\xff\xd9"


JFIF = (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
J2K = b"\xff\x4f\xff\x51\0\4\0\0\xff\x64\0\x20\0\1"
TEXTS = [
    (_jpeg(JFIF, (0xE1, b"Exif\0\0Planted")), True),
    (_jpeg((0xED, b"Photoshop 3.0\0Planted")), True),
    (_jpeg(JFIF, (0xFE, b"Jane Doe, born 1960")), True),
    (_jpeg((0xE0, b"DOE^JANE")), True),
    (J2K + b"Patient Jane Doe, 1960      " + b"\xff\x90", True),
    (_jpeg(JFIF, (0xE2, b"ICC_PROFILE\0x"), (0xEE, b"Adobe\0d"), (0xFE, b"LEAD Technologies Inc. V1.01")), False),
    (J2K + b"Created by OpenJPEG 2.5.0   " + b"\xff\x90", False),
    (b"no stream", False),
]  # fmt: skip


@pytest.mark.parametrize(("stream", "is_blocked"), TEXTS)
@pytest.mark.parametrize("place", [0, 2])
def test_a_text_inside_compressed_pixels_is_blocked(tmp_path: Path, stream: bytes, is_blocked: bool, place: int) -> None:
    """EXIF, XMP, IPTC and comments travel with the bytes that are copied unread, in any frame."""
    frames = [_jpeg(JFIF)] * 3
    frames[place] = stream
    [image] = slices(1, NumberOfFrames=3, PixelData=encapsulate(frames))
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    if is_blocked:
        with pytest.raises(Blocked) as caught:
            clean(image, tmp_path, syntax=JPEGBaseline8Bit)
        assert caught.value.code == "pixel_text"
    else:
        assert clean(image, tmp_path, syntax=JPEGBaseline8Bit)[0].PixelData == image.PixelData


@pytest.mark.parametrize(("keyword", "vr", "value"), [
    ("BitsStored", "LO", b"DOE^JANE"), ("KVP", "DS", b"DOE^JANE"), ("SeriesNumber", "IS", b"DOE^JANE"), ("Manufacturer", "SQ", [Dataset()]),
    ("ReferencedImageSequence", "LO", b"DOE^JANE"), ("PixelSpacing", "UN", b"DOE^JANE"), ("ImagePositionPatient", "UT", b"DOE^JANE"),
    ("SOPClassesInStudy", "UI", b"1.DOE^JANE"), ("PatientSize", "DS", b"DOE^JANE"), ("PatientAge", "AS", b"DOE^"),
    ("StudyTime", "TM", b"DOE^JANE"), ("StudyDate", "DA", b"DOE^JANE"),
])  # fmt: skip
def test_no_text_hides_in_a_number(tmp_path: Path, keyword: str, vr: str, value: Any) -> None:
    """What stays has the VR of its tag and looks like it."""
    [image] = slices(1, PatientName="OTHER")
    tag = tag_for_keyword(keyword)
    image[tag] = (
        DataElement(tag, vr, value) if vr == "SQ" else RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True, True)
    )
    told, _ = clean(image, tmp_path)
    assert "DOE" not in str(told)
    assert keyword in ("StudyTime", "StudyDate") or keyword not in told


@pytest.mark.parametrize("cut", [1, 7, 100, 520, 600])
def test_what_ends_too_early_is_blocked(tmp_path: Path, cut: int) -> None:
    source = write(slices(1)[0], tmp_path / "in")
    source.write_bytes(source.read_bytes()[:-cut])
    with pytest.raises(Blocked):
        object_deidentify(source, tmp_path / "out", profile=DEFAULT, keys=KEYS)


def test_nesting_has_a_limit(tmp_path: Path) -> None:
    [image] = slices(1)
    inner = dataset(RelationshipType="CONTAINS")
    for _ in range(70):
        inner = dataset(ContentSequence=[inner])
    image.ContentSequence = [inner]
    with pytest.raises(Blocked) as caught:
        clean(image, tmp_path)
    assert caught.value.code == "unreadable"


def test_an_element_that_comes_twice_is_blocked(tmp_path: Path) -> None:
    source = write(slices(1)[0], tmp_path / "in")
    data = source.read_bytes()
    place = data.index(b"\x10\x00\x20\x00LO")
    source.write_bytes(data[:place] + data[place : place + 10] + data[place:])
    with pytest.raises(Blocked):
        object_deidentify(source, tmp_path / "out", profile=DEFAULT, keys=KEYS)
