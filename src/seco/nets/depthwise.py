"""Depthwise convolutions in fp32 where a CPU would train them in bf16: what EfficientNets and MobileNets need there.

A depthwise convolution has hardly any arithmetic, so bf16 saves none, and oneDNN's gradient of it in bf16 takes several
times as long as in fp32 (docs/speed.md has the figures). Forward alone bf16 is the faster one and stays.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn


def train_depthwise_in_fp32(net: nn.Module) -> None:
    """Let the depthwise convolutions of `net` leave autocast where a gradient will be asked on a CPU."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            # Bound to the module and found through it, so that a copy of the network has copies of both.
            taken: Any = module
            taken.forward = types.MethodType(_forward, module)


def _forward(conv: nn.Conv2d, x: Tensor) -> Tensor:
    if x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            return type(conv).forward(conv, x.float()).to(dtype)
    return type(conv).forward(conv, x)
