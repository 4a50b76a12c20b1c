"""Time contenders in turn, wall and processor, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """One of those who are compared.

    Attributes:
        run: what is timed; may return further numbers about the run, such as bytes read from the disk.
        prepare: done before every run, not timed.
        note: what a reader must know about it.
    """

    name: str
    run: Callable[[], Mapping[str, float] | None]
    prepare: Callable[[], object] = lambda: None
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of every repeat of one contender, and the medians of the numbers its runs returned."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    extra: dict[str, float] = dataclasses.field(default_factory=dict)


def cpu_seconds() -> float:
    """Return processor time of this process, all its threads, and of its living child processes (on Linux)."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        try:
            # The name of a program, in brackets, may hold spaces; utime and stime are fields 14 and 15 (proc(5)).
            fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def interleave(contenders: Sequence[Contender], *, repeats: int) -> dict[str, Timing]:
    """Run every contender once without a clock, then all of them in turn, `repeats` times (ABAB)."""
    wall: dict[str, list[float]] = {c.name: [] for c in contenders}
    cpu: dict[str, list[float]] = {c.name: [] for c in contenders}
    extra: dict[str, list[Mapping[str, float]]] = {c.name: [] for c in contenders}
    for repeat in range(-1, repeats):
        for contender in contenders:
            contender.prepare()
            cpu_before, before = cpu_seconds(), time.perf_counter()
            told = contender.run()
            after = time.perf_counter()
            if repeat < 0:
                continue
            wall[contender.name].append(after - before)
            cpu[contender.name].append(cpu_seconds() - cpu_before)
            if told:
                extra[contender.name].append(told)
    return {
        name: Timing(wall=tuple(wall[name]), cpu=tuple(cpu[name]), extra=_medians(extra[name]))
        for name in wall
    }


def _medians(told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {k: statistics.median(t[k] for t in told) for k in told[0]} if told else {}


@contextmanager
def threads(num: int) -> Iterator[None]:
    """Let torch compute with `num` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
