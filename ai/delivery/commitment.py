"""A node's answer to the question whether it keeps a report (PS3.4 J.3.3): taken once, by the node that was asked, or refused."""

from collections.abc import Mapping, Sequence

from django.utils import timezone

from ai.delivery.services import PACS_DIMSE, State, attempt_keep
from ai.models import ReportDelivery
from imaging.commitment.answer import CommitmentAnswer, answer_judge
from imaging.commitment.references import NO_SUCH_INSTANCE
from imaging.commitment.rows import CommitmentRefused
from imaging.dimse.messages import PROCESSING_FAILURE
from imaging.models import Node
from imaging.reasons import count_words, objects_words
from journal.audit import Actor, audit_record


def commitment_take(*, calling_ae: str, address: str, answer: CommitmentAnswer) -> None:
    """In a scope. The same answer again changes nothing. Raises CommitmentRefused, and then nothing was changed either.

    Only the node that the delivery went to may answer, under its own AE title: another one knows nothing of its archive.
    """
    node = Node.objects.filter(ae_title=calling_ae).first()
    asked = ReportDelivery.objects.select_for_update().filter(transaction_uid=answer.transaction_uid, kind=PACS_DIMSE)
    row = asked.filter(target=str(node.id)).first() if node is not None else None
    if row is None:
        raise CommitmentRefused(NO_SUCH_INSTANCE, "no such transaction of this AE title is open")
    failures = answer_judge(answer, asked=row.references)
    if row.failures is not None:
        if row.failures != failures:
            raise CommitmentRefused(PROCESSING_FAILURE, "this transaction was answered otherwise before")
        return
    words = _words(failures, row.references)
    ReportDelivery.objects.filter(id=row.id).update(
        state=State.FAILED if failures else State.CONFIRMED, failures=failures, words=words[:300], due_at=None, ended_at=timezone.now(),
    )
    since = timezone.now() - (row.asked_at or timezone.now())
    attempt_keep(row, is_good=not failures, words=words, milliseconds=since.total_seconds() * 1000)
    audit_record(
        actor=Actor(name=f"ae:{calling_ae}", address=address or None), action="delivery.commitment", object_type="ReportDelivery",
        object_id=str(row.id), detail={"failures": len(failures)},
    )  # fmt: skip


def _words(failures: Mapping[str, int], asked: Mapping[str, Sequence[str]]) -> str:
    count = count_words(sum(map(len, asked.values())))
    if not failures:
        return f"the node answers for {count}"
    told = objects_words((sop_class, failures[uid]) for sop_class, uids in asked.items() for uid in uids if uid in failures)
    return f"commitment refused for {len(failures)} of {count}: {told}"
