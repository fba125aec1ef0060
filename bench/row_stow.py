"""Row `stow`: the CT series by STOW-RS, 25 instances a request, one connection."""

import os
import time
from collections.abc import Sequence

from bench.context import Bench
from bench.figures import Figure, Outcome
from bench.house import rows_wait
from bench.rest import Rest, RestError

PER_REQUEST = 25
BOUNDARY = "bench-boundary-5d41402abc4b2a76b9719d911017c592"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
MEGABYTE = 1e6


def stow_measure(bench: Bench) -> Outcome:
    """Sent from memory; every answer must name all instances."""
    series, hospital = bench.ct, bench.receiving
    rest = Rest(bench.stack.ports.http, hospital.auth)
    rates, lags = [], []
    for _ in range(bench.reps(3)):
        series.renew()
        payloads = series.payloads()
        bodies = [body_make(payloads[at : at + PER_REQUEST]) for at in range(0, len(payloads), PER_REQUEST)]
        os.sync()
        began = time.perf_counter()
        for body in bodies:
            status, _ = rest.request("POST", hospital.path("dicomweb/studies"), body=body, headers={"Content-Type": CONTENT_TYPE})
            if status != 200:
                raise RestError(f"STOW-RS answered {status}")
        rates.append(len(payloads) / (time.perf_counter() - began))
        answered = time.time()
        lags.append(rows_wait(hospital, study_uid=series.study_uid, count=len(payloads)) - answered)
    size = series.size / len(series.files) / MEGABYTE
    return Outcome(
        f"CT by STOW-RS, {PER_REQUEST} a request, one connection: {len(series.files)} slices of 512x512, 16 bits",
        [
            Figure("ours", rates, "inst/s", "fsync of file and folder before each answer"),
            Figure("ours", [rate * size for rate in rates], "MB/s"),
            Figure("last answer -> all rows committed", lags, "s"),
        ],
    )


def body_make(payloads: Sequence[bytes]) -> bytes:
    """multipart/related of Part 10 files (PS3.18 10.5)."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join([piece for payload in payloads for piece in (head, payload, b"\r\n")]) + f"--{BOUNDARY}--\r\n".encode()
