"""A memory of what was made, bounded in bytes; what several threads ask for at once is made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import numpy as np

from seco.errors import ConfigError

T = TypeVar("T")


class ByteCache(Generic[T]):
    """Keeps what was used last.

    Args:
        limit_bytes: what may be kept; 0 keeps nothing, but still makes once what is asked for at the same time.
        size: gives the bytes that a thing takes.
    """

    def __init__(self, limit_bytes: int, *, size: Callable[[T], int]) -> None:
        if limit_bytes < 0:
            raise ConfigError(f"a cache of {limit_bytes} bytes; it must be 0 or more")
        self._limit, self._size = limit_bytes, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()
        self.kept_bytes = 0
        self.num_made = 0
        self.num_found = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under `key`, else make it; who comes while it is being made waits for it.

        Whatever `make` raises goes to everyone who waited, and nothing is kept.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                self.num_found += 1
                return self._kept[key]
            waiting = self._making.get(key)
            if waiting is None:
                mine = self._making[key] = Future()
                self.num_made += 1
            else:
                self.num_found += 1
        if waiting is not None:
            return waiting.result()
        try:
            made = make()
        except BaseException as err:
            with self._lock:
                del self._making[key]
            mine.set_exception(err)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, made)
        mine.set_result(made)
        return made

    def _keep(self, key: Hashable, made: T) -> None:
        num_bytes = self._size(made)
        if num_bytes > self._limit:
            return
        self._kept[key] = made
        self.kept_bytes += num_bytes
        while self.kept_bytes > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= self._size(oldest)


def array_bytes(thing: Any) -> int:
    """Return the bytes of all arrays that an object holds, in its attributes, theirs, and in tuples of them."""
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, tuple):
        return sum(array_bytes(part) for part in thing)
    return sum(array_bytes(part) for part in getattr(thing, "__dict__", {}).values())
