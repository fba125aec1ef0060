"""Rows `ct` and `tiny`: C-STORE over one association, ours and dcmtk's storescp in turn, beside what the disk could do."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.context import Bench
from bench.cpu import tree_seconds
from bench.dicom_peers import folder_send, is_storescp_there, storescp
from bench.figures import Figure, Outcome, paired_ratios
from bench.house import rows_wait
from bench.memory import pages_drop
from bench.series import Series

MEGABYTE = 1e6
WORKING = ("dimse", "index", "postgres")
ABSENT = "dcmtk's storescp is not installed: no comparison was made"


@dataclass(frozen=True)
class OurSending:
    """One repetition of ours: instances per second, seconds from the last response to the last row, CPU per instance in ms."""

    rate: float
    rows_seconds: float
    process_rate: float
    cpu: dict[str, float]


def ct_measure(bench: Bench) -> Outcome:
    """500 slices of 512x512, 16 bits."""
    outcome = _compare(bench, bench.ct, f"CT by C-STORE, one association: {len(bench.ct.files)} slices of 512x512, 16 bits")
    if ratio := next((figure for figure in outcome.figures if figure.unit == "of storescp"), None):
        outcome.measured["ct_ratio"] = ratio.median
    return outcome


def tiny_measure(bench: Bench) -> Outcome:
    """600 objects of 3 kB: what one message costs."""
    return _compare(bench, bench.tiny, f"Tiny objects by C-STORE, one association: {len(bench.tiny.files)} of 32x32, 16 bits")


def _compare(bench: Bench, series: Series, title: str) -> Outcome:
    ours: list[OurSending] = []
    theirs, disk = [], []
    for rep in range(bench.reps(3)):
        # Who goes first changes, so that neither always meets the other's write-back.
        for is_ours in (True, False) if rep % 2 == 0 else (False, True):
            if is_ours:
                ours.append(_send_ours(bench, series))
            elif is_storescp_there():
                theirs.append(_send_theirs(bench, series))
        disk.append(_lane(bench, series))
    return _outcome(series, title, sendings=ours, theirs=theirs, disk=disk)


def _outcome(series: Series, title: str, *, sendings: list[OurSending], theirs: list[float], disk: list[float]) -> Outcome:
    size = series.size / len(series.files) / MEGABYTE
    ours = [sending.rate for sending in sendings]
    outcome = Outcome(title, [
        Figure("ours", ours, "inst/s", "fsync of file and folder before each response"),
        Figure("ours", [rate * size for rate in ours], "MB/s"),
    ])  # fmt: skip
    if theirs:
        outcome.figures += [
            Figure("dcmtk storescp +B --fork", theirs, "inst/s", "writes files, no fsync, checks and indexes nothing"),
            Figure("dcmtk storescp +B --fork", [rate * size for rate in theirs], "MB/s"),
            Figure("ours / storescp", paired_ratios(ours, theirs), "of storescp", "paired by repetition"),
        ]
    else:
        outcome.notes.append(ABSENT)
    outcome.figures += [
        Figure("storage lane of this disk", disk, "inst/s", "write, fsync, rename, fsync folder; one thread"),
        Figure("ours / storage lane", paired_ratios(ours, disk), "of lane"),
        Figure("last response -> all rows committed", [sending.rows_seconds for sending in sendings], "s"),
        Figure("ours, whole sender process", [s.process_rate for s in sendings], "inst/s", "with its start and look through the folder"),
        *(
            Figure(f"CPU of {name}", [sending.cpu[name] for sending in sendings], "ms/inst", "until all rows are committed")
            for name in WORKING
        ),
    ]
    outcome.notes.append("rates are from the accepted association to the last response; both ends run with TCP_NODELAY=1")
    return outcome


def _send_ours(bench: Bench, series: Series) -> OurSending:
    hospital, count = bench.receiving, len(series.files)
    series.renew()
    memory_even(bench)
    before = _cpu(bench)
    sent = folder_send(series.folder, count=count, called=hospital.called_ae, port=bench.stack.ports.dimse, scratch=bench.scratch)
    seen = rows_wait(hospital, study_uid=series.study_uid, count=count)
    cpu = {name: 1000 * (seconds - before[name]) / count for name, seconds in _cpu(bench).items()}
    return OurSending(count / sent.seconds, seen - sent.last_at, count / sent.process_seconds, cpu)


def _cpu(bench: Bench) -> dict[str, float]:
    pids = bench.stack.pids()
    return {name: tree_seconds(pids[name]) for name in WORKING}


def _send_theirs(bench: Bench, series: Series) -> float:
    series.renew()
    with storescp(bench.folder_new("storescp")) as port:
        memory_even(bench)
        sent = folder_send(series.folder, count=len(series.files), called="STORESCP", port=port, scratch=bench.scratch)
    return len(series.files) / sent.seconds


def memory_even(bench: Bench) -> None:
    """Nothing is left to write back, and the memory of the last run's files is free for this one (bench/memory.py)."""
    os.sync()
    pages_drop([bench.stack.home.root / "objects", *bench.scratch.glob("storescp-*"), *bench.scratch.glob("lane-*")])


def _lane(bench: Bench, series: Series) -> float:
    folder = bench.folder_new("lane")
    folder.mkdir()
    memory_even(bench)
    return lane_ceiling(series.files[0].read_bytes(), folder, count=len(series.files))


def lane_ceiling(payload: bytes, folder: Path, *, count: int) -> float:
    """Objects per second of nothing but our durability: write, fsync, rename, fsync of the folder. Leaves its files."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    began = time.perf_counter()
    for number in range(count):
        part = folder / f"{number}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, payload)
        os.fsync(fd)
        os.rename(part, folder / f"{number}.dcm")
        os.fsync(directory)
        os.close(fd)
    took = time.perf_counter() - began
    os.close(directory)
    return count / took
