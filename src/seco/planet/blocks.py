"""A memory of what was made, bounded in bytes; what several threads ask for at once is made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from seco.errors import ConfigError


class BlockCache:
    """Keeps the bytes used last.

    Args:
        limit_bytes: what may be kept; 0 keeps nothing, but still makes once what is asked for at the same time.
    """

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes < 0:
            raise ConfigError(f"a cache of {limit_bytes} bytes; it must be 0 or more")
        self._limit = limit_bytes
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, Future[bytes]] = {}
        self._lock = threading.Lock()
        self.kept_bytes = 0
        self.num_made = 0
        self.num_found = 0

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
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

    def _keep(self, key: Hashable, made: bytes) -> None:
        if len(made) > self._limit:
            return
        self._kept[key] = made
        self.kept_bytes += len(made)
        while self.kept_bytes > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self.kept_bytes -= len(oldest)
