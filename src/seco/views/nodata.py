"""Pixels where nothing was measured: a band's nodata number, and floats that are not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from seco.sensors.bands import Band


def nodata_numbers(bands: Sequence[Band]) -> Float[Tensor, " bands"] | None:
    """Return each band's nodata number, NaN where it has none; None where no band has one."""
    numbers = [b.nodata for b in bands]
    if all(n is None for n in numbers):
        return None
    return torch.tensor([float("nan") if n is None else n for n in numbers], dtype=torch.float32)


def unmeasured(
    pixels: Float[Tensor, "*batch bands h w"], numbers: Float[Tensor, " bands"] | None
) -> Bool[Tensor, "*batch bands h w"]:
    """Return where nothing was measured.

    Args:
        pixels: stored numbers as floats.
        numbers: from `nodata_numbers`, on the same device.
    """
    out = ~torch.isfinite(pixels)
    return out if numbers is None else out | (pixels == numbers[:, None, None])


def filled(
    pixels: Shaped[Tensor, "*batch bands h w"],
    numbers: Float[Tensor, " bands"] | None,
    mean: Float[Tensor, " bands"],
) -> Float[Tensor, "*batch bands h w"]:
    """Return stored numbers as float32, each band's mean where nothing was measured.

    Args:
        pixels: stored numbers of any dtype.
        numbers: from `nodata_numbers`, on the same device.
    """
    x = pixels.float()
    if numbers is None and not pixels.is_floating_point():
        return x
    if x.device.type == "cpu":
        # A patch rarely has a hole, and comparing ends is quick; NaN is neither below nor above anything.
        top = -math.inf if numbers is None else float(numbers.nan_to_num(nan=-math.inf).max())
        if top < x.amin() and (not pixels.is_floating_point() or x.amax() < math.inf):
            return x
    return torch.where(unmeasured(x, numbers), mean[:, None, None], x)
