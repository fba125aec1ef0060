"""The ways of a report to its receiver: our own inbox, C-STORE (PS3.4 B.2), STOW-RS (PS3.18 10.5). Never inside a scope."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ai.delivery.dossier import Dossier
from ai.delivery.objects import ReportObject
from ai.delivery.services import PACS_STOW
from ai.models import ReportDelivery
from imaging.dimse.contract import StoredObject
from imaging.inbox import object_write
from imaging.models import Node
from imaging.reasons import count_words
from imaging.scu.association import NotPossibleError, Peer, peer_of
from imaging.scu.pull import Counts
from imaging.scu.send import study_send
from imaging.webout.client import WebPeer, objects_stow, web_peer_of
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope


class RefusedError(Exception):
    """The receiver was reached and does not have all of the objects."""

    def __init__(self, words: str, *, is_permanent: bool = False) -> None:
        super().__init__(words)
        self.user_message = words
        self.is_permanent = is_permanent


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Where a delivery goes, read in a scope. Nothing of it for our archive."""

    forms: str = ""  # imaging.Node.results_as
    peer: Peer | None = None
    web: WebPeer | None = None
    is_asked: bool = False  # for storage commitment


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What came of it in words; `references` are what commitment is asked for, SOP class -> SOP instances."""

    words: str
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)


def node_of(row: ReportDelivery) -> Node:
    """In a scope. Raises NotPossibleError."""
    node: Node | None = Node.objects.filter(id=int(row.target)).first()
    if node is None:
        raise NotPossibleError("the node was deleted")
    return node


def receiver_of(row: ReportDelivery) -> Receiver:
    """The node of a delivery, in a scope. Raises NotPossibleError."""
    node = node_of(row)
    if row.kind == PACS_STOW:
        return Receiver(forms=node.results_as, web=web_peer_of(node))
    return Receiver(forms=node.results_as, peer=peer_of(node), is_asked=node.is_commitment_asked)


def objects_deliver(
    row: ReportDelivery, dossier: Dossier, objects: Sequence[ReportObject], receiver: Receiver, go: Callable[[], bool]
) -> Sent:
    """Raises NotReachedError, NotPossibleError, RefusedError, OSError."""
    if receiver.web is not None:
        return _stow(row, dossier, objects, receiver.web)
    if receiver.peer is not None:
        return _store(row, dossier, objects, receiver, receiver.peer, go)
    return _file(row, objects)


def _file(row: ReportDelivery, objects: Sequence[ReportObject]) -> Sent:
    """Into our own inbox: durable on return; the mark of their maker keeps them from being routed again (imaging.describe)."""
    for one in objects:
        object_write(tenant_id=row.tenant_id, source=0, trace_id=row.trace_id, parts=[one.data])
    return Sent(words=f"{count_words(len(objects))} taken")


def _store(
    row: ReportDelivery, dossier: Dossier, objects: Sequence[ReportObject], receiver: Receiver, peer: Peer, go: Callable[[], bool]
) -> Sent:
    _told(row, dossier, len(objects))
    counts = Counts(remaining=len(objects))
    with _files(objects) as stored:
        study_send(peer, objects=list(enumerate(stored)), counts=counts, go=go, pace=lambda: None)
    words = _taken(objects, counts)
    references: dict[str, list[str]] = {}
    for one in objects if receiver.is_asked else ():
        if one.sop_uid not in counts.failed_uids:
            references.setdefault(one.sop_class_uid, []).append(one.sop_uid)
    return Sent(words=words, references=references)


def _taken(objects: Sequence[ReportObject], counts: Counts) -> str:
    """What the node took, in words. A mask that it does not take stays in our archive. Raises RefusedError."""
    taken = counts.completed + counts.warned
    if taken + counts.failed < len(objects) or _needed(objects) & set(counts.failed_uids):
        raise RefusedError(counts.reason or "not every object was sent")
    if counts.failed:
        return f"{count_words(taken)} taken; no SEG: {counts.reason}"
    return f"{count_words(taken)} taken" + (f", {counts.warned} with a warning: {counts.reason}" if counts.warned else "")


def _needed(objects: Sequence[ReportObject]) -> set[str]:
    """Those without which nothing was delivered."""
    return {one.sop_uid for one in objects if one.is_needed} or {one.sop_uid for one in objects}


def _stow(row: ReportDelivery, dossier: Dossier, objects: Sequence[ReportObject], web: WebPeer) -> Sent:
    _told(row, dossier, len(objects))
    with _files(objects) as stored:
        outcome = objects_stow(web, objects=stored)
    if _needed(objects) & outcome.missing:
        raise RefusedError(outcome.words, is_permanent=outcome.is_permanent)
    return Sent(words=outcome.words)


@contextmanager
def _files(objects: Sequence[ReportObject]) -> Iterator[list[StoredObject]]:
    """As Part 10 files, gone afterwards."""
    with TemporaryDirectory() as folder:
        found = []
        for number, one in enumerate(objects):
            path = Path(folder) / f"{number}.dcm"
            path.write_bytes(one.data)
            found.append(StoredObject(one.sop_class_uid, one.sop_uid, one.transfer_syntax_uid, path))
        yield found


def _told(row: ReportDelivery, dossier: Dossier, count: int) -> None:
    """Written before a byte leaves: what goes where."""
    with tenant_scope(row.tenant_id):
        audit_record(
            actor=Actor(name="system:delivery"), action="dicom.send", object_type="Study", object_id=str(dossier.study_uuid),
            detail={"node": row.target, "instances": count, "report": str(dossier.report_uuid)},
        )  # fmt: skip
