"""SEG, SC and encapsulated PDF: judged by dciodvfy, read again by highdicom and by our own readers, the same bytes each time."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from ai.encoding.capture import pdf_encode, sc_encode
from ai.encoding.edition import EncodingError
from ai.encoding.seg import Segment, regions_of, seg_encode
from ai.encoding.sr import sr_encode
from ai.encoding.stamp import bytes_of
from ai.findings import NOTICE, Algorithm, Coding
from ai.printing.pdf import report_pages_png, report_pdf
from ai.printing.sheet import Head, report_sheet
from ai.reading.schemes import SCT
from tests.ai.encoding.cases import (
    ALGORITHM,
    EDITION,
    LUNG,
    NODULE,
    content_of,
    judged,
    phantom_make,
    reread,
    sources_make,
)
from tests.dicom_files import shared_file, shared_series

TISSUE = Coding(system=SCT, code="85756007", display="Tissue")
ABNORMAL = Coding(system=SCT, code="49755003", display="Morphologically Abnormal Structure")
SEGMENTS = (
    Segment(label="Lung", category=TISSUE, type=LUNG, body_site=LUNG),
    Segment(label="Nodule", category=ABNORMAL, type=NODULE, tracking_uid="2.25.99"),
)
SOURCES = sources_make()


def mask_make(sources: list[Dataset]) -> Any:
    mask = np.zeros((len(sources), sources[0].Rows, sources[0].Columns), np.uint8)
    mask[1:5, 4:12, 2:7] = 1
    mask[2, 5:8, 9:12] = 2
    return mask


def seg_of(sources: list[Dataset], **content: Any) -> Dataset:
    said = content_of(sources, **content)
    return seg_encode(mask=mask_make(sources), segments=SEGMENTS, sources=sources, content=said, edition=EDITION)


class TestSegmentations:
    """ "SEG where there is a mask"."""

    def test_dciodvfy_has_nothing_to_say(self) -> None:
        judged(seg_of(SOURCES))

    def test_over_a_phantom_and_a_real_series(self, tmp_path: Path) -> None:
        phantom = [dcmread(path, stop_before_pixels=True) for path in phantom_make(tmp_path)]
        judged(seg_of(phantom))
        real = sorted(shared_series("head-ct-ge"), key=lambda one: float(one.ImagePositionPatient[2]))[:6]
        ds = seg_of(real)
        judged(ds)
        assert ds.FrameOfReferenceUID == real[0].FrameOfReferenceUID

    def test_highdicom_reads_the_same_mask(self, tmp_path: Path) -> None:
        (tmp_path / "seg.dcm").write_bytes(bytes_of(seg_of(SOURCES)))
        found = hd.seg.segread(tmp_path / "seg.dcm")
        uids = [str(source.SOPInstanceUID) for source in SOURCES]
        again = found.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
        assert np.array_equal(again, mask_make(SOURCES))
        assert found.segmentation_type is hd.seg.SegmentationTypeValues.BINARY
        (series,) = found.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == SOURCES[0].SeriesInstanceUID

    def test_our_reader_finds_the_segments(self) -> None:
        answer = reread(seg_of(SOURCES))
        assert answer.regions == regions_of(segments=SEGMENTS, edition=EDITION)
        assert (answer.algorithm, answer.notes) == (replace(ALGORITHM, udi=ALGORITHM.udi), ())
        assert answer.series_uid == SOURCES[0].SeriesInstanceUID
        assert set(answer.sop_uids) <= {str(source.SOPInstanceUID) for source in SOURCES}

    def test_the_report_points_at_its_mask(self) -> None:
        """SR and SEG of one report: the SR refers to the segments, and nothing is told twice."""
        seg = seg_of(SOURCES)
        content = content_of(SOURCES, regions=regions_of(segments=SEGMENTS, edition=EDITION))
        sr = sr_encode(content=content, sources=SOURCES, edition=EDITION, segmentations=[seg])
        judged(sr)
        answer = reread(sr, seg)
        assert answer.regions == content.regions
        assert len(answer.findings) == len(content.findings)
        assert [document.kind for document in answer.documents] == ["SR", "SEG"]
        assert answer.sop_uids == content.sop_uids

    def test_the_same_bytes(self) -> None:
        assert bytes_of(seg_of(SOURCES)) == bytes_of(seg_of(SOURCES))

    @pytest.mark.parametrize("change", ["size", "label", "empty", "series", "place"])
    def test_what_does_not_fit(self, change: str) -> None:
        mask, sources = mask_make(SOURCES), SOURCES
        if change == "size":
            mask = mask[1:]
        elif change == "label":
            mask[0, 0, 0] = 3
        elif change == "empty":
            mask[:] = 0
        elif change == "series":
            sources = [*SOURCES[:5], sources_make()[0]]
        else:
            sources = sources_make()
            del sources[0].ImagePositionPatient
        with pytest.raises(EncodingError):
            seg_encode(mask=mask, segments=SEGMENTS, sources=sources, content=content_of(SOURCES), edition=EDITION)


HEAD = Head(
    hospital="Mercy", patient_name="DOE^JANE", patient_id="P1", birth_date="", sex="", accession_number="", study_date="",
    study_description="", status="preliminary", version=2, issued_at=datetime(2026, 3, 1, tzinfo=UTC),
)  # fmt: skip
CONTENT = content_of(SOURCES)
SHEET = report_sheet(content=CONTENT, head=HEAD)


class TestCaptures:
    """ "SC and tagged PDF for those who cannot show SR"."""

    def captures(self, **content: Any) -> list[Dataset]:
        said = content_of(SOURCES, **content)
        pages = report_pages_png(report_sheet(content=said, head=HEAD))
        return sc_encode(pages=pages, sources=SOURCES, content=said, edition=EDITION)

    def test_every_page_is_an_image(self) -> None:
        pages = report_pages_png(report_sheet(content=content_of(SOURCES, findings=CONTENT.findings * 4), head=HEAD))
        found = sc_encode(pages=pages, sources=SOURCES, content=CONTENT, edition=EDITION)
        assert len(found) == len(pages) > 1
        assert len({ds.SOPInstanceUID for ds in found}) == len(found)
        assert {ds.SeriesInstanceUID for ds in found} == {EDITION.series_uid("SC")}
        assert [ds.InstanceNumber for ds in found] == [200, 201]
        for ds, page in zip(found, pages, strict=True):
            judged(ds)
            again = dcmread(io.BytesIO(bytes_of(ds))).pixel_array
            assert np.array_equal(again, np.asarray(Image.open(io.BytesIO(page)).convert("RGB")))
            assert ds.BurnedInAnnotation == "YES"
            assert ds.ImageComments == NOTICE

    def test_kept_as_a_document_by_our_reader(self) -> None:
        answer = reread(*self.captures())
        assert [document.kind for document in answer.documents] == ["SC"]
        assert answer.sop_uids == tuple(str(source.SOPInstanceUID) for source in SOURCES)
        assert (answer.findings, answer.measurements) == ((), ())

    def test_the_same_bytes(self) -> None:
        assert [bytes_of(ds) for ds in self.captures()] == [bytes_of(ds) for ds in self.captures()]

    def test_the_pdf_comes_out_as_it_went_in(self) -> None:
        pdf = report_pdf(SHEET)
        ds = pdf_encode(pdf=pdf, sources=SOURCES, content=CONTENT, edition=EDITION)
        judged(ds)
        again = dcmread(io.BytesIO(bytes_of(ds)))
        assert again.EncapsulatedDocument[: again.EncapsulatedDocumentLength] == pdf
        assert (again.DocumentTitle, again.Modality) == ("AI result: lung-density-mask", "DOC")
        assert [document.kind for document in reread(ds).documents] == ["PDF"]
        assert bytes_of(ds) == bytes_of(pdf_encode(pdf=pdf, sources=SOURCES, content=CONTENT, edition=EDITION))

    def test_of_a_real_slice(self) -> None:
        real = dcmread(shared_file("real/cxr-nih-1024.dcm"), stop_before_pixels=True)
        judged(pdf_encode(pdf=report_pdf(SHEET), sources=[real], content=content_of([real] * 6), edition=EDITION))

    def test_a_stand_in_never_bears_a_vendors_name(self) -> None:
        made_by = Algorithm(name="ich", version="1", manufacturer="Aidoc")
        for ds in (*self.captures(is_test_double=True, platform="Aidoc", algorithm=made_by),
                   seg_of(SOURCES, is_test_double=True, platform="Aidoc", algorithm=made_by)):  # fmt: skip
            assert b"Aidoc" not in bytes_of(ds)
            assert ds.Manufacturer == "MedHub Quantify (test double)"

    def test_what_is_none(self) -> None:
        with pytest.raises(EncodingError, match="no PDF"):
            pdf_encode(pdf=b"<html>", sources=SOURCES, content=CONTENT, edition=EDITION)
        with pytest.raises(EncodingError, match="pages"):
            sc_encode(pages=[], sources=SOURCES, content=CONTENT, edition=EDITION)
