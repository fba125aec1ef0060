"""A stand-in CT scanner: takes DICOM from a folder, a file or a zip, gives it fresh UIDs, and sends it by C-STORE.

A process of its own (`python -m sandbox.modality ...`), used by the demo and the bench; prints one JSON line per step.
"""

import argparse
import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid
from pynetdicom import AE, Association, _config
from pynetdicom.presentation import build_context

_config.LOG_HANDLER_LEVEL = "none"
STANDARD = "1.2.840.10008."
MAX_CONTEXTS = 128
REACTOR_SECONDS = 2.0  # a lost peer leaves it paused for ever


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def sources(path: Path) -> Iterator[bytes]:
    """The content of every file of a folder, of a zip, or of one file."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            yield file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield archive.read(entry)
    else:
        yield path.read_bytes()


def objects(path: Path, *, is_head: bool = False) -> Iterator[Dataset]:
    """The DICOM objects among them; other files (truth.json, DICOMDIR) are passed over."""
    for content in sources(path):
        try:
            ds = dcmread(io.BytesIO(content), stop_before_pixels=is_head)
        except (InvalidDicomError, EOFError):
            continue
        if all(keyword in ds for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")):
            yield ds


def uids_renew(ds: Dataset, known: dict[str, str]) -> None:
    """Replace every UID that is not the standard's own, the same one always by the same new one, also inside sequences."""

    def renew(_: Dataset, element: DataElement) -> None:
        if element.VR != "UI" or not element.value:
            return
        values = [element.value] if isinstance(element.value, str) else list(element.value)
        new = [uid if uid.startswith(STANDARD) else known.setdefault(uid, generate_uid(prefix=None)) for uid in values]
        element.value = new if len(new) > 1 else new[0]

    ds.walk(renew)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def look(path: Path) -> tuple[list[str], int, set[tuple[str, str]]]:
    """Without pixels: the studies in order, the number of objects, and the contexts to propose."""
    studies: dict[str, None] = {}
    count, pairs = 0, set()
    for ds in objects(path, is_head=True):
        studies[str(ds.StudyInstanceUID)] = None
        pairs.add((str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)))
        count += 1
    return list(studies), count, pairs


def send(datasets: Iterator[Dataset], count: int, pairs: set[tuple[str, str]], options: argparse.Namespace) -> int:
    """One association, one C-STORE per object. Returns how many were not taken."""
    ae = AE(ae_title=options.calling)
    ae.maximum_pdu_size = 131072
    ae.requested_contexts = [build_context(sop, [syntax]) for sop, syntax in sorted(pairs)[:MAX_CONTEXTS]]
    assoc = ae.associate(options.host, options.port, ae_title=options.called)
    if not assoc.is_established:
        say(error="the association was refused", called=options.called, calling=options.calling)
        return count
    failed = 0
    for number, ds in enumerate(datasets, start=1):
        _reactor_wait(assoc)
        try:
            status = assoc.send_c_store(ds)
        except (ValueError, RuntimeError) as error:  # no accepted context, or the peer went away
            failed += 1
            say(refused="----", comment=str(error)[:80])
            continue
        if status.get("Status") != 0:
            failed += 1
            say(refused=f"{status.get('Status', 0):04X}", comment=str(status.get("ErrorComment", "")))
        if number % 10 == 0 or number == count:
            say(sent=number - failed, of=count)
    if assoc.is_established:
        assoc.release()
    return failed


def _reactor_wait(assoc: Association) -> None:
    """Until pynetdicom's reactor has come out of the last call: before that it would swallow the next response."""
    end = time.monotonic() + REACTOR_SECONDS
    while assoc._is_paused and assoc.is_established and time.monotonic() < end:
        time.sleep(0.0005)


def renewed(path: Path, known: dict[str, str], *, is_kept: bool) -> Iterator[Dataset]:
    for ds in objects(path):
        if not is_kept:
            uids_renew(ds, known)
        yield ds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11112)
    parser.add_argument("--called", default="ANY-SCP")
    parser.add_argument("--calling", default="MODALITY")
    parser.add_argument("--keep-uids", action="store_true")
    parser.add_argument("--look", action="store_true", help="send nothing: only say whether there is something to send")
    options = parser.parse_args()
    if options.look and next(objects(options.path, is_head=True), None) is not None:
        return 0
    studies, count, pairs = ([], 0, set()) if options.look else look(options.path)
    if not count:
        say(error="no DICOM object found")
        return 2
    known: dict[str, str] = {}
    first = studies[0] if options.keep_uids else known.setdefault(studies[0], generate_uid(prefix=None))
    say(study_uid=first, studies=len(studies), instances=count)
    datasets = renewed(options.path, known, is_kept=options.keep_uids)
    return 1 if send(datasets, count, pairs, options) else 0


if __name__ == "__main__":
    sys.exit(main())
