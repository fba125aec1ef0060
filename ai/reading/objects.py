"""DICOM objects of an answer, whatever they are -> Answer. Called by platforms once an answer's files lie in its folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset

from ai.findings import Algorithm, Answer, Document
from ai.reading.evidence import evidence_read
from ai.reading.gsps import gsps_read
from ai.reading.part10 import header_read, hostile, refusal
from ai.reading.said import Said, answer_of, together
from ai.reading.schemes import words
from ai.reading.seg import seg_read
from ai.reading.sr import sr_read

MAX_FILES = 2_000
Kind = Literal["SR", "SEG", "SC", "PDF", "GSPS", "KOS", "PMAP", "OTHER"]
_STORAGE = "1.2.840.10008.5.1.4.1.1."
KINDS: dict[str, Kind] = {
    f"{_STORAGE}88.11": "SR", f"{_STORAGE}88.22": "SR", f"{_STORAGE}88.33": "SR", f"{_STORAGE}88.34": "SR", f"{_STORAGE}88.35": "SR",
    f"{_STORAGE}88.50": "SR", f"{_STORAGE}88.65": "SR", f"{_STORAGE}88.59": "KOS", f"{_STORAGE}66.4": "SEG", f"{_STORAGE}66.7": "SEG",
    f"{_STORAGE}7": "SC", f"{_STORAGE}7.1": "SC", f"{_STORAGE}7.2": "SC", f"{_STORAGE}7.3": "SC", f"{_STORAGE}7.4": "SC",
    f"{_STORAGE}104.1": "PDF", f"{_STORAGE}11.1": "GSPS", f"{_STORAGE}11.2": "GSPS", f"{_STORAGE}30": "PMAP",
}  # fmt: skip
READERS: dict[Kind, Callable[[Dataset], Said]] = {"SR": sr_read, "SEG": seg_read, "GSPS": gsps_read}


def objects_read(files: Sequence[Path], *, algorithm: Algorithm) -> Answer:
    """All objects of one answer, of one study. `algorithm` is what was asked for and the connection's manufacturer.

    Raises PlatformError, always permanent, for whatever is no answer: HTML, cut objects, several studies, contradictions,
    numbers that are none. An object that says nothing readable is kept as a document.
    """
    if not 0 < len(files) <= MAX_FILES:
        raise refusal("the answer has no objects or too many")
    parts: list[Said] = []
    studies: set[str] = set()
    ours: set[str] = set()
    for path in files:
        dataset = header_read(path)
        with hostile("an object of the answer cannot be read"):
            parts.append(_object(dataset))
            studies.add(str(dataset.StudyInstanceUID))
            ours.add(str(dataset.SOPInstanceUID))
    if len(studies) > 1:
        raise refusal("the objects of the answer belong to several studies")
    if len(ours) < len(files):
        raise refusal("two objects of the answer are the same instance")
    return answer_of(together(parts), algorithm=algorithm, study_uid=studies.pop(), own=ours)


def _object(dataset: Dataset) -> Said:
    kind = KINDS.get(str(dataset.SOPClassUID), "OTHER")
    reader = READERS.get(kind)
    said = reader(dataset) if reader else Said(images=evidence_read(dataset))
    return replace(said, documents=(_document(dataset, kind),))


def _document(dataset: Dataset, kind: Kind) -> Document:
    title = next(
        (str(dataset.get(keyword)) for keyword in ("DocumentTitle", "ContentLabel", "SeriesDescription") if dataset.get(keyword)), kind
    )
    return Document(
        kind=kind, sop_class_uid=str(dataset.SOPClassUID), sop_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.get("SeriesInstanceUID") or ""), title=words(title, 64),
    )  # fmt: skip
