"""A run that is asked to stop ends after its step, with its state saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from seco.errors import SecoError


class InterruptedRunError(SecoError):
    """The user stopped the run; its state is saved."""

    interrupted = True


@contextmanager
def stop_flag(*, echo_s: float = 0.0) -> Iterator[threading.Event]:
    """Let the first Ctrl-C (or SIGTERM) ask for a stop after the step; the second one breaks off at once.

    Args:
        echo_s: seconds in which a second signal is the first one again: of many processes each gets it from the terminal
            and from whoever started them.
    """
    flag = threading.Event()
    first = 0.0
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        if flag.is_set():
            if time.monotonic() - first < echo_s:
                return
            raise KeyboardInterrupt
        first = time.monotonic()
        flag.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            with suppress(TypeError):
                signal.signal(number, handler)
