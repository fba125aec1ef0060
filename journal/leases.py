"""Keeping a row's lease while a step of it takes long: without it another worker would begin the same step beside us."""

import threading
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.db import DatabaseError, connections

from journal.wall.scope import tenant_scope

BEAT_SECONDS = 1.0


class Lease:
    """Renews on a thread of its own until the block is left. `renew` is called in the hospital's scope; False: it is not ours any more."""

    def __init__(self, *, tenant_id: int, renew: Callable[[], bool]) -> None:
        self._tenant_id, self._renew = tenant_id, renew
        self._stop = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def go(self) -> bool:
        """False once it is no longer ours."""
        return not self._is_lost

    def _beat(self) -> None:
        try:
            while not self._stop.wait(min(BEAT_SECONDS, settings.MEDHUB_LEASE_SECONDS / 4)):
                with suppress(DatabaseError), tenant_scope(self._tenant_id):
                    if not self._renew():
                        self._is_lost = True
                        return
        finally:
            connections.close_all()
