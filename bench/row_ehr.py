"""Row `ehr`: the FHIR server as an EHR meets it, at HTTP level, token, walls and validation on, with many resources stored.

Rates are the whole machine's, client included, divided by its cores: the unit that the issue's published figures are given in.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from bench.context import Bench
from bench.fhir_make import CODES, PER_PATIENT, observation, resources_make
from bench.figures import Figure, Outcome, percentile
from bench.house import BenchError, Hospital, hospital_make, settled_wait
from bench.rest import Rest, RestError
from medhub.stack import ROOT

HOSPITALS = 4
RESOURCES = int(os.environ.get("BENCH_FHIR_RESOURCES", "300000"))
SECONDS, CLIENTS = 5, 8
BUNDLE, BUNDLES, IMPORTED = 200, 30, 60_000
SEARCHES = 100
SORTED = "Observation of a patient, by category, newest first"
SECOND = 5_000_000  # patients of the bundles and of the import: their numbers begin far from those that are loaded


def ehr_measure(bench: Bench) -> Outcome:
    """Load, then read, search, create, send bundles, import; at the end how long each kind of search takes."""
    cores = os.cpu_count() or 1
    outcome = Outcome(f"FHIR at HTTP level, {RESOURCES:,} resources in {HOSPITALS} hospitals; rates a second and core ({cores} cores)")
    hospitals = [hospital_make(f"bench-ehr-{n}") for n in range(HOSPITALS)]
    patients = RESOURCES // HOSPITALS // PER_PATIENT
    with bench.console.status(f"loading {RESOURCES:,} resources"):
        _figure(outcome, "loaded by COPY, both cores together", _loaded(bench, hospitals, patients), "resources/s")
    hospital, chance = hospitals[0], random.Random(1)  # noqa: S311 data, no secret
    rest = Rest(bench.stack.ports.http, hospital.auth)
    base = hospital.path("fhir/r4")
    found = _searches(base, patients, chance)
    if shutil.which("wrk"):
        reads = [f"{base}/Observation/o{chance.randrange(patients)}-{chance.randrange(12)}" for _ in range(2000)]
        wanted = [found[SORTED][n % SEARCHES] for n in range(2000)]
        for key, words, lua in (
            ("ehr_reads", "read", _gets(reads)),
            ("ehr_searches", "search: patient + category + sort", _gets(wanted)),
            ("ehr_creates", "create", _posts(base, patients)),
        ):
            rates = [_wrk(bench, hospital, lua) / cores for _ in range(bench.reps(3))]
            _judged(outcome, key, words, rates, "requests/s")
    else:
        outcome.notes.append("wrk is not here: reads, searches and creates were not measured")
    settled_wait(hospital)  # AuditEvents of what was just read and created: each row is measured for itself
    _judged(outcome, "ehr_bundles", f"transaction bundles of {BUNDLE}", [_bundles(bench, hospital) / cores], "resources/s")
    settled_wait(hospital)
    _judged(outcome, "ehr_import", "manage.py fhir_import", [_imported(hospital) / cores], "resources/s")
    worst = 0.0
    for words, paths in found.items():
        taken = sorted(rest.milliseconds(path, times=1, warm=0)[0] for path in paths)
        for share in (50, 95):
            _figure(outcome, f"{words}, p{share}", percentile(taken, share / 100), "ms")
        worst = max(worst, percentile(taken, 0.95))
    outcome.measured["ehr_p95"] = worst
    return outcome


def _figure(outcome: Outcome, words: str, value: float, unit: str) -> None:
    outcome.figures.append(Figure(words, [value], unit))


def _judged(outcome: Outcome, key: str, words: str, values: list[float], unit: str) -> None:
    outcome.figures.append(Figure(words, values, f"{unit} and core"))
    outcome.measured[key] = outcome.figures[-1].median


def _loaded(bench: Bench, hospitals: list[Hospital], patients: int) -> float:
    dsn = bench.stack.superuser.replace("dbname=postgres", f"dbname={bench.stack.database}")
    began = time.monotonic()
    waiting = list(hospitals)
    while waiting:  # as many at once as there are cores
        now, waiting = waiting[: os.cpu_count() or 1], waiting[os.cpu_count() or 1 :]
        processes = [
            subprocess.Popen(  # noqa: S603 our own module
                [sys.executable, "-m", "bench.fhir_load", "--dsn", dsn, "--tenant", str(one.tenant.id), "--first", "0", "--last",
                 str(patients)],
                cwd=ROOT,
            )  # fmt: skip
            for one in now
        ]
        if any(process.wait() for process in processes):
            raise BenchError("the loader failed")
    taken = time.monotonic() - began
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return RESOURCES / taken


def _searches(base: str, patients: int, chance: random.Random) -> dict[str, list[str]]:
    """The listed searches, each with other values every time."""

    def one() -> int:
        return chance.randrange(patients)

    asked = {
        SORTED: lambda: f"Observation?patient=p{one()}&category=laboratory&_sort=-date&_count=20",
        "Observation by category, newest first": lambda: "Observation?category=laboratory&_sort=-date&_count=20",
        "Observation by code and value":
            lambda: f"Observation?code={chance.choice(CODES)}&value-quantity=gt{chance.randrange(300, 390)}&_count=20",
        "DiagnosticReport by identifier": lambda: f"DiagnosticReport?identifier=urn:bench:report|R{one()}-1",
        "DiagnosticReport of a patient with results": lambda: f"DiagnosticReport?patient=p{one()}&_include=DiagnosticReport:result",
        "worklist: preliminary reports of thirty days":
            lambda: "DiagnosticReport?status=preliminary&date=ge2024-05-01&date=le2024-05-31&_count=20",
        "ImagingStudy with its reports": lambda: f"ImagingStudy?patient=p{one()}&_revinclude=DiagnosticReport:imagingStudy",
        "Patient by family name": lambda: f"Patient?family=name{chance.randrange(977)}&_count=20",
        "Patient by name and birth date": lambda: f"Patient?name=given{chance.randrange(211)}&birthdate=ge1990&_count=20",
        "chained: Observation by the patient's identifier": lambda: f"Observation?patient.identifier=urn:bench:mrn|MRN{one()}&_count=20",
        "_has: Patient by an Observation's code": lambda: f"Patient?_has:Observation:patient:code={chance.choice(CODES)}&_id=p{one()}",
        "changes since": lambda: "Observation?_lastUpdated=ge2026-01-01&_sort=_lastUpdated&_count=100",
    }  # fmt: skip
    return {words: [f"/{base.lstrip('/')}/{make()}".replace("|", "%7C") for _ in range(SEARCHES)] for words, make in asked.items()}


def _gets(paths: list[str]) -> str:
    lines = ",".join(json.dumps(path if path.startswith("/") else f"/{path}") for path in paths)
    return f"paths={{{lines}}}\ni=0\nrequest=function() i=i+1 return wrk.format('GET', paths[i % #paths + 1]) end\n"


def _posts(base: str, patients: int) -> str:
    chance = random.Random(2)  # noqa: S311 data, no secret
    bodies = ",".join(
        json.dumps(json.dumps(observation(fhir_id=None, patient=chance.randrange(patients), chance=chance))) for _ in range(500)
    )
    return (
        f"bodies={{{bodies}}}\ni=0\nwrk.headers['Content-Type']='application/fhir+json'\n"
        f"request=function() i=i+1 return wrk.format('POST', '/{base.lstrip('/')}/Observation', nil, bodies[i % #bodies + 1]) end\n"
    )


def _wrk(bench: Bench, hospital: Hospital, lua: str) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=bench.scratch) as script:
        script.write(lua)
        script.flush()
        done = subprocess.run(  # noqa: S603 arguments made here
            [shutil.which("wrk") or "wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", "--timeout", "30s", "-s", script.name,
             "-H", "Accept: application/fhir+json", "-H", f"Authorization: Bearer {hospital.token}",
             f"http://127.0.0.1:{bench.stack.ports.http}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    if "Non-2xx" in done.stdout:
        raise RestError("not every answer was a success")
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not found:
        raise RestError("wrk said no rate")
    return float(found[1])


def _bundles(bench: Bench, hospital: Hospital) -> float:
    """Two clients send transactions of new resources that point at each other."""
    clients = 2
    made = resources_make(patients=range(SECOND, SECOND + BUNDLE * BUNDLES // PER_PATIENT))
    bodies = []
    for _ in range(BUNDLES):
        entries = [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
            for one in (next(made) for _ in range(BUNDLE))
            if one["resourceType"] != "ImagingStudy"
        ]
        bodies.append((json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode(), len(entries)))
    statuses: list[int] = []

    def send(mine: list[tuple[bytes, int]]) -> None:
        rest = Rest(bench.stack.ports.http, {**hospital.auth, "Content-Type": "application/fhir+json", "Prefer": "return=minimal"})
        statuses.extend(rest.request("POST", hospital.path("fhir/r4"), body=body)[0] for body, _ in mine)

    threads = [threading.Thread(target=send, args=(bodies[n::clients],)) for n in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.monotonic() - began
    if set(statuses) != {200}:
        raise RestError(f"a bundle was answered {max(statuses, default=0)}")
    return sum(count for _, count in bodies) / taken


def _imported(hospital: Hospital) -> float:
    patients = range(2 * SECOND, 2 * SECOND + IMPORTED // PER_PATIENT)
    with tempfile.TemporaryDirectory() as folder:
        file, count = Path(folder) / "bench.ndjson", 0
        with file.open("w", encoding="utf-8") as out:
            for one in resources_make(patients=patients):
                if one["resourceType"] != "ImagingStudy":
                    out.write(json.dumps(one) + "\n")
                    count += 1
        began = time.monotonic()
        done = subprocess.run(  # noqa: S603 our own command
            [sys.executable, "manage.py", "fhir_import", "--hospital", hospital.tenant.slug, str(file)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError("fhir_import failed")
        return count / (time.monotonic() - began)
