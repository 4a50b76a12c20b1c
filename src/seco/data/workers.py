"""Work on several processes, with results in the order of the tasks and few of them waiting in memory."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TypeVar

from loky import ProcessPoolExecutor  # type: ignore[import-untyped]

from seco.errors import DatasetError

Task = TypeVar("Task")
Result = TypeVar("Result")
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"
}
"""One thread each: the processes share the cores already. What they keep in memory, such as GDAL's cache, is no leak
for which loky should start them anew, with a warning."""


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
        jobs: processes, at most one a task; 1 works in this one, and so does any number in a daemon process, which may
            have no children.
        what: what the processes do, for the error message.

    Raises:
        DatasetError: a process was ended from outside.
    """
    if jobs == 1 or multiprocessing.current_process().daemon:
        yield from map(function, tasks)
        return
    waiting: deque[Future[Result]] = deque()
    later = iter(tasks)
    first = list(islice(later, jobs))
    # Loky's, since these neither inherit the locks of this process' threads, as forked ones do, nor run a user's script once
    # more, as spawned ones do.
    pool = ProcessPoolExecutor(
        max(1, len(first)), env=_ENVIRONMENT, initializer=_end_with, initargs=(os.getpid(),)
    )
    try:
        for task in chain(first, later):
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
        pool.shutdown(wait=False, kill_workers=True)


def _end_with(parent: int) -> None:
    """End this process soon after its parent was killed: it would wait for ever to be told what to do, or be read."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
