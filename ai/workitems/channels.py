"""The WebSocket process of the worklist (PS3.18 11.13, 11.14): who may open a channel, and reports from NOTIFY to subscribers.

`manage.py workitem_events` runs it. Ids come over the notification; rows are read under the wall of their hospital. A subscriber that
does not keep up is closed and holds nobody back: when it comes back it is told the states of all that it watches.
"""

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar
from weakref import WeakKeyDictionary

import psycopg
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ai.workitems.events import CHANNEL, Told, told_read
from ai.workitems.watching import Key, Open, Report, channel_open, states_of, subscribers_of
from tenants.known import listening_parameters

log = logging.getLogger(__name__)

R = TypeVar("R")

MOST_CHANNELS, MOST_PER_TENANT, MOST_PER_TITLE = 2000, 200, 4
QUEUED = 1000  # reports that a subscriber may be behind
SEND_SECONDS, PING_SECONDS, AGAIN_SECONDS, RECHECK_SECONDS = 5.0, 20.0, 1.0, 10.0
READERS = 4
POLICY = 1008  # violated (RFC 6455 7.4.1)
_PATH = re.compile(r"/t/([-\w]{1,40})/dicomweb/(?:ws/)?subscribers/([^/?]{1,48})")


@dataclass(eq=False)
class Channel:
    """One open WebSocket and what waits to be sent on it."""

    connection: ServerConnection
    facts: Open
    waiting: "asyncio.Queue[Report]" = field(default_factory=lambda: asyncio.Queue(QUEUED))
    message_id: int = 0
    caught_up: dict[int, int] = field(default_factory=dict)  # workitem -> the version that it was told when it opened

    def has_heard(self, told: Told) -> bool:
        """An event that was already in the state it was told when it opened: told again it would be an older one after a newer."""
        return not told.subscription_id and told.version <= self.caught_up.get(told.workitem_id, -1)

    def put(self, report: Report) -> bool:
        """False when it is too far behind."""
        with suppress(asyncio.QueueFull):
            self.waiting.put_nowait(report)
            return True
        return False


class Hub:
    """All channels of this process."""

    def __init__(self) -> None:
        self._channels: dict[Key, set[Channel]] = {}
        self._tenants: dict[int, int] = {}
        self._admitted: WeakKeyDictionary[ServerConnection, Open] = WeakKeyDictionary()  # until the handshake is through
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="rows")
        self._closing: set[asyncio.Task[None]] = set()
        self._in_order = asyncio.Lock()  # what is read first is told first: nobody hears an older state after a newer one

    async def run(self, *, host: str, port: int, stop: asyncio.Event, ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve until `stop`; `ready` is told the port."""
        async with serve(
            self.serve, host, port, process_request=self.admit, max_size=4096, max_queue=4, compression=None,
            ping_interval=PING_SECONDS, ping_timeout=PING_SECONDS, open_timeout=SEND_SECONDS, close_timeout=2, server_header=None,
        ) as server:  # fmt: skip
            tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._recheck())]
            ready(next(iter(server.sockets)).getsockname()[1])
            await stop.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._readers.shutdown(cancel_futures=True)

    # --- opening ----------------------------------------------------------------------------------------------------

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """The handshake: token and address are looked at before it is one. None lets it in."""
        found = _PATH.fullmatch(request.path.partition("?")[0])
        if found is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        kind, _, token = _authorization(request.headers).partition(" ")
        if kind.lower() != "bearer" or not token:
            return _refusal(HTTPStatus.UNAUTHORIZED)
        opened = await self._read(partial(channel_open, slug=found[1], ae_title=found[2], token=token.strip()))
        if isinstance(opened, int):
            return _refusal(HTTPStatus(opened))
        if self._is_full(opened.key):
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        self._admitted[connection] = opened
        return None

    def _is_full(self, key: Key) -> bool:
        if len(self._channels.get(key, ())) >= MOST_PER_TITLE or self._tenants.get(key.tenant_id, 0) >= MOST_PER_TENANT:
            return True
        return sum(self._tenants.values()) >= MOST_CHANNELS

    async def serve(self, connection: ServerConnection) -> None:
        facts = self._admitted.pop(connection)
        channel = Channel(connection, facts)
        self._channels.setdefault(facts.key, set()).add(channel)
        self._tenants[facts.tenant_id] = self._tenants.get(facts.tenant_id, 0) + 1
        sender = asyncio.create_task(self._send(channel))
        try:
            await self._catch_up(channel)
            async for _ in connection:  # a subscriber has nothing to say
                pass
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        key = channel.facts.key
        self._channels[key].discard(channel)
        if not self._channels[key]:
            del self._channels[key]
        self._tenants[key.tenant_id] -= 1
        if not self._tenants[key.tenant_id]:
            del self._tenants[key.tenant_id]

    # --- telling ----------------------------------------------------------------------------------------------------

    async def _send(self, channel: Channel) -> None:
        try:
            while True:
                report = await channel.waiting.get()
                channel.message_id += 1
                text = report(channel.message_id).decode()
                await asyncio.wait_for(channel.connection.send(text), SEND_SECONDS)
        except ConnectionClosed:
            return
        except TimeoutError:
            log.warning("a subscriber of workitems takes nothing: closed")
            transport = channel.connection.transport
            # reset, not finished: behind what it does not read it would never see the end, and the system would keep it all
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def _catch_up(self, channel: Channel) -> None:
        """What it may have missed: the states of what it watches, and what is asked of it."""
        async with self._in_order:
            for report in await self._read(partial(states_of, facts=channel.facts)):
                channel.caught_up[report.item.id] = report.item.version
                self._put(channel, report)

    def _put(self, channel: Channel, report: Report) -> None:
        if not channel.put(report):
            log.warning("a subscriber of workitems is too slow: closed")
            self._close(channel, "too slow")

    def _close(self, channel: Channel, words: str) -> None:
        task = asyncio.create_task(channel.connection.close(POLICY, words))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _tell(self, told: Told) -> None:
        if told.tenant_id not in self._tenants:
            return
        async with self._in_order:
            for key, report in await self._read(partial(subscribers_of, told=told)):
                for channel in list(self._channels.get(key, ())):
                    if channel.facts.sees(report.job) and not channel.has_heard(told):
                        self._put(channel, report)

    async def _listen(self) -> None:
        """Hear of events for ever; after a lost connection everybody is brought up to date."""
        is_first = True
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**listening_parameters(), autocommit=True) as heard:
                    await heard.execute(f"LISTEN {CHANNEL}")
                    if not is_first:
                        for channel in [one for found in self._channels.values() for one in found]:
                            await self._catch_up(channel)
                    is_first = False
                    while True:
                        async for note in heard.notifies(timeout=PING_SECONDS):
                            await self._heard(note.payload)
                        await heard.execute("SELECT 1")  # a connection that died without a word
            except Exception as error:  # noqa: BLE001 whatever it was, without this task nobody would be told anything
                log.warning("the database does not tell of workitems: %s", type(error).__name__)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _heard(self, payload: str) -> None:
        try:
            await self._tell(told_read(payload))
        except Exception as error:  # noqa: BLE001 one report must not end all channels; its text may hold a row's values
            log.error("an event of a workitem was not told: %s", type(error).__name__)

    async def _recheck(self) -> None:
        """A token that was revoked or has run out closes its channels."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            for channel in [one for found in self._channels.values() for one in found]:
                facts = channel.facts
                try:
                    again = await self._read(partial(channel_open, slug=facts.slug, ae_title=facts.key.ae_title, token=facts.token))
                except Exception as error:  # noqa: BLE001 a database that is away decides nothing
                    log.warning("a token was not looked at again: %s", type(error).__name__)
                    break
                if isinstance(again, int):
                    self._close(channel, "the token is no longer valid")

    async def _read(self, what: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._readers, what)


def _authorization(headers: Headers) -> str:
    found = headers.get_all("Authorization")
    return found[0] if len(found) == 1 else ""


def _refusal(status: HTTPStatus) -> Response:
    headers = Headers({"Content-Length": "0", "Connection": "close", "Cache-Control": "no-store"})
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="medhub"'
    return Response(status.value, status.phrase, headers, b"")
