"""A small store of what was worked out, bounded in bytes; one thread works a thing out, who asks meanwhile waits for it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """Least recently used goes first. What `make` raises is raised to all who wait, and kept nowhere."""

    def __init__(self, limit: int, weigh: Callable[[T], int]) -> None:
        self._limit = limit
        self._weigh = weigh
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._making: dict[Hashable, _Making[T]] = {}
        self._total = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[0]
            making = self._making.get(key)
            is_mine = making is None
            if making is None:
                making = self._making[key] = _Making()
        if not is_mine:
            return making.wait()
        try:
            value = making.run(make)
            self._keep(key, value)
        finally:
            with self._lock:
                del self._making[key]
            making.done.set()
        return value

    def _keep(self, key: Hashable, value: T) -> None:
        weight = self._weigh(value)
        if weight > self._limit // 4:
            return
        with self._lock:
            self._kept[key] = (value, weight)
            self._total += weight
            while self._total > self._limit:
                self._total -= self._kept.popitem(last=False)[1][1]


class _Making(Generic[T]):
    """One attempt that several may wait for."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: T | None = None
        self.error: BaseException | None = None

    def run(self, make: Callable[[], T]) -> T:
        try:
            self.value = make()
        except BaseException as error:
            self.error = error
            raise
        return self.value

    def wait(self) -> T:
        self.done.wait()
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]
