"""Sentinel-2's tiles: MGRS squares of 100 km in UTM, cut with an overlap to the east and south.

The grid is the real one: 109,800 m an edge, the upper left corner snapped outward to 60 m so that pixels of 10, 20
and 60 m fit. Smaller tiles, for tests, divide the same squares: one rule for all sizes.

Source: ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), tiling; the corners of the 51 real items.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from seco.errors import ConfigError
from seco.planet.utm import (
    FALSE_NORTHING_M,
    NORTHERNMOST,
    SOUTHERNMOST,
    latitude_band,
    to_lonlat,
    to_utm,
    utm_zone,
    zone_of_epsg,
    zones_of,
)

T = TypeVar("T", int, np.ndarray)

STEPS_M = {10980: 100_000, 5490: 50_000, 2196: 20_000, 1098: 10_000}
"""Distance from tile to tile, by the edge of a tile in pixels of 10 m."""
FULL_PX = 10980
FINEST_M = 10
SNAP_M = 60
_SQUARE_M = 100_000
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
"""Letters of the squares from easting 100,000 m on, for zones 1, 4, ...; 2, 5, ...; 3, 6, ..."""
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of the squares from the equator on; even zones begin with F."""
_ID = re.compile(r"([0-9]{2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])(?:([0-9])([0-9]))?")
_SAMPLES = 33
"""Positions along an edge of a square that are asked whether they lie in the zone."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile.

    Attributes:
        id: its MGRS name, `31UFQ`; smaller tiles add the digits of their 10 km square, `31UFQ34`.
        tile_px: its edge in pixels of 10 m.
        epsg: its UTM zone.
        left_m: easting of its upper left corner.
        top_m: northing of its upper left corner.
    """

    id: str
    tile_px: int
    epsg: int
    left_m: int
    top_m: int

    @property
    def edge_m(self) -> int:
        """Return the length of an edge, metres."""
        return self.tile_px * FINEST_M

    @property
    def bounds_m(self) -> tuple[int, int, int, int]:
        """Return left, bottom, right and top, metres."""
        return self.left_m, self.top_m - self.edge_m, self.left_m + self.edge_m, self.top_m

    @property
    def centre_m(self) -> tuple[float, float]:
        """Return easting and northing of the centre."""
        return self.left_m + self.edge_m / 2, self.top_m - self.edge_m / 2

    @property
    def zone(self) -> int:
        """Return the UTM zone."""
        return int(self.id[:2])

    @property
    def latitude_band(self) -> str:
        """Return the letter of the latitude band."""
        return self.id[2]

    @property
    def square(self) -> str:
        """Return the two letters of the 100 km square."""
        return self.id[3:5]


def step_of(tile_px: int) -> int:
    """Return the distance from tile to tile, metres.

    Raises:
        ConfigError: there are no tiles of that size.
    """
    if tile_px not in STEPS_M:
        raise ConfigError(
            f"tiles of {tile_px} px: there are tiles of {', '.join(map(str, STEPS_M))} px (--tile-px)"
        )
    return STEPS_M[tile_px]


def tile_from_id(id: str, *, tile_px: int = FULL_PX) -> Tile:
    """Return the tile of an MGRS name such as `31UFQ`, or `31UFQ34` where tiles are smaller.

    Raises:
        ConfigError: the name is malformed, or there is no such tile of that size.
    """
    step = step_of(tile_px)
    match = _ID.fullmatch(id)
    if match is None:
        raise ConfigError(f"tile {id!r}: a name is like 31UFQ, or 31UFQ34 for tiles below {FULL_PX} px")
    zone, band, column, row, *digits = match.groups()
    if not 1 <= int(zone) <= 60:
        raise ConfigError(f"tile {id!r}: zones are 01 to 60")
    if (tile_px == FULL_PX) != (digits[0] is None):
        shape = "31UFQ" if tile_px == FULL_PX else "31UFQ34"
        raise ConfigError(f"tile {id!r}: names of tiles of {tile_px} px are like {shape}")
    east, north = (int(d or 0) * 10_000 for d in digits)
    if east % step or north % step:
        raise ConfigError(f"tile {id!r}: digits of tiles of {tile_px} px are multiples of {step // 10_000}")
    letters = _COLUMNS[(int(zone) - 1) % 3]
    if column in letters:
        east += _SQUARE_M * (1 + letters.index(column))
        south = band < "N"
        first = (_ROWS.index(row) - 5 * (int(zone) % 2 == 0)) % 20 * _SQUARE_M + north
        for bottom in range(first, FALSE_NORTHING_M, 20 * _SQUARE_M):
            tile = _tile((32700 if south else 32600) + int(zone), east // step, bottom // step, tile_px)
            if tile is not None and tile.id == id:
                return tile
    raise ConfigError(f"tile {id!r}: there is no such square of {step // 1000} km in zone {zone}")


def tiles_covering(lon: ArrayLike, lat: ArrayLike, *, tile_px: int = FULL_PX) -> tuple[Tile, ...]:
    """Return every tile that covers at least one of many positions, in the order of their names.

    Tiles overlap, and zones do at their borders, so that a position has up to four tiles a zone.

    Raises:
        ConfigError: a position is outside UTM, or there are no tiles of that size.
    """
    step_of(tile_px)
    lon, lat = (np.atleast_1d(np.asarray(a, np.float64)).ravel() for a in (lon, lat))
    own = utm_zone(lon, lat)
    found: dict[str, Tile] = {}
    for shift in (-2, -1, 0, 1, 2):
        zones = (own + shift - 1) % 60 + 1
        near = np.full(len(lon), shift == 0) | _near_zone(lon, lat, zones, two=abs(shift) == 2)
        for zone in np.unique(zones[near]):
            here = near & (zones == zone)
            # Tiles of the northern grid reach over the equator by their overlap, southern ones do not.
            for epsg, side in ((32600 + zone, lat > -0.2), (32700 + zone, lat <= 0)):
                if (here & side).any():
                    covering = _covering(int(epsg), lon[here & side], lat[here & side], tile_px)
                    found.update((tile.id, tile) for tile in covering)
    return tuple(found[name] for name in sorted(found))


def _near_zone(lon: np.ndarray, lat: np.ndarray, zones: np.ndarray, *, two: bool) -> np.ndarray:
    """Whether squares that touch a zone can reach a position. Norway's and Svalbard's zones count as near."""
    odd = (lat > 55) & (lat < 65) | (lat > 71)
    if two:
        return odd & (lat > 71)
    # Twice the edge of the largest square, in degrees: what touches the zone reaches less far beyond it.
    reach = 2 * _SQUARE_M / 111_195 / np.maximum(np.cos(np.radians(lat)), 0.1)
    away = np.abs((lon - (6.0 * zones - 183.0) + 180.0) % 360.0 - 180.0)
    return odd | (away < 3.0 + reach)


def _covering(epsg: int, lon: np.ndarray, lat: np.ndarray, tile_px: int) -> Iterator[Tile]:
    """Yield the tiles of one zone that cover any of the positions."""
    step = STEPS_M[tile_px]
    east, north = to_utm(epsg, lon, lat)
    column, row = np.floor(east / step).astype(np.int64), np.floor(north / step).astype(np.int64)
    equator = FALSE_NORTHING_M if epsg > 32700 else 0
    # A tile reaches beyond its square to the east and south by its overlap, to the west and north by less than 60 m.
    for c, r in itertools.product((-1, 0, 1), repeat=2):
        left, top = _corner((column + c) * step, (row + r) * step, step, equator)
        right, bottom = left + tile_px * FINEST_M, top - tile_px * FINEST_M
        inside = (east >= left) & (east < right) & (north > bottom) & (north <= top)
        for col, line in set(zip((column + c)[inside].tolist(), (row + r)[inside].tolist(), strict=True)):
            tile = _tile(epsg, col, line, tile_px)
            if tile is not None:
                yield tile


def _corner(west: T, bottom: T, step: int, equator: int) -> tuple[T, T]:
    """Return the upper left corner of the tile of a square, snapped outward to 60 m.

    Northings are snapped as counted from the equator, whose own false northing is no multiple of 60 m.
    """
    return west // SNAP_M * SNAP_M, equator - (equator - bottom - step) // SNAP_M * SNAP_M


@lru_cache(maxsize=65536)
def _tile(epsg: int, column: int, row: int, tile_px: int) -> Tile | None:
    """Return the tile of a square counted from easting 0 and northing 0; None where the zone has no such square."""
    step = STEPS_M[tile_px]
    zone, south = zone_of_epsg(epsg)
    west, bottom = column * step, row * step
    if not _SQUARE_M <= west < 9 * _SQUARE_M or not 0 <= bottom < FALSE_NORTHING_M:
        return None
    # Five positions an edge tell for most squares, more are asked only at the border of the zone.
    if not any(_in_zone(epsg, west, bottom, step, samples) for samples in (5, _SAMPLES)):
        return None
    band = latitude_band(float(to_lonlat(epsg, west + step / 2, bottom + step / 2)[1]))
    left, top = _corner(west, bottom, step, FALSE_NORTHING_M if south else 0)
    name = _name(zone, band, west, bottom, tile_px)
    return Tile(id=name, tile_px=tile_px, epsg=epsg, left_m=left, top_m=top)


def _in_zone(epsg: int, west: int, bottom: int, step: int, samples: int) -> bool:
    """Whether any of a square's samples lies in its zone, on its side of the equator and within UTM's latitudes."""
    zone, south = zone_of_epsg(epsg)
    # A metre inward, since the very edges belong to the neighbours: a square that only touches the zone is not in it.
    along = np.linspace(1, step - 1, samples)
    lon, lat = to_lonlat(epsg, *np.meshgrid(west + along, bottom + along))
    within = (lat >= SOUTHERNMOST) & (lat <= NORTHERNMOST) & ((lat < 0) == south)
    return bool((within & (zones_of(lon, lat) == zone)).any())


def _name(zone: int, band: str, west: int, bottom: int, tile_px: int) -> str:
    column = _COLUMNS[(zone - 1) % 3][west // _SQUARE_M - 1]
    row = _ROWS[(bottom // _SQUARE_M + 5 * (zone % 2 == 0)) % 20]
    digits = "" if tile_px == FULL_PX else f"{west % _SQUARE_M // 10_000}{bottom % _SQUARE_M // 10_000}"
    return f"{zone:02d}{band}{column}{row}{digits}"
