"""The mask of an answer as a Segmentation over the hospital's own images, and the answer that points at it. Called by the gate.

It is made when the result is taken, not when a report is delivered: bytes that nobody keeps cannot be delivered again. Its UIDs follow
from the job alone, so that a result that is taken once more is the same object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.dataset import Dataset

from ai.connections import platform_name
from ai.contract import Mask, PlatformError
from ai.encoding.edition import Edition, EncodingError
from ai.encoding.seg import GEOMETRY, Segment, regions_of, seg_encode
from ai.encoding.stamp import bytes_of
from ai.findings import Answer, Document, Region, ReportContent
from ai.models import Job

SEG = "1.2.840.10008.5.1.4.1.1.66.4"


class MaskImpossible(Exception):
    """These images cannot bear a Segmentation, whatever the mask: its numbers hold all the same. `words` are for people."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


def is_unmasked(answer: Answer) -> bool:
    """Whether regions wait for their object."""
    return any(not region.sop_uid for region in answer.regions)


def mask_encode(
    *, mask: Mask, answer: Answer, job: Job, time_zone: str, originals: Mapping[str, PathLike[str]]
) -> tuple[bytes, Answer]:
    """The object, and the answer with it. `originals`: our SOP Instance UID -> file; `mask` names the same UIDs.

    Raises PlatformError, permanent, where mask and images do not belong together, MaskImpossible where the images allow none.
    """
    if set(mask.sop_uids) - originals.keys() or len(set(mask.sop_uids)) < len(mask.sop_uids):
        raise PlatformError("the mask lies over images that were not sent", is_permanent=True)
    edition = Edition(report_uuid=job.uuid, version=1, issued_at=(job.sent_at or job.created_at).astimezone(ZoneInfo(time_zone)))
    segments = [_segment(region) for region in answer.regions]
    try:
        made = seg_encode(
            mask=mask.labels, segments=segments, sources=_headers([originals[uid] for uid in mask.sop_uids]),
            content=_content(answer, job), edition=edition,
        )  # fmt: skip
        data = bytes_of(made)
    except EncodingError as error:
        raise MaskImpossible(str(error)) from error
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 highdicom raises whatever it likes, and its texts quote the object
        raise PlatformError(f"the mask cannot be written as a segmentation ({type(error).__name__})", is_permanent=True) from error
    document = Document(
        kind="SEG", sop_class_uid=SEG, sop_uid=edition.sop_uid("SEG"), series_uid=edition.series_uid("SEG"), title="Segmentation"
    )
    regions = regions_of(segments=segments, edition=edition)
    return data, replace(answer, regions=regions, documents=(*answer.documents, document))


def _segment(region: Region) -> Segment:
    return Segment(
        label=region.label, category=region.category, type=region.type, body_site=region.body_site, tracking_uid=region.tracking_uid
    )


def _headers(paths: Sequence[PathLike[str]]) -> list[Dataset]:
    """The first one's whole header, which says whose the object is; of the others where they lie."""
    first = dcmread(fspath(paths[0]), stop_before_pixels=True)
    return [first, *(dcmread(fspath(path), stop_before_pixels=True, specific_tags=list(GEOMETRY)) for path in paths[1:])]


def _content(answer: Answer, job: Job) -> ReportContent:
    """As far as an object's header tells of it: who computed."""
    return ReportContent(
        algorithm=answer.algorithm, platform=platform_name(job.connection), is_test_double=job.connection.is_test,
        study_uid=answer.study_uid, series_uid=answer.series_uid, sop_uids=answer.sop_uids, input_sha256="", measurements=(),
        not_analysable=None, notes=(), regions=answer.regions,
    )  # fmt: skip
