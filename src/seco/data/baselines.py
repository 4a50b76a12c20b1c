"""Sentinel-2's reflectance offset: from the processing baseline where it is known, checked against the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from seco.data.grids import Plane
from seco.data.rasters import PixelReader
from seco.data.scenes import Scene
from seco.sensors.sentinel2 import reflectance_offset

OFFSET = -0.1
"""BOA_ADD_OFFSET of -1,000 DN, in reflectance (ESA, processing baseline 04.00)."""
_BANDS = ("B02", "B03", "B04", "B11", "B12")
"""Where some surface is dark in almost any scene: shadow, water, dense vegetation."""
_WINDOW_PX = 64
_WINDOWS = 6
_EDGE_PX = 3
_RAISED_DN = (800.0, 1250.0)
"""Where the darkest pixels of a band lie if 1,000 was added to every number."""
_PLAIN_DN = 700.0
"""Numbers this low cannot carry an added 1,000: reflectance would be below -0.03."""


def darkest(scene: Scene, reader: PixelReader) -> dict[str, float]:
    """Return the 0.1% quantile of the measured (non-zero) numbers of dark bands, over a sample of the scene."""
    out = {}
    chosen = [b for b in _BANDS if b in scene.planes] or list(scene.planes)
    for band in chosen:
        plane = scene.planes[band]
        values = np.concatenate([_measured(p, plane.nodata or 0.0) for p in _sample(plane, reader)])
        if values.size:
            out[band] = float(np.quantile(values, 0.001))
    return out


def _measured(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """Return the valid pixels that no nodata is near: lossy codecs ring at its edge."""
    valid = np.pad(pixels != nodata, _EDGE_PX, mode="edge")
    core = sliding_window_view(valid, (2 * _EDGE_PX + 1,) * 2).all(axis=(-1, -2))
    return pixels[core]


def _sample(plane: Plane, reader: PixelReader) -> list[np.ndarray]:
    """Return small windows from all over a plane (coarser levels are of no use: their filters undershoot at edges)."""
    height, width = (min(_WINDOW_PX, n) for n in (plane.grid.height, plane.grid.width))
    corners = [
        {int(i * (n - size) / max(1, _WINDOWS - 1)) for i in range(_WINDOWS)}
        for n, size in ((plane.grid.height, height), (plane.grid.width, width))
    ]
    return [
        reader.read(plane, r, c, height, width, ahead=False)
        for r in sorted(corners[0])
        for c in sorted(corners[1])
    ]


def looks_raised(dark: Mapping[str, float]) -> bool | None:
    """Whether 1,000 was added to every number, by the darkest pixels of each band; None where they do not tell."""
    if any(v < _PLAIN_DN for v in dark.values()):
        return False
    low, high = _RAISED_DN
    return True if sum(low <= v <= high for v in dark.values()) >= min(3, max(2, len(dark))) else None


def offsets(scenes: Sequence[Scene], reader: PixelReader, notes: list[str]) -> list[float]:
    """Return the reflectance offset of each scene.

    A known baseline decides; the first scene of each baseline is checked against its pixels. Without a baseline the
    pixels decide, and where they do not tell there is no offset. What was assumed goes into `notes`.
    """
    out: list[float] = []
    checked: set[str] = set()
    plain = raised = unclear = 0
    for scene in scenes:
        if scene.baseline is not None:
            offset = reflectance_offset(scene.baseline)
            if scene.baseline not in checked:
                checked.add(scene.baseline)
                _compare(scene, offset, notes, told=looks_raised(darkest(scene, reader)))
            out.append(offset)
            continue
        told = looks_raised(darkest(scene, reader))
        raised, plain, unclear = raised + (told is True), plain + (told is False), unclear + (told is None)
        out.append(OFFSET if told else 0.0)
    if raised:
        notes.append(
            f"{raised} dates without a processing baseline: their darkest pixels say that numbers carry +1000, so "
            "offset -0.1 is taken (--offset 0 overrides)"
        )
    if plain:
        notes.append(
            f"{plain} dates without a processing baseline: their dark pixels say that numbers carry no offset"
        )
    if unclear:
        notes.append(
            f"{unclear} dates without a processing baseline, and pixels too bright to tell: no offset is assumed "
            "(--offset -0.1 for products from baseline 04.00 on)"
        )
    return out


def _compare(scene: Scene, offset: float, notes: list[str], *, told: bool | None) -> None:
    if told is not None and told != (offset != 0):
        notes.append(
            f"{scene.item}: baseline {scene.baseline} means offset {offset:g}, but its dark pixels say otherwise; the "
            "baseline is taken (--offset overrides)"
        )
