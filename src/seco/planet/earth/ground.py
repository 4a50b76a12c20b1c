"""The ground at 10 m, laid out once for all dates: blocks of land between roads, parcels, woods, water, houses, relief.

Everything is a function of the pixel's place in its UTM zone and the planet's seed: any window can be had alone.
Columns count 10 m pixels eastwards (easting = 10 * column), rows southwards (northing = -10 * row).
"""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from seco.planet.earth.events import events
from seco.planet.earth.land import BLOCK, Parcels, Sites, Window
from seco.planet.earth.noise import Cells, even, field, grains, uniform
from seco.planet.earth.surfaces import (
    BARE,
    BROADLEAF,
    CONIFER,
    COVERS,
    FARM,
    GRASS,
    ICE,
    JUNGLE,
    MIXTURES,
    SAND,
    SHRUB,
    TOWN,
    WETLAND,
    Surface,
)  # fmt: skip
from seco.planet.settings import Planet

VARIANTS = 32
"""Parcels of one surface differ in as many ways: brightness, soil, days early or late."""
BLOCK_PX = 84

# The surface that each wild part of surfaces.PARTS shows.
_WILD = np.zeros(len(MIXTURES[0]), np.int32)
for _part, _surface in (
    (CONIFER, Surface.CONIFER), (BROADLEAF, Surface.BROADLEAF), (JUNGLE, Surface.EVERGREEN_BROADLEAF),
    (SHRUB, Surface.SHRUB),
    (GRASS, Surface.GRASS), (WETLAND, Surface.WETLAND), (BARE, Surface.BARE), (SAND, Surface.SAND), (ICE, Surface.ICE),
):  # fmt: skip
    _WILD[_part] = _surface
# Wild parts in the order in which a fractal field passes through them, so that like borders on like.
_ORDER = (ICE, SAND, BARE, SHRUB, GRASS, WETLAND, BROADLEAF, JUNGLE, CONIFER)

# First words of the keys of random fields; each field has its own.
_WARP, _WILDNESS, _RIVER, _LAKE, _RELIEF, _HEIGHT, _ROAD, _TEXTURE = 1, 4, 5, 6, 7, 8, 9, 41


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Something that happened to the land.

    Attributes:
        kind: what: a forest cut, or a district built.
        day: the first day on which it is there.
        where: the pixels that it changed.
        code: their code from then on, one a changed pixel.
    """

    kind: str
    day: datetime.date
    where: Bool[np.ndarray, "h w"]
    code: Int32[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ground:
    """A window of the planet without its weather and seasons.

    Attributes:
        cols, rows: 10 m pixels of the zone.
        zones: climate class and latitude of each local season zone, (n, 2).
        code: for each pixel (season zone * number of surfaces + surface) * VARIANTS + variant.
        elevation: relative height, about -1 to 1.
        east, south: slopes, metres a metre.
        texture: how each pixel differs from others of its surface on all days, about -2 to 2.
        changes: what happens here, in the order of days.
    """

    cols: Int64[np.ndarray, " w"]
    rows: Int64[np.ndarray, " h"]
    zones: Float32[np.ndarray, "n 2"]
    code: Int32[np.ndarray, "h w"]
    elevation: Float32[np.ndarray, "h w"]
    east: Float32[np.ndarray, "h w"]
    south: Float32[np.ndarray, "h w"]
    texture: Float32[np.ndarray, "h w"]
    changes: tuple[Change, ...]

    def code_on(self, day: datetime.date) -> Int32[np.ndarray, "h w"]:
        """Return the codes as they are on a day."""
        due = [c for c in self.changes if c.day <= day]
        if not due:
            return self.code
        code = self.code.copy()
        for change in due:
            code[change.where] = change.code
        return code

    def surface_on(self, day: datetime.date) -> Int32[np.ndarray, "h w"]:
        """Return each pixel's surface on a day."""
        return self.code_on(day) // VARIANTS % len(Surface)


def lay_out(
    planet: Planet, *, epsg: int, cols: Int64[np.ndarray, " w"], rows: Int64[np.ndarray, " h"]
) -> Ground:
    """Lay out the ground under some pixels of a UTM zone."""
    key = (planet.seed, epsg)
    origin = (int(cols[0]), int(rows[0]))
    x = np.tile((cols - origin[0]).astype(np.float32), (len(rows), 1))
    y = np.tile((rows - origin[1]).astype(np.float32)[:, None], (1, len(cols)))
    # Roads and borders are not ruled with a ruler.
    x += np.float32(12) * (field(cols, rows, key=(*key, _WARP, 0), period_px=96, octaves=2) - 0.5)
    y += np.float32(12) * (field(cols, rows, key=(*key, _WARP, 1), period_px=96, octaves=2) - 0.5)
    blocks = Cells(x, y, origin=origin, key=(*key, BLOCK), size_px=BLOCK_PX)
    sites = Sites.of(blocks, key, epsg)
    window = Window(cols=cols, rows=rows, key=key, blocks=blocks, sites=sites)
    parcels = Parcels.of(x, y, window, origin)
    surface, variant = _wild(window)
    kind = sites.kind[blocks.index]
    _put(surface, variant, _fields(parcels, window), where=kind == FARM)
    town = _streets(parcels, window)
    _put(surface, variant, town, where=kind == TOWN)
    _roads(surface, window)
    _water(surface, variant, window)
    zone = sites.zone[blocks.index]

    def encode(surface: np.ndarray, variant: np.ndarray, zone: np.ndarray) -> np.ndarray:
        return ((zone * len(Surface) + surface) * VARIANTS + variant).astype(np.int32)

    elevation, east, south = _relief(cols, rows, key)
    happened = events(planet, window, surface, town[0])
    return Ground(
        cols=cols, rows=rows, zones=sites.zones, code=encode(surface, variant, zone), elevation=elevation, east=east,
        south=south, texture=_texture(cols, rows, key),
        changes=tuple(
            Change(kind=e.kind, day=e.day, where=e.where, code=encode(e.surface, variant[e.where], zone[e.where]))
            for e in happened
        ),
    )  # fmt: skip


def _put(
    surface: np.ndarray, variant: np.ndarray, new: tuple[np.ndarray, np.ndarray], *, where: np.ndarray
) -> None:
    np.copyto(surface, new[0], where=where)
    np.copyto(variant, new[1], where=where)


def _wild(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return surfaces and variants of land that nobody ploughs: patches of a fractal field, in shares of the land cover."""
    sites = window.sites
    shares = sites.mixture[:, list(_ORDER)]
    bounds = np.cumsum(shares, axis=1) / np.maximum(shares.sum(axis=1, keepdims=True), 1e-6)
    wildness = even(window.field(_WILDNESS, 0, period_px=160, octaves=6, gain=0.6), octaves=6, gain=0.6)
    step = np.zeros(wildness.shape, np.int32)
    for k in range(len(_ORDER) - 1):
        step += wildness > bounds[:, k].astype(np.float32)[window.blocks.index]
    surface = _WILD[np.array(_ORDER)][step]
    patchy = window.field(_WILDNESS, 1, period_px=48, octaves=3)
    variant = np.minimum((patchy * 1.6 - 0.3).clip(0, 0.999) * VARIANTS, VARIANTS - 1).astype(np.int32)
    return surface, variant


def _fields(parcels: Parcels, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return farmland: crops by climate, meadows, copses, fallow, and a hedge here and there."""
    crops = np.cumsum(window.sites.crop * 0.8, axis=1).astype(np.float32)
    draw = parcels.draw(0)
    surface = np.full(draw.shape, int(Surface.GRASS), np.int32)
    for k, crop in reversed(list(enumerate((Surface.WINTER_CROP, Surface.SUMMER_CROP, Surface.PADDY)))):
        np.copyto(surface, np.int32(crop), where=draw < crops[:, k][window.blocks.index])
    dry = window.sites.dry[window.blocks.index]
    np.copyto(surface, np.int32(Surface.BARE), where=dry & (draw > 0.8))
    np.copyto(surface, np.int32(Surface.BROADLEAF), where=~dry & (draw > 0.95))
    hedge = (parcels.edge_px < 0.75) & (parcels.draw(1) > 0.62)
    np.copyto(surface, np.where(dry, np.int32(Surface.BARE), np.int32(Surface.BROADLEAF)), where=hedge)
    return surface, (parcels.draw(2) * VARIANTS).astype(np.int32)


def _streets(parcels: Parcels, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return town: plots with houses in gardens, larger halls, parks, and a street along every plot."""
    draw = parcels.draw(0)
    surface = np.full(draw.shape, int(Surface.GARDEN), np.int32)
    # Lawns and trees around most houses, none around halls and in old centres.
    inside = parcels.edge_px > 1.0 + 2.0 * draw
    roof = parcels.draw(1)
    material = np.where(
        roof < 0.42, Surface.ROOF_RED, np.where(roof < 0.95, Surface.ROOF_GREY, Surface.ROOF_WHITE)
    ).astype(np.int32)
    np.copyto(surface, material, where=inside)
    np.copyto(surface, np.int32(Surface.GRASS), where=draw > 0.9)
    np.copyto(
        surface, np.int32(Surface.BROADLEAF), where=(draw > 0.95) & ~window.sites.dry[window.blocks.index]
    )
    np.copyto(surface, np.int32(Surface.ASPHALT), where=parcels.edge_px < 0.8)
    return surface, (parcels.draw(2) * VARIANTS).astype(np.int32)


def _roads(surface: np.ndarray, window: Window) -> None:
    """Draw roads along borders of blocks, in place: nearly all around towns and fields, few in the wild."""
    blocks, sites, key = window.blocks, window.sites, window.key
    near = blocks.edge_px < 1.5
    a, b = blocks.index[near], blocks.beyond[near]
    rank = np.where(sites.kind == TOWN, 0.98, np.where(sites.kind == FARM, 0.75, 0.1)).astype(np.float32)
    pair = (
        np.minimum(sites.hash[a], sites.hash[b]).view(np.int64),
        np.maximum(sites.hash[a], sites.hash[b]).view(np.int64),
    )
    there = uniform(*key, _ROAD, 0, *pair) < np.maximum(rank[a], rank[b])
    width = np.where(uniform(*key, _ROAD, 1, *pair) > 0.85, 1.5, 0.7).astype(np.float32)
    road = near.copy()
    road[near] = there & (blocks.edge_px[near] < width)
    np.copyto(surface, np.int32(Surface.ASPHALT), where=road)


def _water(surface: np.ndarray, variant: np.ndarray, window: Window) -> None:
    """Draw sea, lakes and rivers, in place."""
    blocks, sites = window.blocks, window.sites
    river = np.abs(window.field(_RIVER, 0, period_px=420, octaves=4) - 0.5)
    flow = window.field(_RIVER, 1, period_px=1500)
    wet = sites.wet[blocks.index]
    bed = river < 0.0045 + 0.02 * np.maximum(flow - 0.62, 0)
    # In dry lands only the larger rivers carry water.
    running = wet | (flow > 0.6)
    np.copyto(surface, np.where(running, np.int32(Surface.TURBID_WATER), np.int32(Surface.SAND)), where=bed)
    lake = window.field(_LAKE, period_px=350, octaves=4)
    # The sea where the land mask says so, with an outline of the field's; lakes where the field is high.
    land = sites.land.astype(np.float32)[blocks.index]
    shore = np.where(wet, np.float32(0.79), np.float32(0.86))
    flooded = (lake > shore) | (even(lake, octaves=4) > np.minimum(land * 1.08, 1.01))
    np.copyto(surface, np.int32(Surface.WATER), where=flooded)
    np.copyto(variant, (flow * VARIANTS).astype(np.int32).clip(0, VARIANTS - 1), where=flooded | bed)


def _relief(
    cols: np.ndarray, rows: np.ndarray, key: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return relative height and slopes. Real elevations are not at hand: hills are high or low by chance."""
    amount = field(cols, rows, key=(*key, _RELIEF), period_px=4000, octaves=2)
    # Metres from valley to top: most land 30 to 100, few regions above 600.
    metres = 25 + 2500 * np.maximum(amount - 0.55, 0) ** 1.5 / 0.3

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return field(x, y, key=(*key, _HEIGHT), period_px=300, octaves=5)

    height = shape(cols, rows)
    east = (shape(cols + 1, rows) - height) * metres * np.float32(0.1)
    south = (shape(cols, rows + 1) - height) * metres * np.float32(0.1)
    return ((height - 0.5) * 2 * np.minimum(metres / 400, 1)).astype(np.float32), east, south


def _texture(cols: np.ndarray, rows: np.ndarray, key: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    """Return the texture of the ground: of single pixels, and of clumps a few pixels wide."""
    clumps = field(cols, rows, key=(*key, _TEXTURE), period_px=8, octaves=2)
    return 0.7 * grains(cols, rows, *key, _TEXTURE) + 3.2 * (clumps - 0.5)


HEIGHT_M = np.array([COVERS[s].height_m for s in Surface], np.float32)
TEXTURE = np.array([COVERS[s].texture for s in Surface], np.float32)
