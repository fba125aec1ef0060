"""Row `bulk`: an export of a whole hospital, from the kick-off to the last byte of its files over HTTP.

Judged by resources for each second of CPU that the worker, the database and the web server spend: what one core does, whatever else runs.
"""

import json
import subprocess
import sys
import time

import psycopg

from bench.context import Bench
from bench.cpu import tree_seconds
from bench.fhir_make import PER_PATIENT
from bench.figures import Figure, Outcome
from bench.house import BenchError, Hospital, hospital_make
from bench.rest import Rest
from fhirapi.models import BulkExport
from medhub.stack import ROOT

RESOURCES = 200_000
AT_WORK = ("transfers", "postgres", "web")
POLL = 0.02


def bulk_measure(bench: Bench) -> Outcome:
    """Load once; export and fetch everything, packed as it lies on the disk."""
    hospital = hospital_make("bench-bulk")
    with bench.console.status(f"loading {RESOURCES:,} resources"):
        _load(bench, hospital)
    pids = bench.stack.pids()
    makes, fetches, rates, count, size = [], [], [], 0, 0
    for _ in range(bench.reps(3)):
        spent = sum(tree_seconds(pids[name]) for name in AT_WORK)
        status, made = _made(bench, hospital)
        makes.append(made)
        began = time.monotonic()
        count, size = _fetched(bench, hospital, status)
        fetches.append(time.monotonic() - began)
        rates.append(count / (sum(tree_seconds(pids[name]) for name in AT_WORK) - spent))
    outcome = Outcome(
        f"Bulk Data export of {count:,} resources over HTTP",
        [
            Figure("made, from the first chunk to the manifest", makes, "s", "without the waits before it: 2 s, and the sweep"),
            Figure("fetched, gzip", fetches, "s", f"{size / 1024**2:,.1f} MiB"),
            Figure("made and fetched", rates, "resources/CPU s", "CPU of the worker, PostgreSQL and the web server"),
        ],
    )
    outcome.measured["bulk_rate"] = outcome.figures[2].median
    return outcome


def _load(bench: Bench, hospital: Hospital) -> None:
    dsn = bench.stack.superuser.replace("dbname=postgres", f"dbname={bench.stack.database}")
    given = ["--dsn", dsn, "--tenant", str(hospital.tenant.id), "--first", "0", "--last", str(RESOURCES // PER_PATIENT)]
    subprocess.run([sys.executable, "-m", "bench.fhir_load", *given], cwd=ROOT, check=True)  # noqa: S603 our own module
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _made(bench: Bench, hospital: Hospital) -> tuple[str, float]:
    """The export's address, and the seconds from its first chunk to its end."""
    rest = Rest(bench.stack.ports.http, hospital.auth)
    status, body = rest.request("GET", hospital.path("fhir/r4/$export"), headers={"Prefer": "respond-async"})
    if status != 202:
        raise BenchError(f"kick-off answered {status}: {body[:200]!r}")
    began = 0.0
    for _ in range(int(300 / POLL)):
        with hospital.scope():
            row = BulkExport.objects.order_by("-id").only("state", "count", "uuid").first()
        began = began or (time.monotonic() if row is not None and row.count else 0.0)
        if row is not None and row.state != BulkExport.State.RUNNING:
            return hospital.path(f"fhir/r4/bulk/{row.uuid}"), time.monotonic() - began
        time.sleep(POLL)
    raise BenchError("the export did not end")


def _fetched(bench: Bench, hospital: Hospital, path: str) -> tuple[int, int]:
    """How many resources all files have, and their bytes as they came."""
    rest = Rest(bench.stack.ports.http, hospital.auth)
    manifest = json.loads(rest.request("GET", path)[1])
    size = 0
    for entry in manifest["output"]:
        status, body = rest.request("GET", path + "/" + entry["url"].rpartition("/")[2], headers={"Accept-Encoding": "gzip"})
        if status != 200:
            raise BenchError(f"a file answered {status}")
        size += len(body)
    return sum(entry["count"] for entry in manifest["output"]), size
