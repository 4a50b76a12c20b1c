"""Which day sees what: swaths over the ground, and the acquisitions of a tile.

All of it is a pure function of position and day, the same on every machine and for every window of a tile.

An acquisition belongs to the UTM tile and to the UTC day on which its datatake began, as in ESA's product names; at most
one a tile and day. Where two passes of one day see a tile, only far in the north, they are joined.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from jaxtyping import Bool

from seco.planet.catalogue.passes import SWATH_M, Pass, abeam, check_day, incidence_deg, passes_on
from seco.planet.catalogue.tiles import Tile
from seco.planet.earth.sun import sun_angles
from seco.planet.utm import to_lonlat

MIN_SUN_DEG = 3.0
"""Elevation of the sun at a tile's centre below which nothing is taken; real items reach down to 4 degrees."""

BASELINES = (
    # first day, processing baseline; from 04.00 on numbers carry an offset (ESA, processing baseline history)
    (dt.date(2017, 1, 1), "02.14"),
    (dt.date(2021, 3, 30), "03.00"),
    (dt.date(2022, 1, 25), "04.00"),
    (dt.date(2022, 12, 6), "05.09"),
    (dt.date(2023, 12, 13), "05.10"),
    (dt.date(2024, 7, 23), "05.11"),
)
OFFSET_DAY = dt.date(2022, 1, 25)
_LATTICE_M = 10_000
"""Distances from a track are computed on a lattice of UTM and interpolated: 2 m from the truth, and cheap."""
_HALF_M = SWATH_M / 2


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One look of a satellite at a tile.

    Attributes:
        datetime: when the tile's centre is seen, UTC.
        day: UTC day on which the datatake began.
        platform: `sentinel-2a` or `sentinel-2b`.
        relative_orbit: 1 to 143.
        absolute_orbit: orbits since launch.
        datatake_start: when the datatake began, UTC.
        sun_elevation_deg: height of the sun at the tile's centre.
        sun_azimuth_deg: where the sun stands, clockwise from north.
        view_incidence_deg: angle from the zenith at which the tile's centre sees the satellite.
        view_azimuth_deg: where the satellite stands, clockwise from north.
    """

    datetime: dt.datetime
    day: dt.date
    platform: str
    relative_orbit: int
    absolute_orbit: int
    datatake_start: dt.datetime
    sun_elevation_deg: float
    sun_azimuth_deg: float
    view_incidence_deg: float
    view_azimuth_deg: float

    @property
    def spacecraft(self) -> str:
        """Return `S2A` or `S2B`."""
        return "S2" + self.platform[-1].upper()

    @property
    def baseline(self) -> str:
        """Return the processing baseline of the day."""
        return baseline_on(self.day)

    @property
    def boa_offset_dn(self) -> int:
        """Return what is added to stored numbers to get 10,000 times the reflectance: -1000, earlier 0."""
        return boa_offset_on(self.day)

    @property
    def datatake_id(self) -> str:
        """Return ESA's name of the datatake."""
        return f"G{self.spacecraft}_{self.datatake_start:%Y%m%dT%H%M%S}_{self.absolute_orbit:06d}_N{self.baseline}"


def baseline_on(day: dt.date) -> str:
    """Return the processing baseline of what is taken on a day."""
    return [name for first, name in BASELINES if first <= day][-1]


def boa_offset_on(day: dt.date) -> int:
    """Return the BOA_ADD_OFFSET of what is taken on a day: -1000 from 2022-01-25 on, before that 0."""
    return -1000 if day >= OFFSET_DAY else 0


def seen(*, epsg: int, easting_m: np.ndarray, northing_m: np.ndarray, day: dt.date) -> Bool[np.ndarray, ...]:
    """Say which positions a datatake of the day sees; darkness is not considered.

    Args:
        epsg: UTM zone of the positions.
        easting_m: eastings; broadcast against the northings, so a row and a column make a grid.
        northing_m: northings.
        day: UTC day on which the datatake began.

    Raises:
        ConfigError: the day is outside those on which the planet is seen, or the zone unknown.
    """
    check_day(day)
    east, north = np.asarray(easting_m, np.float64), np.asarray(northing_m, np.float64)
    shape = np.broadcast_shapes(east.shape, north.shape)
    if 0 in shape:
        return np.zeros(shape, bool)
    distances = _distances(epsg, day, east, north)
    out = np.zeros(shape, bool)
    for nodes in distances.nodes:
        if (np.abs(nodes) <= _HALF_M).all():
            return np.ones(shape, bool)
        out |= np.abs(distances.interpolate(nodes, east, north)) <= _HALF_M
    return out


def acquisitions(tile: Tile, *, first: dt.date, last: dt.date) -> Iterator[Acquisition]:
    """Yield the acquisitions of a tile from the first day to the last, both included, in order of time.

    Raises:
        ConfigError: the days are outside those on which the planet is seen.
    """
    for day in (first, last):
        check_day(day)
    tracks = _tracks(tile)
    for number in range((last - first).days + 1):
        day = first + dt.timedelta(days=number)
        over = [p for p in passes_on(day) if (p.platform, p.relative_orbit) in tracks]
        if over:
            # Of two passes the one that looks down more steeply gives its name and time to both.
            main = min(over, key=lambda p: abs(tracks[p.platform, p.relative_orbit]))
            taken = _acquisition(tile, main, day)
            if taken.sun_elevation_deg >= MIN_SUN_DEG:
                yield taken


def acquisition_on(tile: Tile, day: dt.date) -> Acquisition | None:
    """Return the acquisition of a tile on a day, or None."""
    return next(acquisitions(tile, first=day, last=day), None)


def footprint_m(tile: Tile, day: dt.date) -> shapely.Geometry:
    """Return the part of a tile that a day's datatakes see, in the tile's UTM zone; empty where there is none."""
    left, bottom, right, top = tile.bounds_m
    box = shapely.box(left, bottom, right, top)
    distances = _distances(tile.epsg, day, np.array([left, right]), np.array([bottom, top]))
    parts = []
    for nodes in distances.nodes:
        if (np.abs(nodes) <= _HALF_M).all():
            return box

        def across(points: np.ndarray, nodes: np.ndarray = nodes) -> np.ndarray:
            return distances.interpolate(nodes, points[:, 0], points[:, 1])

        ring = shapely.get_coordinates(shapely.segmentize(box, tile.edge_m / 8))[:-1]
        for edge in (_HALF_M, -_HALF_M):
            ring = _clip(ring, across, edge)
        if len(ring) >= 3:
            parts.append(shapely.Polygon(ring))
    return shapely.intersection(shapely.unary_union(parts), box) if parts else shapely.Polygon()


def _clip(ring: np.ndarray, across: Callable[[np.ndarray], np.ndarray], edge: float) -> np.ndarray:
    """Cut a ring at one edge of the swath (Sutherland and Hodgman 1974); the cut follows the swath's curve."""
    if len(ring) < 3:
        return ring
    inside = (edge - across(ring)) * np.sign(edge)
    out: list[np.ndarray] = []
    cuts: list[int] = []
    for i in range(len(ring)):
        a, b = inside[i], inside[(i + 1) % len(ring)]
        if a >= 0:
            out.append(ring[i])
        if (a >= 0) != (b >= 0):
            cuts.append(len(out))
            out.append(ring[i] + (ring[(i + 1) % len(ring)] - ring[i]) * (a / (a - b)))
    if len(cuts) != 2:
        return np.array(out) if len(out) >= 3 else np.empty((0, 2))
    # The ring leaves the swath at one cut and comes back at the next one in its order: between the two lies the chord.
    leaves = cuts[0] if inside[0] >= 0 else cuts[1]
    comes = (leaves + 1) % len(out)
    chord = np.linspace(out[leaves], out[comes], 10)[1:-1]
    for _ in range(2):
        slope = (
            np.stack([across(chord + step) - across(chord - step) for step in np.eye(2) * 50.0], axis=1)
            / 100.0
        )
        chord = chord + slope * ((edge - across(chord)) / (slope**2).sum(axis=1))[:, None]
    return np.concatenate([np.array(out[: leaves + 1]), chord, np.array(out[leaves + 1 :]).reshape(-1, 2)])


@dataclass(frozen=True, kw_only=True)
class _Distances:
    """Distances from the tracks of a day on a piece of the lattice: (passes, rows, columns), metres."""

    column: int
    row: int
    nodes: np.ndarray

    def interpolate(self, nodes: np.ndarray, east: np.ndarray, north: np.ndarray) -> np.ndarray:
        """Interpolate the distances from one track at positions."""
        x, y = east / _LATTICE_M - self.column, north / _LATTICE_M - self.row
        # What lies a little beyond the lattice (a cut that bulges over the tile's edge) is extrapolated.
        i = np.clip(np.floor(x).astype(np.int64), 0, nodes.shape[1] - 2)
        j = np.clip(np.floor(y).astype(np.int64), 0, nodes.shape[0] - 2)
        x, y = x - i, y - j
        low = nodes[j, i] * (1 - x) + nodes[j, i + 1] * x
        high = nodes[j + 1, i] * (1 - x) + nodes[j + 1, i + 1] * x
        return low * (1 - y) + high * y


def _distances(epsg: int, day: dt.date, east: np.ndarray, north: np.ndarray) -> _Distances:
    columns = (int(east.min() // _LATTICE_M), int(east.max() // _LATTICE_M) + 2)
    rows = (int(north.min() // _LATTICE_M), int(north.max() // _LATTICE_M) + 2)
    return _Distances(column=columns[0], row=rows[0], nodes=_lattice(epsg, day, columns, rows))


@lru_cache(maxsize=4096)
def _lattice(epsg: int, day: dt.date, columns: tuple[int, int], rows: tuple[int, int]) -> np.ndarray:
    """Return the distances from those tracks of a day whose swath comes near a piece of the lattice."""
    lon, lat = _lattice_lonlat(epsg, columns, rows)
    nodes = np.array([p.node_lon for p in passes_on(day)])
    across, _ = abeam(nodes[:, None, None], lon, lat)
    # Millimetres: the last digits of sines differ between processors.
    across = np.round(across, 3)
    return across[np.abs(across).min(axis=(1, 2)) <= _HALF_M + 2 * _LATTICE_M]


@lru_cache(maxsize=64)
def _lattice_lonlat(
    epsg: int, columns: tuple[int, int], rows: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    return to_lonlat(epsg, *np.meshgrid(np.arange(*columns) * _LATTICE_M, np.arange(*rows) * _LATTICE_M))


@lru_cache(maxsize=4096)
def _tracks(tile: Tile) -> dict[tuple[str, int], float]:
    """Return the passes of a cycle that see a tile, with the distance of its centre from their tracks, metres."""
    reference = dt.date(2019, 1, 1)
    x, y = tile.centre_m
    lon, lat = to_lonlat(tile.epsg, x, y)
    out = {}
    for number in range(10):
        day = reference + dt.timedelta(days=number)
        passes = passes_on(day)
        centre, _ = abeam(np.array([p.node_lon for p in passes]), lon, lat)
        near = [(p, float(d)) for p, d in zip(passes, centre) if abs(d) < _HALF_M + tile.edge_m]
        if near and not footprint_m(tile, day).is_empty:
            # Where several are near, all belong to the day's footprint; one that only nearly sees the tile is far off.
            out.update({(p.platform, p.relative_orbit): d for p, d in near})
    return out


def _acquisition(tile: Tile, over: Pass, day: dt.date) -> Acquisition:
    x, y = tile.centre_m
    # The centre, and a step to the east and to the north of it, tell where the satellite is.
    lon, lat = to_lonlat(tile.epsg, np.array([x, x + 1000, x]), np.array([y, y, y + 1000]))
    across, seconds = abeam(over.node_lon, lon, lat)
    when = over.node + dt.timedelta(milliseconds=round(float(seconds[0]) * 1000))
    when = when.replace(microsecond=when.microsecond // 1000 * 1000)
    elevation, azimuth = sun_angles(lon[0], lat[0], when)
    towards = -np.sign(across[0]) * (across[1:] - across[0])
    return Acquisition(
        datetime=when,
        day=day,
        platform=over.platform,
        relative_orbit=over.relative_orbit,
        absolute_orbit=over.absolute_orbit,
        datatake_start=over.start,
        sun_elevation_deg=round(float(elevation), 6),
        sun_azimuth_deg=round(float(azimuth), 6),
        view_incidence_deg=round(incidence_deg(float(across[0])), 6),
        view_azimuth_deg=round(float(np.degrees(np.arctan2(towards[0], towards[1])) % 360.0), 6),
    )
