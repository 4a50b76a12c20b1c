"""Many processes that train as one: how a batch is shared out, and what goes between them.

Plain `torch.distributed` (docs/adr/0007-plain-torch-distributed.md). Alone, every function returns what it was given.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from seco.errors import LostProcessError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of a run, and which of them this is.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def owners(self, num: int, *, parts: int = 1) -> np.ndarray:
        """Return which process has each row of a batch: of each of its `parts`, an equal run of rows a process."""
        return np.arange(self.size).repeat(num // (parts * self.size)).reshape(1, -1).repeat(parts, 0).ravel()

    def rows(self, num: int, *, parts: int = 1) -> np.ndarray:
        """Return the rows of a batch that are this process's, in order."""
        return np.flatnonzero(self.owners(num, parts=parts) == self.rank)

    def shares(self, groups: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Share groups out, in order; return each process's."""
        edges = [len(groups) * rank // self.size for rank in range(self.size + 1)]
        return [list(groups[a:b]) for a, b in itertools.pairwise(edges)]

    def exchange(self, x: Tensor, owners: np.ndarray, wanted: Sequence[np.ndarray]) -> Tensor:
        """Return the rows that this process wants, from whoever has them.

        Args:
            x: this process's rows, in order.
            owners: per row of all, whose it is.
            wanted: per process, the rows it wants.
        """
        if self.size == 1:
            return x[torch.from_numpy(wanted[0]).to(x.device)]
        mine, own = np.flatnonzero(owners == self.rank), wanted[self.rank]
        send = [np.searchsorted(mine, w[owners[w] == self.rank]) for w in wanted]
        givers = owners[own]
        out = torch.empty((len(own), *x.shape[1:]), dtype=x.dtype, device=x.device)
        given = x[torch.from_numpy(np.concatenate(send)).to(x.device)].contiguous()
        with answered():
            dist.all_to_all_single(
                out, given, np.bincount(givers, minlength=self.size).tolist(), [len(s) for s in send]
            )
        back = np.argsort(np.argsort(givers, kind="stable"), kind="stable")
        return out[torch.from_numpy(back).to(x.device)]

    def gather(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the rows of all processes, process after process. The gradient stays with whoever made them.

        Args:
            x: this process's rows.
            counts: per process how many rows it has.
        """
        if self.size == 1:
            return x
        # Gloo gathers equal shapes only.
        padded = x.new_zeros((max(counts), *x.shape[1:]))
        padded[: len(x)] = x.detach()
        whole = [torch.empty_like(padded) for _ in range(self.size)]
        with answered():
            dist.all_gather(whole, padded)
        return torch.cat([p[:n] for p, n in zip(whole, counts, strict=True)])

    def mean(self, numbers: dict[str, float]) -> dict[str, float]:
        """Return the means of some numbers over all processes."""
        if self.size == 1:
            return numbers
        values = torch.tensor(list(numbers.values()), dtype=torch.float64)
        with answered():
            dist.all_reduce(values)
        return dict(zip(numbers, (values / self.size).tolist(), strict=True))

    def any(self, flag: Any) -> bool:
        """Return whether it is true on any process."""
        return self.mean({"flag": float(bool(flag))})["flag"] > 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all processes into each tensor of floating point."""
        if self.size > 1:
            _together([t for t in tensors if t.is_floating_point()], divide_by=self.size)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Put process 0's numbers into each tensor."""
        if self.size > 1:
            with answered():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def subgroup(self, span: int) -> dist.ProcessGroup | None:
        """Return the group of `span` neighbouring processes that this one belongs to; every process has to ask."""
        if span == self.size:
            return None  # torch's name for all of them
        own: dist.ProcessGroup | None = None
        for first in range(0, self.size, span):
            ranks = list(range(first, first + span))
            group = dist.new_group(ranks)
            if isinstance(group, dist.ProcessGroup):  # others get a number that says they are not in it
                own = group
        return own


ALONE = Processes()


@contextmanager
def answered() -> Iterator[None]:
    """Say in one error that another process is gone: backends raise RuntimeErrors of their own words."""
    try:
        yield
    except RuntimeError as err:
        words = " ".join(str(err).split())
        raise LostProcessError(f"another process is gone or does not answer ({words[:120]})") from err


def _together(tensors: Sequence[Tensor], *, divide_by: int = 1) -> None:
    """Sum tensors of one type over all processes in one message a type, in place."""
    for dtype in sorted({t.dtype for t in tensors}, key=str):
        same = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.detach().reshape(-1) for t in same])
        with answered():
            dist.all_reduce(flat)
        _spread(flat / divide_by if divide_by > 1 else flat, same)


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))


class GradientSum:
    """Sums gradients over all processes while the backward pass still runs: each bucket leaves as soon as it is full."""

    BUCKET = 2**22
    """Numbers a message; 16 MB of fp32."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Watch the gradients of `parameters`."""
        self.on = False
        self.waiting: list[Tensor] = []
        self.sent: list[tuple[dist.Work | None, Tensor, list[Tensor]]] = []
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._ready)

    def _ready(self, parameter: Tensor) -> None:
        if not self.on or parameter.grad is None:
            return
        self.waiting.append(parameter.grad)
        if sum(g.numel() for g in self.waiting) >= self.BUCKET:
            self._send()

    def _send(self) -> None:
        # Gradients come in the order of the backward pass, which is the same in every process.
        for dtype in sorted({g.dtype for g in self.waiting}, key=str):
            bucket = [g for g in self.waiting if g.dtype == dtype]
            flat = torch.cat([g.reshape(-1) for g in bucket])
            with answered():
                self.sent.append((dist.all_reduce(flat, async_op=True), flat, bucket))
        self.waiting = []

    @contextmanager
    def summing(self) -> Iterator[None]:
        """Around the last backward pass of a step: afterwards every gradient is the sum over processes."""
        self.on, self.waiting, self.sent = True, [], []
        try:
            yield
            self._send()
            for work, flat, bucket in self.sent:
                with answered():
                    if work is not None:
                        work.wait()
                _spread(flat, bucket)
        finally:
            self.on, self.waiting, self.sent = False, [], []
