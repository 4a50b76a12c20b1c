"""A network that is compiled, kept so only where that proves faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Compile = Literal["none", "keys"]
TRIALS = 3
"""Calls of each kind that are timed, in turn, after the one that compiles."""


class Compiled:
    """Calls a network through torch.compile, or as it is once that has failed or proved no faster.

    Which of the two a call takes changes rounding, nothing else. Not a module, so that weights keep their names.
    """

    def __init__(self, net: nn.Module, *, what: str, say: Callable[[str], None]) -> None:
        """Compile `net` at its first call; `say` gets one line on what became of it, in which `what` names it."""
        self.net, self.what, self.say = net, what, say
        # One graph for the one shape of a run, instead of one that fits all shapes.
        self.fast: Callable[[Tensor], Tensor] | None = torch.compile(net, dynamic=False)
        self.seconds: dict[str, list[float]] = {"plain": [], "compiled": []}
        self.compiling_s: float | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the network's answer."""
        if self.fast is None:
            return self.net(x)
        if self.compiling_s is None:
            return self._first(x)
        # What does not fit the graph runs as it is: never is anything compiled twice.
        with torch.compiler.set_stance("eager_on_recompile"):
            if min(map(len, self.seconds.values())) == TRIALS:
                return self.fast(x)
            return self._trial(x)

    def _first(self, x: Tensor) -> Tensor:
        assert self.fast is not None
        try:
            self.compiling_s, answer = _timed(self.fast, x)
        except Exception as err:  # noqa: BLE001 - compilers fail in many ways, none of which must end a run
            reason = next((line.strip() for line in reversed(str(err).splitlines()) if line.strip()), "")
            self.fast = None
            self.say(
                f"{self.what} not compiled, training goes on without: {type(err).__name__}: {reason[:200]}"
            )
            return self.net(x)
        return answer

    def _trial(self, x: Tensor) -> Tensor:
        plain, compiled = self.seconds.values()
        if len(plain) == len(compiled):
            took, answer = _timed(self.net, x)
            plain.append(took)
            return answer
        assert self.fast is not None
        took, answer = _timed(self.fast, x)
        compiled.append(took)
        if len(compiled) == TRIALS:
            self._settle(min(plain) / min(compiled))
        return answer

    def _settle(self, times: float) -> None:
        if times <= 1:
            self.fast = None
        kept = "kept" if times > 1 else "dropped, it does not pay here"
        self.say(f"{self.what} compiled in {self.compiling_s:.0f} s, then {times:.2f} x as fast: {kept}")


def _timed(net: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Tensor]:
    """Return wall seconds and the answer."""
    began = _now(x)
    answer = net(x)
    return _now(x) - began, answer


def _now(x: Tensor) -> float:
    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)
    return time.perf_counter()
