"""Pictures of the real and the simulated side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from _planet_compare import SHOWN, Pair, SeasonPair, common_scale, correlation, monthly

mpl.use("Agg")
import matplotlib.pyplot as plt

REAL, SIMULATED, SNOW = "#1b5e8c", "#d9722b", "#7b8794"
_LETTERS = "JFMAMJJASOND"
_MIDDLES = np.array([15.5, 45, 74.5, 105, 135.5, 166, 196.5, 227.5, 258, 288.5, 319, 349.5])
_STYLE = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9aa5b1", "axes.titlesize": 8,
    "axes.titlelocation": "left", "xtick.color": "#52606d", "ytick.color": "#52606d", "font.family": "sans-serif",
}  # fmt: skip


def histograms(pairs: Sequence[Pair], path: Path) -> None:
    """Draw a row a class and a column a band: the real filled, the simulated as a line."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            len(pairs), len(SHOWN), figsize=(12, 1.15 * len(pairs) + 1), squeeze=False, layout="constrained"
        )
        for row, pair in zip(axes, pairs, strict=True):
            row[0].set_ylabel(pair.wanted.title.replace(", ", "\n"), rotation=0, ha="right", va="center")
            for axis, band in zip(row, SHOWN, strict=True):
                axis.set_yticks([])
                axis.spines["left"].set_visible(False)
                if pair is pairs[0]:
                    axis.set_title(band, weight="bold")
                _histogram(axis, pair, band)
        for axis in axes[-1]:
            axis.set_xlabel("surface reflectance")
        handles = [
            plt.Rectangle((0, 0), 1, 1, color=REAL, alpha=0.55),
            plt.Line2D([], [], color=SIMULATED, lw=1.6),
        ]
        figure.legend(
            handles,
            ["real Sentinel-2", "simulated planet"],
            loc="outside upper right",
            ncols=2,
            frameon=False,
        )
        figure.suptitle(
            "Reflectance by class: same months, clear pixels of 20 m (cloud: cloudy ones)", x=0.01, ha="left"
        )
        _save(figure, path)


def _histogram(axis: plt.Axes, pair: Pair, band: str) -> None:
    sides = [s.pixels.get(band) for s in (pair.real, pair.simulated)]
    there = [s for s in sides if s is not None]
    if not there:
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        return
    low = min(0.0, *(float(np.percentile(s, 1)) for s in there))
    high = max(0.04, *(float(np.percentile(s, 98.5)) for s in there))
    edges = np.linspace(low, high * 1.05, 45)
    real, simulated = sides
    if real is not None:
        axis.hist(real, edges, density=True, color=REAL, alpha=0.55, lw=0)
    if simulated is not None:
        axis.hist(simulated, edges, density=True, histtype="step", color=SIMULATED, lw=1.4)
    axis.set_xlim(edges[0], edges[-1])
    axis.locator_params(axis="x", nbins=4)


def curves(pairs: Sequence[Pair], seasonal_pairs: Sequence[SeasonPair], path: Path) -> None:
    """Draw NDVI over the year by class, and greenness and snow by climate and hemisphere against Blue Marble."""
    classes = [p for p in pairs if len(set(np.floor(p.real.dates[:, 0] / 31))) >= 3]
    # The commonest climates, eight of the north and four of the south.
    north, south = ([s for s in seasonal_pairs if s.title.endswith(side)] for side in ("north", "south"))
    climates = [*north[:8], *south[:4]]
    scale = common_scale(climates) if climates else (1.0, 0.0)
    columns = 4
    upper, lower = -(-len(classes) // columns), -(-len(climates) // columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            upper + lower,
            columns,
            figsize=(12, 1.9 * (upper + lower) + 1),
            squeeze=False,
            layout="constrained",
        )
        for axis in axes.ravel():
            axis.set_visible(False)
        for axis, pair in zip(axes[:upper].ravel(), classes, strict=False):
            _ndvi(axis, pair)
        for axis, season in zip(axes[upper:].ravel(), climates, strict=False):
            _season(axis, season, scale)
        handles = [
            plt.Line2D([], [], color=REAL, marker="o", ms=3, lw=1.4), plt.Line2D([], [], color=SIMULATED, lw=1.6),
            plt.Line2D([], [], color=SNOW, ls=":", lw=1.4),
        ]  # fmt: skip
        labels = [
            "real: Sentinel-2 NDVI; Blue Marble greenness",
            "simulated planet",
            "share under snow (dots real, squares simulated)",
        ]
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(
            "Seasons: NDVI of classes with 10-90% of pixels (above); greenness by climate (the planet's excess green on one "
            "scale for all) and snow (below)", x=0.01, ha="left",
        )  # fmt: skip
        _save(figure, path)


def _ndvi(axis: plt.Axes, pair: Pair) -> None:
    axis.set_visible(True)
    for side, colour in ((pair.real, REAL), (pair.simulated, SIMULATED)):
        if not len(side.dates):
            continue
        month = np.searchsorted(_MIDDLES + 15.5, side.dates[:, 0]).clip(0, 11)
        known = np.unique(month)
        low, high = (np.array([np.median(side.dates[month == m, k]) for m in known]) for k in (1, 3))
        axis.fill_between(_MIDDLES[known], low, high, color=colour, alpha=0.15, lw=0)
        middle = monthly(side.dates)
        fine = np.isfinite(middle)
        axis.plot(_MIDDLES[fine], middle[fine], color=colour, lw=1.5)
    axis.plot(pair.real.dates[:, 0], pair.real.dates[:, 2], "o", ms=2, color=REAL, alpha=0.7)
    _year(axis, pair.wanted.title)
    axis.set_ylim(-0.05, 1)
    axis.set_ylabel("NDVI")


def _season(axis: plt.Axes, season: SeasonPair, scale: tuple[float, float]) -> None:
    axis.set_visible(True)
    slope, intercept = scale
    for values, colour, marker in (
        (season.expected_green, REAL, "o"),
        (slope * season.green + intercept, SIMULATED, None),
    ):
        fine = np.isfinite(values)
        axis.plot(_MIDDLES[fine], values[fine], color=colour, marker=marker, ms=3, lw=1.5)
    for values, marker in ((season.expected_snow, "o"), (season.snow, "s")):
        if np.nanmax(season.expected_snow) > 0.02:
            fine = np.isfinite(values)
            axis.plot(_MIDDLES[fine], values[fine], color=SNOW, ls=":", marker=marker, ms=2.5, lw=1.2)
    told = correlation(season.expected_green, season.green)
    _year(axis, season.title + (f"  (r = {told:.2f})" if np.isfinite(told) else "  (hardly a season)"))
    axis.set_ylim(-0.05, 1.05)
    axis.set_ylabel("greenness, snow")


def _year(axis: plt.Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_xlim(0, 365)
    axis.set_xticks(_MIDDLES, list(_LETTERS))
    axis.tick_params(length=2)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
    temporary.replace(path)
