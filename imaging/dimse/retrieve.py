"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): sub-operations one by one, counted and reported, C-CANCEL looked for before each.

`serving` calls it. All objects are known before the first one leaves; nothing is open in the database while they do.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from imaging.dimse import messages
from imaging.dimse.associate import MAX_CONTEXTS, Proposal
from imaging.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from imaging.dimse.contract import Destination, StoredObject
from imaging.dimse.inquiries import Channel, Session, WireGone
from imaging.dimse.outgoing import NotSendableError, object_send
from imaging.dimse.sending import NotAssociatedError, SendingAssociation

logger = logging.getLogger(__name__)

FAILED_UIDS = 0x00080058
SHORT_CAP = 0xFFFE
WARNINGS = frozenset((0x0001, 0x0107, 0x0116))  # PS3.7 Annex C; and all of Bxxx


@dataclass
class Tally:
    """Sub-operations so far (PS3.7 9.1.4.1.7)."""

    remaining: int
    completed: int = 0
    warned: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def take(self, stored: StoredObject, status: int) -> None:
        self.remaining -= 1
        if status == messages.SUCCESS:
            self.completed += 1
        elif status & 0xF000 == 0xB000 or status in WARNINGS:
            self.warned += 1
        else:
            self.failed_uids.append(stored.sop_instance_uid)

    def counts(self, *, is_last: bool) -> dict[int, int]:
        done = {
            messages.COMPLETED: self.completed, messages.FAILED: len(self.failed_uids), messages.WARNED: self.warned,
        }  # fmt: skip
        return done if is_last else {messages.REMAINING: self.remaining, **done}

    @property
    def status(self) -> int:
        if self.failed_uids and not self.completed and not self.warned:
            return messages.CANNOT_PERFORM
        return messages.SOME_FAILED if self.failed_uids or self.warned else messages.SUCCESS


class _Cancelled(Exception):
    """A C-CANCEL has come."""


class _Work:
    """The sub-operations of one request, over one association or several."""

    def __init__(self, session: Session, objects: Sequence[StoredObject], originator: tuple[str, int] | None) -> None:
        self._session = session
        self._originator = originator
        self._message_id = 0
        self._reason = ""
        self.tally = Tally(len(objects))

    def send(self, channel: Channel, stored: StoredObject) -> None:
        """One sub-operation. Raises WireGone when the channel is lost: the object is counted as failed then."""
        self._check_cancel()
        self._message_id = self._message_id % 0xFFFF + 1
        status = messages.CANNOT_PERFORM
        try:
            object_send(channel, stored, message_id=self._message_id, originator=self._originator)
            status = messages.number_of(channel.store_response(), messages.STATUS)
        except NotSendableError as error:
            self._reason = str(error)
        except ValueError:
            self._reason = "the answer has no status"
        finally:
            self.tally.take(stored, status)
        if self.tally.remaining:
            self._session.responder.respond(messages.PENDING, counts=self.tally.counts(is_last=False))

    def fail(self, objects: Iterable[StoredObject], reason: str) -> None:
        self._reason = reason
        for stored in objects:
            self.tally.take(stored, messages.CANNOT_PERFORM)

    def _check_cancel(self) -> None:
        if self._session.responder.is_cancelled():
            raise _Cancelled

    def finish(self) -> None:
        tally = self.tally
        comment = self._reason if tally.failed_uids else ""
        self._respond(tally.status, comment, tally.counts(is_last=True))

    def cancel(self) -> None:
        self._respond(messages.CANCELLED, "", self.tally.counts(is_last=False))

    def _respond(self, status: int, comment: str, counts: dict[int, int]) -> None:
        is_implicit = self._session.inquiry.transfer_syntax_uid == IMPLICIT_LITTLE
        failed = self.tally.failed_uids
        identifier = failed_uids_encode(failed, is_implicit=is_implicit) if failed else b""
        if failed:
            logger.warning("dimse: %s sub-operations failed: %s", len(failed), self._reason)
        self._session.responder.respond(status, comment=comment, counts=counts, identifier=identifier)


def get_serve(session: Session) -> None:
    """Over the peer's own association, where it took the SCP role (PS3.4 C.4.3, PS3.7 D.3.3.4). Raises WireGone."""
    retrieve = session.services.retrieve
    assert retrieve is not None  # noqa: S101 - contexts are offered only with it
    objects = retrieve(admission=session.admission, inquiry=session.inquiry).objects
    work = _Work(session, objects, None)
    try:
        for stored in objects:
            work.send(session.wire, stored)
    except _Cancelled:
        work.cancel()
        return
    work.finish()


def move_serve(session: Session) -> None:
    """To another AE, over as many associations as its presentation contexts need (PS3.4 C.4.2)."""
    retrieve = session.services.retrieve
    assert retrieve is not None  # noqa: S101 - contexts are offered only with it
    found = retrieve(admission=session.admission, inquiry=session.inquiry, destination=session.request.destination)
    work = _Work(session, found.objects, (session.admission.calling_ae, session.request.message_id))
    try:
        for proposals, objects in associations_plan(found.objects):
            _move(session, found.destination, proposals, objects, work)
    except _Cancelled:
        work.cancel()
        return
    work.finish()


def _move(
    session: Session, destination: Destination | None, proposals: list[Proposal], objects: list[StoredObject], work: _Work,
) -> None:
    """One share of the objects. An association that is lost costs its object; the next one is opened for the rest."""
    assert destination is not None  # noqa: S101 - a retrieval for a C-MOVE has one
    waiting = list(reversed(objects))
    while waiting:
        try:
            channel = SendingAssociation(
                destination, calling_ae=session.admission.called_ae, proposals=proposals, limits=session.limits,
            )
        except NotAssociatedError as error:
            work.fail(reversed(waiting), f"destination: {error}")
            return
        try:
            with channel:
                while waiting:
                    stored = waiting.pop()
                    work.send(channel, stored)
        except WireGone:
            # the requestor's association, then this raises again; or the destination's: on with a new one
            session.responder.is_cancelled()


def associations_plan(objects: Sequence[StoredObject]) -> Iterator[tuple[list[Proposal], list[StoredObject]]]:
    """Shares of the objects whose contexts fit into one association each: every syntax as stored, and both uncompressed."""
    syntaxes: dict[str, list[str]] = {}
    for stored in objects:
        known = syntaxes.setdefault(stored.sop_class_uid, [])
        if stored.transfer_syntax_uid not in known:
            known.append(stored.transfer_syntax_uid)
    share: list[Proposal] = []
    for sop_class, stored_in in syntaxes.items():
        proposals = [Proposal(sop_class, [syntax]) for syntax in stored_in[: MAX_CONTEXTS - 1]]
        proposals.append(Proposal(sop_class, [EXPLICIT_LITTLE, IMPLICIT_LITTLE]))
        if len(share) + len(proposals) > MAX_CONTEXTS:
            yield share, _of_classes(objects, share)
            share = []
        share += proposals
    if share:
        yield share, _of_classes(objects, share)


def _of_classes(objects: Sequence[StoredObject], share: list[Proposal]) -> list[StoredObject]:
    classes = {proposal.sop_class_uid for proposal in share}
    return [stored for stored in objects if stored.sop_class_uid in classes]


def failed_uids_encode(uids: Sequence[str], *, is_implicit: bool) -> bytes:
    """The Failed SOP Instance UID List (PS3.4 C.4.2.1.4.2), with as many UIDs as its VR holds."""
    value = "\\".join(uids)
    if not is_implicit and len(value) > SHORT_CAP:
        value = value[: value.rindex("\\", 0, SHORT_CAP)]
    encoded = value.encode("ascii") + b"\0" * (len(value) % 2)
    tag = (FAILED_UIDS >> 16).to_bytes(2, "little") + (FAILED_UIDS & 0xFFFF).to_bytes(2, "little")
    if is_implicit:
        return tag + len(encoded).to_bytes(4, "little") + encoded
    return tag + b"UI" + len(encoded).to_bytes(2, "little") + encoded
