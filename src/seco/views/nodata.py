"""Pixels where nothing was measured: a band's nodata number, and floats that are not finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
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
