"""A person's data planted anywhere: nothing of it is left outside the pixels."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ai.deident.blocks import Blocked
from ai.deident.engine import object_deidentify
from ai.deident.profile import DEFAULT, Profile
from ai.deident.rules import CLASS_UIDS, CODE_TEXT, table
from tests.ai.deident.objects import KEYS, slices, write

TOKEN = "QZXPLANTEDQZX"  # noqa: S105 a name, as it were
DIGITS = "19610407"
FREE = ("LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "CS", "UR")


def _named() -> list[int]:
    """Tags of the table whose content no profile below may let through."""
    profile = DEFAULT.options
    return [
        int(name, 16)
        for name, actions in table().items()
        if name != "private" and "x" not in name and name[:4] not in ("0000", "0002", "fffa", "fffc")
        and name not in ("00420011",) and not any(actions.get(option) == "K" for option in profile)
    ]  # fmt: skip


def _free() -> list[int]:
    """Free text that the table doesn't name."""
    named = {int(name, 16) for name in table() if name != "private" and "x" not in name}
    return [
        tag for tag, (vr, *_) in DicomDictionary.items()
        if vr in ("ST", "LT", "UT", "PN", "UR", "AE") and tag not in named and tag not in CODE_TEXT and tag >> 16 > 8
    ]  # fmt: skip


TAGS = st.sampled_from(sorted(_named() + _free()))


def _value(tag: int) -> DataElement | None:
    """The token in the tag's VR; dates and numbers can't hold it and get it as text of a wrong VR elsewhere."""
    vr = DicomDictionary[tag][0].split(" ")[0]
    if vr == "SQ":
        inner = Dataset()
        inner.PatientName, inner.PatientComments = TOKEN, TOKEN
        inner.add_new(0x00091001, "LO", TOKEN)
        return DataElement(tag, "SQ", Sequence([inner]))
    if vr in FREE:
        return DataElement(tag, vr, TOKEN, validation_mode=0)
    if vr in ("OB", "UN", "OW"):
        return DataElement(tag, vr, TOKEN.encode() + b"\0")
    if vr in ("DA", "DT", "TM", "UI", "AS", "IS", "DS"):
        return DataElement(tag, "LO", TOKEN, validation_mode=0)  # hides in another VR
    return None


@st.composite
def planted(draw: st.DrawFn, depth: int = 0) -> Dataset:
    """Elements with the token, some inside sequences that stay, some private, some in tags that nobody knows."""
    ds = Dataset()
    for tag in draw(st.lists(TAGS, min_size=1, max_size=12, unique=True)):
        element = _value(tag)
        if element is not None:
            ds[tag] = element
    for group in draw(st.lists(st.integers(0x0009, 0x7FDF).filter(lambda g: g & 1 and g > 8), max_size=3, unique=True)):
        ds.add_new(group << 16 | 0x0010, "LO", draw(st.sampled_from((TOKEN, "SIEMENS MR HEADER", "GEMS_PARM_01"))))
        for element in draw(st.lists(st.integers(0, 0xFF), max_size=3, unique=True)):
            vr = draw(st.sampled_from(("LO", "UN", "OB", "PN", "UT")))
            ds.add_new(group << 16 | 0x1000 | element, vr, TOKEN if vr in ("LO", "PN", "UT") else TOKEN.encode() + b"\0")
    for tag in draw(st.lists(st.sampled_from((0x00089999, 0x00185555, 0x50023000, 0x60023000, 0x60224000)), max_size=2, unique=True)):
        ds.add_new(tag, draw(st.sampled_from(("LO", "OB"))), TOKEN.encode() + b"\0")
    if depth < 3 and draw(st.booleans()):
        keyword = draw(st.sampled_from(("ContentSequence", "ReferencedImageSequence", "SharedFunctionalGroupsSequence")))
        setattr(ds, keyword, [draw(planted(depth + 1)) for _ in range(draw(st.integers(1, 2)))])
    return ds


def _sent(ds: Dataset, **options: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = write(ds, Path(folder) / "in", **options), Path(folder) / "out"
        for profile in (DEFAULT, Profile()):
            object_deidentify(source, target, profile=profile, keys=KEYS)
            data = target.read_bytes()
            assert TOKEN.encode() not in data
        return data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(planted(), st.sampled_from((ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)))
def test_nothing_planted_is_left(extra: Dataset, syntax) -> None:
    [image] = slices(1)
    for element in extra:
        if element.tag not in (0x00080018, 0x0020000D, 0x0020000E, 0x00080016):
            image[element.tag] = element
    _sent(image, syntax=syntax)


def test_every_tag_of_the_table_is_planted_once() -> None:
    """No luck needed: all of them, at the top and in a sequence that stays."""
    [image] = slices(1)
    inner = Dataset()
    count = 0
    for tag in sorted(_named() + _free()):
        element = _value(tag)
        if element is None or tag in (0x00080018, 0x0020000D, 0x0020000E, 0x00420011):
            continue
        image[tag], inner[tag] = element, element
        count += 1
    image.SharedFunctionalGroupsSequence = [inner]
    assert count > 550
    _sent(image)


def test_every_date_of_the_table_moves() -> None:
    """A birth date planted in all dates: none of them says it any more."""
    [image] = slices(1, PatientBirthDate=DIGITS)
    for name in table():
        if name != "private" and "x" not in name and int(name, 16) in DicomDictionary:
            vr = DicomDictionary[int(name, 16)][0]
            if vr in ("DA", "DT"):
                image.add_new(int(name, 16), vr, DIGITS)
    image.SharedFunctionalGroupsSequence = [Dataset()]
    image.SharedFunctionalGroupsSequence[0].FrameAcquisitionDateTime = DIGITS + "101500"
    with tempfile.TemporaryDirectory() as folder:
        source, target = write(image, Path(folder) / "in"), Path(folder) / "out"
        assert source.read_bytes().count(DIGITS.encode()) > 100
        object_deidentify(source, target, profile=DEFAULT, keys=KEYS)
        assert DIGITS.encode() not in target.read_bytes()


def test_every_uid_is_mapped_or_standard() -> None:
    """A UID planted in all UI attributes that the dictionary has, but for classes and registries."""
    [image] = slices(1)
    planted_uid = "1.2.826.0.1.3680043.8.498.47114711"
    for tag, (vr, *_) in DicomDictionary.items():
        if vr == "UI" and tag >> 16 > 4 and tag not in CLASS_UIDS:
            image.add_new(tag, "UI", planted_uid)
    with tempfile.TemporaryDirectory() as folder:
        source, target = write(image, Path(folder) / "in"), Path(folder) / "out"
        object_deidentify(source, target, profile=Profile(), keys=KEYS)
        assert planted_uid.encode() not in target.read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 4000))
def test_hostile_bytes_end_in_words(noise: bytes, place: int) -> None:
    """Whatever the bytes are: sent without the person, or blocked with a reason."""
    [image] = slices(1, PatientComments=TOKEN, SharedFunctionalGroupsSequence=[Dataset()])
    with tempfile.TemporaryDirectory() as folder:
        source, target = write(image, Path(folder) / "in"), Path(folder) / "out"
        data = bytearray(source.read_bytes())
        place %= len(data)
        data[place : place + len(noise)] = noise
        source.write_bytes(data)
        try:
            object_deidentify(source, target, profile=DEFAULT, keys=KEYS)
        except Blocked:
            assert not target.exists()
        else:
            assert dcmread(target).PatientIdentityRemoved == "YES"
