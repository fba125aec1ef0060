"""While a worker talks to a node: the lease kept, progress written, cancellation heard, the rate held. `run` uses it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings
from django.db import DatabaseError, connections

from imaging.models import Transfer, TransferStudy
from imaging.scu.pull import Counts
from imaging.transfers.rows import FAILED_KEPT, transfer_renew
from journal.wall.scope import tenant_scope

BEAT_SECONDS = 1.0


class Keeper:
    """A thread of its own beats until the block is left. `go` is False once the transfer is no longer ours."""

    def __init__(self, transfer: Transfer, item: TransferStudy | None = None) -> None:
        self._transfer, self._item = transfer, item
        self.counts = Counts()
        if item is not None:
            self.counts = Counts(completed=item.completed, failed=item.failed, warned=item.warned, position=item.position)
        self.also: Callable[[], object] | None = None  # something else that must be told that we live
        self._stop = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._beat, name="transfer-keeper", daemon=True)
        self._next = 0.0

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def go(self) -> bool:
        return not self._is_lost

    def pace(self) -> None:
        """Called for each object: waits so long that no more of them go in a minute than agreed."""
        rate = self._transfer.objects_per_minute
        if not rate:
            return
        now = time.monotonic()
        self._next = max(self._next, now) + 60 / rate
        while now < self._next and self.go():
            time.sleep(min(self._next - now, 0.2))
            now = time.monotonic()

    def _beat(self) -> None:
        every = min(BEAT_SECONDS, settings.MEDHUB_LEASE_SECONDS / 4)
        try:
            while not self._stop.wait(every):
                with suppress(DatabaseError):  # away: the lease may run out, and then the next beat says so
                    with tenant_scope(self._transfer.tenant_id):
                        self._is_lost = self._is_lost or not self.save()
                    if self.also is not None:
                        self.also()
        finally:
            connections.close_all()

    def facts(self) -> dict[str, object]:
        """The transfer's counts: what it had without this study, and what this study has now."""
        transfer, item, counts = self._transfer, self._item, self.counts
        if item is None:
            return {}
        before = {name: getattr(transfer, name) - getattr(item, name) for name in ("completed", "failed", "warned")}
        return {
            "remaining": counts.remaining, "completed": max(before["completed"] + counts.completed, 0),
            "failed": max(before["failed"] + counts.failed, 0), "warned": max(before["warned"] + counts.warned, 0),
        }  # fmt: skip

    def save(self, **item_facts: object) -> bool:
        """In a scope: the lease renewed, the counts of both rows. False when the transfer is no longer ours."""
        return transfer_renew(self._transfer, **self.facts()) and self.item_save(**item_facts)

    def item_save(self, **facts: object) -> bool:
        """Only ever beside the transfer's counts, in one scope: the difference between the two is the other studies' share."""
        if self._item is not None:
            counts = self.counts
            TransferStudy.objects.filter(id=self._item.id).update(
                completed=counts.completed, failed=counts.failed, warned=counts.warned, position=counts.position, **facts
            )
        return True

    def failed_uids(self) -> list[str]:
        return [*self._transfer.failed_uids, *self.counts.failed_uids][:FAILED_KEPT]
