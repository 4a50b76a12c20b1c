"""A map of places: the world in an equal-area projection, land from our own mask, bars of what they are."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyproj
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure

from seco.places.land import land_mask
from seco.places.rasters import MAIN_GROUPS
from seco.places.sphere import LonLat

DOTS = 3000
"""Up to so many places are drawn as dots, more as hexagons coloured by density."""
HEXAGONS = 220
"""Hexagons from west to east: 150 km each."""
_SEA, _LAND, _COAST, _LINES, _INK, _FAINT = "#f4f7fa", "#dfe3e6", "#a9b2ba", "#d5dde4", "#1d2b36", "#5f6d78"
_DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#bfe3c9", "#6cc3a5", "#2a93a5", "#1c5f97", "#2a2a6f", "#190f33"]
)
GROUP_COLOURS = {"tropical": "#1b7f4d", "dry": "#d08a1d", "temperate": "#3b76b5", "continental": "#7d4ea3",
                 "polar": "#6f8796", "unknown": "#999999"}  # fmt: skip
_BAR = "#2a7f9a"
_OTHERS = "others"


def draw_map(table: pa.Table, *, title: str, note: str = "") -> Figure:
    """Draw a table of places as `make_places` makes it.

    Args:
        table: the places, with columns lon, lat, continent, climate and land_cover.
        title: what stands above.
        note: small print below the title.
    """
    lonlat = np.stack([table["lon"].to_numpy(), table["lat"].to_numpy()], axis=1)
    groups = [MAIN_GROUPS.get((z or " ")[0], "unknown") for z in table["climate"].to_pylist()]
    figure = Figure(figsize=(12, 8.6), facecolor="white")
    world = figure.add_axes((0.02, 0.265, 0.96, 0.645))
    _globe(world)
    if table.num_rows <= DOTS:
        _dots(world, lonlat, groups)
    else:
        _hexagons(figure, world, lonlat)
    # Names come from files: a dollar sign is no formula.
    figure.text(0.03, 0.958, title.replace("$", r"\$"), fontsize=17, color=_INK, weight="bold", va="center")
    figure.text(0.03, 0.928, note.replace("$", r"\$"), fontsize=9.5, color=_FAINT, va="center")
    continents = table["continent"].to_pylist()
    covers = [c or "unknown" for c in table["land_cover"].to_pylist()]
    bars = (("continent", continents, None), ("climate", groups, GROUP_COLOURS), ("land cover", covers, None))
    for i, (name, values, colours) in enumerate(bars):
        _bars(figure.add_axes((0.135 + 0.325 * i, 0.035, 0.17, 0.185)), name, values, colours)
    return figure


def _project(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project to Equal Earth (Šavrič et al. 2018), in units of 1,000 km."""
    x, y = pyproj.Proj("+proj=eqearth +R=6371.0088 +units=m")(lon, lat)
    return np.asarray(x) / 1000, np.asarray(y) / 1000


def _globe(axes: Axes) -> None:
    """Draw sea, land, coasts and lines of longitude and latitude."""
    edge_lat = np.concatenate([np.linspace(-90, 90, 181), np.linspace(90, -90, 181)])
    edge = np.stack(_project(np.repeat([180.0, -180.0], 181), edge_lat), axis=1)
    half, top = float(edge[:, 0].max()), float(edge[:, 1].max())
    (outline,) = axes.fill(*edge.T, facecolor=_SEA, edgecolor=_COAST, linewidth=0.8, zorder=0)
    x, y = np.meshgrid(np.linspace(-half, half, 1500), np.linspace(-top, top, 730))
    lon, lat = pyproj.Proj("+proj=eqearth +R=6371.0088 +units=m")(x * 1000, y * 1000, inverse=True)
    on_globe = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    mask = land_mask()
    land = np.zeros(x.shape)
    lon_in, lat_in = lon[on_globe], lat[on_globe]
    land[on_globe] = mask.fraction(lon_in, lat_in, width_deg=0.24, height_deg=0.24)
    axes.contourf(x, y, land, levels=[0.5, 1.1], colors=[_LAND], zorder=1).set_clip_path(outline)
    lines = [(np.full(91, float(k)), np.linspace(-90, 90, 91)) for k in range(-150, 180, 30)]
    lines += [(np.linspace(-180, 180, 181), np.full(181, float(k))) for k in (-60, -30, 0, 30, 60)]
    for lon_line, lat_line in lines:
        axes.plot(*_project(lon_line, lat_line), color=_LINES, linewidth=0.5, zorder=1.5)
    coast = axes.contour(x, y, land, levels=[0.5], colors=[_COAST], linewidths=0.4, zorder=3)
    coast.set_clip_path(outline)
    axes.set_xlim(-half * 1.005, half * 1.005)
    axes.set_ylim(-top * 1.01, top * 1.01)
    axes.set_aspect("equal")
    axes.axis("off")


def _dots(axes: Axes, lonlat: LonLat, groups: Sequence[str]) -> None:
    x, y = _project(*lonlat.T)
    size = float(np.clip(6000 / max(len(x), 1), 5, 40))
    colours = [GROUP_COLOURS[g] for g in groups]
    axes.scatter(x, y, s=size, c=colours, edgecolors="white", linewidths=0.3, zorder=4)


def _hexagons(figure: Figure, axes: Axes, lonlat: LonLat) -> None:
    x, y = _project(*lonlat.T)
    half, top = axes.get_xlim()[1], axes.get_ylim()[1]
    rows = round(HEXAGONS * top / half / np.sqrt(3))
    # Hexagons of one area on the ground, wherever they are: colours can be compared.
    cells = axes.hexbin(
        x, y, gridsize=(HEXAGONS, rows), extent=(-half, half, -top, top), mincnt=1, cmap=_DENSITY, linewidths=0.1,
        edgecolors="face", zorder=2,
    )  # fmt: skip
    counts = np.asarray(cells.get_array(), np.float64)
    # Of a hexagon, of which each row is shifted by half against the next, in 10,000 km².
    area = (2 * half / HEXAGONS) * (2 * top / rows) / 2 * 100
    cells.set_array(counts / area)
    low, high = float(np.percentile(counts, 2)) / area, float(np.percentile(counts, 99.8)) / area
    cells.set_norm(LogNorm(low, max(high, low * 1.01)))
    inset = figure.add_axes((0.06, 0.345, 0.15, 0.014))
    bar = figure.colorbar(cells, cax=inset, orientation="horizontal")
    bar.outline.set_visible(False)  # type: ignore[operator]  # its stub is wrong
    bar.ax.xaxis.set_major_formatter("{x:g}")
    bar.ax.tick_params(labelsize=8, colors=_FAINT, length=2, which="both")
    bar.ax.minorticks_off()
    bar.ax.set_title("places per 10,000 km²", fontsize=8.5, color=_FAINT, loc="left", pad=4)


def _bars(
    axes: Axes, name: str, values: Sequence[str], colours: dict[str, str] | None, *, most: int = 7
) -> None:
    """Draw the commonest classes as bars with their shares; the others are one."""
    found = collections.Counter(values).most_common()
    shown = (
        found if len(found) <= most else [*found[: most - 1], (_OTHERS, sum(n for _, n in found[most - 1 :]))]
    )
    labels = [k for k, _ in shown]
    shares = [100 * n / len(values) for _, n in shown]
    fill = [(colours or {_OTHERS: _COAST}).get(k, _BAR) for k in labels]
    places = range(len(shown))
    axes.barh(places, shares, color=fill, height=0.66)
    for i, share in enumerate(shares):
        axes.text(share + max(shares) * 0.03, i, f"{share:.1f}%", fontsize=8, va="center", color=_INK)
    short = {"cropland and natural vegetation mosaic": "cropland mosaic"}
    axes.set_yticks(list(places), [short.get(k, k) for k in labels], fontsize=8.5, color=_INK)
    axes.set_ylim(most - 0.5, -0.5)
    axes.set_xlim(0, max(shares) * 1.05)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_COAST)
    axes.set_title(name, fontsize=10, color=_INK, loc="left", weight="bold")
