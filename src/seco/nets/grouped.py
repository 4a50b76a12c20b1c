"""Batch norm by groups within one pass: each group of samples has statistics of its own, and everything else sees them all.

A pass a group costs more than one pass of them all: every convolution brings its weights into the order its kernel wants,
once a call. The result is that of the passes one by one, in the order of the groups.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class GroupedNorms:
    """The batch norms of a network, made to take their statistics by groups of samples.

    Attributes:
        sizes: samples of each group of the coming pass; None is one group.
    """

    def __init__(self, net: nn.Module) -> None:
        """Take over the batch norms of `net`."""
        self.sizes: list[int] | None = None
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                # Bound to the module and found through it, so that a copy of the network has copies of both.
                taken: Any = module
                taken.groups = self
                taken.forward = types.MethodType(_forward, module)


def _forward(norm: Any, x: Tensor) -> Tensor:
    sizes = norm.groups.sizes
    plain = type(norm).forward
    if sizes is None or not norm.training or len(sizes) == 1:
        return plain(norm, x)
    # Subclasses do more than normalise (timm's also activate), so they are asked group by group.
    known = type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d) and norm.momentum is not None
    # A compiler cannot follow results written into a part of another, and fuses the copies anyway.
    written = x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if known and norm.track_running_stats and written:
        return _into_one(norm, x, sizes)
    return torch.cat([plain(norm, part) for part in x.split(sizes)])


def _into_one(norm: _BatchNorm, x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Normalise each group into its place of the result, which spares the copy that puts them together."""
    made = torch.empty_like(x)
    assert norm.running_mean is not None
    mean, deviation = norm.running_mean.new_empty(0), norm.running_mean.new_empty(0)
    for part, place in zip(x.split(list(sizes)), made.split(list(sizes)), strict=True):
        torch.ops.aten.native_batch_norm.out(
            part, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps,
            out=place, save_mean=mean, save_invstd=deviation,
        )  # fmt: skip
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(len(sizes))
    return made
