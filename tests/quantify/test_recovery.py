"""Kills and restarts: nothing accepted is lost, nothing is kept longer than promised."""

import json
import os
import time
from pathlib import Path

from quantify.intake import PartPlace
from quantify.jobs import JobStore, job_id_of
from quantify.outcome import failure
from tests.quantify.conftest import Phantom
from tests.quantify.serving import QuantifyServer, body_of


def test_restart_after_sigkill(tmp_path: Path, phantom: Phantom) -> None:
    """Jobs survive a SIGKILL of the server: the running and the queued job are resumed at start, the child ends."""
    with QuantifyServer(tmp_path) as server:
        ids = [server.post(body_of(phantom.parts), name).json["job_id"] for name in ("first", "second")]
        deadline = time.monotonic() + 20
        while not (children := server.computing()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.ask("GET", f"/v1/jobs/{ids[0]}").json["status"] == "running"
        assert server.ask("GET", f"/v1/jobs/{ids[1]}").json["status"] == "queued"
        server.kill_server_only()
        assert not list(tmp_path.glob("jobs/*/outcome.json"))
        while any(is_alive(child) for child in children):
            assert time.monotonic() < deadline, "the computing child outlived its server"
            time.sleep(0.02)
        # It ended in the middle: a child that had gone on would have left its findings.
        assert not list(tmp_path.glob("jobs/*/findings-*.json"))
        server.start()
        jobs = [server.ended(job_id) for job_id in ids]
        assert [job["status"] for job in jobs] == ["done", "done"]
        assert jobs[0]["measurements"] == jobs[1]["measurements"]
        # The key still names the job after the restart.
        assert server.post(body_of(phantom.parts), "first").json == {"job_id": ids[0], "status": "done"}
        assert not list(tmp_path.glob("jobs/*/parts.bin"))


def test_accepted_is_on_disk(tmp_path: Path, phantom: Phantom) -> None:
    """fsync of the accepted job before 202: the folder is complete at the moment of the answer."""
    with QuantifyServer(tmp_path) as server:
        server.post(body_of(phantom.parts), "blocker")
        job_id = server.post(body_of(phantom.parts), "waiting").json["job_id"]
        server.kill()
    folder = tmp_path / "jobs" / job_id
    assert job_id == job_id_of("waiting")
    places = json.loads((folder / "accepted.json").read_bytes())["parts"]
    content = (folder / "parts.bin").read_bytes()
    kept = [content[place["offset"] : place["offset"] + place["length"]] for place in places]
    assert kept == list(phantom.parts)


def test_sweep(tmp_path: Path) -> None:
    """Outcomes older than QUANTIFY_KEEP_HOURS are swept; inputs beside an outcome and abandoned uploads too."""
    store = JobStore(tmp_path)
    now = time.time()
    for name in ("old", "new", "unfinished"):
        with store.upload() as upload:
            (upload / "parts.bin").write_bytes(b"x")
            assert store.accept(upload, job_id_of(name), "lung-density-mask", [PartPlace(0, 1)])
    for name in ("old", "new"):
        record = store.accepted(job_id_of(name))
        assert record is not None
        store.finish(record, failure(1, "crashed", "a test"))
    os.utime(store.place_of(job_id_of("old")) / "outcome.json", (now - 73 * 3600,) * 2)
    (store.place_of(job_id_of("new")) / "parts.bin").write_bytes(b"left by a kill")
    (tmp_path / "uploads" / "abandoned").mkdir()
    os.utime(tmp_path / "uploads" / "abandoned", (now - 7 * 3600,) * 2)
    (tmp_path / "uploads" / "busy").mkdir()
    store.sweep(72 * 3600, now)
    assert store.view(job_id_of("old")) is None
    assert store.view(job_id_of("new"))["status"] == "failed"  # type: ignore[index]
    assert not (store.place_of(job_id_of("new")) / "parts.bin").exists()
    (tmp_path / "jobs" / "spoilt").mkdir()
    (tmp_path / "jobs" / "spoilt" / "accepted.json").write_bytes(b"\0\0\0")
    assert store.unfinished() == [job_id_of("unfinished")]
    assert (store.place_of(job_id_of("unfinished")) / "parts.bin").exists()
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["busy"]


def test_outcome_of_a_removed_job_is_dropped(tmp_path: Path) -> None:
    """A job removed and offered again with its key is another job: the first one's outcome never lands in it."""
    store, job_id = JobStore(tmp_path), job_id_of("again")
    records = []
    for _ in range(2):
        with store.upload() as upload:
            (upload / "parts.bin").write_bytes(b"x")
            store.accept(upload, job_id, "lung-density-mask", [PartPlace(0, 1)])
        records.append(store.accepted(job_id))
        if len(records) == 1:
            assert store.remove(job_id)
    assert records[0] is not None
    store.finish(records[0], failure(1, "crashed", "a test"))
    assert store.view(job_id)["status"] == "queued"  # type: ignore[index]


def test_a_job_that_ends_the_server_is_given_up(tmp_path: Path, phantom: Phantom) -> None:
    """A job during which the server died again and again fails with a reason instead of looping for ever."""
    with QuantifyServer(tmp_path) as server:
        server.kill()
        store, job_id = JobStore(tmp_path), job_id_of("poison")
        with store.upload() as upload:
            (upload / "parts.bin").write_bytes(phantom.parts[0])
            store.accept(upload, job_id, "lung-density-mask", [PartPlace(0, len(phantom.parts[0]))])
        record = store.accepted(job_id)
        assert record is not None
        assert [store.start(record) for _ in range(5)] == [1, 2, 3, 4, 5]
        server.start()
        job = server.ended(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "gave_up")


def is_alive(pid: int) -> bool:
    """Running, and not a zombie waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_two_processes_compute_once(tmp_path: Path, phantom: Phantom) -> None:
    """A reload runs two servers for a moment on one folder: the job is computed once."""
    with QuantifyServer(tmp_path) as first, QuantifyServer(tmp_path) as second:
        replies = [server.post(body_of(phantom.parts), "shared") for server in (first, second)]
        assert len({reply.json["job_id"] for reply in replies}) == 1
        job = second.ended(replies[0].json["job_id"])
        assert job["status"] == "done"
        assert json.loads((tmp_path / "jobs" / job["job_id"] / "started.json").read_bytes())["attempt"] == 1
