"""The memory of blocks: bounded, and each made once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from seco.errors import ConfigError
from seco.planet.blocks import BlockCache


def test_the_least_used_go_first() -> None:
    cache = BlockCache(30)
    for key in "abc":
        cache.get(key, lambda: bytes(10))
    cache.get("a", lambda: pytest.fail("was kept"))
    cache.get("d", lambda: bytes(10))
    assert cache.kept_bytes == 30
    cache.get("a", lambda: pytest.fail("was used after b"))
    assert cache.get("b", lambda: b"again") == b"again"
    assert (cache.num_made, cache.num_found) == (5, 2)


def test_what_is_larger_than_the_bound_is_not_kept() -> None:
    cache = BlockCache(5)
    assert cache.get("a", lambda: bytes(6)) == bytes(6)
    assert cache.kept_bytes == 0
    with pytest.raises(ConfigError, match="-1 bytes"):
        BlockCache(-1)


@pytest.mark.parametrize("limit", [0, 1000])
def test_asked_for_at_once_made_once(limit: int) -> None:
    cache, ready, calls = BlockCache(limit), threading.Barrier(8), []

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
    cache, ready = BlockCache(100), threading.Barrier(4)

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
