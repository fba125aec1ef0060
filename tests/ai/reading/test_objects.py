"""DICOM answers: third parties' objects are read; whatever is cut, foreign, contradictory or no DICOM at all ends as a PlatformError."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ai.contract import PlatformError
from ai.encoding.sr import sr_encode
from ai.encoding.stamp import bytes_of
from ai.findings import Answer, Note
from ai.reading import part10, said, tree
from ai.reading.objects import objects_read
from ai.reading.part10 import header_read
from tests.ai.encoding.cases import ALGORITHM, EDITION, NODULE, content_of, sources_make
from tests.dicom_files import shared_file

SOURCES = sources_make()
CONTENT = content_of(SOURCES)


def sr_bytes(change: Callable[[Dataset], None] | None = None) -> bytes:
    content = bytes_of(sr_encode(content=CONTENT, sources=SOURCES, edition=EDITION))
    if change is None:
        return content
    ds = dcmread(io.BytesIO(content))
    change(ds)
    return bytes_of(ds)


SR = sr_bytes()


def read(folder: Path, *contents: bytes) -> Answer:
    paths = []
    for place, content in enumerate(contents):
        paths.append(folder / f"{place}.dcm")
        paths[-1].write_bytes(content)
    return objects_read(paths, algorithm=ALGORITHM)


def refused(folder: Path, *contents: bytes) -> str:
    with pytest.raises(PlatformError) as caught:
        read(folder, *contents)
    assert caught.value.is_permanent
    words = caught.value.user_message
    assert "DOE" not in words
    assert "2.25" not in words
    return words


def items(ds: Dataset, value_type: str) -> list[Dataset]:
    """Content items of one value type, at any depth."""
    found = []
    for child in ds.get("ContentSequence") or ():
        found += ([child] if child.ValueType == value_type else []) + items(child, value_type)
    return found


class TestThirdParties:
    """ "Results into one typed model, from SR TID 1500, SEG, SC, encapsulated PDF, GSPS"."""

    def test_a_report_that_dcmqi_wrote(self) -> None:
        answer = objects_read([shared_file("objects/sr-tid1500.dcm")], algorithm=ALGORITHM)
        assert len(answer.measurements) == 22
        first = answer.measurements[0]
        assert (first.code.display, first.value, first.unit) == ("SUVbw", 6.01529, "{SUVbw}g/ml")
        assert first.method == "SUV body weight calculation method, Mean"
        # Its SNOMED RT identifiers (T-C5300, M-80003) come out as SNOMED CT.
        assert first.body_site is not None
        assert (first.body_site.system, first.body_site.code) == ("http://snomed.info/sct", "55940004")
        (finding,) = answer.findings
        assert finding.value is not None
        assert (finding.value.code, finding.value.display) == ("86049000", "Neoplasm, Primary")
        assert finding.tracking_uid == first.tracking_uid != ""
        assert len(answer.sop_uids) == 191
        assert [document.kind for document in answer.documents] == ["SR"]

    def test_with_its_segmentation(self) -> None:
        paths = [shared_file("objects/sr-tid1500.dcm"), shared_file("objects/seg-for-sr.dcm")]
        answer = objects_read(paths, algorithm=ALGORITHM)
        (region,) = answer.regions
        assert (region.segment_number, region.type.code, region.body_site and region.body_site.code) == (1, "86049000", "55940004")
        assert [document.kind for document in answer.documents] == ["SR", "SEG"]
        assert region.sop_uid == answer.documents[1].sop_uid
        assert region.sop_uid not in answer.sop_uids

    @pytest.mark.parametrize(
        ("name", "kind", "regions"),
        [("seg-overlap", "SEG", 2), ("seg-labelmap", "SEG", 20), ("gsps", "GSPS", 0), ("pdf", "PDF", 0), ("parametric-float", "PMAP", 0)],
    )
    def test_other_objects_are_kept_and_their_segments_read(self, name: str, kind: str, regions: int) -> None:
        answer = objects_read([shared_file(f"objects/{name}.dcm")], algorithm=ALGORITHM)
        assert [document.kind for document in answer.documents] == [kind]
        assert len(answer.regions) == regions
        assert (answer.measurements, answer.findings) == ((), ())

    def test_another_algorithms_name_is_noted(self) -> None:
        answer = objects_read([shared_file("objects/seg-overlap.dcm")], algorithm=ALGORITHM)
        assert answer.algorithm.name == ALGORITHM.name
        assert [note.code for note in answer.notes] == ["algorithm_name"]


class TestWhatIsNotUnderstood:
    """ "taking nothing it does not understand and noting it"."""

    def test_another_template(self, tmp_path: Path) -> None:
        def change(ds: Dataset) -> None:
            ds.ConceptNameCodeSequence[0].CodeValue, ds.ConceptNameCodeSequence[0].CodeMeaning = "113701", "X-Ray Radiation Dose Report"

        answer = read(tmp_path, sr_bytes(change))
        assert (answer.measurements, answer.findings, answer.not_analysable) == ((), (), None)
        assert [note.code for note in answer.notes] == ["template"]
        assert "X-Ray Radiation Dose Report" in answer.notes[0].text

    def test_a_modifier_can_turn_a_statement_round(self, tmp_path: Path) -> None:
        """A finding under an unknown HAS CONCEPT MOD is not taken: it may say "no evidence of"."""

        def change(ds: Dataset) -> None:
            modifier = Dataset()
            modifier.RelationshipType, modifier.ValueType = "HAS CONCEPT MOD", "CODE"
            modifier.ConceptNameCodeSequence, modifier.ConceptCodeSequence = [code("1", "Context")], [code("2", "Known absent")]
            for item in items(ds, "CODE"):
                if item.ConceptCodeSequence[0].get("CodeValue") == NODULE.code:
                    item.ContentSequence = [modifier]

        answer = read(tmp_path, sr_bytes(change))
        assert NODULE not in [finding.value for finding in answer.findings]
        assert "modifier" in [note.code for note in answer.notes]

    def test_a_unit_that_is_not_ucum(self, tmp_path: Path) -> None:
        def change(ds: Dataset) -> None:
            (unit,) = items(ds, "NUM")[1].MeasuredValueSequence[0].MeasurementUnitsCodeSequence
            unit.CodeValue, unit.CodeMeaning = "furlong", "furlong"

        answer = read(tmp_path, sr_bytes(change))
        assert len(answer.measurements) == 2
        assert "unit" in [note.code for note in answer.notes]

    def test_a_number_that_was_not_measured(self, tmp_path: Path) -> None:
        def change(ds: Dataset) -> None:
            items(ds, "NUM")[1].MeasuredValueSequence = []

        answer = read(tmp_path, sr_bytes(change))
        assert len(answer.measurements) == 2
        assert "no_value" in [note.code for note in answer.notes]


    def test_a_region_whose_image_is_not_said_in_place(self, tmp_path: Path) -> None:
        """By-reference items are legal: the finding stands, its place is noted as not shown."""

        def change(ds: Dataset) -> None:
            for item in items(ds, "SCOORD"):
                del item.ContentSequence[0].ReferencedSOPSequence
                item.ContentSequence[0].ReferencedContentItemIdentifier = [1, 2, 3]

        answer = read(tmp_path, sr_bytes(change))
        assert len(answer.findings) == len(CONTENT.findings)
        assert not [outline for finding in answer.findings for outline in finding.outlines]
        assert "region" in [note.code for note in answer.notes]

    def test_who_made_it_is_no_modifier(self, tmp_path: Path) -> None:
        """TID 4019 below a number or a group changes nothing of what it says."""

        def change(ds: Dataset) -> None:
            parameter = Dataset()
            parameter.RelationshipType, parameter.ValueType, parameter.TextValue = "HAS CONCEPT MOD", "TEXT", "threshold=0.5"
            parameter.ConceptNameCodeSequence = [code("111002", "Algorithm Parameters", "DCM")]
            for item in (*items(ds, "NUM"), *items(ds, "CONTAINER")):
                item.ContentSequence = [*item.get("ContentSequence", []), parameter]

        answer = read(tmp_path, sr_bytes(change))
        assert (len(answer.measurements), len(answer.findings)) == (3, len(CONTENT.findings))


class TestHostile:
    """ "sends a truncated SR, sends HTML": words, never another exception, never a finding."""

    def test_html(self, tmp_path: Path) -> None:
        assert refused(tmp_path, b"<!doctype html><title>502 Bad Gateway</title>" * 20) == "a part of the answer is no DICOM object"
        assert refused(tmp_path, b"") == "a part of the answer is no DICOM object"
        assert refused(tmp_path, bytes(128) + b"DICM") == "an object of the answer cannot be read as DICOM"

    def test_cut_anywhere(self, tmp_path: Path) -> None:
        """pydicom alone takes what a cut object still holds for all of it."""
        for length in [*range(0, len(SR), 97), *range(len(SR) - 40, len(SR))]:
            refused(tmp_path, SR[:length])
        assert len(read(tmp_path, SR).measurements) == 3

    def test_cut_in_defined_lengths_and_in_implicit(self, tmp_path: Path) -> None:
        for name in ("sr-tid1500", "seg-for-sr", "seg-overlap"):
            whole = shared_file(f"objects/{name}.dcm").read_bytes()
            for share in (0.3, 0.6, 0.9, 0.999):
                refused(tmp_path, whole[: int(len(whole) * share)])

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
    def test_numbers_that_are_none(self, tmp_path: Path, value: str) -> None:
        def change(ds: Dataset) -> None:
            (measured,) = items(ds, "NUM")[1].MeasuredValueSequence
            measured.pop("FloatingPointValue", None)
            measured.add(DataElement("FloatingPointValue", "FD", float(value)))

        assert "no number" in refused(tmp_path, sr_bytes(change))

    def test_a_number_that_says_two_things(self, tmp_path: Path) -> None:
        def change(ds: Dataset) -> None:
            items(ds, "NUM")[1].MeasuredValueSequence[0].FloatingPointValue = 53.7

        assert "twice" in refused(tmp_path, sr_bytes(change))

    def test_both_something_and_nothing(self, tmp_path: Path) -> None:
        reason = Note(code="spacing", text="slices too far apart")
        ds = sr_encode(content=content_of(SOURCES, not_analysable=reason), sources=SOURCES, edition=EDITION)
        assert "both something and nothing" in refused(tmp_path, bytes_of(ds))

    def test_several_studies_and_one_object_twice(self, tmp_path: Path) -> None:
        others = sources_make()
        other = sr_encode(content=content_of(others), sources=others, edition=EDITION)
        assert "several studies" in refused(tmp_path, SR, bytes_of(other))
        assert "same instance" in refused(tmp_path, SR, SR)
        with pytest.raises(PlatformError, match="no objects"):
            objects_read([], algorithm=ALGORITHM)

    def test_an_image_beside_the_evidence_is_named_to_the_gate(self, tmp_path: Path) -> None:
        """A finding that points at an image which the evidence hides is still seen to point there."""

        def change(ds: Dataset) -> None:
            items(ds, "IMAGE")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"

        assert "1.2.3.4" in read(tmp_path, sr_bytes(change)).sop_uids

    def test_a_text_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is not pixels is measured before it comes into memory."""
        monkeypatch.setattr(part10, "MAX_HEADER", 1_000)
        assert "too large" in refused(tmp_path, SR)

    def test_limits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(said, "MAX_SAID", 2)
        assert "more than an answer may" in refused(tmp_path, SR)
        monkeypatch.setattr(tree, "MAX_ITEMS", 10)
        assert "too deep or too long" in refused(tmp_path, SR)

    def test_deep_trees(self, tmp_path: Path) -> None:
        refused(tmp_path, shared_file("broken/deep-nesting.dcm").read_bytes())

        def change(ds: Dataset) -> None:
            item = ds
            for _ in range(25):
                child = Dataset()
                child.RelationshipType, child.ValueType = "CONTAINS", "CONTAINER"
                item.ContentSequence = [*item.get("ContentSequence", []), child]
                item = child

        assert "too deep" in refused(tmp_path, sr_bytes(change))

    def test_a_deflate_bomb(self, tmp_path: Path) -> None:
        meta_length = struct.unpack_from("<I", SR, 140)[0]
        head, body = SR[: 144 + meta_length], SR[144 + meta_length :]
        head = head.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
        head = head[:140] + struct.pack("<I", meta_length + 2) + head[144:]
        at = head.index(b"1.2.840.10008.1.2.1.99") - 2
        head = head[:at] + struct.pack("<H", 22) + head[at + 2 :]

        def deflated(content: bytes) -> bytes:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
            return head + deflater.compress(content) + deflater.flush()

        assert len(read(tmp_path, deflated(body)).measurements) == 3
        bomb = body + struct.pack("<HH2sHI", 0x7FE1, 0x0010, b"OB", 0, 128 << 20) + bytes(128 << 20)
        assert "too large" in refused(tmp_path, deflated(bomb))

    @pytest.mark.parametrize("name", ["bad-vr", "mr-truncated", "no-meta", "meta-no-tsyntax", "dicomdir", "oob-65535", "wsi-no-study-uid"])
    def test_broken_files_of_others(self, name: str) -> None:
        """A document or a refusal, never anything else."""
        try:
            answer = objects_read([shared_file(f"broken/{name}.dcm")], algorithm=ALGORITHM)
        except PlatformError as error:
            assert error.is_permanent  # noqa: PT017
        else:
            assert (answer.measurements, answer.findings, answer.regions) == ((), (), ())

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(places=st.lists(st.tuples(st.integers(0, len(SR) - 1), st.integers(0, 255)), min_size=1, max_size=6))
    def test_bytes_turned_over(self, tmp_path: Path, places: list[tuple[int, int]]) -> None:
        spoilt = bytearray(SR)
        for at, value in places:
            spoilt[at] = value
        try:
            read(tmp_path, bytes(spoilt))
        except PlatformError as error:
            assert error.is_permanent  # noqa: PT017


def code(value: str, meaning: str, scheme: str = "99TEST") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


class TestPresentationStates:
    """ "gsps.py (graphic annotations -> Outline findings words)"."""

    def state(self, **changes: Any) -> bytes:
        ds = dcmread(shared_file("objects/gsps.dcm"))
        reference, shape, text, item = Dataset(), Dataset(), Dataset(), Dataset()
        series = ds.ReferencedSeriesSequence[0]
        reference.ReferencedSOPClassUID = series.ReferencedImageSequence[0].ReferencedSOPClassUID
        reference.ReferencedSOPInstanceUID = series.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        shape.GraphicAnnotationUnits, shape.GraphicDimensions, shape.NumberOfGraphicPoints = "PIXEL", 2, 2
        shape.GraphicData, shape.GraphicType, shape.GraphicFilled = [10, 20, 10, 25], "CIRCLE", "N"
        for name, value in changes.items():
            setattr(shape, name, value)
        text.UnformattedTextValue = "Nodule <b>6 mm</b>"
        item.ReferencedImageSequence, item.GraphicLayer = [reference], "AI"
        item.GraphicObjectSequence, item.TextObjectSequence = [shape], [text]
        ds.GraphicAnnotationSequence, ds.SOPInstanceUID = [item], generate_uid()
        target = io.BytesIO()
        ds.save_as(target)
        return target.getvalue()

    def test_a_ring_with_words(self, tmp_path: Path) -> None:
        answer = read(tmp_path, self.state())
        (finding,) = answer.findings
        assert (finding.words, finding.value) == ("Nodule <b>6 mm</b>", None)
        (outline,) = finding.outlines
        assert (outline.graphic, outline.points) == ("CIRCLE", ((10.0, 20.0), (10.0, 25.0)))
        assert outline.image == finding.images[0]
        assert answer.sop_uids == (outline.image.sop_uid,)

    def test_what_is_drawn_on_the_glass_is_no_place(self, tmp_path: Path) -> None:
        answer = read(tmp_path, self.state(GraphicAnnotationUnits="DISPLAY"))
        assert answer.findings[0].outlines == ()
        assert [note.code for note in answer.notes] == ["graphic"]

    def test_points_that_are_none(self, tmp_path: Path) -> None:
        assert "no shape" in refused(tmp_path, self.state(GraphicData=[1.0, float("nan"), 2.0, 3.0]))


def test_pixels_stay_in_the_file() -> None:
    header = header_read(shared_file("objects/seg-for-sr.dcm"))
    assert "PixelData" not in header
