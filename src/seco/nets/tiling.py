"""Overlapping windows over a raster of any size, blended where they overlap, in memory that its height does not decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32

from seco.errors import ConfigError

Dates = tuple[np.ndarray, ...]
"""Stored pixels of one window, (bands, height, width) a date."""
EDGE_WEIGHT = 0.02
"""Weight of a window's outermost pixels, of 1 in its middle: they have seen the least around them."""


def starts(length: int, tile: int, step: int) -> list[int]:
    """Return where windows begin so that they cover `length` pixels; the last one ends with the raster.

    Raises:
        ConfigError: windows would leave gaps.
    """
    if not 1 <= step <= tile:
        raise ConfigError(
            f"windows of {tile} px every {step} px; the step must be from 1 px to the window's edge"
        )
    return [*range(0, max(0, length - tile), step), max(0, length - tile)]


def weight(tile: int) -> Float32[np.ndarray, "tile tile"]:
    """Return a window's weight a pixel: a tent, highest in the middle, above 0 everywhere."""
    ramp = 1 - np.abs(np.linspace(-1, 1, tile + 2)[1:-1]) if tile > 1 else np.ones(1)
    ramp = EDGE_WEIGHT + (1 - EDGE_WEIGHT) * ramp
    return np.outer(ramp, ramp).astype(np.float32)


def pad(pixels: np.ndarray, tile: int) -> np.ndarray:
    """Repeat the last row and column of (..., height, width) up to `tile`."""
    height, width = pixels.shape[-2:]
    if height >= tile and width >= tile:
        return pixels
    grow = ((0, 0),) * (pixels.ndim - 2) + ((0, max(0, tile - height)), (0, max(0, tile - width)))
    return np.pad(pixels, grow, mode="edge")


def blended(
    predict: Callable[[Sequence[Dates]], Float32[np.ndarray, "n classes tile tile"]],
    read: Callable[[int, int, int, int], tuple[Dates, Bool[np.ndarray, "h w"]]],
    *,
    height: int,
    width: int,
    tile: int,
    step: int,
    batch_size: int,
) -> Iterator[tuple[int, Float32[np.ndarray, "classes rows width"], Bool[np.ndarray, "rows width"]]]:
    """Predict a raster window by window and yield it strip by strip, from the top.

    What is held at a time are a few rows of windows, whatever the height. Windows without a measured pixel are not
    predicted.

    Args:
        predict: probabilities of windows.
        read: (row, col, height, width) -> pixels of each date, and where something was measured.
        height, width: of the raster.
        tile, step: edge of a window and distance from one to the next, pixels.
        batch_size: windows at a time.

    Yields:
        First row, probabilities (NaN where no window was predicted) and where something was measured.
    """
    rows, cols = starts(height, tile, step), starts(width, tile, step)
    weights = weight(tile)
    high, wide = min(tile, height), min(tile, width)
    total: np.ndarray | None = None
    mass = np.zeros((high, width), np.float32)
    seen = np.zeros((high, width), bool)
    for i, row in enumerate(rows):
        waiting: list[tuple[int, Dates]] = []
        for col in cols:
            dates, measured = read(row, col, high, wide)
            seen[:, col : col + wide] = measured
            if measured.any():
                waiting.append((col, tuple(pad(d, tile) for d in dates)))
            if waiting and (len(waiting) == batch_size or col == cols[-1]):
                out = predict([d for _, d in waiting])
                if total is None:
                    total = np.zeros((out.shape[1], high, width), np.float32)
                for (left, _), probabilities in zip(waiting, out, strict=True):
                    total[:, :, left : left + wide] += (probabilities * weights)[:, :high, :wide]
                    mass[:, left : left + wide] += weights[:high, :wide]
                waiting = []
        # What no later window reaches is final.
        done = (rows[i + 1] if i + 1 < len(rows) else row + high) - row
        with np.errstate(invalid="ignore"):
            final = (
                np.full((1, done, width), np.nan, np.float32)
                if total is None
                else total[:, :done] / mass[:done]
            )
        yield row, final, seen[:done].copy()
        for held in (mass, seen) if total is None else (mass, seen, total):
            held[..., : high - done, :] = held[..., done:, :].copy()
            held[..., high - done :, :] = 0
