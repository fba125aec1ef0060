"""Holders of tokens that a web process has looked up lately, so that a machine's next request asks the database nothing.

Right as long as PostgreSQL tells of changes: triggers on tokens and hospitals notify (migration 0004), each process listens, and
without a listening connection nothing is known. A pooler between that swallows notifications costs KNOWN_SECONDS, not safety for ever.
"""

import logging
import select
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import connections

log = logging.getLogger(__name__)

CHANNEL = "tenants_access"
KNOWN_SECONDS = 5.0
RETRY_SECONDS = 5.0
MOST = 10_000


class TokenHolder(NamedTuple):
    """Whom a bearer token stands for."""

    token_id: int
    tenant_id: int
    slug: str
    role: str
    connection_id: int | None = None  # of a performer: the only AI connection that it works for
    job: UUID | None = None  # the only job of it
    expires_at: datetime | None = None
    scopes: str = ""  # SMART scopes; empty: all that the role may
    client_id: str = ""
    user_id: UUID | None = None  # of an app: whom it acts for, whose role of the moment `role` is
    grant_id: int | None = None  # what that person granted


class KnownTokens:
    """One per process. Off until `listen` is called, by a server process after its fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[str, tuple[float, TokenHolder]] = {}
        self._listener: psycopg.Connection[Any] | None = None
        self._poller = select.poll()
        self._is_on = False
        self._tried = -RETRY_SECONDS
        self._changes = 0

    def listen(self) -> None:
        self._is_on = True

    def holder(self, *, digest: str, read: Callable[[], TokenHolder | None]) -> TokenHolder | None:
        """What is known, or what `read` finds in the database."""
        if not self._is_on:
            return read()
        now = time.monotonic()
        with self._lock:
            is_listening = self._hear(now)
            changes = self._changes
            known = self._holders.get(digest)
        if known is not None and is_listening and now < known[0]:
            return known[1]
        found = read()
        with self._lock:
            # Something changed while we read: what we read may be what was before.
            if found is not None and is_listening and changes == self._changes:
                if len(self._holders) >= MOST:
                    self._holders.clear()
                self._holders[digest] = (now + KNOWN_SECONDS, found)
        return found

    def _hear(self, now: float) -> bool:
        """Forget everything when something changed, or when nobody would tell us."""
        if self._listener is None and not self._connect(now):
            return False
        if not self._poller.poll(0):
            return True
        self._forget()
        return self._take()

    def _take(self) -> bool:
        """Take what the server has said. False when it has said that it is gone."""
        try:
            if self._listener is not None:
                self._listener.pgconn.consume_input()
                while self._listener.pgconn.notifies():
                    pass
        except psycopg.Error:
            log.warning("the database no longer tells of changed tokens; each request asks until it does")
            self._close()
        return self._listener is not None

    def _connect(self, now: float) -> bool:
        if now - self._tried < RETRY_SECONDS:
            return False
        self._tried = now
        self._forget()
        try:
            self._listener = psycopg.connect(**listening_parameters(), autocommit=True)
            self._listener.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error:
            self._close()
            return False
        self._poller.register(self._listener.fileno(), select.POLLIN)
        return True

    def _close(self) -> None:
        if self._listener is not None:
            self._poller = select.poll()
            self._listener.close()
            self._listener = None

    def _forget(self) -> None:
        self._holders.clear()
        self._changes += 1


def listening_parameters() -> dict[str, Any]:
    """How to connect for LISTEN: Django's own, less what it adds for its cursors."""
    given: dict[str, Any] = connections["default"].get_connection_params()
    return {name: value for name, value in given.items() if name not in {"context", "cursor_factory", "prepare_threshold"}}


known_tokens = KnownTokens()
