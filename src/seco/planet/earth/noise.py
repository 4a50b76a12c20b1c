"""Random fields over the whole planet: any pixel of any field can be had alone, and is always the same.

A field is a function of pixel coordinates and a key. Coordinates come as two vectors, columns and rows, so that a
window, a decimated window or single pixels are all one call, and two windows agree where they overlap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, UInt64

_GOLDEN, _MIX_A, _MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64 - 1
_GRAIN, _TILE_PX = 41, 1024
_SMALL, _KEPT = 2**14, 512
"""Interpolation weights of up to so many numbers are kept, so many of them (32 MiB at most): every field over a window needs
the same few."""


def scramble(*parts: np.ndarray | int) -> UInt64[np.ndarray, ...]:
    """Hash integers, element by element, to 64 bits that look random (the finaliser of SplitMix64, Steele et al. 2014).

    Args:
        parts: integers or integer arrays that broadcast together; their order counts.
    """
    num = next((n for n, part in enumerate(parts) if not isinstance(part, int)), len(parts))
    state: np.ndarray = np.asarray(_scrambled(parts[:num]), np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        for part in parts[num:]:
            state = _mixed(state, np.asarray(part))
    return state


def _mixed(state: np.ndarray, part: np.ndarray) -> UInt64[np.ndarray, ...]:
    """Return the hash of one more integer a state; both broadcast together."""
    # Negative numbers become their two's complement. Each step works in place: these arrays are many and small.
    state = np.asarray(state ^ part.astype(np.int64).view(np.uint64), np.uint64)
    state *= np.uint64(_MIX_A)
    state += np.uint64(_GOLDEN)
    for shift, factor in ((30, _MIX_A), (27, _MIX_B)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state


@functools.lru_cache(maxsize=4096)
def _scrambled(parts: tuple[int, ...]) -> int:
    """Hash plain integers as `scramble` does; keys of fields begin with several that are always the same."""
    state = 0
    for part in parts:
        state = ((state ^ (part & _WORD)) * _MIX_A + _GOLDEN) & _WORD
        state = ((state ^ (state >> 30)) * _MIX_A) & _WORD
        state = ((state ^ (state >> 27)) * _MIX_B) & _WORD
        state ^= state >> 31
    return state


def uniform(*parts: np.ndarray | int) -> Float32[np.ndarray, ...]:
    """Return numbers from 0 to 1, not including 1, one for each hash of `parts`."""
    return _unit(scramble(*parts))


def _unit(state: UInt64[np.ndarray, ...]) -> Float32[np.ndarray, ...]:
    return (state >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def interpolate(
    cols: Int64[np.ndarray, " w"],
    rows: Int64[np.ndarray, " h"],
    *,
    period_px: int,
    lattice: np.ndarray,
) -> Float32[np.ndarray, "h w"]:
    """Interpolate lattice values smoothly to pixel centres.

    Args:
        period_px: spacing of the lattice.
        lattice: values at the lattice points that `corners` names, (rows, columns).
    """
    _, down = _lines(rows, period_px)
    _, along = _lines(cols, period_px)
    return down @ lattice.astype(np.float32) @ along.T


def corners(
    cols: Int64[np.ndarray, " w"], rows: Int64[np.ndarray, " h"], *, period_px: int
) -> tuple[Int64[np.ndarray, "m 1"], Int64[np.ndarray, "1 n"]]:
    """Return the lattice rows and columns that the pixels lie between; those that no pixel needs are left out."""
    return _lines(rows, period_px)[0][:, None], _lines(cols, period_px)[0][None, :]


def _lines(
    at: Int64[np.ndarray, " n"], period_px: int
) -> tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "n m"]]:
    """Return the lattice lines that pixels lie between, and each pixel's weight on each of them."""
    return _lines_at(at, _step(at), period_px)


def _step(at: np.ndarray) -> int:
    """Return the step of evenly spaced pixels; 0 where they are not."""
    step = int(at[1] - at[0]) if len(at) > 1 else 1
    return step if (at[1:] - at[:-1] == step).all() else 0


def _lines_at(at: np.ndarray, step: int, period_px: int) -> tuple[np.ndarray, np.ndarray]:
    span = (int(at[-1]) - int(at[0])) // period_px + 2
    if step and span * len(at) <= _SMALL:
        # Weights repeat with the period.
        cell, first = divmod(int(at[0]), period_px)
        lines, weights = _even_lines(first, step, len(at), period_px)
        return lines + cell, weights
    return _any_lines(at, period_px)


@functools.lru_cache(maxsize=_KEPT)
def _even_lines(first: int, step: int, num: int, period_px: int) -> tuple[np.ndarray, np.ndarray]:
    at = first + step * np.arange(num)
    lines, weights = _any_lines(at, period_px, gaps="none" if step <= period_px else "some")
    lines.setflags(write=False)
    weights.setflags(write=False)
    return lines, weights


def _any_lines(
    at: np.ndarray, period_px: int, *, gaps: Literal["none", "some"] = "some"
) -> tuple[np.ndarray, np.ndarray]:
    cell = at // period_px
    if gaps == "none":
        lines, place = np.arange(cell[0], cell[-1] + 2), cell - cell[0]
    else:
        used = np.unique(cell)
        lines = np.union1d(used, used + 1)
        place = np.searchsorted(lines, cell)
    t = ((at - cell * period_px) + 0.5) / period_px
    # Smooth steps: a field without creases at the lattice lines.
    t = (t * t * (3.0 - 2.0 * t)).astype(np.float32)
    weights = np.zeros((len(at), len(lines)), np.float32)
    line = np.arange(len(at))
    weights[line, place] = 1.0 - t
    weights[line, place + 1] = t
    return lines, weights


def contiguous(at: np.ndarray) -> bool:
    """Tell whether pixels, in ascending order, follow one another without gaps."""
    return bool(at[-1] - at[0] + 1 == len(at))


def field(
    cols: Int64[np.ndarray, " w"],
    rows: Int64[np.ndarray, " h"],
    *,
    key: tuple[int, ...],
    period_px: int,
    octaves: int = 1,
    gain: float = 0.5,
) -> Float32[np.ndarray, "h w"]:
    """Return value noise, 0 to 1 with mean 0.5: octaves of half the period and `gain` times the weight each.

    Args:
        key: which field this is.
        period_px: the longest wave, pixels.
    """
    total, weight = np.zeros((len(rows), len(cols)), np.float32), 0.0
    steps = _step(rows), _step(cols)
    periods = [max(2, period_px >> octave) for octave in range(octaves)]
    downs = [_lines_at(rows, steps[0], period) for period in periods]
    alongs = [_lines_at(cols, steps[1], period) for period in periods]
    lattices = _lattices(key, [i for i, _ in downs], [j for j, _ in alongs])
    for octave, lattice in enumerate(lattices):
        share = gain**octave
        total += downs[octave][1] @ (np.float32(share) * lattice) @ alongs[octave][1].T
        weight += share
    return total / np.float32(weight)


def _lattices(key: tuple[int, ...], rows: list[np.ndarray], cols: list[np.ndarray]) -> list[np.ndarray]:
    """Return `uniform(*key, octave, row, column)` of each octave's lattice; hashed together, since most are small."""
    shapes = [(len(i), len(j)) for i, j in zip(rows, cols, strict=True)]
    first = np.empty(sum(h for h, _ in shapes), np.uint64)
    start = np.empty(sum(h * w for h, w in shapes), np.uint64)
    part = np.empty(len(start), np.int64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        for k, state in enumerate(_pieces(first, [(h,) for h, _ in shapes])):
            state[:] = _scrambled((*key, k))
        down = _pieces(_mixed(first, np.concatenate(rows)), [(h, 1) for h, _ in shapes])
        for wide, state in zip(_pieces(start, shapes), down, strict=True):
            wide[:] = state
        for wide, j in zip(_pieces(part, shapes), cols, strict=True):
            wide[:] = j
        return _pieces(_unit(_mixed(start, part)), shapes)


def _pieces(flat: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Cut a flat array into arrays of these shapes, without copying."""
    out, begin = [], 0
    for shape in shapes:
        end = begin + math.prod(shape)
        out.append(flat[begin:end].reshape(shape))
        begin = end
    return out


@functools.cache
def _grain() -> Float32[np.ndarray, "h w"]:
    """Return fixed white noise of unit deviation, twice side by side and below; each user looks from another corner."""
    noise = np.random.default_rng(_GRAIN).standard_normal((_TILE_PX, _TILE_PX), np.float32)
    return np.tile(noise, (2, 2))


def grains(cols: np.ndarray, rows: np.ndarray, *key: int) -> Float32[np.ndarray, "h w"]:
    """Return white noise of unit deviation at some pixels: one fixed square of it, repeated, and shifted by the key."""
    right, down = (int(v * _TILE_PX) for v in uniform(*key, np.arange(2)))
    if contiguous(cols) and contiguous(rows) and max(len(cols), len(rows)) <= _TILE_PX:
        top, left = int(rows[0] + down) % _TILE_PX, int(cols[0] + right) % _TILE_PX
        return _grain()[top : top + len(rows), left : left + len(cols)]
    return _grain()[np.ix_((rows + down) % _TILE_PX, (cols + right) % _TILE_PX)]


def even(values: Float32[np.ndarray, ...], *, octaves: int, gain: float = 0.5) -> Float32[np.ndarray, ...]:
    """Bend a field's numbers so that they fill 0 to 1 evenly: a share of the ground is then a threshold.

    The sum of octaves is close to a Gaussian whose deviation follows from theirs; its distribution function is
    approximated by a logistic one (largest error 0.01).
    """
    shares = gain ** np.arange(octaves)
    # A smoothly interpolated uniform value has, over all positions, 0.215 of standard deviation.
    deviation = 0.215 * np.sqrt((shares**2).sum()) / shares.sum()
    return 1.0 / (1.0 + np.exp(-1.702 * (values - 0.5) / np.float32(deviation)))


class Cells:
    """Voronoi cells of jittered lattice points: one site a square of `size_px`, always the same.

    Attributes:
        i, j: lattice row and column of each site near the window, flat.
        x, y: where each site lies, pixels.
        index: for each pixel, its site.
        edge_px: distance of each pixel from its cell's border, pixels.
        beyond: for each pixel, the site on the other side of that border.
    """

    def __init__(
        self,
        x: Float32[np.ndarray, "h w"],
        y: Float32[np.ndarray, "h w"],
        *,
        origin: tuple[int, int],
        key: tuple[int, ...],
        size_px: int,
    ) -> None:
        """Find the cell of every pixel.

        Args:
            x, y: pixel positions relative to `origin`.
            origin: (column, row) that positions are relative to; keeps single precision exact far from zero.
            key: which set of cells this is.
            size_px: mean size of a cell.
        """
        left = int(np.floor(x.min())) + origin[0]
        top = int(np.floor(y.min())) + origin[1]
        right = int(np.ceil(x.max())) + origin[0]
        bottom = int(np.ceil(y.max())) + origin[1]
        i = np.arange(top // size_px - 1, bottom // size_px + 2)
        j = np.arange(left // size_px - 1, right // size_px + 2)
        self.i, self.j = (a.ravel() for a in np.meshgrid(i, j, indexing="ij"))
        self.x = self.j * size_px + size_px * (
            0.12 + 0.76 * uniform(*key, 0, self.i, self.j).astype(np.float64)
        )
        self.y = self.i * size_px + size_px * (
            0.12 + 0.76 * uniform(*key, 1, self.i, self.j).astype(np.float64)
        )
        sx, sy = (self.x - origin[0]).astype(np.float32), (self.y - origin[1]).astype(np.float32)
        row = np.floor((y + np.float32(origin[1] - int(i[0]) * size_px)) / np.float32(size_px)).astype(
            np.intp
        )
        col = np.floor((x + np.float32(origin[0] - int(j[0]) * size_px)) / np.float32(size_px)).astype(
            np.intp
        )
        own = row * len(j) + col
        near = np.full(x.shape, np.inf, np.float32)
        second = near.copy()
        steps = np.array([di * len(j) + dj for di in (-1, 0, 1) for dj in (-1, 0, 1)], np.intp)
        first, other = np.zeros(x.shape, np.uint8), np.zeros(x.shape, np.uint8)
        every = np.arange(len(sx))
        for k, step in enumerate(steps):
            dx = sx.take(every + step, mode="clip")[own]
            dy = sy.take(every + step, mode="clip")[own]
            dx -= x
            dy -= y
            dx *= dx
            dy *= dy
            distance = dx
            distance += dy
            closer = distance < near
            # Who is not the nearest, the new site or the one before, may be the second.
            pushed = np.where(closer, near, distance)
            here = np.where(closer, first, np.uint8(k))
            np.copyto(other, here, where=pushed < second)
            np.copyto(first, np.uint8(k), where=closer)
            np.minimum(second, pushed, out=second)
            np.minimum(near, distance, out=near)
        self.index, self.beyond = own + steps[first], own + steps[other]
        gap = np.hypot(sx[self.index] - sx[self.beyond], sy[self.index] - sy[self.beyond])
        self.edge_px = (second - near) / (2 * np.maximum(gap, np.float32(1e-3)))
