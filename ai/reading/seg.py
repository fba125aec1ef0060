"""Segmentation objects -> regions, one a segment (PS3.3 C.8.20.2). Pixels stay in the file. Read by objects.py."""

from collections.abc import Mapping

from pydicom.dataset import Dataset

from ai.findings import Coding, Region
from ai.reading.evidence import evidence_read
from ai.reading.part10 import items_of, refusal
from ai.reading.said import Said
from ai.reading.schemes import DCM, coding_of, declared, words

MAX_SEGMENTS = 1_000
UNNAMED = Coding(system=DCM, code="121071", display="Finding")


def seg_read(dataset: Dataset) -> Said:
    """The segments with what each is said to be. Raises PlatformError without segments or with two of one number."""
    schemes = declared(dataset)
    items = items_of(dataset, "SegmentSequence")
    if not 0 < len(items) <= MAX_SEGMENTS:
        raise refusal("a segmentation of the answer has no segments or too many")
    if not dataset.get("NumberOfFrames") or not dataset.get("Rows") or not dataset.get("Columns"):
        raise refusal("a segmentation of the answer has no frames")
    # Segment 0 of a label map is what is no segment (PS3.3 C.8.20.4).
    regions = [_region(dataset, item, schemes) for item in items if int(item.SegmentNumber) != 0]
    if len({region.segment_number for region in regions}) < len(regions):
        raise refusal("two segments of the answer have one number")
    named = [one for item in items for one in items_of(item, "SegmentationAlgorithmIdentificationSequence")]
    made_by = named[0] if named else Dataset()
    return Said(
        regions=tuple(regions),
        images=evidence_read(dataset),
        name=words(made_by.get("AlgorithmName") or "", 64),
        version=words(made_by.get("AlgorithmVersion") or "", 64),
    )


def _region(dataset: Dataset, item: Dataset, schemes: Mapping[str, str]) -> Region:
    def first(keyword: str) -> Coding | None:
        found = items_of(item, keyword)
        return coding_of(found[0], schemes) if found else None

    return Region(
        sop_uid=str(dataset.SOPInstanceUID),
        segment_number=int(item.SegmentNumber),
        label=words(item.get("SegmentLabel") or f"Segment {int(item.SegmentNumber)}", 64),
        category=first("SegmentedPropertyCategoryCodeSequence") or UNNAMED,
        type=first("SegmentedPropertyTypeCodeSequence") or UNNAMED,
        body_site=first("AnatomicRegionSequence"),
        tracking_uid=str(item.get("TrackingUID") or "")[:64],
    )
