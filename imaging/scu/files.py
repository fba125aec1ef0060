"""Sending files that are no rows of the archive, and a bare C-ECHO, to an AE that is no node: for AI platforms (`ai.ways`).

The same machinery as for nodes: the address is looked at by egress, TLS shows the hospital's own certificate.
"""

from collections.abc import Sequence
from pathlib import Path

from imaging.dimse.contexts import VERIFICATION
from imaging.dimse.contract import StoredObject
from imaging.header import HeaderError, part10_read
from imaging.ingest import SOP_CLASS, SOP_INSTANCE
from imaging.models import Node
from imaging.scu.association import NotPossibleError, NotReachedError, Peer, associated, contexts_of, reactor_still
from imaging.scu.pull import Counts
from imaging.scu.send import study_send

ECHO_SECONDS = 10.0


def peer_make(*, tenant_id: int, host: str, port: int, called_ae: str, calling_ae: str, has_tls: bool) -> Peer:
    """An AE that a connection's settings name; no row is made of it."""
    return Peer(Node(tenant_id=tenant_id, ae_title=called_ae, host=host, port=port, uses_tls=has_tls), calling_ae)


def files_send(files: Sequence[Path], peer: Peer) -> Counts:
    """C-STORE all of these Part 10 files; what was refused is in the counts. Raises NotReachedError, NotPossibleError."""
    objects = [(number, _stored(path)) for number, path in enumerate(files, start=1)]
    counts = Counts(remaining=len(objects))
    study_send(peer, objects=objects, counts=counts, go=lambda: True, pace=lambda: None)
    return counts


def _stored(path: Path) -> StoredObject:
    try:
        head = part10_read(path, wanted=frozenset({SOP_CLASS, SOP_INSTANCE}))
    except (HeaderError, OSError):
        raise NotPossibleError("a file to be sent cannot be read") from None
    return StoredObject(head.header.uid(SOP_CLASS), head.header.uid(SOP_INSTANCE), head.transfer_syntax_uid, path)


def echo_send(peer: Peer) -> None:
    """C-ECHO. Raises NotReachedError, NotPossibleError."""
    with associated(peer, contexts_of(VERIFICATION), answer_seconds=ECHO_SECONDS) as association:
        reactor_still(association)
        status = association.send_c_echo()
        if "Status" not in status:
            raise NotReachedError("echo", "no answer to C-ECHO")
        if status.Status != 0:
            raise NotReachedError("echo", f"C-ECHO answered with status {status.Status:04X}")
