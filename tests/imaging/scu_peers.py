"""What the tests of our SCU side share: nodes of this machine, a transfer run to its end, what was kept."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from imaging.models import Node, Transfer, TransferStudy
from imaging.scu.association import Peer, peer_of
from imaging.transfers.rows import transfer_create
from imaging.transfers.run import transfer_run
from journal.audit import Actor
from tests import house
from tests.dicom_files import part10

ACTOR = Actor(name="user:test")


def peer(hospital: Any, node: Node) -> Peer:
    with hospital.scope():
        return peer_of(node)


def begin(hospital: Any, node: Node, kind: str, *uids: str, **options: Any) -> Transfer:
    with hospital.scope():
        return transfer_create(actor=ACTOR, node=node, kind=kind, study_uids=uids, **options)


def row(hospital: Any, transfer: Transfer) -> Transfer:
    with hospital.scope():
        return Transfer.objects.get(id=transfer.id)


def items(hospital: Any, transfer: Transfer) -> list[TransferStudy]:
    with hospital.scope():
        return list(TransferStudy.objects.filter(transfer=transfer).order_by("id"))


def step(hospital: Any, transfer: Transfer) -> float | None:
    """One step and the index worker behind it."""
    wait = transfer_run(tenant_id=hospital.tenant.id, transfer_id=transfer.id)
    house.index(hospital)
    return wait


def finish(hospital: Any, transfer: Transfer, seconds: float = 20) -> Transfer:
    """As worker, index worker and sweep would, until it has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step(hospital, transfer)
        found = row(hospital, transfer)
        if found.due_at is None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"the transfer did not end: {found.state}, {found.last_error}")


@contextmanager
def scp(title: str, classes: Sequence[str], handlers: Sequence[Any], *, port: int = 0, **options: Any) -> Iterator[int]:
    """A pynetdicom SCP; its port."""
    ae = AE(ae_title=title)
    for name, value in options.items():
        setattr(ae, name, value)
    for sop_class in classes:
        ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=list(handlers))
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def answering(datasets: Sequence[Dataset]) -> Any:
    """A C-FIND handler for these objects: studies, series or images that match the UIDs and the date asked for."""
    keys = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        key = keys[asked.QueryRetrieveLevel]
        wanted = [e for e in asked if e.keyword in {"StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "PatientID"} and e.value]
        groups: dict[str, list[Dataset]] = {}
        for ds in datasets:
            if all(_is_match(ds, e.keyword, str(e.value)) for e in wanted):
                groups.setdefault(ds[key].value, []).append(ds)
        for group in groups.values():
            answer = Dataset()
            for element in asked:
                if element.keyword in group[0] and element.keyword != "QueryRetrieveLevel":
                    setattr(answer, element.keyword, group[0][element.keyword].value)
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            if asked.QueryRetrieveLevel == "SERIES":
                answer.NumberOfSeriesRelatedInstances = len(group)
            yield 0xFF00, answer

    return find


def _is_match(ds: Dataset, keyword: str, wanted: str) -> bool:
    value = str(ds.get(keyword, ""))
    if keyword == "StudyDate" and "-" in wanted:
        first, _, last = wanted.partition("-")
        return first <= value <= (last or "9")
    return value == wanted


def with_meta(datasets: Sequence[Dataset]) -> list[Dataset]:
    """pynetdicom sends a data set in the syntax that its group 2 names."""
    for ds in datasets:
        part10(ds)
    return list(datasets)
