"""Who may hold how many threads of the dispatching worker: a platform that hangs keeps its own jobs waiting and nobody else's.

In this process's memory, for it is this process's threads that are shared out; a worker that dies gives everything back.
"""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 16  # of the worker (medhub/stack.py)
PER_CONNECTION = 4
PER_PLATFORM = 8  # of all hospitals together: what is down is often the vendor, and not one hospital's line to it
STAT = 2  # so many more for what is urgent, of each of these; and so many threads that nothing else takes
ALL = ""  # no platform's name
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 15.0
TURNED_AWAY_A_SECOND = 16  # so many, and the next one comes a second later


class Lanes:
    """Counts the steps that run now, by connection and by platform."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[int | str] = Counter()
        self._turned_away: Counter[int] = Counter()  # since a lane of the connection was last given back

    @contextmanager
    def lane(self, *, connection_id: int, platform: str, is_stat: bool = False) -> Iterator[float]:
        """Hold a lane inside the block. Yields 0, or the seconds until it is worth another look: then none was free and none is held."""
        wait = self._enter(connection_id, platform, STAT if is_stat else 0)
        try:
            yield wait
        finally:
            if not wait:
                self._leave(connection_id, platform)

    def _enter(self, connection_id: int, platform: str, more: int) -> float:
        limits: dict[int | str, int] = {connection_id: PER_CONNECTION, platform: PER_PLATFORM, ALL: THREADS - STAT}
        with self._lock:
            if all(self._taken[name] < limit + more for name, limit in limits.items()):
                self._taken.update(limits.keys())
                return 0.0
            if more:  # urgent: looked at again at once, whoever else waits
                return FIRST_SECONDS
            self._turned_away[connection_id] += 1
            longest = min(FIRST_SECONDS + self._turned_away[connection_id] / TURNED_AWAY_A_SECOND, LONGEST_SECONDS)
        return longest * random.uniform(0.5, 1)  # noqa: S311 no secret

    def _leave(self, connection_id: int, platform: str) -> None:
        with self._lock:
            self._taken.subtract((connection_id, platform, ALL))
            self._turned_away.pop(connection_id, None)


LANES = Lanes()
