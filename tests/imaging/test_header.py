"""The tag walker against pydicom on real files, and against what pydicom does not survive."""

import struct
import warnings
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import PersonName

from imaging.header import Header, HeaderError, NeedMore, header_read, part10_read, uid_is_valid
from imaging.part10 import file_meta_bytes
from tests.imaging.test_dimse_peers import SHARED, need, real_file

IMPLICIT, EXPLICIT, DEFLATED, BIG = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
)
KEYWORDS = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    "PatientComments", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName", "InstitutionName", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality",
    "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "ProtocolName", "SOPClassUID", "SOPInstanceUID",
    "InstanceNumber", "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "PixelSpacing", "ImagePositionPatient", "SliceThickness",
    "ImageOrientationPatient", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
    "FrameOfReferenceUID", "ImageType", "KVP",
)  # fmt: skip
TAGS = {keyword: tag_for_keyword(keyword) for keyword in KEYWORDS}
REAL = sorted(str(path.relative_to(SHARED)) for path in SHARED.glob("*/*.dcm")) or ["real/lung-ct-lctsc.dcm"]
NOT_PART10 = {"broken/no-meta.dcm", "broken/meta-no-tsyntax.dcm", "broken/deep-nesting.dcm"}


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    is_long = vr in (b"SQ", b"UN", b"OB", b"UT")
    return head + (struct.pack("<HI", 0, size) if is_long else struct.pack("<H", size)) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


UNDEFINED = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def read(data: bytes, syntax: str = EXPLICIT, wanted: set[int] | None = None, **options: bool) -> Header:
    tags = frozenset(wanted) if wanted is not None else None
    return header_read(memoryview(data), transfer_syntax_uid=syntax, wanted=tags, **options)


def ours(header: Header, tag: int, like: object) -> object:
    """The accessor that fits what pydicom has made of the value."""
    if isinstance(like, PersonName):
        return header.person_name(tag)
    if isinstance(like, pydicom.uid.UID):
        return header.uid(tag)
    if isinstance(like, (int, float)):
        return header.int(tag) if isinstance(like, int) else header.decimal(tag)
    if isinstance(like, (list, pydicom.multival.MultiValue)):
        return header.texts(tag) if like and isinstance(like[0], str) else header.decimals(tag)
    return header.text(tag)


def theirs(value: object) -> object:
    if isinstance(value, PersonName):
        return tuple(str(group).strip() for group in (value.alphabetic, value.ideographic, value.phonetic))
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return tuple(part if isinstance(part, str) else float(part) for part in value)
    return "" if value is None else value.strip() if isinstance(value, str) else value


class TestRealFiles:
    @pytest.mark.parametrize("name", [name for name in REAL if name not in NOT_PART10])
    @pytest.mark.parametrize("is_asking", [True, False], ids=["wanted tags", "all tags"])
    def test_read_as_pydicom_reads_them(self, name: str, is_asking: bool) -> None:
        """"Check against pydicom on every readable file: same values for ~40 usual tags"."""
        path = real_file(name)
        header = part10_read(path, wanted=frozenset(TAGS.values()) if is_asking else None).header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            differing = {}
            for keyword, tag in TAGS.items():
                try:
                    value = ds.get(keyword)
                except ValueError:  # bad-vr: '1A' is no number; ours must not raise
                    assert header.decimals(tag) == ()
                    continue
                if ours(header, tag, value) != theirs(value):
                    differing[keyword] = (ours(header, tag, value), theirs(value))
        assert differing == {}
        assert len([tag for tag in TAGS.values() if tag in header]) == len([key for key in KEYWORDS if key in ds])

    @pytest.mark.parametrize("name", ["broken/no-meta.dcm", "broken/meta-no-tsyntax.dcm"])
    def test_without_a_usable_meta_are_refused_with_a_reason(self, name: str) -> None:
        """MANIFEST: "REJECT", never a 500: HeaderError with a reason that can be shown."""
        with pytest.raises(HeaderError, match=r"DICM|transfer syntax"):
            part10_read(real_file(name))

    def test_nested_without_end_are_refused_without_recursion(self) -> None:
        """"deep-nesting: REJECT; worker stays alive" (pydicom: RecursionError; Orthanc: segmentation fault)."""
        path = real_file("broken/deep-nesting.dcm")
        with pytest.raises(HeaderError, match="deeper than 64"):
            part10_read(path)
        raw = path.read_bytes()
        with pytest.raises(HeaderError, match="deeper than 64"):
            read(raw[raw.index(b"\x08\x00\x16\x00UI") :], wanted={0x0020000D})

    def test_are_opened_without_reading_their_pixels(self, tmp_path: Path) -> None:
        """"64 KiB first, more when needed, never PixelData": a sparse gigabyte of pixels costs nothing."""
        meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=EXPLICIT)
        head = explicit(0x00080018, b"UI", b"1.3\0") + explicit(0x00091010, b"OB", bytes(300_000))
        head += explicit(0x00100020, b"LO", b"P1") + explicit(0x7FE00010, b"OB", b"", 1 << 30)
        path = tmp_path / "large.dcm"
        with open(path, "wb") as file:
            file.write(meta + head)
            file.truncate(1 << 30)
        found = part10_read(path)
        assert found.header.text(0x00100020) == "P1"
        assert found.header.pixel_data_offset == len(head) - 12
        with open(path, "rb") as file:
            assert part10_read(file.fileno(), wanted=frozenset({0x00080018})).header.uid(0x00080018) == "1.3"


class TestTheWalk:
    def test_passes_sequences_of_undefined_length_in_every_nesting(self) -> None:
        """PS3.5 7.5: undefined and defined lengths mixed, delimiters found, what follows is read."""
        deepest = item(explicit(0x00081155, b"UI", b"1.3\0"), UNDEFINED) + ITEM_END + SEQUENCE_END
        inner = explicit(0x00081150, b"UI", b"1.2\0") + explicit(0x00081199, b"SQ", deepest, UNDEFINED)
        data = explicit(0x00081140, b"SQ", item(inner, UNDEFINED) + ITEM_END + item(b"") + SEQUENCE_END, UNDEFINED)
        header = read(data + explicit(0x00100020, b"LO", b"P1"))
        assert header.text(0x00100020) == "P1"
        first, second = header.items(0x00081140)
        assert first.uid(0x00081150) == "1.2"
        assert first.items(0x00081199)[0].uid(0x00081155) == "1.3"
        assert dict(second.values) == {}

    def test_reads_un_of_undefined_length_as_implicit(self) -> None:
        """CP-246: UN of undefined length holds implicit little endian, also in an explicit data set."""
        # 16706 is "BA" in the two bytes where an explicit reader looks for a VR
        inner = struct.pack("<HHI", 0x0008, 0x1150, 4) + b"1.2\0"
        inner += struct.pack("<HHI", 0x0009, 0x1001, 16706) + bytes(16706)
        data = explicit(0x00091001, b"UN", item(inner, UNDEFINED) + ITEM_END + SEQUENCE_END, UNDEFINED)
        header = read(data + explicit(0x00100020, b"LO", b"P1"))
        assert header.text(0x00100020) == "P1"
        assert header.items(0x00091001)[0].uid(0x00081150) == "1.2"

    @pytest.mark.parametrize("depth", [64, 65])
    def test_nests_64_deep_and_no_deeper(self, depth: int) -> None:
        """"Nesting cap 64 (raise, also counting to the end of the given buffer)", behind the last wanted tag too."""
        opening = explicit(0x00081140, b"SQ", item(b"", UNDEFINED), UNDEFINED)
        data = explicit(0x00080018, b"UI", b"1.2\0") + opening * depth + (ITEM_END + SEQUENCE_END) * depth
        if depth <= 64:
            assert read(data, wanted={0x00080018}).uid(0x00080018) == "1.2"
        else:
            with pytest.raises(HeaderError, match="deeper than 64"):
                read(data, wanted={0x00080018})

    def test_refuses_tags_that_do_not_ascend(self) -> None:
        """"Tags must ascend": otherwise two readers of one object see two patients."""
        twice = explicit(0x00100020, b"LO", b"P1") + explicit(0x00100020, b"LO", b"P2")
        with pytest.raises(HeaderError, match="ascend"):
            read(twice)

    @pytest.mark.parametrize("cut", [1, 5, 9, 13])
    def test_asks_for_more_when_a_wanted_value_is_not_all_there(self, cut: int) -> None:
        """"Length running beyond the buffer -> NeedMore", with the number of bytes that would help."""
        data = explicit(0x00100020, b"LO", b"P1") + explicit(0x0020000D, b"UI", b"1.2.3.4.")
        with pytest.raises(NeedMore) as raised:
            read(data[:-cut], wanted={0x0020000D}, is_whole=False)
        assert raised.value.needed >= len(data) - 8
        assert read(data[:-cut], wanted={0x00100020}, is_whole=False).text(0x00100020) == "P1"

    def test_asks_for_more_when_the_buffer_ends_between_elements(self) -> None:
        """A head that happens to end with an element is still only a head."""
        data = explicit(0x00100020, b"LO", b"P1")
        with pytest.raises(NeedMore):
            read(data, wanted={0x0020000D}, is_whole=False)
        assert 0x0020000D not in read(data, wanted={0x0020000D})

    def test_stops_at_the_pixels_of_any_kind_but_behind_the_offset_tables(self) -> None:
        """"Stops at (7FE0,xxxx)": integer and float pixels; extended offset tables in front of them are values."""
        for pixels in (0x7FE00008, 0x7FE00010):
            data = explicit(0x7FE00001, b"OB", bytes(8)) + explicit(pixels, b"OB", b"", 1 << 30)
            header = read(data)
            assert header.pixel_data_offset == 20
            assert 0x7FE00001 in header

    def test_inflates_no_more_than_it_needs(self) -> None:
        """"A 408 kB deflated file costs pydicom 800 MiB": the bomb is refused at 4 MiB, or its head read cheaply."""
        head = explicit(0x00100020, b"LO", b"P1")
        packer = zlib.compressobj(9, wbits=-15)
        bomb = packer.compress(head + explicit(0x00101000, b"UT", b"", 400 << 20))
        bomb += b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
        assert len(bomb) < 500_000
        assert read(bomb, DEFLATED, wanted={0x00100020}).text(0x00100020) == "P1"
        with pytest.raises(HeaderError, match="4 MiB"):
            read(bomb, DEFLATED, wanted={0x0020000D})
        with pytest.raises(HeaderError, match="inflated"):
            read(b"\xff" * 100, DEFLATED)

    def test_never_raises_anything_else(self) -> None:
        """"Everything from outside is hostile": any bytes give a header or a HeaderError, in every encoding."""
        seed = explicit(0x00081140, b"SQ", item(explicit(0x00081150, b"UI", b"1.2\0")), UNDEFINED) + SEQUENCE_END
        seed += explicit(0x00100010, b"PN", b"A^B") + explicit(0x00280010, b"US", b"\0\2")
        for at in range(len(seed)):
            for byte in (0x00, 0x7F, 0xFE, 0xFF):
                broken = seed[:at] + bytes([byte]) + seed[at + 1 :]
                for syntax in (IMPLICIT, EXPLICIT, BIG, DEFLATED, "1.2.3.4.private"):
                    try:
                        header = read(broken, syntax)
                    except HeaderError:
                        continue
                    for tag in header.values:
                        for decoded in (header.text, header.ints, header.decimals, header.person_name, header.items):
                            assert decoded(tag) is not None


class TestText:
    def header(self, charset: bytes, name: bytes) -> Header:
        return read(explicit(0x00080005, b"CS", charset) + explicit(0x00100010, b"PN", name))

    @pytest.mark.parametrize(
        ("charset", "name"),
        [
            (b"ISO_IR 192", b"M\xfcller"),
            (b"ISO 2022 IR 87", b"\x1b$B\xff\xff\x1b(B"),
            (b"KLINGON", b"M\xfcller"),
            (b"unicode_escape", b"M\xfcller"),
            (b"", b"M\xfcller"),
            (b"ISO_IR 192", b"A\0B"),
        ],
        ids=["not UTF-8", "not JIS", "unknown term", "a codec that is no character set", "none declared", "NUL inside"],
    )
    def test_outside_its_character_set_is_flagged_and_never_raises(self, charset: bytes, name: bytes) -> None:
        """"Undecodable text never raises (replacement + `is_undecodable` flag)", and holds no NUL for PostgreSQL."""
        header = self.header(charset, name)
        assert not header.is_undecodable
        text = header.person_name(0x00100010)[0]
        assert header.is_undecodable
        assert "\0" not in text

    @pytest.mark.parametrize(
        ("charset", "name", "expected"),
        [
            (b"ISO_IR 100", b"M\xfcller^J\xfcrgen", ("Müller^Jürgen", "", "")),
            (b"ISO_IR 192", "Müller=穆勒".encode(), ("Müller", "穆勒", "")),
            (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"Dvo\x1b-L\xb8\xd2", ("DvoИв", "", "")),
            (b"GB18030", b"A=\xcd\x5c^\xd0\xa1", ("A", b"\xcd\x5c^\xd0\xa1".decode("gb18030"), "")),
        ],
        ids=["latin 1", "utf 8", "two sets with escapes", "a backslash byte inside a character"],
    )
    def test_inside_its_character_set_is_exact(self, charset: bytes, name: bytes, expected: tuple[str, ...]) -> None:
        """"Nobody is good at charsets": all declared sets are used, and bytes are decoded before they are cut."""
        header = self.header(charset, name)
        assert header.person_name(0x00100010) == expected
        assert not header.is_undecodable

    def test_that_is_no_number_is_none(self) -> None:
        """"DS like '1A' must not raise", nor NaN, nor Python's own number spellings."""
        for value in (b"1A", b"nan", b"inf", b"1_0", b"0x10", b"", b"1e9999", b"--1"):
            header = read(explicit(0x00200013, b"IS", value) + explicit(0x00281052, b"DS", value))
            assert (header.int(0x00200013), header.decimal(0x00281052)) == (None, None)
        header = read(explicit(0x00281052, b"DS", b" -1.5e2 ") + explicit(0x00281053, b"DS", b"1\\A\\.5"))
        assert (header.decimal(0x00281052), header.decimals(0x00281053)) == (-150.0, (1.0, 0.5))


@pytest.mark.parametrize(
    ("uid", "is_valid"),
    [
        ("1.2.840.10008.1.2", True), ("1.02.003", True), ("1" * 64, True), ("1", True),
        ("", False), ("1" * 65, False), (".1.2", False), ("1.2.", False), ("1..2", False), ("1.2/../3", False),
        ("1.2\n", False), ("1.2 ", False), ("1.2.a", False), ("１.２", False), ("1.2\0", False),
    ],
)
def test_a_uid_is_digits_and_dots(uid: str, is_valid: bool) -> None:
    """"UIDs checked [0-9.]{1,64}, no path characters"; leading zeros are tolerated because devices send them."""
    assert uid_is_valid(uid) is is_valid


def test_the_real_files_are_there() -> None:
    """One named skip, or a failure where the files are promised: a green run has compared them."""
    need(len(REAL) > 50, "the real files of shared/dicom")
    with pytest.raises(InvalidDicomError):
        pydicom.dcmread(real_file("broken/no-meta.dcm"))
