"""The ground at 10 m, laid out once for all dates: blocks of land between roads, parcels, woods, water, houses, relief.

Everything is a function of the pixel's place in its UTM zone and the planet's seed: any window can be had alone.
Columns count 10 m pixels eastwards (easting = 10 * column), rows southwards (northing = -10 * row).
"""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from seco.places.rasters import climate
from seco.planet import geography
from seco.planet.noise import Cells, even, field, scramble, uniform
from seco.planet.settings import Planet
from seco.planet.surfaces import (
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
from seco.planet.utm import to_lonlat

VARIANTS = 32
"""Parcels of one surface differ in as many ways: brightness, soil, days early or late."""
BLOCK_PX = 84
LAT_STEP = 0.25
"""Seasons are those of the nearest multiple of this latitude, degrees."""
CHANGE_CELL_PX = 300

_LEAFY = (Surface.CONIFER, Surface.BROADLEAF, Surface.EVERGREEN_BROADLEAF)
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
_WARP, _BLOCK, _PARCEL, _WILDNESS, _RIVER, _LAKE, _RELIEF, _HEIGHT, _ROAD, _REGION, _CHANGE = range(1, 12)


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
        changes: what happens here, in the order of days.
    """

    cols: Int64[np.ndarray, " w"]
    rows: Int64[np.ndarray, " h"]
    zones: Float32[np.ndarray, "n 2"]
    code: Int32[np.ndarray, "h w"]
    elevation: Float32[np.ndarray, "h w"]
    east: Float32[np.ndarray, "h w"]
    south: Float32[np.ndarray, "h w"]
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
    blocks = Cells(x, y, origin=origin, key=(*key, _BLOCK), size_px=BLOCK_PX)
    sites = _Sites.of(blocks, key, epsg)
    window = _Window(cols=cols, rows=rows, key=key, blocks=blocks, sites=sites)
    parcels = _Parcels.of(x, y, window, origin)
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
    changes = _changes(planet, window, surface, town[0])
    return Ground(
        cols=cols, rows=rows, zones=sites.zones, code=encode(surface, variant, zone), elevation=elevation, east=east,
        south=south,
        changes=tuple(
            Change(kind=kind, day=day, where=where, code=encode(new, variant[where], zone[where]))
            for kind, day, where, new in changes
        ),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Window:
    """What laying out needs everywhere: the pixels, their blocks, and the key of all random fields."""

    cols: np.ndarray
    rows: np.ndarray
    key: tuple[int, ...]
    blocks: Cells
    sites: _Sites

    def field(self, *which: int, period_px: int, octaves: int = 1, gain: float = 0.5) -> np.ndarray:
        """Return a random field over the window."""
        return field(
            self.cols, self.rows, key=(*self.key, *which), period_px=period_px, octaves=octaves, gain=gain
        )

    def of_block(self, values: np.ndarray) -> np.ndarray:
        """Spread a number of each block over its pixels."""
        return values[self.blocks.index]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sites:
    """What each block of land is; all arrays have one entry a block."""

    kind: np.ndarray
    mixture: np.ndarray
    wet: np.ndarray
    dry: np.ndarray
    crop: np.ndarray
    angle: np.ndarray
    field_px: np.ndarray
    hash: np.ndarray
    zone: np.ndarray
    zones: np.ndarray
    land: np.ndarray

    @classmethod
    def of(cls, blocks: Cells, key: tuple[int, ...], epsg: int) -> _Sites:
        i, j = blocks.i, blocks.j
        identity = scramble(*key, _BLOCK, 9, i, j)
        # Borders of the coarse rasters are blurred: a block is looked up a little beside its site.
        easting = 10 * (blocks.x + 300 * (uniform(*key, _REGION, 0, i, j).astype(np.float64) - 0.5))
        northing = -10 * (blocks.y + 300 * (uniform(*key, _REGION, 1, i, j).astype(np.float64) - 0.5))
        spots = geography.look(*to_lonlat(epsg, easting, northing))
        mixture = MIXTURES[spots.land_cover].copy()
        # Around a city's heart blocks turn into town, whatever the cell's dominant class is.
        turned = np.where(spots.land_cover == 15, 0.0, 0.85 * spots.town)[:, None]
        mixture *= 1 - turned
        mixture[:, TOWN] += turned[:, 0]
        mixture /= mixture.sum(axis=1, keepdims=True)
        draw = uniform(*key, _BLOCK, 2, i, j)
        farm, town = mixture[:, FARM], mixture[:, TOWN]
        kind = np.where(draw < town, TOWN, np.where(draw < town + farm, FARM, -1))
        letter = np.array([name[0] for name in _climate_names()[spots.climate]])
        zone_lat = np.round(spots.lat / LAT_STEP) * LAT_STEP
        zones, zone = np.unique(
            np.stack([spots.climate.astype(np.float32), zone_lat.astype(np.float32)], axis=1),
            axis=0,
            return_inverse=True,
        )
        # The lie of the land: fields of one region point one way, and are of one size.
        region = (i // 12, j // 12)
        turn = uniform(*key, _REGION, 2, *region) * np.pi + 0.5 * (uniform(*key, _BLOCK, 3, i, j) - 0.5)
        size = 10 + 26 * uniform(*key, _REGION, 3, *region) * (0.6 + 0.8 * uniform(*key, _BLOCK, 4, i, j))
        plot = 4.5 + 3.5 * uniform(*key, _BLOCK, 5, i, j)
        return cls(
            kind=kind, mixture=mixture, wet=np.isin(letter, ("A", "C", "D")), dry=letter == "B", angle=turn,
            crop=_crops(_climate_names()[spots.climate], spots.lat), field_px=np.where(kind == TOWN, plot, size),
            hash=identity, zone=zone.reshape(-1), zones=zones, land=np.where(spots.land_cover == 0, 0.0, spots.land),
        )  # fmt: skip


def _climate_names() -> np.ndarray:
    return np.array([name or "Ocean" for name in climate().classes])


def _crops(climates: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return the share of winter crops, summer crops and paddies on farmland, by climate: (n, 3)."""
    tropical = np.char.startswith(climates, "A")
    monsoon = (np.char.startswith(climates, "Cw") | np.char.startswith(climates, "Cfa")) & (np.abs(lat) < 36)
    cold = np.char.startswith(climates, "D")
    shares = np.tile(np.array([0.55, 0.45, 0.0], np.float32), (len(climates), 1))
    shares[cold] = (0.35, 0.65, 0.0)
    shares[monsoon] = (0.3, 0.4, 0.3)
    shares[tropical] = (0.0, 0.6, 0.4)
    return shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parcels:
    """Rectangles within a block: where a pixel lies in its own, and that one's random numbers."""

    along: np.ndarray
    across: np.ndarray
    edge_px: np.ndarray
    hash: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, window: _Window, origin: tuple[int, int]) -> _Parcels:
        blocks, sites = window.blocks, window.sites
        cos, sin = np.cos(sites.angle).astype(np.float32), np.sin(sites.angle).astype(np.float32)
        size = sites.field_px.astype(np.float32)
        # Relative to the block's own site, so that numbers stay small and exact.
        dx = x - (blocks.x - origin[0]).astype(np.float32)[blocks.index]
        dy = y - (blocks.y - origin[1]).astype(np.float32)[blocks.index]
        c, s, px = cos[blocks.index], sin[blocks.index], size[blocks.index]
        u, v = (dx * c + dy * s) / (1.7 * px), (dy * c - dx * s) / px
        iu, iv = np.floor(u), np.floor(v)
        along, across = u - iu, v - iv
        edge = np.minimum(np.minimum(along, 1 - along) * 1.7, np.minimum(across, 1 - across)) * px
        mixed = scramble((iu * 4096 + iv).astype(np.int32)) ^ sites.hash[blocks.index]
        return cls(along=along, across=across, edge_px=edge, hash=mixed * np.uint64(0x9E3779B97F4A7C15))

    def draw(self, which: int) -> Float32[np.ndarray, "h w"]:
        """Return one of four random numbers of each pixel's parcel, 0-1."""
        return ((self.hash >> np.uint64(16 * which)) & np.uint64(0xFFFF)).astype(np.float32) * np.float32(
            1 / 65536
        )


def _put(
    surface: np.ndarray, variant: np.ndarray, new: tuple[np.ndarray, np.ndarray], *, where: np.ndarray
) -> None:
    np.copyto(surface, new[0], where=where)
    np.copyto(variant, new[1], where=where)


def _wild(window: _Window) -> tuple[np.ndarray, np.ndarray]:
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


def _fields(parcels: _Parcels, window: _Window) -> tuple[np.ndarray, np.ndarray]:
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


def _streets(parcels: _Parcels, window: _Window) -> tuple[np.ndarray, np.ndarray]:
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


def _roads(surface: np.ndarray, window: _Window) -> None:
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


def _water(surface: np.ndarray, variant: np.ndarray, window: _Window) -> None:
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


def _changes(
    planet: Planet, window: _Window, surface: np.ndarray, town: np.ndarray
) -> list[tuple[str, datetime.date, np.ndarray, np.ndarray]]:
    """Find what happens under some pixels: each cell of 3 km may have one event, a rectangle of land that turns."""
    cols, rows, key = window.cols, window.rows, window.key
    if not planet.change_share:
        return []
    found = []
    span = (planet.change_to - planet.change_from).days + 1
    i, j = (a.ravel() for a in np.meshgrid(
        np.arange(rows.min() // CHANGE_CELL_PX - 1, rows.max() // CHANGE_CELL_PX + 2),
        np.arange(cols.min() // CHANGE_CELL_PX - 1, cols.max() // CHANGE_CELL_PX + 2), indexing="ij",
    ))  # fmt: skip
    draws = [uniform(*key, _CHANGE, k, i, j) for k in range(8)]
    for n in np.flatnonzero(draws[0] < planet.change_share):
        x0 = (j[n] + draws[1][n]) * CHANGE_CELL_PX
        y0 = (i[n] + draws[2][n]) * CHANGE_CELL_PX
        c, s = np.cos(draws[3][n] * np.pi), np.sin(draws[3][n] * np.pi)
        half = 25 + 45 * draws[4][n], 25 + 45 * draws[5][n]
        dx, dy = (cols - x0).astype(np.float32), (rows - y0).astype(np.float32)[:, None]
        inside = (np.abs(dx * c + dy * s) < half[0]) & (np.abs(dy * c - dx * s) < half[1])
        if not inside.any():
            continue
        day = planet.change_from + datetime.timedelta(days=int(draws[6][n] * span))
        if draws[7][n] < 0.5:
            where = inside & np.isin(surface, _LEAFY)
            kind, new = "forest cut", np.full(int(where.sum()), int(Surface.CUT_FOREST), np.int32)
        else:
            open_land = (
                Surface.GRASS,
                Surface.SHRUB,
                Surface.WINTER_CROP,
                Surface.SUMMER_CROP,
                Surface.PADDY,
                Surface.BARE,
            )
            where = inside & np.isin(surface, open_land)
            kind = "district built"
            # What is not yet built on is raw ground; parks and gardens come with the years.
            planned = town[where]
            new = np.where(
                np.isin(planned, (Surface.GARDEN, Surface.GRASS, Surface.BROADLEAF)),
                Surface.RAW_GROUND,
                planned,
            )
        if where.any():
            found.append((kind, day, where, new.astype(np.int32)))
    return sorted(found, key=lambda f: f[1])


HEIGHT_M = np.array([COVERS[s].height_m for s in Surface], np.float32)
TEXTURE = np.array([COVERS[s].texture for s in Surface], np.float32)
