"""A stand-in CT scanner: takes DICOM from a folder, a file or a zip, gives it fresh UIDs, and sends it by C-STORE.

A process of its own (`python -m sandbox.modality ...`), used by the demo and the bench; prints one JSON line per step.
"""

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid
from pynetdicom import AE, _config
from pynetdicom.presentation import build_context

_config.LOG_HANDLER_LEVEL = "none"
STANDARD = "1.2.840.10008."
MAX_CONTEXTS = 128


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


def objects(path: Path) -> Iterator[Dataset]:
    """The DICOM objects among them; other files (truth.json, DICOMDIR) are passed over."""
    for content in sources(path):
        try:
            ds = dcmread(io.BytesIO(content))
        except (InvalidDicomError, EOFError):
            continue
        if "SOPInstanceUID" in ds and "StudyInstanceUID" in ds:
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


def send(datasets: list[Dataset], *, host: str, port: int, called: str, calling: str) -> int:
    """One association, one C-STORE per object. Returns how many were not taken."""
    ae = AE(ae_title=calling)
    ae.maximum_pdu_size = 131072
    pairs = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets}
    ae.requested_contexts = [build_context(sop, [syntax]) for sop, syntax in sorted(pairs)[:MAX_CONTEXTS]]
    assoc = ae.associate(host, port, ae_title=called)
    if not assoc.is_established:
        say(error="the association was refused", called=called, calling=calling)
        return len(datasets)
    failed = 0
    for number, ds in enumerate(datasets, start=1):
        status = assoc.send_c_store(ds)
        if status.get("Status") != 0:
            failed += 1
            say(refused=f"{status.get('Status', 0):04X}", comment=str(status.get("ErrorComment", "")))
        if number % 10 == 0 or number == len(datasets):
            say(sent=number - failed, of=len(datasets))
    assoc.release()
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", required=True)
    parser.add_argument("--calling", required=True)
    parser.add_argument("--keep-uids", action="store_true")
    options = parser.parse_args()
    known: dict[str, str] = {}
    datasets = []
    for ds in objects(options.path):
        if not options.keep_uids:
            uids_renew(ds, known)
        datasets.append(ds)
    if not datasets:
        say(error="no DICOM object found")
        return 2
    say(study_uid=str(datasets[0].StudyInstanceUID), studies=len({ds.StudyInstanceUID for ds in datasets}), instances=len(datasets))
    return 1 if send(
        datasets, host=options.host, port=options.port, called=options.called, calling=options.calling
    ) else 0


if __name__ == "__main__":
    sys.exit(main())
