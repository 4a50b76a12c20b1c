"""What a method sees, as data: its views, and for each head who is positive and who negative."""

from __future__ import annotations

import dataclasses
from typing import Literal

from seco.errors import ConfigError

Siblings = Literal["all", "own", "none"]
"""Whose other keys are negatives of a head that keeps something: every place's in the batch, the own place's, nobody's."""
Negatives = Literal["queue", "batch", "both"]
"""Where the keys of other places come from: earlier steps, this step, or both."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """One view: which of the drawn seasons it shows, and whether it is augmented besides being cropped.

    Attributes:
        name: `q` is the query; the others are keys.
        season: position among the seasons drawn for the place: 0 is t0, 1 is t1, ...
        augment: colour jitter, greyscale, blur and flip (every view is cropped).
    """

    name: str
    season: int
    augment: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """One projection head: its positive key, and the keys of the same places that are its negatives.

    Attributes:
        siblings: names of the key views whose projections by this head join the queue as negatives.
    """

    name: str
    positive: str
    siblings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewPlan:
    """The views and heads of a method.

    Attributes:
        num_seasons: how many seasons of a place are drawn.
        order: `augment-crop` (SeCo's released code) or `crop-augment` (MoCo v2's).
    """

    views: tuple[View, ...]
    heads: tuple[Head, ...]
    num_seasons: int
    order: Literal["augment-crop", "crop-augment"]

    def __post_init__(self) -> None:
        names = [v.name for v in self.views]
        if len(set(names)) != len(names) or "q" not in names:
            raise ConfigError(f"views {names} must have different names, one of them q")
        wanted = {h.positive for h in self.heads} | {s for h in self.heads for s in h.siblings}
        if not wanted <= set(names) - {"q"}:
            raise ConfigError(
                f"heads name keys {sorted(wanted)}; the key views are {sorted(set(names) - {'q'})}"
            )
        if {v.season for v in self.views} != set(range(self.num_seasons)):
            raise ConfigError(
                f"views show seasons {sorted({v.season for v in self.views})} of {self.num_seasons}"
            )

    @property
    def keys(self) -> tuple[View, ...]:
        """The key views, in order."""
        return tuple(v for v in self.views if v.name != "q")
