"""Which images an object says it was made of: evidence and referenced-series sequences. Read by the readers of objects."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from ai.reading.part10 import items_of, refusal
from ai.reading.said import MAX_IMAGES

SR = "1.2.840.10008.5.1.4.1.1.88."
# Referenced beside images, but made of them: presentation states, registration, fiducials, segmentations, surfaces, real world
# value maps, parametric maps, key objects are SR, documents.
DERIVED = (
    SR, "1.2.840.10008.5.1.4.1.1.11.", "1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.67", "1.2.840.10008.5.1.4.1.1.30",
    "1.2.840.10008.5.1.4.1.1.68.", "1.2.840.10008.5.1.4.1.1.104.",
)  # fmt: skip
EVIDENCE = (
    "CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence",
    "StudiesContainingOtherReferencedInstancesSequence",
)  # fmt: skip
SOURCES = ("SourceImageSequence", "SourceInstanceSequence")
INSTANCES = ("ReferencedSOPSequence", "ReferencedInstanceSequence", "ReferencedImageSequence")


def is_image(sop_class_uid: str) -> bool:
    """An image that an algorithm can have looked at, not something that was made of images."""
    return not sop_class_uid.startswith(DERIVED)


def evidence_read(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """(series UID, SOP Instance UID) of every image it refers to, once each. Raises PlatformError past the limit."""
    found: dict[tuple[str, str], None] = {}
    for series in _series(dataset):
        uid = str(series.get("SeriesInstanceUID") or "")
        for item in (one for keyword in INSTANCES for one in items_of(series, keyword)):
            if is_image(str(item.get("ReferencedSOPClassUID") or "")):
                found[uid, str(item.get("ReferencedSOPInstanceUID") or "")] = None
    # Captures and documents name what they show without its series.
    known = {uid for _, uid in found}
    for item in (one for keyword in SOURCES for one in items_of(dataset, keyword)):
        uid = str(item.get("ReferencedSOPInstanceUID") or "")
        if uid not in known and is_image(str(item.get("ReferencedSOPClassUID") or "")):
            found["", uid] = None
    if len(found) > MAX_IMAGES:
        raise refusal("an object of the answer refers to too many images")
    return tuple(found)


def _series(dataset: Dataset) -> Iterator[Dataset]:
    yield from items_of(dataset, "ReferencedSeriesSequence")
    for keyword in EVIDENCE:
        for study in items_of(dataset, keyword):
            yield from items_of(study, "ReferencedSeriesSequence")
