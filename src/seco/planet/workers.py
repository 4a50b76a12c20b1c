"""Work on several processes, with results in the order of the tasks and few of them waiting in memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from seco.errors import DatasetError

Task = TypeVar("Task")
Result = TypeVar("Result")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, jobs: int, what: str
) -> Iterator[Result]:
    """Yield `function` of each task, in order.

    Args:
        function: a function that can be pickled, where there are several processes.
        tasks: taken as they are needed.
        jobs: processes; 1 works in this one.
        what: what the processes do, for the error message.

    Raises:
        DatasetError: a process was ended from outside.
    """
    if jobs == 1:
        yield from map(function, tasks)
        return
    waiting: deque[Future[Result]] = deque()
    # Spawned, not forked: the parent's threads may hold locks. One thread each: they share the cores already.
    with _one_thread(), ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as err:
            raise DatasetError(
                f"a process that {what} was ended from outside (out of memory?); use fewer with --jobs"
            ) from err
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes started meanwhile compute with one thread each."""
    kept = {n: os.environ.get(n) for n in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
