"""`seco pretrain --processes N`: the same command in N processes on this machine, and one line where one of them is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from torch.distributed import TCPStore  # type: ignore[attr-defined] # found at run time only

from seco.errors import LostProcessError

GRACE_S = 30.0
"""How long processes may go on after one has ended with an error: to notice, and to say what to do."""


def launch(argv: Sequence[str], num: int) -> int:
    """Run `seco ARGV` in `num` processes; return the exit code of all of them.

    Raises:
        LostProcessError: a process died and none of the others could say so.
    """
    store = TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    each = max(1, (os.cpu_count() or 1) // num)
    common = {
        "OMP_NUM_THREADS": str(each), **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(num), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    children: list[subprocess.Popen] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for child in children:
            with suppress(ProcessLookupError):
                child.send_signal(number)

    before = {s: signal.signal(s, pass_on) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        for rank in range(num):
            env = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            children.append(subprocess.Popen([sys.executable, "-m", "seco.cli", *argv], env=env))
        return _outcome(_wait(children), num)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: Sequence[subprocess.Popen]) -> list[int]:
    """Wait until all have ended; once one has failed the others have a little time."""
    deadline = None
    while any(c.poll() is None for c in children):
        if deadline is None and any(c.poll() not in (None, 0) for c in children):
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(0.1)
    return [int(c.returncode) for c in children]


def _outcome(codes: Sequence[int], num: int) -> int:
    for code in (2, 130, 1):
        if code in codes:
            return code
    dead = [f"{r} (signal {-c})" if c < 0 else f"{r} (exit code {c})" for r, c in enumerate(codes) if c]
    if dead:
        raise LostProcessError(
            f"process {', '.join(dead)} of {num} died; go on from the newest checkpoint with --resume"
        )
    return 0
