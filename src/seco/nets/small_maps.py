"""Convolutions of small maps as one matrix product: what late stages cost most of their time for on CPUs.

oneDNN's kernels take as many pixels at a time as a row of the result has, so that on maps of 2 x 2 px most of a matrix
unit idles, and weights' gradients suffer most (docs/speed.md has the figures). Here the windows of all samples are laid
side by side and multiplied with the weights at once: the same sums in another order.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]

MAX_PIXELS = {
    (torch.bfloat16, "with gradient"): 49,
    (torch.bfloat16, "without"): 16,
    (torch.float32, "with gradient"): 9,
    (torch.float32, "without"): 9,
}
"""Pixels of a result up to which the product is faster (`python bench/convolutions.py`), given as many channels as:"""
MIN_CHANNELS = 256


def multiply_small_maps(net: nn.Module) -> None:
    """Let the convolutions of `net` go through a matrix product where their result is small and lies on a CPU."""
    for module in net.modules():
        if type(module) is not nn.Conv2d or module.out_channels < MIN_CHANNELS:
            continue
        plain = (module.groups, module.padding_mode, set(module.dilation)) == (1, "zeros", {1})
        if plain and not isinstance(module.padding, str):
            # Bound to the module and found through it, so that a copy of the network has copies of both.
            taken: Any = module
            taken.forward = types.MethodType(_forward, module)


def _forward(conv: nn.Conv2d, x: Tensor) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    limit = MAX_PIXELS.get((dtype, "with gradient" if torch.is_grad_enabled() else "without"), 0)
    rows, columns = _result(x.shape[-2:], *_how(conv))
    if x.device.type == "cpu" and rows > 0 and columns > 0 and rows * columns <= limit:
        return product(conv, x.to(dtype))
    return type(conv).forward(conv, x)


def product(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return what `conv` makes of images (n, c, h, w), as windows times weights."""
    how = _how(conv)
    weight = conv.weight.permute(0, 2, 3, 1).reshape(conv.out_channels, -1)
    y = functional.linear(_Windows.apply(x, *how), weight, conv.bias)
    return y.view(len(x), *_result(x.shape[-2:], *how), conv.out_channels).permute(0, 3, 1, 2)


def _how(conv: nn.Conv2d) -> tuple[Pair, Pair, Pair]:
    assert not isinstance(conv.padding, str)
    kernel, stride, padding = ((int(a), int(b)) for a, b in (conv.kernel_size, conv.stride, conv.padding))
    return kernel, stride, padding


def _result(size: Sequence[int], kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Return rows and columns of a convolution's result."""
    rows, columns = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    return rows, columns


class _Windows(torch.autograd.Function):
    """Images (n, c, h, w) to the windows that a kernel sees of them, (n * rows * columns, kh * kw * c)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        ctx.shape, ctx.how = x.shape, (kernel, stride, padding)
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
        seen = padded.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])
        return seen.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel[0] * kernel[1] * x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (num, channels, height, width), (kernel, stride, padding) = ctx.shape, ctx.how
        rows, columns = _result((height, width), *ctx.how)
        grad = grads[0].view(num, rows, columns, *kernel, channels)
        out = grad.new_zeros(num, height + 2 * padding[0], width + 2 * padding[1], channels)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                down = slice(i, i + (rows - 1) * stride[0] + 1, stride[0])
                across = slice(j, j + (columns - 1) * stride[1] + 1, stride[1])
                out[:, down, across] += grad[:, :, :, i, j]
        inner = out[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
        return inner.permute(0, 3, 1, 2), None, None, None
