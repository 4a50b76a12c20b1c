"""Real and simulated by the same definitions: which classes belong together, and how far apart they are."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from _planet_measures import MIN_PIXELS, correlation_length, patch_sizes
from _planet_simulated import Simulated
from _planet_sites import Site

from seco.planet.earth.curves import seasonal
from seco.sensors.sentinel2 import SCL_CLASSES

SHOWN = ("B02", "B03", "B04", "B8A", "B11", "B12")
SAMPLE = 400
"""Pixels of one date that go into a histogram: so that no date outweighs the others."""
_SNOW = SCL_CLASSES.index("snow")
SKY = {"cloud": (8, 9), "cirrus": (10,), "cloud shadow": (3,)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """A class of the real data and what belongs beside it.

    Attributes:
        title: its name in tables.
        real: site (the start of its name) and class.
        surfaces: names of the planet's classes, or `cloud`.
        climates: Koeppen classes, by their first letters, of places that may stand beside it.
        lat: and their latitudes, south and north.
    """

    title: str
    real: tuple[tuple[str, str], ...]
    surfaces: tuple[str, ...]
    climates: tuple[str, ...]
    lat: tuple[float, float]


_COOL, _MILD = ("Df", "Cfb"), ("Cfb", "Cfa", "Dfb")
_ANYWHERE = (-90, 90)


def _wanted(
    title: str, *real: tuple[str, str], show: tuple[str, ...], of: tuple[str, ...], lat: tuple[float, float]
) -> Wanted:
    return Wanted(title=title, real=real, surfaces=show, climates=of, lat=lat)


WANTED = (
    _wanted("broadleaf forest, 49 N", ("T31UFQ", "broadleaf forest"), show=("broadleaf forest",), of=_MILD, lat=(44, 56)),
    _wanted("spruce, 49 N", ("T31UFQ", "spruce"), show=("conifer forest",), of=_MILD, lat=(44, 56)),
    _wanted("conifers, 59 N", ("241", "tree"), show=("conifer forest",), of=_COOL, lat=(53, 66)),
    _wanted("grass, 59 N", ("241", "grass"), show=("grass",), of=_COOL, lat=(53, 66)),
    _wanted("shrub, 59 N", ("241", "shrub"), show=("shrub",), of=_COOL, lat=(50, 66)),
    _wanted("grass, 47 N", ("225", "grass"), show=("grass",), of=_MILD, lat=(43, 52)),
    _wanted("crop, 47 N", ("225", "crop"), show=("crop",), of=_MILD, lat=(43, 52)),
    _wanted("built, 47 N", ("225", "built"), show=("built",), of=_MILD, lat=(43, 52)),
    _wanted("grass, 39 N dry summer", ("0_", "grass"), show=("grass",), of=("Cs",), lat=(32, 45)),
    _wanted("shrub, 39 N dry summer", ("0_", "shrub"), show=("shrub",), of=("Cs",), lat=(32, 45)),
    _wanted("crop, 39 N dry summer", ("0_", "crop"), show=("crop",), of=("Cs",), lat=(32, 45)),
    _wanted("water, 53 N", ("T29UNU", "water"), show=("water",), of=("",), lat=_ANYWHERE),
    _wanted(
        "cloud, 53 N", ("T29UNU", "cloud_medium"), ("T29UNU", "cloud_high"), show=("cloud",), of=("",), lat=_ANYWHERE
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a pair.

    Attributes:
        pixels: a sample, band name -> reflectances.
        dates: day of the year, and the 10, 50 and 90% of NDVI, of each date and place.
    """

    pixels: dict[str, np.ndarray]
    dates: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A class on both sides; the simulated side has only months that the real one has."""

    wanted: Wanted
    real: Side
    simulated: Side

    @property
    def bands(self) -> list[str]:
        """Bands that both sides have."""
        return [b for b in SHOWN if b in self.real.pixels and b in self.simulated.pixels]


def pair(wanted: Wanted, real: Sequence[Site], planet: Sequence[Simulated]) -> Pair:
    """Collect both sides of a class."""
    rng = np.random.default_rng(0)
    ours = []
    for start, name in wanted.real:
        ours += [(s, s.of_class(s.names.index(name)), None) for s in real if s.name.startswith(start)]
    side = _side(ours, None, rng)
    months = {_month(d) for d in side.dates[:, 0]} if len(side.dates) else set()
    south, north = wanted.lat
    theirs: list[tuple[Site, np.ndarray, np.ndarray | None]] = []
    for place in planet:
        if not (place.climate.startswith(wanted.climates) and south <= place.site.lat <= north):
            continue
        if wanted.surfaces == ("cloud",):
            theirs.append((place.site, np.isin(place.scl, SKY["cloud"]), place.raw))
        else:
            codes = [place.site.names.index(s) for s in wanted.surfaces if s in place.site.names]
            shape = (len(place.site.dates), *place.site.reflectance.shape[2:])
            # The real sites have no date under snow.
            there = np.broadcast_to(np.isin(place.site.classes, codes), shape) & (place.scl != _SNOW)
            theirs.append((place.site, there, None))
    everything = set(range(1, 13)) if wanted.lat == _ANYWHERE else months
    return Pair(wanted=wanted, real=side, simulated=_side(theirs, everything, rng))


def _side(
    found: Iterable[tuple[Site, np.ndarray, np.ndarray | None]],
    months: set[int] | None,
    rng: np.random.Generator,
) -> Side:
    pixels: dict[str, list[np.ndarray]] = defaultdict(list)
    dates = []
    for site, where, raw in found:
        values = site.reflectance if raw is None else raw
        for t, day in enumerate(site.dates):
            if months is not None and day.month not in months:
                continue
            at = np.flatnonzero(where[t].ravel() & np.isfinite(values[t]).all(axis=0).ravel())
            if len(at) < MIN_PIXELS:
                continue
            flat = values[t].reshape(len(site.bands), -1)
            red, nir = flat[site.bands.index("B04"), at], flat[site.bands.index("B8A"), at]
            dates.append(
                [
                    day.timetuple().tm_yday,
                    *np.percentile((nir - red) / np.maximum(nir + red, 1e-3), [10, 50, 90]),
                ]
            )
            drawn = rng.choice(at, min(SAMPLE, len(at)), replace=False)
            for i, band in enumerate(site.bands):
                pixels[band].append(flat[i, drawn])
    return Side(
        pixels={b: np.concatenate(v) for b, v in pixels.items()}, dates=np.array(dates).reshape(-1, 4)
    )


def monthly(dates: np.ndarray) -> np.ndarray:
    """Return the median of the dates' median NDVI for each month, NaN where there is none."""
    month = np.array([_month(d) for d in dates[:, 0]])
    return np.array([np.median(dates[month == m, 2]) if (month == m).any() else np.nan for m in range(1, 13)])


def _month(day_of_year: float) -> int:
    return int(np.searchsorted((31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334), day_of_year)) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeasonPair:
    """Seasons of one climate and hemisphere: months 1-12, NaN where the planet has no patch.

    Attributes:
        expected_green, expected_snow: Blue Marble's, at the same places and days.
        green: excess green of the planet's snowless pixels.
        ndvi: their NDVI.
        snow: share of the planet's clear pixels under snow.
        patches: how many were measured.
    """

    title: str
    expected_green: np.ndarray
    expected_snow: np.ndarray
    green: np.ndarray
    ndvi: np.ndarray
    snow: np.ndarray
    patches: int


def seasons(planet: Sequence[Simulated], *, min_months: int = 6, min_patches: int = 20) -> list[SeasonPair]:
    """Average the planet's patches by climate, hemisphere and month, beside what Blue Marble shows there and then."""
    rows: dict[str, list[list[float]]] = defaultdict(list)
    known = set()
    for place in planet:
        site = place.site
        if not place.climate or place.climate == "Ocean":
            continue
        red, green, blue = (site.band(b) for b in ("B04", "B03", "B02"))
        excess, ndvi = (2 * green - red - blue) / np.maximum(red + green + blue, 1e-3), site.ndvi
        title = f"{place.climate}, {'north' if site.lat >= 0 else 'south'}"
        known.add(title)
        for t, day in enumerate(site.dates):
            clear = np.isfinite(red[t])
            snow = clear & (place.scl[t] == _SNOW)
            bare = clear & ~snow
            if clear.mean() < 0.3:
                continue
            said = seasonal(place.climate, site.lat, day.timetuple().tm_yday)
            shown = [np.median(v[t][bare]) if bare.sum() >= MIN_PIXELS else np.nan for v in (excess, ndvi)]
            rows[title].append(
                [day.month, float(said.green), float(said.snow), *shown, snow.sum() / clear.sum()]
            )
    out = []
    for title, found in rows.items():
        table = np.array(found)
        means = np.full((12, 5), np.nan)
        for m in range(1, 13):
            these = table[table[:, 0] == m, 1:]
            if len(these) >= 2:
                means[m - 1] = [
                    np.mean(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in these.T
                ]
        if np.isfinite(means[:, 0]).sum() >= min_months and len(table) >= min_patches:
            out.append(SeasonPair(
                title=title, expected_green=means[:, 0], expected_snow=means[:, 1], green=means[:, 2], ndvi=means[:, 3],
                snow=means[:, 4], patches=len(table),
            ))  # fmt: skip
    return sorted(out, key=lambda s: -s.patches)


def common_scale(found: Sequence[SeasonPair]) -> tuple[float, float]:
    """Return slope and intercept of the one line from the planet's excess green to Blue Marble's greenness."""
    a, b = (np.concatenate([getattr(s, n) for s in found]) for n in ("green", "expected_green"))
    both = np.isfinite(a) & np.isfinite(b)
    slope, intercept = np.polyfit(a[both], b[both], 1)
    return float(slope), float(intercept)


def correlation(a: np.ndarray, b: np.ndarray, *, least: float = 0.02) -> float:
    """Correlate two curves where both are known; NaN for fewer than four months or a curve that hardly moves."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 4 or min(np.std(a[both]), np.std(b[both])) < least / 2:
        return float("nan")
    return float(np.corrcoef(a[both], b[both])[0, 1])


def sky_patches(scl: np.ndarray, gsd_m: float) -> dict[str, Any]:
    """Measure patches of cloud, cirrus and cloud shadow of one scene of classes, and their share of valid pixels."""
    valid = scl != 0
    out = {}
    for name, codes in SKY.items():
        mask = np.isin(scl, codes)
        out[name] = patch_sizes(mask, gsd_m) | {"cover_of_valid": round(float(mask[valid].mean()), 4)}
    return out


def reflectance_table(pairs: Sequence[Pair]) -> str:
    """Return medians, their differences and spreads by class and band, as a Markdown table."""
    lines = [
        "| class | band | real median | simulated | difference | real p10-p90 | simulated p10-p90 |",
        "|---|---|---|---|---|---|---|",
    ]
    gaps: dict[str, list[float]] = defaultdict(list)
    for p in pairs:
        if not p.bands:
            lines.append(f"| {p.wanted.title} | | | no such place or pixel | | | |")
        for band in p.bands:
            (low, a, high), (lower, b, higher) = (
                np.percentile(s.pixels[band], [10, 50, 90]) for s in (p.real, p.simulated)
            )
            gaps[band].append(abs(b - a))
            spreads = f"{low:.3f}-{high:.3f} | {lower:.3f}-{higher:.3f}"
            lines.append(f"| {p.wanted.title} | {band} | {a:.3f} | {b:.3f} | {b - a:+.3f} | {spreads} |")
    ground = ", ".join(f"{band} {np.median(g):.3f}" for band, g in gaps.items())
    return "\n".join([*lines, f"\nMedian absolute difference of the medians, over classes: {ground}\n"])


def curve_table(pairs: Sequence[Pair], seasonal_pairs: Sequence[SeasonPair]) -> str:
    """Return how well the curves of the year agree, as Markdown tables."""
    lines = ["| class | months | NDVI difference, median (largest) | correlation |", "|---|---|---|---|"]
    for p in pairs:
        if not (len(p.real.dates) and len(p.simulated.dates)):
            continue
        a, b = monthly(p.real.dates), monthly(p.simulated.dates)
        both = np.isfinite(a) & np.isfinite(b)
        if both.sum() >= 3:
            gap = np.abs(a - b)[both]
            lines.append(
                f"| {p.wanted.title} | {both.sum()} | {np.median(gap):.3f} ({gap.max():.3f}) | {correlation(a, b):.2f} |"
            )
    lines += [
        "",
        "| climate | patches | r of excess green with Blue Marble | r of NDVI with it | r of snow | snow, mean difference |",
        "|---|---|---|---|---|---|",
    ]
    for s in seasonal_pairs:
        alike = [correlation(s.expected_green, s.green), correlation(s.expected_green, s.ndvi)]
        alike.append(correlation(s.expected_snow, s.snow))
        numbers = " | ".join(f"{r:.2f}" for r in alike)
        lines.append(f"| {s.title} | {s.patches} | {numbers} | {np.nanmean(s.snow - s.expected_snow):+.3f} |")
    if seasonal_pairs:
        slope, intercept = common_scale(seasonal_pairs)
        a = np.concatenate([s.green for s in seasonal_pairs])
        b = np.concatenate([s.expected_green for s in seasonal_pairs])
        both = np.isfinite(a) & np.isfinite(b)
        gap = np.median(np.abs(slope * a + intercept - b)[both])
        lines.append(
            f"\nAll climates and months together, on one line ({slope:.2f} x excess green {intercept:+.2f}): "
            f"correlation {correlation(a, b):.2f}, median difference {gap:.3f} of greenness 0-1"
        )
    return "\n".join([*lines, "\n`nan`: fewer than four months, or a curve that hardly moves.\n"])


def structure_table(real: Sequence[Site], planet: Sequence[Simulated], sky: Sequence[Simulated]) -> str:
    """Return how far NDVI stays alike, and the sky's shares, on both sides."""
    lines = ["| structure | real | simulated |", "|---|---|---|"]
    ours = [correlation_length(s) for s in real if len(s.dates) > 1]
    theirs = [c["e_folding_m"] for p in planet if (c := correlation_length(p.site))]
    low, middle, high = np.percentile(theirs, [10, 50, 90]) if theirs else (np.nan,) * 3
    known = ", ".join(str(c["e_folding_m"]) for c in ours if c)
    lines.append(f"| NDVI alike to 1/e, m | {known} | {middle:.0f} (p10 {low:.0f}, p90 {high:.0f}) |")
    (tile,) = (s for s in real if s.names == SCL_CLASSES)
    measured = sky_patches(tile.classes, tile.gsd_m)
    scenes = np.concatenate([p.scl.reshape(len(p.scl), -1) for p in sky])
    for name, codes in SKY.items():
        share = np.isin(scenes, codes).mean(axis=1)
        ours_share = measured[name]["cover_of_valid"]
        lines.append(f"| {name}: share | {ours_share:.2f} (one overcast scene) | mean {share.mean():.2f} |")
    hidden = np.isin(scenes, sum(SKY.values(), ())).mean(axis=1)
    (series,) = (s for s in real if s.name == "T31UFQ")
    ours_clear = np.isfinite(series.reflectance).all(axis=1).mean(axis=(1, 2)) > 0.9
    lines.append(
        f"| dates more than 90% clear | {ours_clear.mean():.2f} (T31UFQ) | {np.mean(hidden < 0.1):.2f} |"
    )
    return "\n".join([*lines, ""])
