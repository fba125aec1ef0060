"""An archive that is asked for storage commitment, in every mood (pynetdicom's SCP), and our listener that hears its answers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role

from ai.delivery.hearing import handlers
from ai.models import DeliveryAttempt, ReportDelivery
from imaging import associations, finding
from imaging.commitment.door import OTHERS
from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE
from imaging.dimse.contract import Services
from imaging.dimse.listener import Listener
from imaging.ingest import IncomingObject
from imaging.nodes import node_add
from imaging.query import doors
from tests.ai.delivery.reports import deliveries
from tests.imaging.scu_peers import scp

SR, PDF = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.104.1"
KEPT, FAILED = 1, 2


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    """As the worker runs it (medhub.celery)."""
    found = Listener("127.0.0.1", 0, services=Services(
        admit=associations.association_admit, receive=IncomingObject, alive=associations.associations_alive,
        ended=associations.association_end, thread_end=associations.thread_end, find=finding.identifier_find,
        retrieve=doors.identifier_retrieve, others=OTHERS, handlers=handlers,
    ))  # fmt: skip
    found.start()
    yield found
    found.stop(2)


class Pacs:
    """An archive that takes what comes, and answers for it as `mood` says: called with the archive, our association, the request."""

    title = "PACS"

    def __init__(self, mood: Callable[["Pacs", evt.Event, Dataset], None] | None = None) -> None:
        self.mood = mood
        self.stored: list[bytes] = []
        self.asked: list[Dataset] = []
        self.statuses: list[int] = []  # of the next responses to N-ACTION; then success
        self.answers: list[tuple[int, str]] = []  # our responses to its N-EVENT-REPORT
        self.threads: list[threading.Thread] = []

    def store(self, event: evt.Event) -> int:
        self.stored.append(event.request.DataSet.getvalue())
        return 0

    def action(self, event: evt.Event) -> tuple[int, None]:
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            self.asked.append(event.action_information)
            if self.mood is not None:
                thread = threading.Thread(target=self.mood, args=(self, event, event.action_information))
                self.threads.append(thread)
                thread.start()
        return status, None

    def keep(self, status: Dataset) -> None:
        self.answers.append((int(status.get("Status", -1)), str(status.get("ErrorComment", ""))))


@contextmanager
def pacs_run(settings: Any, hospital: Any, mood: Any = None, **facts: Any) -> Iterator[Pacs]:
    """A node of the hospital that gets results and is asked for commitment. It may ask us for nothing itself."""
    pacs = Pacs(mood)
    events = [(evt.EVT_C_STORE, pacs.store), (evt.EVT_N_ACTION, pacs.action)]
    with scp(pacs.title, [SR, PDF, COMMITMENT], events) as port:
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
        with hospital.scope():
            node_add(
                ae_title=pacs.title, host="127.0.0.1", port=port,
                **{"services": [], "results_as": "sr+pdf", "is_commitment_asked": True, **facts},
            )  # fmt: skip
        yield pacs
        for thread in pacs.threads:
            thread.join(10)


def event_of(asked: Dataset, failed: dict[str, int] | None = None, **facts: Any) -> Dataset:
    """What an archive reports about a request: these failed, the rest is kept."""
    failed = failed or {}
    event = Dataset()
    event.TransactionUID = asked.TransactionUID
    kept = [item for item in asked.ReferencedSOPSequence if item.ReferencedSOPInstanceUID not in failed]
    if kept:
        event.ReferencedSOPSequence = kept
    if failed:
        event.FailedSOPSequence = []
        for item in asked.ReferencedSOPSequence:
            if item.ReferencedSOPInstanceUID in failed:
                one = Dataset()
                one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID
                one.FailureReason = failed[item.ReferencedSOPInstanceUID]
                event.FailedSOPSequence.append(one)
    for name, value in facts.items():
        setattr(event, name, value)
    return event


def report(
    listener: Listener, called: str, event: Dataset, kind: int = KEPT, *, calling: str = Pacs.title, instance: str = COMMITMENT_INSTANCE,
    has_role: bool = True,
) -> tuple[int, str]:
    """N-EVENT-REPORT on an association of the archive's own, as SCP of the class; -1 when it was not let in."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(COMMITMENT)
    roles = [build_role(COMMITMENT, scu_role=False, scp_role=True)] if has_role else []
    association = ae.associate("127.0.0.1", listener.port, ae_title=called, ext_neg=roles)
    if not association.is_established:
        return -1, ""
    try:
        if has_role:
            context = association.accepted_contexts[0]
            assert (context.as_scu, context.as_scp) == (False, True)  # PS3.7 D.3.3.4: as it was proposed
        else:
            association.accepted_contexts[0]._as_scp = True  # an archive that never heard of role selection
        status, _ = association.send_n_event_report(event, kind, COMMITMENT, instance)
    finally:
        association.release()
    return int(status.get("Status", -1)), str(status.get("ErrorComment", ""))


def row_of(hospital: Any) -> ReportDelivery:
    [row] = deliveries(hospital, kind="pacs_dimse")
    return row


def said(hospital: Any) -> list[tuple[bool, str]]:
    with hospital.scope():
        found = DeliveryAttempt.objects.filter(delivery__kind="pacs_dimse").order_by("id")
        return list(found.values_list("is_good", "words"))


def state(hospital: Any) -> tuple[str, str]:
    row = row_of(hospital)
    return row.state, row.words
