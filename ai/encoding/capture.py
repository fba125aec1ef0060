"""A printed report for those who cannot show SR: Secondary Capture of its pages, Encapsulated PDF. Called with what ai/printing made."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from ai.encoding.edition import Edition, EncodingError
from ai.encoding.stamp import cut, evidence_of, stamp
from ai.findings import ReportContent

MAX_PAGES = 99
MAX_SIDE = 8_192
MAX_PDF = 64 << 20


def sc_encode(
    *, pages: Sequence[bytes], sources: Sequence[Dataset], content: ReportContent, edition: Edition
) -> list[Dataset]:
    """One RGB Secondary Capture a page, of PNG `pages`, in one series. Raises EncodingError without pages or for too many or large."""
    if not 0 < len(pages) <= MAX_PAGES:
        raise EncodingError("a capture has one to 99 pages")
    return [_page(page, place, sources, content, edition) for place, page in enumerate(pages)]


def pdf_encode(*, pdf: bytes, sources: Sequence[Dataset], content: ReportContent, edition: Edition, title: str = "") -> Dataset:
    """The PDF as an Encapsulated PDF object (PS3.3 A.45.1). Raises EncodingError for what is no PDF."""
    if not pdf.startswith(b"%PDF-") or len(pdf) > MAX_PDF:
        raise EncodingError("the document is no PDF or too large")
    dataset = _begun(str(EncapsulatedPDFStorage), "DOC", content)
    dataset.AcquisitionDateTime = ""
    dataset.DocumentTitle = cut(title or f"AI result: {content.algorithm.name}")
    dataset.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic imaging study")]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = _references(sources)
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + bytes(len(pdf) % 2)
    stamp(dataset, kind="PDF", source=sources[0], content=content, edition=edition)
    return dataset


def _page(page: bytes, place: int, sources: Sequence[Dataset], content: ReportContent, edition: Edition) -> Dataset:
    with Image.open(BytesIO(page), formats=("PNG",)) as picture:
        if max(picture.size) > MAX_SIDE:
            raise EncodingError("a page is too large")
        pixels = np.asarray(picture.convert("RGB"))
    dataset = _begun(str(SecondaryCaptureImageStorage), "OT", content)
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ImageComments = content.notice
    dataset.PatientOrientation = dataset.Laterality = ""
    dataset.SourceImageSequence = _references(sources)
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.LossyImageCompression = "00"
    content_bytes = pixels.tobytes()
    dataset.PixelData = content_bytes + bytes(len(content_bytes) % 2)
    dataset["PixelData"].VR = "OB"
    stamp(dataset, kind="SC", source=sources[0], content=content, edition=edition, place=place)
    return dataset


def _begun(sop_class_uid: str, modality: str, content: ReportContent) -> Dataset:
    """General Series and SC Equipment, and that words about the patient stand in the picture."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality, dataset.ConversionType = sop_class_uid, modality, "WSD"
    dataset.BurnedInAnnotation = "YES"
    dataset.ContentQualification = "PRODUCT" if not content.is_test_double else "RESEARCH"
    return dataset


def _references(sources: Sequence[Dataset]) -> list[Dataset]:
    items = []
    for source in evidence_of(sources):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        item.PurposeOfReferenceCodeSequence = [_code("121322", "DCM", "Source image for image processing operation")]
        items.append(item)
    return items


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
