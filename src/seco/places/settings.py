"""What `seco places` is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seco.config import setting, to_plain
from seco.errors import ConfigError, DatasetError

MAX_PLACES = 10_000_000
SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0
"""Latitudes between which UTM, and so Sentinel-2's tiles, exist."""
NUM_PLACES = 200_000
"""Places of the paper's larger dataset (Mañas et al. 2021, section 3)."""
KINDS = ("country", "continent", "climate", "landcover")
"""What places can be balanced by."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Which places to draw."""

    num_places: int | None = setting(
        None, "places to draw; default: 200,000 (the paper), or all of a file (--points)", flag="--num"
    )
    seed: int = setting(0, "seed of the places")
    spare: float = setting(
        0.0, "more candidates beyond --num, as a share of it, for places that have to be replaced (0.05: 5%)"
    )
    sampler: Literal["cities", "land"] = setting(
        "cities", "cities: Gaussian around the most populous, as SeCo; land: uniform on land"
    )
    num_cities: int = setting(10_000, "how many of the most populous cities (the paper: 10,000)")
    sigma_km: float = setting(50.0, "standard deviation around a city, km (the paper: 50)")
    metric: Literal["ground", "paper"] = setting(
        "ground",
        "ground: round on the ground; paper: round in degrees, as the original, narrow away from the equator",
    )
    points: Path | None = setting(
        None, "file of places (CSV with lon and lat, GeoJSON, GeoParquet) instead of a sampler"
    )
    order: Literal["shuffled", "file"] = setting(
        "shuffled", "order in which a file's places are taken: shuffled by the seed, or as in the file"
    )
    within: Path | None = setting(None, "GeoJSON file: places inside its polygons only")
    lat_min: float = setting(-60.0, "southernmost centre, degrees")
    lat_max: float = setting(75.0, "northernmost centre, degrees")
    patch_px: int = setting(264, "edge of a patch, 10 m pixels: for land and overlap", flag="--patch")
    min_land: float = setting(0.9, "least land fraction of a patch, 0-1")
    min_distance_km: float = setting(0.0, "least distance between two places, km")
    overlap: bool = setting(True, "let patches of two places share ground")
    balance: tuple[str, ...] = setting(
        (),
        "make shares more equal by country, continent, climate, landcover, or several with commas (docs/places.md)",
    )
    balance_power: float = setting(
        0.0, "target share of a class: its natural share to this power; 0: all equal, 1: as nature"
    )
    max_boost: float = setting(20.0, "most that balance may raise a class above its natural share, times")

    def __post_init__(self) -> None:
        if self.num_places is not None and not 1 <= self.num_places <= MAX_PLACES:
            raise ConfigError(f"{self.num_places} places asked; ask for 1 to {MAX_PLACES} (--num)")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}; it must be 0 or more (--seed)")
        if not 12 <= self.patch_px <= 10980:
            raise ConfigError(f"patch of {self.patch_px} px; 12 to 10980 (--patch)")
        if not SOUTHERNMOST <= self.lat_min < self.lat_max <= NORTHERNMOST:
            raise ConfigError(
                f"latitudes {self.lat_min:g} to {self.lat_max:g}; give {SOUTHERNMOST:g} <= lat-min < lat-max <= "
                f"{NORTHERNMOST:g}, where Sentinel-2 has tiles"
            )
        for name, value, low, high in (
            ("--spare", self.spare, 0, 10), ("--min-land", self.min_land, 0, 1), ("--sigma-km", self.sigma_km, 1e-6, 5000),
            ("--min-distance-km", self.min_distance_km, 0, 5000), ("--balance-power", self.balance_power, 0, 1),
            ("--max-boost", self.max_boost, 1, 100),
        ):  # fmt: skip
            if not low <= value <= high:
                raise ConfigError(f"{name} {value:g}; between {low:g} and {high:g}")
        wrong = [k for k in self.balance if k not in KINDS]
        if wrong or len(set(self.balance)) < len(self.balance):
            raise ConfigError(
                f"balance by {','.join(self.balance)}; choose from {','.join(KINDS)}, each once (--balance)"
            )

    def provenance(self) -> dict[str, Any]:
        """Return all settings as plain values; files by their name and hash, for paths mean nothing elsewhere.

        Raises:
            DatasetError: a file cannot be read.
        """
        values = to_plain(self)
        for name in ("points", "within"):
            path = getattr(self, name)
            if path is not None:
                try:
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as err:
                    raise DatasetError(f"cannot read {path}: {err}; give the path of a file") from err
                values[name] = {"file": path.name, "sha256": digest}
        return values
