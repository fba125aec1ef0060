"""What a platform is handed, made of real files, for the tests of wires and platforms."""

import hashlib
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from ai.contract import Handle, Http, Payload, Peer, PlatformError, Ways
from ai.ways import NOBODY, DimseLine
from ai.workitems.worklist import OwnWorklist
from sandbox.modality import uids_renew
from tenants.egress import Egress


def fresh(files: Sequence[Path], folder: Path) -> list[Path]:
    """The same images as a study that nobody has seen."""
    known: dict[str, str] = {}
    found = []
    for path in files:
        ds = dcmread(path)
        uids_renew(ds, known)
        found.append(folder / path.name)
        ds.save_as(found[-1], enforce_file_format=True)
    return found


def renamed(files: Sequence[Path], folder: Path) -> list[Path]:
    """The same for a phantom's files, in a tenth of the time: for each UID (2.25...) another of the same length."""
    salt = uuid.uuid4().bytes

    def other(match: re.Match[bytes]) -> bytes:
        digits = str(int.from_bytes(hashlib.sha512(salt + match[1]).digest(), "big")).encode()
        return b"2.25." + digits[: len(match[1])]

    found = []
    for path in files:
        found.append(folder / path.name)
        found[-1].write_bytes(re.sub(rb"2\.25\.([1-9]\d{30,38})", other, path.read_bytes()))
    return found


def handle_of(files: Sequence[Path], **more: Any) -> Handle:
    heads = [dcmread(path, stop_before_pixels=True) for path in files]
    facts = {
        "idempotency_key": str(uuid.uuid4()), "algorithm": "test", "study_uid": str(heads[0].StudyInstanceUID),
        "series_uid": str(heads[0].SeriesInstanceUID), "files": list(files),
        "sop_uids": tuple(str(head.SOPInstanceUID) for head in heads), "patient_id": f"S{uuid.uuid4().hex[:12]}",
        "modality": str(heads[0].Modality),
    }  # fmt: skip
    return Handle(**{**facts, **more})


def ways_for(folder: Path, http: Http | None = None, *, dimse: Any = None, worklist: Any = None) -> Ways:
    return Ways(http=http or Egress(), dimse=dimse or DimseLine(NOBODY), worklist=worklist or OwnWorklist(NOBODY), folder=folder)


def until(ask: Callable[[], Payload | None], seconds: float = 30) -> Payload:
    """Poll as the house does; an answer or a failure."""
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := ask()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("no answer came")


def asked(handle: Handle) -> Handle:
    """The handle as it is when an answer is asked for: without files."""
    return replace(handle, files=[])


@pytest.fixture
def study(thorax: list[Path], tmp_path: Path) -> Handle:
    """A chest CT that Quantify can measure, under fresh UIDs."""
    folder = tmp_path / "study"
    folder.mkdir()
    return handle_of(renamed(thorax, folder))


class RealDimse:
    """`ai.contract.Dimse` by pynetdicom, until the house's own is wired in: a real association each time."""

    def store(self, files: Sequence[Path], peer: Peer) -> int:
        from pynetdicom import AE
        from pynetdicom.presentation import build_context

        datasets = [dcmread(path) for path in files]
        ae = AE(ae_title=peer.calling_ae)
        pairs = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets}
        ae.requested_contexts = [build_context(sop, [syntax]) for sop, syntax in sorted(pairs)]
        association = ae.associate(peer.host, peer.port, ae_title=peer.called_ae, tls_args=_tls(peer))
        if not association.is_established:
            raise PlatformError("the node refused the association", is_permanent=False)
        taken = sum(association.send_c_store(ds).get("Status") == 0 for ds in datasets)
        association.release()
        return taken

    def echo(self, peer: Peer) -> None:
        from pynetdicom import AE

        ae = AE(ae_title=peer.calling_ae)
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate(peer.host, peer.port, ae_title=peer.called_ae, tls_args=_tls(peer))
        if not association.is_established:
            raise PlatformError("the node refused the association", is_permanent=False)
        association.send_c_echo()
        association.release()


def _tls(peer: Peer) -> Any:
    import ssl

    from django.conf import settings

    if not peer.has_tls:
        return None
    return ssl.create_default_context(cafile=settings.EGRESS_CA_FILE), "127.0.0.1"
