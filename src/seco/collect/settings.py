"""What to collect, by what rule of dates, and with how much care."""

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seco.collect.masks import MaskRule
from seco.collect.model import GRID_M
from seco.config import setting
from seco.errors import ConfigError
from seco.sensors.sentinel2 import BANDS, canonical

ALL = "all"
_SCHEDULER = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+:\d+/?")
_MASKS = ("auto", "scl", "none")
_PIXEL_M = {band.name: int(band.gsd_m or 0) for band in BANDS}
_LEVEL2 = tuple(b.name for b in BANDS if b.name != "B10")
"""Bands of surface reflectance: the cirrus band sees no surface."""


@dataclass(frozen=True, kw_only=True)
class Collect:
    """All that a collection depends on, besides the catalogue's own answers."""

    places: Path | None = setting(None, "places: GeoParquet, GeoJSON or CSV, as `seco places` writes them")
    num_places: int | None = setting(
        None, "places to collect; those that turn out unusable are replaced by the next", flag="--num"
    )
    catalog: str = setting(
        "earth-search",
        "earth-search, planetary-computer, cdse, the URL of a STAC API, or an items.parquet or catalog.json",
    )
    collection: str | None = setting(None, "collection of the catalogue")
    first: dt.date | None = setting(
        None, "first day of the time, always to be given (default: none)", flag="--from"
    )
    last: dt.date | None = setting(
        None, "last day of the time, always to be given (default: none)", flag="--to"
    )
    seasons: int = setting(5, "seasons a place (the paper: 5)")
    rule: Literal["spaced", "calendar"] = setting(
        "spaced",
        "spaced: dates so many days apart with one random shift a place (the paper); "
        "calendar: winter, spring, summer, autumn of the place's hemisphere",
        flag="--dates",
    )
    spacing_days: int = setting(91, "days from date to date where they are spaced (the paper: 3 months)")
    window_days: int = setting(15, "days before and after each date in which a scene will do")
    max_cloud: float = setting(10.0, "most cloud in a whole scene, percent")
    bands: tuple[str, ...] = setting((ALL,), "bands to fetch, such as B02,B03,B04; all: all that there are")
    size: int = setting(264, "edge of a patch in pixels of 10 m; whole pixels of the coarsest band")
    min_clear: float = setting(0.9, "least clear fraction of a patch, 0-1")
    max_nodata: float = setting(0.01, "most of a patch that may be without data, 0-1")
    mask: str = setting(
        "auto",
        "what tells how clear a patch is: scl; the name of an asset; none; auto: SCL, else a mask that the item describes",
    )
    mask_hidden: tuple[int, ...] = setting(
        (), "values of that asset that hide the ground, such as 1,2, where the item does not say"
    )
    mask_cloud: float = setting(
        40.0, "cloud probability from which a pixel is hidden, percent, where the mask is one"
    )
    incomplete: Literal["replace", "keep"] = setting(
        "replace", "a place that lacks a season: take the next place instead, or keep the seasons there are"
    )
    edge: Literal["whole", "pad"] = setting(
        "whole", "a patch that no tile holds whole: turn the place down, or pad with nodata"
    )
    candidates: int | None = setting(
        None,
        "most scenes to look at for a season of a place; default: all, so that unreadable ones change nothing else",
    )
    search: Literal["auto", "tile", "box"] = setting(
        "auto", "search by tile, or by bounding boxes of groups of places; auto: what the catalogue can do"
    )
    seed: int = setting(0, "seed of the dates and of the order of places")
    concurrency: int = setting(32, "requests at once")
    retries: int = setting(5, "most attempts again at a request that failed for a while")
    timeout_s: float = setting(60.0, "longest wait for an answer, seconds")
    scheduler: str | None = setting(
        None,
        "address of a dask scheduler, tcp://host:8786: its workers fetch; concurrency is then that of each worker",
    )
    hosts: Literal["public", "private"] = setting(
        "public", "whether addresses of private networks, this machine's included, may be asked"
    )

    def __post_init__(self) -> None:
        self._check_dates()
        object.__setattr__(self, "bands", tuple(canonical(b) if b != ALL else b for b in self.bands))
        known = [ALL, *_PIXEL_M]
        wrong = [b for b in self.bands if b not in known]
        if wrong or not self.bands or len(set(self.bands)) < len(self.bands):
            raise ConfigError(
                f"bands {','.join(self.bands) or 'none'}; choose from {','.join(known)}, each once (--bands)"
            )
        if ALL in self.bands and len(self.bands) > 1:
            raise ConfigError(f"bands {','.join(self.bands)}; give {ALL} alone, or the bands (--bands)")
        step = self.coarsest_m // GRID_M
        if not step <= self.size <= 10_980 or self.size % step:
            raise ConfigError(
                f"patch of {self.size} px; a multiple of {step} from {step} to 10980, so that it is made of whole "
                f"pixels of {self.coarsest_m} m (--size)"
            )
        for flag, share in (("--min-clear", self.min_clear), ("--max-nodata", self.max_nodata)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{flag} {share}; between 0 and 1")
        object.__setattr__(self, "mask", self.mask.lower() if self.mask.lower() in _MASKS else self.mask)
        if self.mask_hidden and self.mask in _MASKS:
            raise ConfigError(
                f"--mask-hidden with --mask {self.mask}; name the asset whose values these are (--mask)"
            )
        if not self.mask or not 0 < self.mask_cloud <= 100:
            raise ConfigError(
                f"--mask {self.mask!r} with --mask-cloud {self.mask_cloud:g}; give {', '.join(_MASKS)} or an asset's name, "
                "and a percentage above 0"
            )
        if not 0 <= self.max_cloud <= 100:
            raise ConfigError(f"--max-cloud {self.max_cloud}; percent, between 0 and 100")
        self._check_how()

    def _check_how(self) -> None:
        at_least = (
            ("--num", self.num_places, 1), ("--candidates", self.candidates, 1), ("--seed", self.seed, 0),
            ("--concurrency", self.concurrency, 1), ("--retries", self.retries, 0),
        )  # fmt: skip
        for flag, number, low in at_least:
            if number is not None and number < low:
                raise ConfigError(f"{flag} {number}; it must be {low} or more")
        if self.scheduler is not None and not _SCHEDULER.fullmatch(self.scheduler):
            raise ConfigError(
                f"--scheduler {self.scheduler}; give the address that `dask scheduler` prints, such as tcp://10.0.0.1:8786"
            )
        if self.timeout_s <= 0:
            raise ConfigError(f"--timeout-s {self.timeout_s}; it must be above 0")

    def _check_dates(self) -> None:
        if self.first is None or self.last is None:
            raise ConfigError(
                "no range of dates; give the first and the last day, such as --from 2023-01-01 --to 2024-12-31"
            )
        if self.first > self.last:
            raise ConfigError(f"dates from {self.first} to {self.last}; the first day comes first")
        at_least = (
            ("--seasons", self.seasons, 1), ("--spacing-days", self.spacing_days, 1),
            ("--window-days", self.window_days, 0),
        )  # fmt: skip
        for flag, number, low in at_least:
            if number < low:
                raise ConfigError(f"{flag} {number}; it must be {low} or more")
        needed = (self.seasons - 1) * self.spacing_days + 1
        if self.rule == "spaced" and self.num_days < needed:
            raise ConfigError(
                f"{self.seasons} dates {self.spacing_days} days apart need {needed} days; from {self.first} to "
                f"{self.last} are {self.num_days}: widen the range or ask for fewer --seasons"
            )

    @property
    def mask_rule(self) -> MaskRule:
        """Return which mask is asked for."""
        return MaskRule(name=self.mask, hidden=self.mask_hidden, cloud_from=self.mask_cloud)

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """Return the first and the last day of the range."""
        assert self.first is not None
        assert self.last is not None
        return self.first, self.last

    @property
    def num_days(self) -> int:
        """Return the number of days in the range, both ends included."""
        first, last = self.days
        return (last - first).days + 1

    @property
    def coarsest_m(self) -> int:
        """Return the edge of a pixel of the coarsest band asked."""
        return max(_PIXEL_M[b] for b in self.band_names())

    def band_names(self, *, level: Literal["L1C", "L2A"] = "L2A") -> tuple[str, ...]:
        """Return the bands that are asked, spelled out, in the instrument's order; the scene classes not among them."""
        have = tuple(_PIXEL_M) if level == "L1C" else _LEVEL2
        return have if ALL in self.bands else tuple(b for b in _PIXEL_M if b in self.bands)
