"""A label volume as a binary Segmentation object, with the geometry of its source images. Called with masks that an algorithm made."""

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from ai.encoding.edition import Edition, EncodingError, uid_of
from ai.encoding.groups import concept
from ai.encoding.stamp import TYPE_2, cut, maker_of, stamp
from ai.findings import Coding, Region, ReportContent

# What highdicom asks of a source beside its UIDs; nothing of a patient.
GEOMETRY = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "Rows", "Columns", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "ImageType", "DimensionOrganizationSequence", "DimensionIndexSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionOrganizationType",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What one label of the volume is (PS3.3 C.8.20.4); its number is its place in the sequence, from 1."""

    label: str
    category: Coding
    type: Coding
    body_site: Coding | None = None
    tracking_uid: str = ""


def seg_encode(
    *, mask: NDArray[np.uint8], segments: Sequence[Segment], sources: Sequence[Dataset], content: ReportContent, edition: Edition
) -> Dataset:
    """The object. `mask` is (slices, rows, columns) of labels from 0 (none) to len(segments), slice by slice of `sources`.

    `sources`: headers of single-frame images of one series with position, orientation and pixel spacing. Empty slices are left
    out (DICOM wants at least one that is not). Raises EncodingError where shapes do not fit or nothing is marked.
    """
    _fits(mask, segments, sources)
    dataset: Dataset = hd.seg.Segmentation(
        source_images=[_geometry(source) for source in sources], pixel_array=mask, transfer_syntax_uid=ExplicitVRLittleEndian,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY, content_label="SEGMENTATION",
        segment_descriptions=[_described(number, one, content, edition) for number, one in enumerate(segments, 1)],
        series_instance_uid=edition.series_uid("SEG"), series_number=1, sop_instance_uid=edition.sop_uid("SEG"), instance_number=1,
        manufacturer="", manufacturer_model_name="", software_versions="", device_serial_number=_serial(content),
    )  # fmt: skip
    organization = uid_of(edition.report_uuid, edition.version, "DIMENSIONS")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    stamp(dataset, kind="SEG", source=sources[0], content=content, edition=edition)
    dataset.DeviceSerialNumber = _serial(content)
    dataset.ContentCreatorName = ""
    dataset.ContentDescription = cut(content.notice)
    return dataset


def regions_of(*, segments: Sequence[Segment], edition: Edition) -> tuple[Region, ...]:
    """The report's regions for the mask that `seg_encode` makes of these segments."""
    return tuple(
        Region(sop_uid=edition.sop_uid("SEG"), segment_number=number, label=one.label, category=one.category, type=one.type,
               body_site=one.body_site, tracking_uid=_tracking(number, one, edition))
        for number, one in enumerate(segments, 1)
    )  # fmt: skip


def _fits(mask: NDArray[np.uint8], segments: Sequence[Segment], sources: Sequence[Dataset]) -> None:
    places = {(one.StudyInstanceUID, one.SeriesInstanceUID, one.get("FrameOfReferenceUID"), one.Rows, one.Columns) for one in sources}
    if len(places) != 1:
        raise EncodingError("a mask is over images of one series, one size and one frame of reference")
    if any(keyword not in one for one in sources for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        raise EncodingError("a mask is over images that say where they lie")
    if mask.ndim != 3 or mask.shape != (len(sources), sources[0].Rows, sources[0].Columns):
        raise EncodingError("the mask has another size than its images")
    if not segments or not mask.any() or int(mask.max()) > len(segments):
        raise EncodingError("the mask is empty, or has labels that no segment explains")


def _geometry(source: Dataset) -> Dataset:
    bare = Dataset()
    for keyword in GEOMETRY:
        if keyword in source:
            bare.add(source[keyword])
    for keyword in TYPE_2:
        setattr(bare, keyword, "")
    return bare


def _described(number: int, one: Segment, content: ReportContent, edition: Edition) -> hd.seg.SegmentDescription:
    made_by = hd.AlgorithmIdentificationSequence(
        name=cut(content.algorithm.name), version=cut(content.algorithm.version), source=cut(maker_of(content)),
        family=codes.DCM.ArtificialIntelligence,
    )  # fmt: skip
    return hd.seg.SegmentDescription(
        number, cut(one.label), concept(one.category), concept(one.type), hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=made_by, tracking_uid=_tracking(number, one, edition), tracking_id=cut(one.label),
        anatomic_regions=[concept(one.body_site)] if one.body_site else None,
    )  # fmt: skip


def _tracking(number: int, one: Segment, edition: Edition) -> str:
    return one.tracking_uid or uid_of(edition.report_uuid, "SEG", number)


def _serial(content: ReportContent) -> str:
    """Device Serial Number is required (Enhanced General Equipment): the version is what tells one program from another."""
    return cut(content.algorithm.version) or "0"
