"""Batch statistics of one group of samples that lie in several processes, on any device and for any batch norm.

As `torch.nn.SyncBatchNorm`, which is for accelerators only and has to replace modules; here the call is caught instead, so
that timm's own batch norms are covered and weights keep their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from seco.nets.processes import answered


class SharedStatistics(TorchFunctionMode):
    """While this is entered, batch norms in training mode take their statistics over all processes of a group.

    Every process must hold equally many samples.
    """

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        """Share among the processes of `group`; None is all of them."""
        super().__init__()
        self.group = group

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Catch `batch_norm`, leave everything else alone."""
        if func is functional.batch_norm:
            return _batch_norm(self.group, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(  # noqa: PLR0917 - the signature that is caught
    group: dist.ProcessGroup | None,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: FBT001, FBT002
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    shape = [1, -1] + [1] * (x.dim() - 2)
    xhat, mean, var = _Standardise.apply(x, eps, group)
    if running_mean is not None and running_var is not None:
        num = x.numel() // x.shape[1] * dist.get_world_size(group)
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (num / max(num - 1, 1))).to(running_var.dtype), momentum)
    y = xhat if weight is None else xhat * weight.view(shape)
    return (y if bias is None else y + bias.view(shape)).to(x.dtype)


class _Standardise(torch.autograd.Function):
    """(x - mean) / deviation a channel, over all processes of a group (Ioffe and Szegedy 2015, section 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, group: dist.ProcessGroup | None) -> tuple[Tensor, ...]:
        dims, shape = [0, *range(2, x.dim())], [1, -1] + [1] * (x.dim() - 2)
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        own = torch.stack(torch.var_mean(wide, dims, correction=0))
        all_own = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        with answered():
            dist.all_gather(all_own, own, group=group)
        var, mean = torch.stack(all_own).unbind(1)
        whole = mean.mean(0)
        # From each process's own variance: the mean of squares less the square of the mean would cancel.
        spread = (var + (mean - whole) ** 2).mean(0)
        scale = torch.rsqrt(spread + eps)
        xhat = (wide - whole.view(shape)) * scale.view(shape)
        ctx.save_for_backward(xhat, scale)
        ctx.group, ctx.dtype = group, x.dtype
        ctx.mark_non_differentiable(whole, spread)
        return xhat, whole, spread

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        xhat, scale = ctx.saved_tensors
        grad = grads[0]
        dims, shape = [0, *range(2, xhat.dim())], [1, -1] + [1] * (xhat.dim() - 2)
        sums = torch.stack([grad.sum(dims), (grad * xhat).sum(dims)])
        with answered():
            dist.all_reduce(sums, group=ctx.group)
        sums = sums / (xhat.numel() // xhat.shape[1] * dist.get_world_size(ctx.group))
        out = (grad - sums[0].view(shape) - xhat * sums[1].view(shape)) * scale.view(shape)
        return out.to(ctx.dtype), None, None
