"""One scale for all scenes of a dataset. Pure.

From processing baseline 04.00 on, stored numbers carry +1,000 so that reflectances a little below zero keep their place
(ESA, Sentinel-2 Products Specification Document); before, and in catalogues that took it away again, they do not. A
dataset has one offset a band, and it is the lower one, -0.1: scenes without the +1,000 get it, which loses nothing;
taking it away from the others would clip what is below zero.
"""

from __future__ import annotations

import numpy as np

from seco.collect.faults import PixelFault
from seco.collect.model import Asset
from seco.sensors.sentinel2 import QUANTIFICATION

OFFSET = -0.1
"""Reflectance of stored number 0, in every dataset that is collected."""
RULE = "reflectance = DN / 10000 - 0.1; scenes whose numbers lack the +1000 of baseline 04.00 get it; 0 stays nodata"
_TOP = 65535


def shift_dn(asset: Asset) -> int:
    """Return what is added to a raster's numbers.

    Raises:
        PixelFault: `mismatch`: it has another scale or type, or a lower offset, and cannot be put on this one.
    """
    shift = (asset.offset - OFFSET) * QUANTIFICATION
    if (
        asset.dtype != "uint16"
        or abs(asset.scale * QUANTIFICATION - 1) > 1e-6
        or shift < -1e-6
        or abs(shift - round(shift)) > 1e-6
    ):
        raise PixelFault(
            "mismatch",
            "the catalogue",
            f"{asset.band} is {asset.dtype} of scale {asset.scale:g} and offset {asset.offset:g}",
        )
    return round(shift)


def harmonised(pixels: np.ndarray, asset: Asset) -> tuple[np.ndarray, int]:
    """Put stored numbers on the dataset's scale.

    Returns:
        The numbers, and how many valid pixels do not fit beneath 65,535 and are that now (reflectances above 6.4).
    """
    shift = shift_dn(asset)
    nodata = asset.nodata if asset.nodata is not None else 0
    if shift == 0 and nodata == 0:
        return pixels, 0
    valid = pixels != nodata
    raised = pixels.astype(np.int64) + shift
    over = int((valid & (raised > _TOP)).sum())
    return np.where(valid, np.minimum(raised, _TOP), 0).astype(np.uint16), over
