"""Subscriptions over a real WebSocket: the process as the house runs it, the `websockets` client, PostgreSQL in between."""

import asyncio
import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ai.models import Workitem, WorkitemSubscription
from ai.workitems import channels
from ai.workitems.events import Kind, event_tell
from medhub.embedded import Home
from medhub.stack import ROOT, Ports, Stack
from tenants.models import ApiToken
from tests.ai.performing import (
    PERFORMED,
    Requester,
    body,
    connection_make,
    integrator,
    job_make,
    of_role,
    performer,
    uid,
    workitem_make,
)
from tests.orthanc import port_free, port_wait
from tests.servers import TEST_HOME

pytestmark = pytest.mark.database
GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
STATE, CANCEL, PROGRESS, ASSIGNED = 1, 2, 3, 5


@dataclass
class Events:
    port: int
    process: subprocess.Popen[bytes]

    def open(self, client: Requester, title: str = "WATCH", *, path: str = "", **headers: str) -> ClientConnection:
        address = f"ws://127.0.0.1:{self.port}{path or f'{client.base}/subscribers/{title}'}"
        return connect(address, additional_headers=headers or {"Authorization": client.auth["authorization"]}, proxy=None)

    def refusal(self, *args: Any, **kwargs: Any) -> int:
        with pytest.raises(InvalidStatus) as refused:
            self.open(*args, **kwargs).close()
        return int(refused.value.response.status_code)


@contextmanager
def events_run(log: Any) -> Iterator[Events]:
    database = connections["default"].settings_dict
    stack = Stack(
        home=Home(TEST_HOME), ports=Ports(events=port_free()),
        environment={
            "DATABASE_URL": f"postgresql://medhub_app@/{database['NAME']}?host={database['HOST']}",
            "MEDHUB_OBJECTS": str(settings.MEDHUB_OBJECTS),
        },
    )  # fmt: skip
    (program,) = (one for one in stack.programs() if one.name == "events")
    with log.open("wb") as out:
        process = subprocess.Popen(program.command, cwd=ROOT, env=stack.child_environment(), stdout=out, stderr=out)
    try:
        port_wait(stack.ports.events, process)
        yield Events(stack.ports.events, process)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> Iterator[Events]:
    log = tmp_path_factory.mktemp("events") / "log"
    with events_run(log) as found:
        yield found
        assert found.process.poll() is None, log.read_text()
    assert found.process.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    assert '"ERROR"' not in log.read_text()


def report(wire: ClientConnection, seconds: float = 10) -> tuple[int, str, dict[str, Any]]:
    """The next event report: its type, the workitem, everything. A state that is told twice, by subscribing and by opening, is one."""
    while True:
        found = json.loads(wire.recv(timeout=seconds))
        number = found.pop("00000110")["Value"][0]
        assert found["00000002"]["Value"] == ["1.2.840.10008.5.1.4.34.6.4"]
        before, number_before = getattr(wire, "told", ({}, 0))
        wire.told = (found, number)  # type: ignore[attr-defined]
        assert number == number_before + 1
        if found != before:
            return found["00001002"]["Value"][0], found["00001000"]["Value"][0], found


def nothing(wire: ClientConnection, seconds: float = 0.4) -> bool:
    try:
        wire.recv(timeout=seconds)
    except TimeoutError:
        return True
    return False


def subscribe(client: Requester, item: str, title: str = "WATCH", query: str = "") -> Any:
    answer = client.call("POST", f"/workitems/{item}/subscribers/{title}{query}")
    assert answer.status_code == 201, answer.content
    return answer


def test_the_life_of_a_workitem_as_its_watcher_hears_it(mercy, events) -> None:
    """"subscriptions over WebSocket": State, Assigned, Progress and Cancel Requested reports, in order, numbered, as DICOM JSON."""
    client = integrator(mercy)
    mine, lock = client.create(), uid()
    answer = subscribe(client, mine)
    assert answer.headers["Content-Location"] == f"{settings.MEDHUB_EVENTS_URL}{client.base}/subscribers/WATCH"
    with events.open(client) as wire:
        kind, item, found = report(wire)
        assert (kind, item, found["00741000"]["Value"], found["00404041"]["Value"]) == (STATE, mine, ["SCHEDULED"], ["READY"])
        client.put(mine, "IN PROGRESS", lock)
        progress = {"00741002": {"vr": "SQ", "Value": [{"00741004": {"vr": "DS", "Value": [50]}}]}}
        client.call("POST", f"/workitems/{mine}?transaction-uid={lock}", [progress])
        station = {"00404025": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["STA2"]}}]}}
        client.call("POST", f"/workitems/{mine}?transaction-uid={lock}", [station])
        client.call("POST", f"/workitems/{mine}/cancelrequest/PACS1", {"00741238": {"vr": "LT", "Value": ["wrong series"]}})
        client.call("POST", f"/workitems/{mine}?transaction-uid={lock}", [PERFORMED])
        client.put(mine, "COMPLETED", lock)
        heard = [report(wire) for _ in range(5)]
        assert [(kind, item) for kind, item, _ in heard] == [(kind, mine) for kind in (STATE, PROGRESS, ASSIGNED, CANCEL, STATE)]
        assert [heard[n][2]["00741000"]["Value"] for n in (0, 4)] == [["IN PROGRESS"], ["COMPLETED"]]
        assert heard[1][2]["00741002"] == progress["00741002"]
        assert heard[2][2]["00404025"] == station["00404025"]
        assert heard[3][2]["00741238"]["Value"] == ["wrong series"]
        assert heard[3][2]["00741236"]["Value"] == ["PACS1"]
        assert lock not in str(heard)


def test_a_performer_is_told_of_new_work(mercy, events) -> None:
    """"triggered-pull": a global subscription of one connection hears of its jobs and of nobody else's."""
    first, second = connection_make(mercy), connection_make(mercy, "vendor-b")
    client, other = performer(mercy, first), performer(mercy, second)
    subscribe(client, GLOBAL)
    subscribe(other, GLOBAL)
    with events.open(client) as wire, events.open(other) as others:
        integrator(mercy).create()
        mine = workitem_make(mercy, job_make(mercy, first))
        assert report(wire)[:2] == (STATE, mine)
        assert report(wire)[:2] == (ASSIGNED, mine)
        assert nothing(others)
        assert nothing(wire)


def test_one_jobs_token_hears_of_that_job(mercy, events) -> None:
    """The short-lived token of one job opens no window on the others of its connection."""
    link = connection_make(mercy)
    jobs = [job_make(mercy, link, "a"), job_make(mercy, link, "b")]
    subscribe(performer(mercy, link), GLOBAL)
    with events.open(performer(mercy, link, job=jobs[1].uuid)) as wire:
        workitem_make(mercy, jobs[0])
        mine = workitem_make(mercy, jobs[1])
        assert report(wire)[:2] == (STATE, mine)


def test_filtered_suspended_ended(mercy, events) -> None:
    """A filtered subscription covers what matches; suspended it takes nothing new; deleted it is silent, and the channel closed to it."""
    client = integrator(mercy)
    old = client.create(body(x00741202="HEAD"))
    subscribe(client, FILTERED, query="?deletionlock&WorklistLabel=HEAD")
    with mercy.scope():
        assert set(WorkitemSubscription.objects.values_list("has_lock", flat=True)) == {True}
    with events.open(client) as wire:
        assert report(wire)[:2] == (STATE, old)
        client.create()
        fresh = client.create(body(x00741202="HEAD"))
        assert report(wire)[:2] == (STATE, fresh)
        assert report(wire)[:2] == (ASSIGNED, fresh)
        assert client.call("POST", f"/workitems/{FILTERED}/subscribers/WATCH/suspend").status_code == 200
        client.create(body(x00741202="HEAD"))
        client.put(fresh, "IN PROGRESS", uid())
        assert report(wire)[:2] == (STATE, fresh)
        assert client.call("DELETE", f"/workitems/{fresh}/subscribers/WATCH").status_code == 200
        assert client.call("DELETE", f"/workitems/{fresh}/subscribers/WATCH").status_code == 404
        assert client.call("DELETE", f"/workitems/{FILTERED}/subscribers/WATCH").status_code == 200
        client.put(old, "IN PROGRESS", uid())
        assert nothing(wire)
    assert events.refusal(client) == 404
    assert client.call("POST", f"/workitems/{FILTERED}/subscribers/WATCH/suspend").status_code == 404
    assert client.call("POST", "/workitems/1.2.3/subscribers/WATCH/suspend").status_code == 404
    assert client.call("POST", f"/workitems/{FILTERED}/subscribers/WATCH?NoSuch=1").status_code == 400
    assert client.call("POST", f"/workitems/{old}/subscribers/{'X' * 17}").status_code == 400


def test_who_may_open_a_channel(mercy, olaf, events) -> None:
    """"authenticated by the same token (Authorization header at handshake; 401/404)"."""
    client = integrator(mercy)
    subscribe(client, GLOBAL)
    assert events.refusal(client, Authorization="Bearer mh_wrong") == 401
    assert events.refusal(client, Cookie="x") == 401
    assert events.refusal(client, "NOBODY") == 404
    assert events.refusal(client, path="/anything") == 404
    assert events.refusal(Requester(client.base, olaf.auth)) == 404
    assert events.refusal(Requester(client.base, performer(mercy, connection_make(mercy)).auth)) == 404, "another owner's AE title"
    assert events.refusal(of_role(mercy, "radiologist")) == 403
    with ExitStack() as opened:
        for _ in range(4):
            opened.enter_context(events.open(client, path=f"{client.base}/ws/subscribers/WATCH"))
        assert events.refusal(client) == 503, "more of one AE title than anybody needs"
    ApiToken.objects.filter(tenant=mercy.tenant, name="test").update(revoked_at="2026-01-01T00:00:00Z")
    assert events.refusal(client) == 401


def test_whoever_comes_back_has_missed_nothing(mercy, events) -> None:
    """"reconnect misses nothing that is still relevant": the newest states, and a cancellation that is still asked for."""
    client = integrator(mercy)
    subscribe(client, GLOBAL)
    with events.open(client):
        pass
    mine, lock = client.create(), uid()
    client.put(mine, "IN PROGRESS", lock)
    client.call("POST", f"/workitems/{mine}/cancelrequest")
    with events.open(client) as wire:
        kind, item, found = report(wire)
        assert (kind, item, found["00741000"]["Value"]) == (STATE, mine, ["IN PROGRESS"])
        assert report(wire)[:2] == (CANCEL, mine)
        with mercy.scope():  # a notification that comes late, of what it was told already
            late = Workitem.objects.get(workitem_uid=mine)
            late.version, late.state = 0, "SCHEDULED"
            event_tell(late, Kind.STATE)
        assert nothing(wire)


def test_a_lost_database_connection_is_made_good(mercy, events) -> None:
    """LISTEN is one connection: when it is cut it comes back, and everybody is brought up to date."""
    client = integrator(mercy)
    subscribe(client, GLOBAL)
    with events.open(client) as wire:
        with connections["default"].cursor() as cursor:  # a role may end its own connections
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query = 'LISTEN ai_workitems' AND datname = current_database()"
            )
            assert cursor.rowcount == 1
        mine = client.create()
        end = time.monotonic() + 10
        while report(wire)[1] != mine:
            assert time.monotonic() < end
        client.put(mine, "IN PROGRESS", uid())
        while report(wire)[2].get("00741000", {}).get("Value") != ["IN PROGRESS"]:
            assert time.monotonic() < end


def test_a_slow_subscriber_is_closed_and_holds_nobody_back(mercy, events) -> None:
    """"back-pressure (a slow subscriber is closed, holds back nobody)": one that reads nothing, and one that hears all meanwhile."""
    client = integrator(mercy)
    mine, lock = client.create(), uid()
    client.put(mine, "IN PROGRESS", lock)
    for title in ("SLOW", "QUICK"):
        subscribe(client, mine, title)
    raw = _deaf(events, client, "SLOW")
    try:
        with events.open(client, "QUICK") as quick:
            report(quick)
            big = {"00741002": {"vr": "SQ", "Value": [{"00741006": {"vr": "ST", "Value": ["x" * 900_000]}}]}}
            heard = 0
            for number in range(12):
                big["00741002"]["Value"][0]["00741004"] = {"vr": "DS", "Value": [number]}
                assert client.call("POST", f"/workitems/{mine}?transaction-uid={lock}", [big]).status_code == 200
                heard += report(quick)[0] == PROGRESS
            assert heard == 12
            assert _is_closed(raw), "the deaf one is cut off"
            client.put(mine, "CANCELED", lock)
            assert report(quick)[2]["00741000"]["Value"] == ["CANCELED"]
    finally:
        raw.close()


def _deaf(events: Events, client: Requester, title: str) -> socket.socket:
    """A handshake by hand on a socket with a small window, of which nothing more is read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", events.port))
    raw.sendall(
        f"GET {client.base}/subscribers/{title} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: {client.auth['authorization']}\r\n\r\n".encode()
    )
    assert raw.recv(64).startswith(b"HTTP/1.1 101")
    return raw


def _is_closed(raw: socket.socket) -> bool:
    """Within the send time-out and a little: the other end aborts."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        time.sleep(0.1)
        # 7: the state of a socket that is closed; a reset shows as such without reading what waits
        if raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] == 7:
            return True
    return False


def test_a_revoked_token_closes_its_channel(mercy, monkeypatch) -> None:
    """Access ends with the token, also on a channel that is open: looked at again every few seconds (here: every 0.2)."""
    monkeypatch.setattr(channels, "RECHECK_SECONDS", 0.2)
    client = integrator(mercy)
    subscribe(client, GLOBAL)
    ports: queue.Queue[int] = queue.Queue()
    loops: queue.Queue[Any] = queue.Queue()

    async def run() -> None:
        stop = asyncio.Event()
        loops.put((asyncio.get_running_loop(), stop))
        await channels.Hub().run(host="127.0.0.1", port=0, stop=stop, ready=ports.put)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    loop, stop = loops.get(timeout=10)
    try:
        wire = connect(
            f"ws://127.0.0.1:{ports.get(timeout=10)}{client.base}/subscribers/WATCH", proxy=None,
            additional_headers={"Authorization": client.auth["authorization"]},
        )  # fmt: skip
        assert nothing(wire), "still open"
        ApiToken.objects.filter(tenant=mercy.tenant, name="test").update(revoked_at="2026-01-01T00:00:00Z")
        with pytest.raises(ConnectionClosed) as closed:
            wire.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "the token is no longer valid")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
    assert not thread.is_alive()


def test_what_a_subscriber_says_is_limited(mercy, events) -> None:
    """Whoever sends more than a few bytes is closed; the others are served on."""
    client = integrator(mercy)
    subscribe(client, GLOBAL)
    with events.open(client) as loud, events.open(client) as calm:
        loud.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            loud.recv(timeout=5)
        mine = client.create()
        assert report(calm)[:2] == (STATE, mine)
