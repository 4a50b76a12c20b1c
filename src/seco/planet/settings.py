"""What makes a planet: a seed, and what happens on it."""

import datetime
from dataclasses import dataclass

from seco.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Planet:
    """All that a simulated planet depends on.

    Attributes:
        seed: everything random follows from it.
        change_share: share of squares of 3 km in which a forest is cut or a district built.
        change_from, change_to: first and last day on which that may happen.
    """

    seed: int = 0
    change_share: float = 0.0
    change_from: datetime.date = datetime.date(2020, 1, 1)
    change_to: datetime.date = datetime.date(2020, 12, 31)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}; it must be 0 or more (--seed)")
        if not 0 <= self.change_share <= 1:
            raise ConfigError(f"share of changed land {self.change_share}; between 0 and 1 (--change-share)")
        if self.change_from > self.change_to:
            raise ConfigError(f"changes from {self.change_from} to {self.change_to}; the first day comes first")
