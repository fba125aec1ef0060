"""The HTTP job interface, spoken to a real gunicorn."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.quantify.conftest import Phantom
from tests.quantify.serving import BOUNDARY, KEY, RELATED, QuantifyServer, Reply, body_of

ON_OFFER = (
    "brain-volume", "breast-percent-density", "calcium-agatston-like", "hyperdense-volume", "lung-density-mask", "fundus-vessel-index",
)  # fmt: skip
POST = "/v1/jobs?algorithm=lung-density-mask"
PART10 = b"\0" * 128 + b"DICM" + b"rest"


@pytest.fixture(scope="module")
def done(server: QuantifyServer, phantom: Phantom) -> Any:
    """One finished job."""
    return server.run(phantom.parts)


def test_health_needs_no_key(server: QuantifyServer) -> None:
    """`GET /healthz` -> 200 with the algorithms, no auth."""
    reply = server.ask("GET", "/healthz", key=None)
    assert reply.status == 200
    said = reply.json
    assert [one["name"] for one in said.pop("not_installed")] == ["brain-volume"]
    versions = dict.fromkeys(ON_OFFER, "1.0.0") | {"fundus-vessel-index": "1.1.0"}
    assert said == {"status": "ok", "algorithms": [{"name": name, "version": version} for name, version in versions.items()]}


def test_job_json(done: Any, phantom: Phantom) -> None:
    """The job JSON holds input, coded measurements with unit, site, method and threshold, notes, times, the notice."""
    assert done["status"] == "done"
    assert done["algorithm"] == {"name": "lung-density-mask", "version": "1.0.0", "manufacturer": "MedHub Quantify"}
    assert done["notice"] == "MedHub Quantify is not a medical device. For evaluation only."
    assert done["input"]["instances"] == 56
    assert done["input"]["sop_uids"] == sorted(done["input"]["sop_uids"])
    assert done["input"]["study_uid"].startswith("2.25.")
    assert len(done["input"]["sha256"]) == 64
    assert done["started_at"] <= done["finished_at"]
    assert done["finished_at"].endswith("Z")
    assert "reason" not in done
    assert "error" not in done
    assert [note["code"] for note in done["notes"]] == ["kernel", "slices"]
    volume, laa, perc15 = done["measurements"]
    assert volume["code"] == {"system": "http://snomed.info/sct", "code": "118565006", "display": "Volume"}
    assert (volume["unit"], laa["unit"], perc15["unit"]) == ("mL", "%", "[hnsf'U]")
    local = "https://medicalcloudaihub.com/fhir/CodeSystem/quantify"
    assert [(item["code"]["system"], item["code"]["code"]) for item in (laa, perc15)] == [
        (local, "laa-950"),
        (local, "perc15"),
    ]
    assert laa["parameters"] == [
        {
            "code": {
                "system": "http://dicom.nema.org/resources/ontology/DCM",
                "code": "112032",
                "display": "Threshold Attenuation Coefficient",
            },
            "value": -950,
            "unit": "[hnsf'U]",
        }
    ]
    assert all(item["body_site"]["code"] == "39607008" for item in done["measurements"])
    assert laa["value"] == pytest.approx(phantom.truth.laa_950_percent, rel=0.01)


def test_no_diagnosis_word(done: Any) -> None:
    """No diagnosis word, numbers only."""
    text = json.dumps(done).lower()
    assert not [word for word in ("emphysema", "copd", "disease", "abnormal", "severe", "normal") if word in text]


def test_same_measurement_bytes_of_a_chunked_body(server: QuantifyServer, done: Any, phantom: Phantom) -> None:
    """The body may be chunked; same pixels -> same result bytes for measurements, here in another order."""
    body = body_of(phantom.parts[::-1])
    reply = server.post(body[start : start + 50_000] for start in range(0, len(body), 50_000))
    assert reply.status == 202
    second = server.ended(reply.json["job_id"])
    assert second["job_id"] != done["job_id"]
    assert json.dumps(second["measurements"]) == json.dumps(done["measurements"])
    assert second["input"]["sha256"] == done["input"]["sha256"]


@pytest.mark.parametrize("key", [None, "wrong", KEY + "x", KEY[:-1], "Schlüssel"])
def test_unauthorized(server: QuantifyServer, key: str | None) -> None:
    """401 for a wrong or missing key, whatever is asked."""
    encoded = key.encode("latin-1").decode("latin-1") if key else None
    for method, path in (("POST", POST), ("GET", "/v1/jobs/" + "0" * 32), ("DELETE", "/v1/jobs/" + "0" * 32)):
        reply = server.ask(method, path, key=encoded)
        assert reply.status == 401
        assert reply.json["error"]["code"] == "unauthorized"
        assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_other_scheme_is_unauthorized(server: QuantifyServer) -> None:
    """Only Bearer opens."""
    assert server.ask("GET", "/v1/jobs/x", key=None, headers={"Authorization": f"Basic {KEY}"}).status == 401


def test_unknown_algorithm(server: QuantifyServer) -> None:
    """404 unknown algorithm."""
    headers = {"Content-Type": RELATED, "Idempotency-Key": "k"}
    for path in ("/v1/jobs?algorithm=nodule-finder", "/v1/jobs"):
        reply = server.ask("POST", path, body=body_of([PART10]), headers=headers)
        assert (reply.status, reply.json["error"]["code"]) == (404, "unknown_algorithm")


def test_unknown_paths_and_methods(server: QuantifyServer) -> None:
    """404 for what is not there, 405 with Allow for what cannot be done."""
    for path in ("/", "/v1", "/v1/jobs/", "/v1/jobs/../../etc/passwd", "/v1/jobs/" + "A" * 32, "/v1/jobs/" + "0" * 32):
        assert server.ask("GET", path).status == 404, path
    for method, path, allow in (
        ("GET", "/v1/jobs", "POST"),
        ("PUT", "/v1/jobs/" + "0" * 32, "DELETE, GET"),
        ("POST", "/healthz", "GET"),
    ):
        reply = server.ask(method, path)
        assert (reply.status, reply.headers["Allow"]) == (405, allow)


@pytest.mark.parametrize("name", ["", "a" * 129, "with space", "slash/", "ü"])
def test_bad_idempotency_key(server: QuantifyServer, name: str) -> None:
    """Idempotency-Key: 1 to 128 characters of [A-Za-z0-9._:-]."""
    reply = server.post(body_of([PART10]), Idempotency_Key=name)
    assert (reply.status, reply.json["error"]["code"]) == (400, "bad_idempotency_key")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ("multipart/form-data; boundary=x", 415),
        (f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}', 415),
        (f"multipart/related; boundary={BOUNDARY}", 415),
        ('multipart/related; type="application/dicom"', 400),
        (f'multipart/related; type="application/dicom"; boundary="{"b" * 71}"', 400),
    ],
)
def test_wrong_type(server: QuantifyServer, content_type: str, status: int) -> None:
    """415 for a wrong type, 400 for an unusable boundary."""
    assert server.post(body_of([PART10]), Content_Type=content_type).status == status


@pytest.mark.parametrize(
    "content_type",
    [
        f"multipart/related; type=application/dicom; boundary={BOUNDARY}",
        f'multipart/related; boundary="{BOUNDARY}"; type="application/dicom"',
        f'Multipart/Related; Type="Application/DICOM"; Boundary={BOUNDARY}',
    ],
)
def test_boundary_quoted_or_not(server: QuantifyServer, content_type: str) -> None:
    """The boundary may be quoted."""
    reply = server.post(body_of([PART10]), Content_Type=content_type)
    assert reply.status == 202
    assert server.ask("DELETE", f"/v1/jobs/{reply.json['job_id']}").status == 204


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing of the kind",
        f"--{BOUNDARY}--\r\n".encode(),
        body_of([PART10])[:-20],
        body_of([b"garbage that is no DICOM at all" * 20]),
        body_of([PART10, b""]),
        body_of([PART10]).replace(b"application/dicom", b"text/html"),
        body_of([PART10]).replace(b"Content-Type", b"No Header Name"),
        b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
    ids=["empty", "text", "no-parts", "cut", "garbage", "empty-part", "other-type", "bad-header", "long-header"],
)
def test_malformed_body(server: QuantifyServer, body: bytes) -> None:
    """400 malformed body, and nothing is left behind."""
    reply = server.post(body)
    assert reply.status == 400
    assert set(reply.json) == {"error"}
    assert set(reply.json["error"]) == {"code", "text"}
    assert list((server.folder / "uploads").iterdir()) == []


def test_too_large_by_length(server: QuantifyServer) -> None:
    """413 over QUANTIFY_MAX_BYTES, said before the body is sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        head = f"POST {POST} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nIdempotency-Key: large\r\n"
        sock.sendall(f"{head}Content-Type: {RELATED}\r\nContent-Length: {33 * 1024**2}\r\n\r\n".encode())
        assert sock.recv(64).startswith(b"HTTP/1.1 413 ")


def test_too_large_chunked(server: QuantifyServer) -> None:
    """413 over QUANTIFY_MAX_BYTES when a chunked body does not announce its size."""

    def endless() -> Iterator[bytes]:
        yield body_of([PART10]).removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
        for _ in range(34):
            yield b"\0" * 1024**2

    reply = server.post(endless())
    assert (reply.status, reply.json["error"]["code"]) == (413, "too_large")
    assert list((server.folder / "uploads").iterdir()) == []


def test_same_key_same_job(server: QuantifyServer, phantom: Phantom) -> None:
    """The same key again -> the same job, never a second computation."""
    name = uuid.uuid4().hex
    first = server.post(body_of(phantom.parts), name)
    assert first.status == 202
    assert first.headers["Location"] == f"/v1/jobs/{first.json['job_id']}"
    job = server.ended(first.json["job_id"])
    again = server.post(body_of([PART10]), name)
    assert (again.status, again.json) == (202, {"job_id": job["job_id"], "status": "done"})
    assert server.ended(job["job_id"]) == job
    assert started_times(server, job["job_id"]) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, 202), ({"Idempotency_Key": "no good"}, 400), ({"Content_Type": "text/plain"}, 415)],
)
def test_large_body_hears_the_answer(server: QuantifyServer, change: dict[str, str], status: int) -> None:
    """The same key again with a large body, or a refused one, gets its answer and not a broken connection."""
    large = body_of([PART10 + b"\0" * 8 * 1024**2] * 3)
    assert server.post(body_of([PART10]), "large-again").status == 202
    assert server.post(large, "large-again", **change).status == status


def test_race_of_two_posts(server: QuantifyServer, phantom: Phantom) -> None:
    """The same key under a race of two simultaneous posts: both bodies are half sent before either ends; one job."""
    name, meet, body = uuid.uuid4().hex, threading.Barrier(2), body_of(phantom.parts)

    def halves() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        meet.wait(10)
        yield body[len(body) // 2 :]

    def send(_: int) -> Reply:
        return server.post(halves(), name)

    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(send, range(2)))
    assert [reply.status for reply in replies] == [202, 202]
    assert replies[0].json["job_id"] == replies[1].json["job_id"]
    job = server.ended(replies[0].json["job_id"])
    assert job["status"] == "done"
    assert started_times(server, job["job_id"]) == 1
    assert list((server.folder / "uploads").iterdir()) == []


def test_inputs_are_deleted(server: QuantifyServer, done: Any) -> None:
    """Inputs are deleted once the outcome is durable."""
    folder = server.folder / "jobs" / done["job_id"]
    end = time.monotonic() + 5
    while (folder / "parts.bin").exists() and time.monotonic() < end:  # "done" is said first: the outcome is durable by then
        time.sleep(0.02)
    assert sorted(path.name for path in folder.iterdir()) == ["accepted.json", "outcome.json", "started.json"]


def test_delete(server: QuantifyServer, phantom: Phantom) -> None:
    """`DELETE /v1/jobs/<id>` -> 204, removes inputs and outcome, also of a job that waits or runs."""
    job_id = server.post(body_of(phantom.parts)).json["job_id"]
    reply = server.ask("DELETE", f"/v1/jobs/{job_id}")
    assert (reply.status, reply.content) == (204, b"")
    assert server.ask("GET", f"/v1/jobs/{job_id}").status == 404
    assert server.ask("DELETE", f"/v1/jobs/{job_id}").status == 404
    # The runner lets go of a removed job and does the next one.
    assert server.run(phantom.parts)["status"] == "done"
    assert not (server.folder / "jobs" / job_id).exists()
    assert list((server.folder / "trash").iterdir()) == []


def started_times(server: QuantifyServer, job_id: str) -> int:
    """How often the computation was begun."""
    return int(json.loads((server.folder / "jobs" / job_id / "started.json").read_bytes())["attempt"])
