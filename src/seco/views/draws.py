"""Random numbers by coordinates: the draw for (seed, epoch, sample, view) is the same whatever else is drawn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SEASONS, ORDER, BLOCKS, GROUPS = 1_000, 1_001, 999, 1_002
"""View numbers of draws that belong to no view: seasons, the order of an epoch and of its blocks, key groups (and above)."""
WINDOW = 64
"""Blocks whose samples are mixed."""


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection of 64 bits that scatters them."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(
    *, seed: int, epoch: int, samples: Int[np.ndarray, " batch"], view: int, num: int
) -> Float[np.ndarray, "batch num"]:
    """Return numbers in [0, 1) for each sample, a pure function of all arguments."""
    with np.errstate(over="ignore"):
        state = _mix(np.full(len(samples), seed, np.uint64) + _GOLDEN)
        for word in (np.uint64(epoch), samples.astype(np.uint64), np.uint64(view)):
            state = _mix(state + _GOLDEN * (word + np.uint64(1)))
        steps = np.arange(1, num + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(state[:, None] + steps[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(*, seed: int, epoch: int, num: int, block: int | None = None) -> Int[np.ndarray, " num"]:
    """Return the order of `num` samples in an epoch.

    Args:
        block: shuffle by blocks of so many neighbours instead: blocks come in a random order, and the samples of
            `WINDOW` blocks at a time are mixed. Whoever reads them from a disk then finds them near each other.
    """
    keys = uniforms(seed=seed, epoch=epoch, samples=np.arange(num), view=ORDER, num=1)[:, 0]
    if block is None:
        return np.argsort(keys, kind="stable")
    num_blocks = -(-num // block)
    drawn = uniforms(seed=seed, epoch=epoch, samples=np.arange(num_blocks), view=BLOCKS, num=1)[:, 0]
    window = np.empty(num_blocks, np.int64)
    window[np.argsort(drawn, kind="stable")] = np.arange(num_blocks) // WINDOW
    return np.lexsort((keys, window[np.arange(num) // block]))


def draw_seasons(
    *,
    seed: int,
    epoch: int,
    samples: Int[np.ndarray, " batch"],
    num_dates: Int[np.ndarray, " batch"],
    num_seasons: int,
    replacement: bool,
) -> Int[np.ndarray, "batch seasons"]:
    """Draw which dates of each place serve as t0, t1, ...

    Args:
        samples: place numbers.
        num_dates: dates that each place has.
        num_seasons: how many to draw.
        replacement: draw with replacement, as the original's code does (with five dates 52% of triples repeat one).
    """
    most = int(num_dates.max())
    keys = uniforms(seed=seed, epoch=epoch, samples=samples, view=SEASONS, num=max(most, num_seasons))
    if replacement:
        return np.floor(keys[:, :num_seasons] * num_dates[:, None]).astype(np.int64)
    keys = np.where(np.arange(keys.shape[1]) < num_dates[:, None], keys, 2.0)
    return np.argsort(keys, axis=1, kind="stable")[:, :num_seasons].astype(np.int64)
