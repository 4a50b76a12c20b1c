"""What stands between the ground and the satellite on a day: cloud and its shadow, cirrus, haze."""

from __future__ import annotations

import dataclasses
import datetime
import functools

import numpy as np
from jaxtyping import Bool, Float32, Int64

from seco.places.rasters import climate
from seco.planet.earth import geography
from seco.planet.earth.light import Belt, belts
from seco.planet.earth.noise import contiguous, corners, even, field, interpolate
from seco.planet.settings import Planet
from seco.planet.utm import to_lonlat

NODE_PX = 6
"""Clouds are drawn every 60 m and interpolated between."""
CLOUD, CIRRUS, SHADOW = 0.2, 0.08, 0.35
"""From where on a pixel counts as clouded, as under cirrus, as in a cloud's shadow."""
_OCTAVES, _GAIN, _PERIOD_PX = 9, 0.62, 4000
_CLOUD, _CIRRUS, _HAZE, _WEATHER = range(20, 24)
_REGION_PX = 3000
_SMALL_NODES = 2**13
"""Nodes of windows up to so many of them are kept, 64 times: 6 MiB at most."""

# Mean share of sky under cloud when the satellite passes, by the first letters of the climate class (MODIS cloud
# climatologies, King et al. 2013: two thirds of the globe, deserts a tenth).
_CLOUDINESS = {
    "Af": 0.62,
    "Am": 0.55,
    "Aw": 0.42,
    "BW": 0.1,
    "BS": 0.26,
    "Cs": 0.32,
    "Cw": 0.42,
    "Cf": 0.55,
    "D": 0.58,
    "E": 0.6,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sky:
    """Maps over a window of what hides the ground, each (h, w), 0-1.

    Attributes:
        cloud: how much of the ground a cloud hides.
        cirrus: how much thin ice cloud hides.
        shadow: how deep in a cloud's shadow.
    """

    cloud: Float32[np.ndarray, "h w"]
    cirrus: Float32[np.ndarray, "h w"]
    shadow: Float32[np.ndarray, "h w"]

    def hides(self) -> Bool[np.ndarray, "h w"]:
        """Tell which pixels' ground is not to be seen as it is."""
        return (self.cloud > CLOUD) | (self.cirrus > CIRRUS) | (self.shadow > SHADOW)


def sky(
    planet: Planet, *, epsg: int, cols: Int64[np.ndarray, " w"], rows: Int64[np.ndarray, " h"], day: datetime.date,
) -> Sky:  # fmt: skip
    """Return the sky over some 10 m pixels of a UTM zone."""
    nodes = _nodes_over(planet, epsg, cols, rows, day)
    return Sky(
        cloud=nodes.drawn(nodes.cloud, cols, rows), cirrus=nodes.drawn(nodes.cirrus, cols, rows),
        shadow=nodes.drawn(nodes.shadow, cols, rows),
    )  # fmt: skip


def clear_share(
    planet: Planet, *, epsg: int, cols: Int64[np.ndarray, " w"], rows: Int64[np.ndarray, " h"], day: datetime.date,
    within: tuple[np.ndarray, np.ndarray], beyond: float = -1.0,
) -> float:  # fmt: skip
    """Return the share of pixels that nothing hides.

    Args:
        within: columns and rows of the window whose `sky` will be asked for, should the day be clear enough: it gets to
            know what was found out here.
        beyond: shares up to this are of no interest: where clouds alone leave no more, shadows are not looked for.
    """
    nodes = _nodes_over(planet, epsg, *within, day)
    cloud = nodes.drawn(nodes.cloud, cols, rows)
    free = 1 - float((cloud > CLOUD).mean())
    if free <= beyond:
        return free
    cirrus, shadow = (nodes.drawn(values, cols, rows) for values in (nodes.cirrus, nodes.shadow))
    return 1 - float(Sky(cloud=cloud, cirrus=cirrus, shadow=shadow).hides().mean())


class _Nodes:
    """The sky at lattice points 60 m apart; each part is made when it is asked for."""

    def __init__(self, x: np.ndarray, y: np.ndarray, day: datetime.date, key: tuple[int, ...]) -> None:
        self.x, self.y, self.day, self.key = x, y, day, key

    @functools.cached_property
    def cloud(self) -> Float32[np.ndarray, "h w"]:
        return _clouds(self.x, self.y, self.key)

    @functools.cached_property
    def cirrus(self) -> Float32[np.ndarray, "h w"]:
        thin = even(field(self.x, self.y, key=(*self.key, _CIRRUS), period_px=3000, octaves=5), octaves=5)
        return (0.4 * np.clip((thin - 0.85) / 0.15, 0, 1)).astype(np.float32)

    @functools.cached_property
    def shadow(self) -> Float32[np.ndarray, "h w"]:
        lit = belts(self.key[1], self.y, self.day)
        caster = np.vstack([_casting(self.x, self.y, belt, self.key) for belt in lit])
        return caster * (1 - self.cloud)

    def drawn(self, values: np.ndarray, cols: np.ndarray, rows: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Return values at pixels that lie among the nodes."""
        i, j = corners(cols, rows, period_px=NODE_PX)
        at = np.searchsorted(self.y, i * NODE_PX), np.searchsorted(self.x, j * NODE_PX)
        return interpolate(cols, rows, period_px=NODE_PX, lattice=values[at])


def _nodes_over(planet: Planet, epsg: int, cols: np.ndarray, rows: np.ndarray, day: datetime.date) -> _Nodes:
    """Return the nodes that some pixels lie between; of small windows those asked for last are kept."""
    i, j = corners(cols, rows, period_px=NODE_PX)
    x, y = j[0] * NODE_PX, i[:, 0] * NODE_PX
    key = (planet.seed, epsg, day.toordinal())
    if len(x) * len(y) <= _SMALL_NODES and contiguous(x // NODE_PX) and contiguous(y // NODE_PX):
        return _kept_nodes((int(x[0]), len(x)), (int(y[0]), len(y)), day, key)
    return _Nodes(x, y, day, key)


@functools.lru_cache(maxsize=64)
def _kept_nodes(x: tuple[int, int], y: tuple[int, int], day: datetime.date, key: tuple[int, ...]) -> _Nodes:
    """Return nodes of which the first and the number are given, by axis."""
    xs, ys = (first + NODE_PX * np.arange(num) for first, num in (x, y))
    return _Nodes(xs, ys, day, key)


def haze(
    planet: Planet, *, epsg: int, cols: Int64[np.ndarray, " w"], rows: Int64[np.ndarray, " h"], day: datetime.date,
) -> Float32[np.ndarray, "h w"]:  # fmt: skip
    """Return the strength of the haze over some 10 m pixels, 0-1."""
    i, j = corners(cols, rows, period_px=NODE_PX)
    x, y = j[0] * NODE_PX, i[:, 0] * NODE_PX
    thick = field(x, y, key=(planet.seed, epsg, day.toordinal(), _HAZE), period_px=8000, octaves=2)
    return interpolate(cols, rows, period_px=NODE_PX, lattice=0.9 * np.maximum(thick - 0.25, 0) ** 1.5)


def _casting(x: np.ndarray, y: np.ndarray, belt: Belt, key: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    """Return the clouds that stand between the sun and the rows of a belt."""
    right, down = belt.cloud_reach_px
    return _clouds(x + right, y[belt.rows] + down, key)


def _clouds(x: np.ndarray, y: np.ndarray, key: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    shape = even(
        field(x, y, key=(*key, _CLOUD), period_px=_PERIOD_PX, octaves=_OCTAVES, gain=_GAIN),
        octaves=_OCTAVES,
        gain=_GAIN,
    )
    clear = 1 - _cloudiness(x, y, key)
    opacity = np.clip((shape - clear) / np.maximum(0.06 + 0.1 * (1 - clear), 1e-3), 0, 1)
    return (opacity * opacity * (3 - 2 * opacity)).astype(np.float32)


def _cloudiness(x: np.ndarray, y: np.ndarray, key: tuple[int, ...]) -> Float32[np.ndarray, "h w"]:
    """Return the share of cloud to expect: the climate's, more on bad days and less on good ones."""
    i, j = corners(x, y, period_px=_REGION_PX)
    usual = np.array([[_usual(key[1], int(a), int(b)) for b in j[0]] for a in i[:, 0]], np.float32)
    mean = interpolate(x, y, period_px=_REGION_PX, lattice=usual)
    # Weather: whole fronts of 500 km come over or stay away, so that a day is rather overcast or clear than half of both.
    weather = even(field(x, y, key=(*key, _WEATHER), period_px=50_000), octaves=1)
    return np.clip(mean + 1.1 * (weather - 0.5) * np.minimum(1, 4 * mean * (1 - mean)), 0, 1).astype(
        np.float32
    )


@functools.lru_cache(maxsize=65536)
def _usual(epsg: int, i: int, j: int) -> float:
    """Return the cloudiness of the climate at a lattice point."""
    easting, northing = 10.0 * j * _REGION_PX, -10.0 * i * _REGION_PX
    lon, lat = (float(v) for v in to_lonlat(epsg, easting, northing))
    if not (np.isfinite(lon) and np.isfinite(lat)):  # beyond what the zone's projection can say
        return 0.5
    spot = geography.look(np.array([lon]), np.array([lat]))
    name = climate().classes[int(spot.climate[0])]
    return _CLOUDINESS.get(name[:2], _CLOUDINESS.get(name[:1], 0.5))
