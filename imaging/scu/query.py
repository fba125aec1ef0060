"""`node_query`: C-FIND at a node (PS3.4 C.4.1), study root, with a limit and a deadline. Pulls, priors, migration and people ask.

Answers are a foreign machine's: every value is read on its own, cut, and one that cannot be read is left empty.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from imaging.header import uid_is_valid
from imaging.scu.association import STUDY_FIND, NotPossibleError, NotReachedError, Peer, associated, contexts_of, reactor_still

LIMIT = 500
SECONDS = 30.0
VALUE_CAP = 512
STUDY_KEYS = (
    "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyDescription", "AccessionNumber", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip
SERIES_KEYS = (
    "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances",
)  # fmt: skip
IMAGE_KEYS = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
PENDING = (0xFF00, 0xFF01)
FIND_WORDS = {
    0xA700: "the node is out of resources", 0xA900: "the node does not understand the query",
    0x0122: "the node does not support the query", 0x0124: "the node does not let us query",
}  # fmt: skip


@dataclass(frozen=True)
class Match:
    """One answer: values by DICOM keyword, several of one element joined by a backslash."""

    values: dict[str, str]

    def __getitem__(self, keyword: str) -> str:
        return self.values.get(keyword, "")

    def number(self, keyword: str) -> int | None:
        text = self[keyword].strip()
        return int(text) if text.isdigit() and len(text) < 10 else None


@dataclass(frozen=True)
class Matches:
    """What a query found. `is_cut`: the node had more than the limit, or was slower than the deadline."""

    found: list[Match] = field(default_factory=list)
    is_cut: bool = False


def node_query(
    peer: Peer, *, level: str = "STUDY", limit: int = LIMIT, seconds: float = SECONDS, **keys: str,
) -> Matches:
    """Matches at STUDY, SERIES or IMAGE level; `keys` are DICOM keywords to match by. Raises NotReachedError, NotPossibleError."""
    with associated(peer, contexts_of(STUDY_FIND), answer_seconds=seconds) as association:
        return matches_of(association, level=level, limit=limit, seconds=seconds, **keys)


def matches_of(association: Association, *, level: str, limit: int = LIMIT, seconds: float = SECONDS, **keys: str) -> Matches:
    """The same on an association that is open already: several questions one after the other."""
    wanted = {"STUDY": STUDY_KEYS, "SERIES": SERIES_KEYS, "IMAGE": IMAGE_KEYS}[level]
    found: list[Match] = []
    is_cut = False
    for match in _answers(association, _identifier(level, wanted, keys), time.monotonic() + seconds):
        if match is None or len(found) >= limit:
            is_cut = True
            break
        if uid_is_valid(match[UNIQUE[level]]):
            found.append(match)
    return Matches(found, is_cut)


def _identifier(level: str, wanted: tuple[str, ...], keys: dict[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in wanted:
        setattr(identifier, keyword, "")
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def _answers(association: Association, identifier: Dataset, deadline: float) -> Iterator[Match | None]:
    """None when the time is over. The node is told to stop when the caller does; an association that goes on is aborted."""
    reactor_still(association)
    responses = association.send_c_find(identifier, STUDY_FIND, msg_id=1)
    is_over = False
    try:
        for status, ds in responses:
            if "Status" not in status:
                raise NotReachedError("association", "the node ended the association, or did not answer in time")
            if status.Status not in PENDING:
                is_over = True
                if status.Status != 0:
                    raise NotPossibleError(FIND_WORDS.get(status.Status, f"the query failed with status {status.Status:04X}"))
                return
            if ds is not None:
                yield _match(ds)
            if time.monotonic() > deadline:
                yield None
                return
    finally:
        if not is_over and association.is_established:
            _stop(association, responses)


def _stop(association: Association, responses: Iterator[Any]) -> None:
    """C-CANCEL (PS3.7 9.3.2.3), then whatever is still on its way, for two seconds."""
    association.send_c_cancel(1, query_model=STUDY_FIND)
    until = time.monotonic() + 2
    for status, _ in responses:
        if "Status" not in status or status.Status not in PENDING:
            return
        if time.monotonic() > until:
            association.abort()
            return


def _match(ds: Dataset) -> Match:
    """pydicom decodes by the answer's own character set."""
    values = {}
    for element in ds:
        try:
            value = element.value
            text = "\\".join(str(part) for part in value) if element.VM > 1 else str("" if value is None else value)
        except Exception:  # noqa: BLE001 - decoders raise whatever they like
            text = ""
        if element.keyword:
            values[element.keyword] = text.rstrip("\0 ")[:VALUE_CAP]
    return Match(values)
