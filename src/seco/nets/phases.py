"""Where the time of a run goes: a stopwatch for phases that may lie within each other."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch

T = TypeVar("T")

WAIT, VIEWS, QUERY, KEYS, LOSS, OPTIMISER, SAVE, OTHER = (
    "wait for data", "views", "query pass", "key pass", "loss", "optimiser", "probe, log, checkpoints", "other",
)  # fmt: skip
ORDER = (WAIT, VIEWS, QUERY, KEYS, LOSS, OPTIMISER, SAVE, OTHER)
"""`query pass` is forward and backward; `optimiser` includes momentum update and queues; `other` is what no phase claims."""


class Phases:
    """Sums up the time of each phase. What lies within a phase and has a name of its own is not counted twice."""

    def __init__(self) -> None:
        """Make one that measures nothing until `start`."""
        self.seconds: dict[str, float] = {}
        self.steps = 0
        self.device: torch.device | None = None
        self._began = self._mark = 0.0
        self._open: list[str] = []

    def start(self, device: torch.device) -> None:
        """Measure from now on; on an accelerator every phase waits until it has finished its work."""
        self.device = device
        self.seconds = dict.fromkeys(ORDER, 0.0)
        self._open = [OTHER]
        self._began = self._mark = self._now()

    def __call__(self, name: str) -> AbstractContextManager[None]:
        """Return the context of a phase; it does nothing before `start`."""
        return nullcontext() if self.device is None else self._phase(name)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def each(self, name: str, items: Iterable[T]) -> Generator[T, None, None]:
        """Iterate, the time that each item takes to come being of this phase."""
        it = iter(items)
        while True:
            with self(name):
                item = next(it, None)
            if item is None:
                return
            self.steps += 1
            yield item

    def _book(self) -> None:
        now = self._now()
        self.seconds[self._open[-1]] += now - self._mark
        self._mark = now

    def _now(self) -> float:
        if self.device is not None and self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def report(self, *, batch_size: int) -> dict[str, Any]:
        """Return seconds and share of each phase, which sum to the wall time since `start`."""
        self._book()
        wall = self._mark - self._began
        return {
            "wall_s": wall,
            "steps": self.steps,
            "ms_a_sample": 1000 * wall / max(1, self.steps * batch_size),
            "device": str(self.device),
            "phases": {k: {"s": v, "share": v / max(wall, 1e-9)} for k, v in self.seconds.items()},
        }


def lines(report: dict[str, Any]) -> list[str]:
    """Return a report as lines to print."""
    out = [f"{report['steps']} steps in {report['wall_s']:.1f} s, {report['ms_a_sample']:.2f} ms a sample:"]
    for name, each in report["phases"].items():
        out.append(f"  {name:<24} {each['s']:9.2f} s  {100 * each['share']:5.1f}%")
    return out
