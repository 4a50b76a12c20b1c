"""Balance: how often a candidate of each class is taken, so that rare classes are seen more often than nature has them.

Let p be a class's natural share among the candidates that pass all other rules but those on distance. Its target share is
q = min(t * p ** power, boost * p), with t such that all q add up to 1: with power 0 all classes are equal, with power 1
all are as in nature, and none is raised above `boost` times its natural share (what is unknown is not raised at all). A
candidate is taken with a probability in proportion to q / p. Nothing of this depends on how many places are asked for, so
that the first n are always the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from seco.places.about import Kind, classes_of, names_of
from seco.places.sphere import LonLat

PILOT = 131_072
"""Candidates on which natural shares are measured: the first that pass."""
UNKNOWN = "unknown"
_BALANCE = 3
"""Word after the seed, apart from the samplers'."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Balance:
    """What balance does to each class.

    Attributes:
        kinds: what classes are made of; several kinds make a class a combination.
        code: classes seen among the first candidates, ascending.
        natural: their shares among these.
        target: the shares that they are to have.
        seed: seed of the draws that decide.
    """

    kinds: tuple[Kind, ...]
    code: Int64[np.ndarray, " c"]
    natural: Float[np.ndarray, " c"]
    target: Float[np.ndarray, " c"]
    seed: int

    def keep(self, lonlat: LonLat, draws: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Tell which candidates are taken, by a draw of 0-1 each."""
        if len(self.code) == 0:
            return np.ones(len(lonlat), bool)
        ratio = self.target / self.natural
        code = joint_codes(self.kinds, lonlat)
        at = np.minimum(np.searchsorted(self.code, code), len(self.code) - 1)
        # A class so rare that it was not among the first is always taken.
        chance = np.where(self.code[at] == code, ratio[at] / ratio.max(), 1.0)
        return draws < chance

    def draws(self, batch: int, num: int) -> Float[np.ndarray, " n"]:
        """Return the draws that decide on a batch of candidates."""
        return np.random.default_rng((self.seed, _BALANCE, batch)).random(num)


def measure(kinds: Sequence[Kind], pilot: LonLat, *, power: float, boost: float, seed: int) -> Balance:
    """Measure natural shares on the first candidates, and set target shares."""
    code, counts = np.unique(joint_codes(kinds, pilot), return_counts=True)
    natural = counts / max(len(pilot), 1)
    limit = natural * np.where([UNKNOWN in name for name in class_names(kinds, code)], 1.0, boost)
    target = target_shares(natural, limit, power=power)
    return Balance(kinds=tuple(kinds), code=code, natural=natural, target=target, seed=seed)


def joint_codes(kinds: Sequence[Kind], lonlat: LonLat) -> Int64[np.ndarray, " n"]:
    """Return one number for each combination of classes; what is unknown is a class too."""
    code = np.zeros(len(lonlat), np.int64)
    for kind in kinds:
        code = code * (len(names_of(kind)) + 1) + classes_of(kind, lonlat) + 1
    return code


def class_names(kinds: Sequence[Kind], codes: Int64[np.ndarray, " n"]) -> list[str]:
    """Return the words for what `joint_codes` returns."""
    rest, parts = codes, []
    for kind in reversed(kinds):
        names = names_of(kind)
        rest, code = np.divmod(rest, len(names) + 1)
        parts.append([names[c - 1] if c else UNKNOWN for c in code.tolist()])
    return [" / ".join(p) for p in zip(*reversed(parts), strict=True)]


def target_shares(
    natural: Float[np.ndarray, " c"], limit: Float[np.ndarray, " c"], *, power: float
) -> Float[np.ndarray, " c"]:
    """Return min(t * natural ** power, limit), with t such that these add up to 1; limits must add up to 1 or more."""
    wanted = natural**power
    if len(wanted) == 0:
        return natural
    low, high = 0.0, float((limit / wanted).max())
    for _ in range(100):
        t = (low + high) / 2
        low, high = (t, high) if np.minimum(t * wanted, limit).sum() < 1 else (low, t)
    shares: np.ndarray = np.minimum(high * wanted, limit)
    return shares / shares.sum()
