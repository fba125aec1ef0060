"""Pulling a study from a node: what is missing here, then C-MOVE to our AE or C-GET (PS3.4 C.4.2, C.4.3).

A plan compares the node's series with ours, so a pull that broke goes on where it was. Objects of a C-GET go through
`imaging.ingest` like any other: bytes unchanged, acknowledged when they are safe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role

from imaging.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, is_storage
from imaging.dimse.contract import Admission
from imaging.header import uid_is_valid
from imaging.ingest import instance_receive
from imaging.scu.association import (
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    NotPossibleError,
    NotReachedError,
    Peer,
    associated,
    contexts_of,
    reactor_still,
)
from imaging.scu.classes import classes_guess
from imaging.scu.query import PENDING, Match, matches_of

SERIES_LIMIT = 5_000
IMAGES_LIMIT = 100_000
UIDS_AT_ONCE = 200
MAX_CONTEXTS = 128
# One context each, so that the node may send everything as it has it; then both uncompressed ones together.
COMPRESSED = (
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.5",
)  # fmt: skip
MOVE_WORDS = {
    0xA801: "the node does not know our AE title as a move destination: add it there, with our host and port",
    0xA701: "the node is out of resources", 0xA702: "the node could not send: is our host and port right there?",
    0xA900: "the node does not understand the request", 0x0122: "the node does not support retrieving",
    0x0124: "the node does not let us retrieve", 0xB000: "some objects were not sent", 0xFE00: "cancelled",
}  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """One C-MOVE or C-GET: a study, a series of it, or some of its images."""

    study_uid: str
    series_uid: str = ""
    uids: tuple[str, ...] = ()

    def identifier(self) -> Dataset:
        ds = Dataset()
        ds.QueryRetrieveLevel = "IMAGE" if self.uids else "SERIES" if self.series_uid else "STUDY"
        ds.StudyInstanceUID = self.study_uid
        if self.series_uid:
            ds.SeriesInstanceUID = self.series_uid
        if self.uids:
            ds.SOPInstanceUID = list(self.uids)
        return ds


@dataclass(frozen=True)
class Plan:
    """What to ask for so that a study is whole here. `classes` are known for a C-GET only."""

    expected: int  # objects that the node has
    missing: int
    asks: Sequence[Ask] = ()
    classes: Sequence[str] = ()


@dataclass
class Counts:
    """Sub-operations of one pull or send so far; the caller's, read by another thread."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warned: int = 0
    failed_uids: list[str] = field(default_factory=list)
    position: int = 0  # send: the last instance that was answered
    reason: str = ""  # the last failure in words


Go = Callable[[], bool]  # asked often; False ends the work
Pace = Callable[[], None]  # called for each object; waits when there is a rate


def pull_plan(peer: Peer, *, study_uid: str, stored: Mapping[str, frozenset[str]], is_get: bool) -> Plan:
    """`stored` is what we have: series UID -> SOP Instance UIDs. Raises NotReachedError, NotPossibleError."""
    with associated(peer, contexts_of(STUDY_FIND)) as association:
        series = matches_of(association, level="SERIES", limit=SERIES_LIMIT, StudyInstanceUID=study_uid)
        if series.is_cut:
            raise NotPossibleError("the node has too many series in this study, or is too slow")
        if not series.found:
            raise NotPossibleError("the node has no such study")
        counts = [match.number("NumberOfSeriesRelatedInstances") for match in series.found]
        if not is_get and not any(stored.values()) and None not in counts:
            expected = sum(count or 0 for count in counts)
            return Plan(expected, expected, [Ask(study_uid)] if expected else [])
        planner = _Planner(association, study_uid, stored, is_get)
        for match, count in zip(series.found, counts, strict=True):
            planner.take(match, count)
    return planner.plan(is_whole=is_get and not any(stored.values()))


class _Planner:
    def __init__(self, association: Association, study_uid: str, stored: Mapping[str, frozenset[str]], is_get: bool) -> None:
        self._association, self._study_uid, self._stored, self._is_get = association, study_uid, stored, is_get
        self._asks: list[Ask] = []
        self._classes: dict[str, None] = {}
        self._expected = self._missing = 0

    def take(self, series: Match, count: int | None) -> None:
        uid = series["SeriesInstanceUID"]
        have = self._stored.get(uid, frozenset())
        if count is not None and len(have) >= count:
            self._expected += count
            return
        if count is not None and not have and not self._is_get:
            self._expected, self._missing = self._expected + count, self._missing + count
            self._asks.append(Ask(self._study_uid, uid))
            return
        images = matches_of(
            self._association, level="IMAGE", limit=IMAGES_LIMIT, seconds=120, StudyInstanceUID=self._study_uid,
            SeriesInstanceUID=uid,
        )  # fmt: skip
        if images.is_cut:
            raise NotPossibleError("the node has too many images in one series, or is too slow")
        missing = {m["SOPInstanceUID"]: m["SOPClassUID"] for m in images.found if m["SOPInstanceUID"] not in have}
        self._expected, self._missing = self._expected + len(images.found), self._missing + len(missing)
        told = [uid for uid in missing.values() if uid_is_valid(uid) and is_storage(uid)]
        if self._is_get and len(told) < len(missing):
            told += classes_guess(series["Modality"])
        self._classes |= dict.fromkeys(told)
        uids = list(missing)
        if uids and not have:
            self._asks.append(Ask(self._study_uid, uid))
        else:
            steps = range(0, len(uids), UIDS_AT_ONCE)
            self._asks += [Ask(self._study_uid, uid, tuple(uids[at : at + UIDS_AT_ONCE])) for at in steps]

    def plan(self, *, is_whole: bool) -> Plan:
        asks = [Ask(self._study_uid)] if is_whole and self._asks else self._asks
        return Plan(self._expected, self._missing, asks, list(self._classes))


def study_move(peer: Peer, *, plan: Plan, counts: Counts, go: Go) -> None:
    """C-MOVE to our own AE, ask by ask; the objects come in by the listener. Raises NotReachedError, NotPossibleError."""
    with associated(peer, contexts_of(STUDY_MOVE)) as association:
        for ask in plan.asks:
            reactor_still(association)
            responses = association.send_c_move(ask.identifier(), peer.calling_ae, STUDY_MOVE)
            if not _follow(association, responses, counts, go, STUDY_MOVE):
                return


def study_get(peer: Peer, *, plan: Plan, counts: Counts, go: Go, admission: Admission, pace: Pace) -> int:
    """C-GET on our own association; returns how many objects were stored. Raises NotReachedError, NotPossibleError."""
    intake = _Intake(admission, pace)
    contexts = get_contexts(plan.classes)
    roles = [build_role(sop_class, scp_role=True) for sop_class in dict.fromkeys(str(c.abstract_syntax) for c in contexts[1:])]
    handlers = [(evt.EVT_C_STORE, intake.store), (evt.EVT_PDU_RECV, intake.pdu)]
    with associated(peer, contexts, ext_neg=roles, handlers=handlers) as association:
        for ask in plan.asks:
            reactor_still(association)
            responses = association.send_c_get(ask.identifier(), STUDY_GET)
            if not _follow(association, responses, counts, go, STUDY_GET):
                break
        counts.reason = intake.reason or counts.reason
    return intake.stored


def get_contexts(classes: Sequence[str]) -> list[PresentationContext]:
    """As stored where there is room for it; with many classes fewer syntaxes each, and never more than 128 contexts."""
    contexts = [build_context(STUDY_GET)]
    room = max((MAX_CONTEXTS - 1) // max(len(classes), 1) - 1, 0)
    for sop_class in classes[: MAX_CONTEXTS - 1]:
        contexts += [build_context(sop_class, [syntax]) for syntax in COMPRESSED[:room]]
        contexts.append(build_context(sop_class, [EXPLICIT_LITTLE, IMPLICIT_LITTLE]))
    return contexts


class _Intake:
    """Our side of the C-STOREs of a C-GET."""

    def __init__(self, admission: Admission, pace: Pace) -> None:
        self._admission, self._pace = admission, pace
        self._bytes = 0
        self.stored = 0
        self.reason = ""

    def pdu(self, event: evt.Event) -> None:
        """An object without end is cut off; one that is too large is refused by `imaging.ingest` in words."""
        if type(event.pdu).__name__ == "P_DATA_TF":
            self._bytes += event.pdu.pdu_length
            if self._bytes > settings.MEDHUB_MAX_OBJECT_BYTES * 2:
                event.assoc.abort()

    def store(self, event: evt.Event) -> Dataset:
        self._bytes = 0
        request = event.request
        answer = instance_receive(
            admission=self._admission, sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID), transfer_syntax_uid=str(event.context.transfer_syntax),
            dataset=request.DataSet.getbuffer(),
        )  # fmt: skip
        self.stored += answer.status == 0
        self.reason = answer.comment or self.reason
        self._pace()
        status = Dataset()
        status.Status = answer.status
        if answer.comment:
            status.ErrorComment = answer.comment
        return status


def _follow(
    association: Association, responses: Iterator[tuple[Dataset, Dataset | None]], counts: Counts, go: Go, model: str,
) -> bool:
    """Count along; False when the caller wants no more. What the node counts is the node's word: rows decide later."""
    done = Counts(completed=counts.completed, failed=counts.failed, warned=counts.warned)
    total = counts.remaining + counts.completed + counts.failed + counts.warned
    is_stopped = False
    for status, ds in responses:
        if "Status" not in status:
            raise NotReachedError("association", "the node ended the association, or did not answer in time")
        counts.completed = done.completed + int(status.get("NumberOfCompletedSuboperations", 0) or 0)
        counts.failed = done.failed + int(status.get("NumberOfFailedSuboperations", 0) or 0)
        counts.warned = done.warned + int(status.get("NumberOfWarningSuboperations", 0) or 0)
        counts.remaining = max(total - counts.completed - counts.failed - counts.warned, 0)
        if status.Status in PENDING:
            if not is_stopped and not go():
                is_stopped = True
                association.send_c_cancel(1, query_model=model)
            continue
        if status.Status != 0:
            counts.reason = MOVE_WORDS.get(status.Status, f"the node answered with status {status.Status:04X}")
            counts.failed_uids += _failed_uids(ds)
        if status.Status in {0xA801, 0x0122, 0x0124}:
            raise NotPossibleError(counts.reason)
    return not is_stopped and go()


def _failed_uids(ds: Dataset | None) -> list[str]:
    found = ds.get("FailedSOPInstanceUIDList", None) if ds is not None else None
    uids = [found] if isinstance(found, str) else list(found or ())
    return [str(uid) for uid in uids if uid_is_valid(str(uid))]
