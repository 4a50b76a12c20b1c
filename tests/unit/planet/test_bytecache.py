"""The memory of blocks: bounded, and each made once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from seco.errors import ConfigError
from seco.planet.bytecache import ByteCache, array_bytes


def test_the_least_used_go_first() -> None:
    cache = ByteCache(30, size=len)
    for key in "abc":
        cache.get(key, lambda: bytes(10))
    cache.get("a", lambda: pytest.fail("was kept"))
    cache.get("d", lambda: bytes(10))
    assert cache.kept_bytes == 30
    cache.get("a", lambda: pytest.fail("was used after b"))
    assert cache.get("b", lambda: b"again") == b"again"
    assert (cache.num_made, cache.num_found) == (5, 2)


def test_what_is_larger_than_the_bound_is_not_kept() -> None:
    cache = ByteCache(5, size=len)
    assert cache.get("a", lambda: bytes(6)) == bytes(6)
    assert cache.kept_bytes == 0
    with pytest.raises(ConfigError, match="-1 bytes"):
        ByteCache(-1, size=len)


@pytest.mark.parametrize("limit", [0, 1000])
def test_asked_for_at_once_made_once(limit: int) -> None:
    cache, ready, calls = ByteCache(limit, size=len), threading.Barrier(8), []

    def make() -> bytes:
        calls.append(1)
        time.sleep(0.1)  # long enough for the others to come
        return b"made"

    def ask(_: int) -> bytes:
        ready.wait()
        return cache.get("k", make)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [b"made"] * 8
    assert len(calls) == 1
    assert (cache.num_made, cache.num_found) == (1, 7)


def test_a_failure_reaches_all_who_waited_and_is_forgotten() -> None:
    cache, ready = ByteCache(100, size=len), threading.Barrier(4)

    def make() -> bytes:
        time.sleep(0.1)
        raise ValueError("no pixels")

    def ask(_: int) -> str:
        ready.wait()
        with pytest.raises(ValueError, match="no pixels") as caught:
            cache.get("k", make)
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["no pixels"] * 4
    assert cache.get("k", lambda: b"later") == b"later"


def test_arrays_are_counted_wherever_an_object_holds_them() -> None:
    inner = SimpleNamespace(b=np.zeros(7, np.uint16), name="x")
    assert array_bytes(SimpleNamespace(a=np.zeros((3, 5)), parts=(inner, inner), none=None)) == 120 + 14 + 14
