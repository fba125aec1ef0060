"""Receiver processes from the worker's side: started, given admitted descriptors, watched, started again.

`listener` uses the pool. A receiver that dies costs its own associations; their peers see the connection close and send again.
"""

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from imaging.dimse.contract import Admission, AssociationLimits, Knock, Refusal, Services
from imaging.dimse.process import MESSAGE_BYTES, admission_dump
from imaging.dimse.receiver import ABORT_SECONDS, Ask, OnEnd

logger = logging.getLogger(__name__)

RESTART_SECONDS = 0.5
START_SECONDS = 60.0
ASKING = 8  # admissions of TLS associations at the same time


class NoReceiverError(OSError):
    """No receiver process takes a socket now."""


@dataclass(eq=False)
class _Child:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    is_ready: bool = False
    taken: dict[int, Admission | Knock] = field(default_factory=dict)  # by their keys


class ReceiverPool:
    """`count` processes, each with a thread here that listens to it."""

    def __init__(
        self, count: int, *, paths: Mapping[str, str], services: Services, limits: AssociationLimits, on_end: OnEnd,
        ask: Ask | None = None,
    ) -> None:
        self._ask, self._asking = ask, ThreadPoolExecutor(ASKING, thread_name_prefix="dimse-ask")
        self._count, self._paths, self._services, self._limits, self._on_end = count, dict(paths), services, limits, on_end
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._children: dict[int, _Child] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Returns once the first receiver is ready. Raises NoReceiverError."""
        for slot in range(self._count):
            self._spawn(slot)
            threading.Thread(target=self._watch, args=(slot,), name=f"dimse-receiver-{slot}", daemon=True).start()
        with self._ready:
            if not self._ready.wait_for(lambda: any(child.is_ready for child in self._children.values()), START_SECONDS):
                raise NoReceiverError("no receiver process has started")

    def take(self, sock: socket.socket, admission: Admission) -> None:
        """Hand a descriptor to the least busy receiver; ours is closed. Raises NoReceiverError."""
        self._hand(sock, admission, json.dumps({"admission": admission_dump(admission)}).encode())

    def knock(self, sock: socket.socket, knock: Knock) -> None:
        """As `take`, for one that hands must be shaken with first. Raises NoReceiverError."""
        self._hand(sock, knock, json.dumps({"knock": asdict(knock)}).encode())

    def _hand(self, sock: socket.socket, taken: Admission | Knock, message: bytes) -> None:
        tried: set[int] = set()
        while True:
            with self._lock:
                able = [child for child in self._children.values() if child.is_ready and id(child) not in tried]
                if not able:
                    raise NoReceiverError("no receiver process takes this association")
                child = min(able, key=lambda able_child: len(able_child.taken))
                child.taken[taken.key] = taken
            try:
                socket.send_fds(child.channel, [message], [sock.fileno()])
            except OSError:
                tried.add(id(child))
                with self._lock:
                    if child.taken.pop(taken.key, None) is None:
                        return  # its end has been told by who noticed that the child died
                continue
            sock.close()
            return

    def stop(self, timeout: float) -> None:
        """Let open associations finish for `timeout` seconds, then abort them; a receiver that stays longer is killed."""
        self._stopping.set()
        self._asking.shutdown(wait=False, cancel_futures=True)
        children = list(self._children.values())
        for child in children:
            with suppress(OSError):
                child.channel.send(json.dumps({"stop": timeout}).encode())
        for child in children:
            try:
                child.process.wait(timeout + ABORT_SECONDS + 1)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.channel.close()

    def sockets_forget(self) -> None:
        """In a forked child of the worker: a copy of a channel would hide from its receiver that the worker is gone."""
        for child in list(self._children.values()):
            child.channel.close()

    @property
    def ready(self) -> int:
        """How many take associations now."""
        with self._lock:
            return sum(child.is_ready for child in self._children.values())

    @property
    def pids(self) -> list[int]:
        return [child.process.pid for child in self._children.values()]

    def _spawn(self, slot: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "imaging.dimse.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip
        ours.send(json.dumps({"paths": self._paths, "limits": asdict(self._limits)}).encode())
        with self._lock:
            self._children[slot] = _Child(process, ours)

    def _watch(self, slot: int) -> None:
        while not self._stopping.is_set():
            child = self._children[slot]
            self._hear(child)
            status = child.process.wait()
            with self._lock:
                child.is_ready = False
                lost, child.taken = list(child.taken.values()), {}
            if not self._stopping.is_set():
                logger.error("dimse: a receiver ended (%s) with %s associations; another one starts", status, len(lost))
            for one in lost:
                self._lost(one)
            if self._stopping.wait(RESTART_SECONDS):
                return
            child.channel.close()
            self._spawn(slot)

    def _hear(self, child: _Child) -> None:
        """Until its end of the channel is closed."""
        while True:
            try:
                message = child.channel.recv(MESSAGE_BYTES)
            except OSError:
                return
            if not message:
                return
            said = json.loads(message)
            if "ready" in said:
                with self._ready:
                    child.is_ready = True
                    self._ready.notify_all()
            elif "ask" in said:
                self._asking.submit(self._answer, child, said["ask"])
            elif "ended" in said:
                with self._lock:
                    ended = child.taken.pop(said["ended"], None)
                if ended is not None:
                    self._on_end(ended)

    def _answer(self, child: _Child, asked: dict[str, str]) -> None:
        """Admit the one behind a knock, or not; from now on its books are those of an association."""
        key = int(asked["key"])
        with self._lock:
            knock = child.taken.get(key)
        if not isinstance(knock, Knock) or self._ask is None:
            return
        answer = self._ask(knock, asked["called"], asked["calling"], asked["certificate"])
        if isinstance(answer, Refusal):
            self._say(child, {"answer": key, "refusal": asdict(answer)})
            return
        with self._lock:
            is_there = child.taken.pop(key, None) is not None
            if is_there:
                child.taken[answer.key] = answer
        # a receiver that has died since is told of as lost by who noticed, one that forgot the knock has no other end to tell
        if not is_there or not self._say(child, {"answer": key, "admission": admission_dump(answer)}):
            with self._lock:
                is_ours = not is_there or child.taken.pop(answer.key, None) is not None
            if is_ours:
                self._lost(answer)

    def _say(self, child: _Child, message: dict[str, object]) -> bool:
        try:
            child.channel.send(json.dumps(message).encode())
        except OSError:
            return False
        return True

    def _lost(self, admission: Admission | Knock) -> None:
        if isinstance(admission, Knock):
            self._on_end(admission)
            return
        try:
            self._services.ended(admission=admission, outcome="lost", stored=0)
        except Exception:
            logger.exception("dimse: end of association not recorded, trace %s", admission.trace_id)
        if self._services.thread_end is not None:
            with suppress(Exception):
                self._services.thread_end()
        self._on_end(admission)
