"""What makes a planet: a seed, and what happens on it; and what makes a dataset of it."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seco.config import setting
from seco.errors import ConfigError
from seco.places.settings import MAX_PLACES
from seco.planet.catalogue.passes import check_day
from seco.planet.earth.surfaces import BANDS, PIXEL_M
from seco.planet.utm import NORTHERNMOST, SOUTHERNMOST
from seco.sensors.sentinel2 import BANDS as SENTINEL2


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
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed {self.seed}; it must be 0 or more, and below 2**63 (--seed)")
        if not 0 <= self.change_share <= 1:
            raise ConfigError(f"share of changed land {self.change_share}; between 0 and 1 (--change-share)")
        if self.change_from > self.change_to:
            raise ConfigError(
                f"changes from {self.change_from} to {self.change_to}; the first day comes first"
            )


@dataclass(frozen=True, kw_only=True)
class Build:
    """What a simulated dataset holds."""

    num_places: int = setting(1000, "places to draw", flag="--places")
    num_dates: int = setting(
        5, "dates a place, one in each of so many equal parts of the time", flag="--dates"
    )
    patch_px: int = setting(264, "edge of a patch, 10 m pixels; a multiple of 6", flag="--patch")
    first: datetime.date = setting(datetime.date(2023, 1, 1), "first day of the time", flag="--from")
    last: datetime.date = setting(datetime.date(2024, 1, 1), "day after the time's last", flag="--to")
    min_clear: float = setting(
        0.9, "clear fraction that a date should have, 0-1; the clearest pass where none has it"
    )
    sampler: Literal["cities", "land"] = setting(
        "cities", "cities: Gaussian around the most populous, as SeCo; land: uniform on land"
    )
    num_cities: int = setting(10_000, "how many of the most populous cities (the paper: 10,000)")
    sigma_km: float = setting(50.0, "standard deviation around a city, km (the paper: 50)")
    within: Path | None = setting(None, "GeoJSON file: places inside its polygons only (default: anywhere)")
    min_land: float = setting(0.9, "least land fraction around a place, 0-1")
    lat_min: float = setting(-60.0, "southernmost centre, degrees")
    lat_max: float = setting(75.0, "northernmost centre, degrees")
    overlap: bool = setting(True, "let patches of two places share ground")
    bands: tuple[str, ...] = setting(BANDS, "bands to store")
    change_share: float = setting(
        0.0, "share of squares of 3 km where a forest is cut or a district built, 0-1"
    )
    seed: int = setting(0, "seed of the planet and of the places")
    jobs: int = setting(0, "processes; 0: one a core")

    def __post_init__(self) -> None:
        if not 1 <= self.num_places <= MAX_PLACES:
            raise ConfigError(f"{self.num_places} places asked; ask for 1 to {MAX_PLACES:,} (--places)")
        if self.num_dates < 1:
            raise ConfigError(f"{self.num_dates} dates a place; ask for at least 1 (--dates)")
        if not 12 <= self.patch_px <= 10980 or self.patch_px % 6:
            below = min(max(self.patch_px // 6 * 6, 12), 10980)
            near = below if below == 10980 or self.patch_px < 12 else f"{below} or {below + 6}"
            raise ConfigError(
                f"patch of {self.patch_px} px; a multiple of 6 from 12 to 10980, for bands of 10, 20 and 60 m, "
                f"such as {near} (--patch)"
            )
        if self.first >= self.last:
            raise ConfigError(
                f"days from {self.first} to {self.last}: the first day comes first, and the last is not included "
                "(--from, --to)"
            )
        if (self.last - self.first).days < self.num_dates:
            raise ConfigError(
                f"{self.num_dates} dates from {self.first} to {self.last}; at most one a day (--from, --to)"
            )
        check_day(self.first)
        check_day(self.last)
        for name, value in (
            ("--min-clear", self.min_clear),
            ("--min-land", self.min_land),
            ("--change-share", self.change_share),
        ):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} {value}; between 0 and 1")
        if not SOUTHERNMOST <= self.lat_min < self.lat_max <= NORTHERNMOST:
            raise ConfigError(
                f"latitudes {self.lat_min} to {self.lat_max}; give {SOUTHERNMOST:g} <= lat-min < lat-max <= {NORTHERNMOST:g}"
            )
        unknown = [b for b in self.bands if b not in BANDS]
        if unknown or not self.bands or len(set(self.bands)) < len(self.bands):
            known = {b.common_name: b.name for b in reversed(SENTINEL2)}
            meant = "".join(f"; {b} is {known[b]}" for b in unknown if b in known)
            raise ConfigError(
                f"bands {','.join(self.bands) or 'none'}; choose from {','.join(BANDS)}, each once (--bands){meant}"
            )
        if all(PIXEL_M[b] > 10 for b in self.bands):
            raise ConfigError(
                f"bands {','.join(self.bands)}; at least one of 10 m (B02, B03, B04, B08) (--bands)"
            )
        if self.jobs < 0:
            raise ConfigError(f"{self.jobs} processes; 0 or more (--jobs)")

    def planet(self) -> Planet:
        """Return the planet that this is a dataset of; what changes, changes in the middle half of the time."""
        quarter = (self.last - self.first) / 4
        return Planet(
            seed=self.seed,
            change_share=self.change_share,
            change_from=self.first + quarter,
            change_to=self.last - quarter,
        )
