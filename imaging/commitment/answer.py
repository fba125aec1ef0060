"""N-EVENT-REPORT of storage commitment as it comes to us, who have asked (PS3.4 J.3.3): read with limits, judged by what was asked.

`ai.delivery.hearing` takes it, on the association that we asked on or on one of the node's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imaging.commitment.evidence import CLASS_CONFLICT
from imaging.commitment.references import (
    DATA_SET_CAP,
    INVALID_ARGUMENT,
    NO_SUCH_INSTANCE,
    REFERENCES,
    REFERENCES_CAP,
    SOP_CLASS,
    SOP_INSTANCE,
    TRANSACTION,
)
from imaging.commitment.rows import RESOURCE_LIMITATION, CommitmentRefused
from imaging.dimse.contexts import COMMITMENT_INSTANCE
from imaging.dimse.messages import PROCESSING_FAILURE
from imaging.header import Header, HeaderError, header_read, uid_is_valid
from imaging.reasons import NOT_NAMED

FAILED, FAILURE_REASON = 0x00081198, 0x00081197
ALL_KEPT, SOME_FAILED = 1, 2  # event types
NO_SUCH_EVENT = 0x0113


@dataclass(frozen=True)
class CommitmentAnswer:
    """What a node says about one transaction: SOP instance -> SOP class, and of what it does not keep the reason."""

    transaction_uid: str
    kept: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)


def answer_read(encoded: bytes, *, transfer_syntax_uid: str, event_type: int, instance: str) -> CommitmentAnswer:
    """Raises CommitmentRefused with a status of PS3.7 10.1.1.1.8."""
    if instance != COMMITMENT_INSTANCE:
        raise CommitmentRefused(NO_SUCH_INSTANCE, "not the well-known instance of the push model")
    if event_type not in {ALL_KEPT, SOME_FAILED}:
        raise CommitmentRefused(NO_SUCH_EVENT, "storage commitment has event types 1 and 2 only")
    if len(encoded) > DATA_SET_CAP:
        raise CommitmentRefused(RESOURCE_LIMITATION, f"more than {REFERENCES_CAP} references in one answer")
    try:
        header = header_read(encoded, transfer_syntax_uid=transfer_syntax_uid, wanted=frozenset((TRANSACTION, REFERENCES, FAILED)))
    except HeaderError:
        raise CommitmentRefused(INVALID_ARGUMENT, "the event information cannot be read") from None
    found = CommitmentAnswer(header.uid(TRANSACTION))
    if not uid_is_valid(found.transaction_uid):
        raise CommitmentRefused(INVALID_ARGUMENT, "TransactionUID is missing or malformed")
    _items(header, REFERENCES, found.kept)
    for item in _items(header, FAILED, found.failed):
        found.reasons[item.uid(SOP_INSTANCE)] = item.int(FAILURE_REASON) or PROCESSING_FAILURE
    _whole_check(found, event_type)
    return found


def _items(header: Header, tag: int, into: dict[str, str]) -> Sequence[Header]:
    items = header.items(tag)
    if len(items) > REFERENCES_CAP:
        raise CommitmentRefused(RESOURCE_LIMITATION, f"more than {REFERENCES_CAP} references in one answer")
    for item in items:
        sop_class, uid = item.uid(SOP_CLASS), item.uid(SOP_INSTANCE)
        if not (uid_is_valid(sop_class) and uid_is_valid(uid)):
            raise CommitmentRefused(INVALID_ARGUMENT, "a reference has no class or instance, or no UID")
        into[uid] = sop_class
    return items


def _whole_check(found: CommitmentAnswer, event_type: int) -> None:
    if found.kept.keys() & found.failed.keys():
        raise CommitmentRefused(INVALID_ARGUMENT, "an object is kept and failed at once")
    if not found.kept and not found.failed:
        raise CommitmentRefused(INVALID_ARGUMENT, "the answer names no object")
    if (event_type == SOME_FAILED) is not bool(found.failed):
        raise CommitmentRefused(INVALID_ARGUMENT, "the event type is not that of what it tells")


def answer_judge(answer: CommitmentAnswer, *, asked: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """SOP instance -> failure reason of what is not committed, of all that was asked about (SOP class -> SOP instances).

    What the answer does not speak of is not committed (NOT_NAMED). Raises CommitmentRefused when it speaks of anything else.
    """
    classes = {uid: sop_class for sop_class, uids in asked.items() for uid in uids}
    for uid, sop_class in (answer.kept | answer.failed).items():
        if uid not in classes:
            raise CommitmentRefused(INVALID_ARGUMENT, "the answer names an object that was not asked about")
        # A node that refuses an object for its class may name the one that it knows.
        if uid in answer.kept and classes[uid] != sop_class:
            raise CommitmentRefused(CLASS_CONFLICT, "the answer names an object with another class")
    return {uid: answer.reasons.get(uid, NOT_NAMED) for uid in classes if uid not in answer.kept}
