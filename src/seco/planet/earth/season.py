"""What each surface looks like on a day: leaf and soil, sown and harvested, as the region's green season goes."""

from __future__ import annotations

import dataclasses
import datetime
import functools

import numpy as np
from jaxtyping import Float32

from seco.places.rasters import climate as climates
from seco.planet.earth.curves import seasonal
from seco.planet.earth.ground import VARIANTS
from seco.planet.earth.surfaces import COVERS, SPECTRA, Cover, Surface

_DAYS = np.arange(1, 366)
_VARIANT = np.arange(VARIANTS)


def _wave(turns: int, start: float) -> np.ndarray:
    """Return a triangle wave over the variants, -1 to 1: neighbours are alike, so that a slow field shows no contours."""
    return 4 * np.abs((_VARIANT / VARIANTS * turns + start) % 1 - 0.5) - 1


# Parcels differ in brightness, in days early or late, in how pale their soil is and how thick their plants stand.
_BRIGHT, _EARLY, _PALE, _LUSH = _wave(1, 0.0), _wave(2, 0.15), _wave(3, 0.4), _wave(2, 0.6)

# Days from the height of the region's green season: green leaf, and straw where leaf is gone, of a sown field.
_WINTER_LEAF = (
    (-182, 0.1),
    (-150, 0.2),
    (-90, 0.35),
    (-50, 0.8),
    (-25, 1.0),
    (0, 0.9),
    (20, 0.4),
    (35, 0.05),
    (182, 0.1),
)
_WINTER_STRAW = ((-182, 0.0), (5, 0.0), (25, 1.0), (60, 0.8), (110, 0.0), (182, 0.0))
_SUMMER_LEAF = (
    (-182, 0.03),
    (-45, 0.05),
    (-10, 0.45),
    (20, 1.0),
    (55, 0.9),
    (85, 0.3),
    (100, 0.03),
    (182, 0.03),
)
_SUMMER_STRAW = ((-182, 0.0), (65, 0.0), (90, 1.0), (125, 0.7), (170, 0.0), (182, 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Year:
    """The green season of one climate and latitude.

    Attributes:
        green: greenness of each day, 0-1 of the globe's range.
        relative: the same within the place's own year; near 1 throughout where there is hardly a season.
        peak: day of year at the height of the green season.
        amplitude: difference between the greenest and the least green day.
        fertile: 0 where plants never turn green, 1 where they have all they need.
        watered: where summers are dry, the day on which summer crops, which are irrigated there, stand highest; else None.
        snow: share of the land under snow on each day.
    """

    green: np.ndarray
    relative: np.ndarray
    peak: int
    amplitude: float
    fertile: float
    watered: int | None
    snow: np.ndarray


@functools.lru_cache(maxsize=1024)
def year(climate: int, lat: float) -> Year:
    """Return the year of a climate class at a latitude."""
    name = climates().classes[climate]
    green, snow = seasonal(name, lat, _DAYS)
    amplitude = float(green.max() - green.min())
    # The height of the season is the middle of its best days, not the noise of the single best.
    turn = np.exp(2j * np.pi * _DAYS / 365)
    best = np.angle((turn * np.maximum(green - np.quantile(green, 0.6), 0)).sum()) if amplitude > 0 else 0.0
    return Year(
        green=green, relative=np.clip(1 - (green.max() - green) / max(amplitude, 0.12), 0, 1),
        peak=int(best / (2 * np.pi) * 365) % 365, amplitude=amplitude,
        watered=(200 if lat >= 0 else 17) if name[1:2] == "s" else None,
        fertile=float(_smooth(0.02, 0.35, green.max())), snow=snow,
    )  # fmt: skip


def reflectance(zones: Float32[np.ndarray, "n 2"], day: datetime.date) -> Float32[np.ndarray, "bands codes"]:
    """Return the snow-free reflectance of every code of `Ground.code`, band by band.

    Args:
        zones: climate class and latitude of each season zone.
    """
    doy = min(day.timetuple().tm_yday, 365)
    return np.concatenate([_zone(int(c), float(lat), doy) for c, lat in zones], axis=1)


@functools.lru_cache(maxsize=512)
def _zone(climate: int, lat: float, doy: int) -> Float32[np.ndarray, "bands codes"]:
    # What has no cycle looks alike on all days.
    looks = [_surface(s, climate, lat, 0 if COVERS[s].cycle == "none" else doy) for s in Surface]
    table: np.ndarray = np.ascontiguousarray(np.concatenate(looks).T, np.float32)
    table.setflags(write=False)
    return table


@functools.lru_cache(maxsize=4096)
def _surface(surface: Surface, climate: int, lat: float, doy: int) -> Float32[np.ndarray, "variants bands"]:
    cover, local = COVERS[surface], year(climate, lat)
    leaf, straw = _plants(cover, local, doy)
    arid = 1 - local.fertile
    pale = np.clip(0.3 + 0.3 * _PALE + 0.45 * arid, 0, 1)[:, None]
    soil = SPECTRA["dark soil"] * (1 - pale) + SPECTRA["bright soil"] * pale
    if cover.soil != "mixed":
        soil = np.broadcast_to(SPECTRA[cover.soil], soil.shape)
    leaf, straw = leaf[:, None], straw[:, None]
    plants = leaf * SPECTRA[cover.green] + (1 - leaf) * (straw * SPECTRA[cover.dry] + (1 - straw) * soil)
    usual = cover.cover * (0.6 + 0.4 * local.fertile if cover.cycle == "meadow" else 1.0)
    thick = 0.0 if cover.cycle == "none" else 0.22
    stand = np.clip(usual * (1 + thick * _LUSH), 0, 1)[:, None]
    look = stand * plants + (1 - stand) * soil
    return (look * (1 + cover.variety * _BRIGHT[:, None])).astype(np.float32)


def _plants(cover: Cover, local: Year, doy: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each variant the share of green leaf, and of dry plants (not soil) in the rest."""
    ones = np.ones(VARIANTS)
    if cover.cycle == "none":
        # Rivers carry more or less silt; everything else of this kind is the same twice.
        return 0.45 + 0.45 * _PALE, ones
    if cover.cycle in ("winter crop", "summer crop"):
        # Where seasons hardly differ, every field has its own.
        spread = 18 + 160 * (1 - min(local.amplitude / 0.15, 1.0))
        winter = cover.cycle == "winter crop"
        peak = local.peak if winter or local.watered is None else local.watered
        days = (doy - peak + spread * _EARLY + 182) % 365 - 182
        leaf = _through(days, _WINTER_LEAF if winter else _SUMMER_LEAF)
        straw = _through(days, _WINTER_STRAW if winter else _SUMMER_STRAW)
        paddy = cover.dry == "turbid water"
        thirst = max(local.fertile, 0.45) if winter or local.watered is None else 1.0
        return leaf * thirst, _through(
            -days, ((-182, 0), (0, 0), (20, 1), (70, 1), (182, 0))
        ) if paddy else straw
    spread = 9 if cover.cycle == "meadow" else 6
    at = (doy - 1 + np.round(spread * _EARLY).astype(int)) % 365
    relative = local.relative[at]
    if cover.cycle == "tree":
        return _smooth(0.25, 0.6, relative), ones
    if cover.cycle == "evergreen":
        return 0.82 + 0.18 * relative, ones
    return local.fertile * (0.12 + 0.88 * relative), ones


def _through(x: np.ndarray, points: tuple[tuple[float, float], ...]) -> np.ndarray:
    at, values = zip(*points, strict=True)
    return np.interp(x, at, values)


def _smooth(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    t = np.clip((np.asarray(x) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
