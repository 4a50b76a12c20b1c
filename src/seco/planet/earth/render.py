"""Pixels: the ground in its season, under its sun, snow and sky, as a Sentinel-2 L2A product would store it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt16

from seco.planet.bytecache import ByteCache, array_bytes
from seco.planet.catalogue.orbits import boa_offset_on
from seco.planet.earth.ground import HEIGHT_M, TEXTURE, VARIANTS, Ground, lay_out
from seco.planet.earth.light import Belt, belts, latitudes, sun_at
from seco.planet.earth.noise import contiguous, field, grains
from seco.planet.earth.season import reflectance, year
from seco.planet.earth.sky import CIRRUS, CLOUD, NODE_PX, SHADOW, Sky, clear_share, haze, sky
from seco.planet.earth.surfaces import BANDS, COVERS, PIXEL_M, SPECTRA, Surface
from seco.planet.settings import Planet
from seco.sensors.sentinel2 import QUANTIFICATION, SCL_CLASSES

MARGIN_PX = 4
"""Ground beyond a window that throws shadows into it."""
_SNOW, _NOISE, _SNOWFALL = 40, 42, 43
_SCL = {name: i for i, name in enumerate(SCL_CLASSES)}
# How much of a snow cover shows on each surface; lakes freeze in the hardest winters only.
_SNOW_SHOWS = np.array([COVERS[s].snow for s in Surface], np.float32)
_WATER = np.isin(np.arange(len(Surface)), (Surface.WATER, Surface.TURBID_WATER))


class View:
    """A window of ground on one day: everything but the bands, which are painted one by one.

    Pixels of two views agree where they overlap, whatever windows they are of.
    """

    def __init__(self, planet: Planet, *, ground: Ground, epsg: int, day: datetime.date) -> None:
        """Prepare a day.

        Args:
            ground: the window, with `MARGIN_PX` of margin where its pixels are contiguous.
            epsg: UTM zone.
            day: day of the pass.
        """
        self.ground, self.key = ground, (planet.seed, epsg)
        self.day = day
        cols, rows = ground.cols, ground.rows
        # As wide as NumPy looks up by: with narrower numbers it takes five times as long.
        self._code = ground.code_on(day).astype(np.intp)
        self._table = reflectance(ground.zones, day)
        lat = latitudes(epsg, rows)
        elevation, azimuth = sun_at(lat, day)
        light = self._light(elevation, azimuth) * (1 + self._of_surfaces(TEXTURE) * ground.texture)
        if contiguous(cols) and contiguous(rows):
            light *= self._object_shadows(self._of_surfaces(HEIGHT_M), belts(epsg, rows, day))
        self.sky: Sky = sky(planet, epsg=epsg, cols=cols, rows=rows, day=day)
        self._haze = haze(planet, epsg=epsg, cols=cols, rows=rows, day=day)
        self._snow = self._snow_cover()
        hidden = np.maximum(self.sky.cloud, self.sky.cirrus)
        self._lit = (light * (1 - 0.62 * self.sky.shadow) * (1 - hidden)).astype(np.float32)
        self._open = 1 - hidden
        self._bright = self._clouds_light() if self.sky.cloud.any() else None
        # Cirrus where no thicker cloud is.
        thin = np.maximum(self.sky.cirrus - self.sky.cloud, 0)
        self._thin = thin if thin.any() else None

    def band(self, name: str) -> Float32[np.ndarray, "h w"]:
        """Return a band's reflectance at 10 m, without the sensor's noise."""
        b = BANDS.index(name)
        out = np.take(self._table[b], self._code)
        if self._snow is not None:
            out += self._snow * (SPECTRA["snow"][b] - out)
        out *= self._lit
        out += self._haze * SPECTRA["haze"][b] * self._open
        # Most days that are chosen have no cloud, and adding nothing takes as long as adding one.
        if self._bright is not None:
            out += self._bright * SPECTRA["cloud"][b]
        if self._thin is not None:
            out += self._thin * SPECTRA["cirrus"][b]
        return out

    def classes(self, inner: slice, sub: int) -> UInt8[np.ndarray, "h w"]:
        """Return the scene classification (SCL) of some rows and as many columns, of every `sub`-th of their pixels."""

        def some(values: np.ndarray) -> np.ndarray:
            return values[inner, inner][::sub, ::sub]

        code = some(self._code)
        red, nir = (self._table[BANDS.index(n)][code] for n in ("B04", "B08"))
        surface = code // VARIANTS % len(Surface)
        out = np.where((nir - red) > 0.35 * (nir + red), _SCL["vegetation"], _SCL["bare"]).astype(np.uint8)
        out[_WATER[surface]] = _SCL["water"]
        out[surface == Surface.ICE] = _SCL["snow"]
        if self._snow is not None:
            out[some(self._snow) > 0.4] = _SCL["snow"]
        cloud = some(self.sky.cloud)
        out[some(self.sky.shadow) > SHADOW] = _SCL["cloud_shadow"]
        out[some(self.sky.cirrus) > CIRRUS] = _SCL["cirrus"]
        out[cloud > CLOUD] = _SCL["cloud_medium"]
        out[cloud > 0.65] = _SCL["cloud_high"]
        return out

    @property
    def snow_share(self) -> float:
        """Share of the window under snow that shows."""
        return float(self._snow.mean()) if self._snow is not None else 0.0

    def _clouds_light(self) -> Float32[np.ndarray, "h w"]:
        """Return how bright clouds are: as real ones, from a third of the median reflectance to twice that, beyond 1."""
        key = (*self.key, _NOISE, self.day.toordinal())
        puff = (field(self.ground.cols, self.ground.rows, key=key, period_px=64, octaves=4) - 0.5) / 0.132
        return (self.sky.cloud * 0.92 * np.exp(0.55 * puff)).astype(np.float32)

    def _light(self, elevation: np.ndarray, azimuth: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Return how brightly slopes are lit, relative to flat ground; a third of the light comes from the sky."""
        slope = (1 / np.tan(elevation)).astype(np.float32)[:, None]
        east, north = np.sin(azimuth).astype(np.float32)[:, None], np.cos(azimuth).astype(np.float32)[:, None]
        direct = 1 - slope * (self.ground.east * east - self.ground.south * north)
        return 0.3 + 0.7 * np.clip(direct, 0.1, 1.7)

    def _object_shadows(self, height: np.ndarray, lit: Sequence[Belt]) -> Float32[np.ndarray, "h w"]:
        """Return the light that trees and houses leave to their neighbours away from the sun."""
        dark = np.zeros(height.shape, bool)
        tallest = height.max()
        for belt in lit:
            drop = 10 * np.tan(belt.elevation)
            here = height[belt.rows]
            for k in range(1, MARGIN_PX + 1):
                if tallest < k * drop:
                    break
                dx, dy = (round(v * k) for v in belt.step)
                dark[belt.rows] |= _shifted(height, dx, dy, belt.rows) > here + k * drop
        return np.where(dark, np.float32(0.45), np.float32(1.0))

    def _of_surfaces(self, values: np.ndarray) -> np.ndarray:
        """Return for each pixel the number of its surface; looked up by code, which takes no division of every pixel."""
        return np.take(np.tile(np.repeat(values, VARIANTS), len(self.ground.zones)), self._code)

    def _snow_cover(self) -> Float32[np.ndarray, "h w"] | None:
        """Return how much snow shows on each pixel, or None where there is none."""
        share = np.array(
            [
                year(int(c), float(lat)).snow[min(self.day.timetuple().tm_yday, 365) - 1]
                for c, lat in self.ground.zones
            ]
        ).astype(np.float32)
        if share.max() < 0.02:
            return None
        cols, rows = self.ground.cols, self.ground.rows
        week = self.day.toordinal() // 7
        fallen = field(cols, rows, key=(*self.key, _SNOWFALL, week), period_px=20_000)
        patches = field(cols, rows, key=(*self.key, _SNOW), period_px=60, octaves=4)
        zone = self._code // (VARIANTS * len(Surface))
        depth = share[zone] + 0.7 * (fallen - 0.5) + 0.25 * self.ground.elevation + 0.35 * (patches - 0.5)
        cover = 1 / (1 + np.exp((0.5 - depth) / 0.05))
        # Where Blue Marble never sees snow there is none, whatever the week.
        cover *= np.clip(share[zone] / 0.05, 0, 1)
        frozen = np.clip((share[zone] - 0.7) / 0.2, 0, 1)
        shows = np.where(self._of_surfaces(_WATER), frozen, self._of_surfaces(_SNOW_SHOWS))
        return (cover * shows).astype(np.float32)


def _shifted(values: np.ndarray, dx: int, dy: int, of: slice) -> np.ndarray:
    """Return values of the pixels that lie (dx, dy) away from some rows; the edge's own beyond the edge."""
    rows = np.clip(np.arange(values.shape[0])[of] + dy, 0, values.shape[0] - 1)
    cols = np.clip(np.arange(values.shape[1]) + dx, 0, values.shape[1] - 1)
    return values[np.ix_(rows, cols)]


def stored(
    reflectances: Float32[np.ndarray, "h w"], *, grain: Float32[np.ndarray, "h w"], offset_dn: int
) -> UInt16[np.ndarray, "h w"]:
    """Add the sensor's noise and return stored numbers; 0 stays free for nodata.

    The signal-to-noise ratio is about 150 at vegetation's near infrared, as the instrument's is specified (ESA
    Sentinel-2 MSI requirements: 50 to 174 at reference radiances).
    """
    # In place, step by step: half the time of a new array for each.
    out: np.ndarray = reflectances * np.float32(0.005)
    out += np.float32(0.0006)
    out *= grain
    out += reflectances
    out *= np.float32(QUANTIFICATION)
    out += np.float32(offset_dn)
    np.clip(np.rint(out, out=out), 1, 65535, out=out)
    return out.astype(np.uint16)


def coordinates(
    start_m: int, *, num: int, pixel_m: int, decimation: int = 1, axis: Literal["x", "y"]
) -> Int64[np.ndarray, " n"]:
    """Return the 10 m columns (axis `x`) or rows (`y`) below `num` native pixels, every `decimation`-th."""
    first = start_m // 10 if axis == "x" else -start_m // 10
    sub = pixel_m // 10
    pixels = first + np.arange(num)[:, None] * (decimation * sub) + np.arange(sub)
    return pixels.ravel().astype(np.int64)


def mean_of(values: np.ndarray, sub: int) -> np.ndarray:
    """Average blocks of `sub` by `sub` pixels."""
    if sub == 1:
        return values
    # Rows first, then columns: sums of slices are several times faster than a mean over axes of length two.
    tall = sum(values[k::sub] for k in range(1, sub)) + values[::sub]
    total: np.ndarray = sum(tall[:, k::sub] for k in range(1, sub)) + tall[:, ::sub]
    return total * np.float32(1 / sub**2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A window on one day, as a product stores it.

    Attributes:
        pixels: stored numbers by band, each on its own grid; `SCL` among them where asked for.
        clear_fraction: share of the window that neither cloud nor its shadow hides.
        snow_fraction: share of it under snow that shows.
    """

    pixels: Mapping[str, np.ndarray]
    clear_fraction: float
    snow_fraction: float


def window_ground(planet: Planet, *, epsg: int, left_m: int, top_m: int, size_px: int) -> Ground:
    """Lay out the ground under a square window of 10 m pixels, with the margin that `picture` needs."""
    reach = _reach(size_px)
    return lay_out(planet, epsg=epsg, cols=left_m // 10 + reach, rows=-top_m // 10 + reach)


def _reach(size_px: int) -> np.ndarray:
    return np.arange(-MARGIN_PX, size_px + MARGIN_PX)


def picture(
    planet: Planet, ground: Ground, *, epsg: int, day: datetime.date, bands: Sequence[str] = (*BANDS, "SCL"),
    offset_dn: int | None = None,
) -> Picture:  # fmt: skip
    """Paint a window that `window_ground` laid out, all bands at once.

    Args:
        offset_dn: what is added to the stored numbers; the real archive's on that day where not given.
    """
    view = View(planet, ground=ground, epsg=epsg, day=day)
    inner = slice(MARGIN_PX, -MARGIN_PX)
    offset = -boa_offset_on(day) if offset_dn is None else offset_dn
    pixels: dict[str, np.ndarray] = {}
    for band in bands:
        sub = PIXEL_M[band] // 10
        if band == "SCL":
            pixels[band] = view.classes(inner, sub)
            continue
        values = mean_of(view.band(band)[inner, inner], sub)
        at = ground.cols[inner][::sub] // sub, ground.rows[inner][::sub] // sub
        grain = grains(*at, *view.key, _NOISE, day.toordinal(), BANDS.index(band))
        pixels[band] = stored(values, grain=grain, offset_dn=offset)
    clear = 1 - float(view.sky.hides()[inner, inner].mean())
    return Picture(pixels=pixels, clear_fraction=clear, snow_fraction=view.snow_share)


def clear_fraction(
    planet: Planet,
    *,
    epsg: int,
    left_m: int,
    top_m: int,
    size_px: int,
    day: datetime.date,
    beyond: float = -1.0,
) -> float:
    """Return about what `picture` would say of a window's clear fraction, from every sixth pixel and without painting it.

    Args:
        beyond: fractions up to this are of no interest, and may come out too high, but not higher than it.
    """
    some, reach = np.arange(NODE_PX // 2, size_px, NODE_PX, dtype=np.int64), _reach(size_px)
    left, top = left_m // 10, -top_m // 10
    return clear_share(
        planet, epsg=epsg, cols=left + some, rows=top + some, within=(left + reach, top + reach), day=day,
        beyond=beyond,
    )  # fmt: skip


def read_band(
    planet: Planet, *, epsg: int, band: str, acquisition_day: datetime.date, left_m: int, top_m: int, width_px: int,
    height_px: int, decimation: int = 1,
) -> UInt16[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]:  # fmt: skip
    """Return a window of one band of a day's pass, on the band's own grid.

    Args:
        left_m, top_m: easting and northing of the upper left corner, multiples of the band's pixel.
        width_px, height_px: size of what is returned.
        decimation: take every so many-th native pixel, as overviews do; shadows of trees and houses are left out then.

    Returns:
        Stored numbers, or classes of `SCL`. They do not end where the satellite's swath does.
    """
    window = _Window(
        epsg=epsg, left_m=left_m, top_m=top_m, width_px=width_px, height_px=height_px, decimation=decimation,
        pixel_m=PIXEL_M[band],
    )  # fmt: skip
    view = _view(planet, window, acquisition_day)
    sub = PIXEL_M[band] // 10
    margin = MARGIN_PX if decimation == 1 else 0
    inner = slice(margin, -margin or None)
    if band == "SCL":
        return view.classes(inner, sub)
    values = mean_of(view.band(band)[inner, inner], sub)
    at = view.ground.cols[inner][::sub] // sub, view.ground.rows[inner][::sub] // sub
    grain = grains(*at, *view.key, _NOISE, acquisition_day.toordinal(), BANDS.index(band))
    return stored(values, grain=grain, offset_dn=-boa_offset_on(acquisition_day))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Window:
    """A window on a band's grid."""

    epsg: int
    left_m: int
    top_m: int
    width_px: int
    height_px: int
    decimation: int
    pixel_m: int


# Twelve bands of one block are asked for one after another: its ground and its day are laid out once.
_VIEWS: ByteCache[View] = ByteCache(192 * 2**20, size=array_bytes)
_GROUNDS: ByteCache[Ground] = ByteCache(64 * 2**20, size=array_bytes)


def _view(planet: Planet, window: _Window, day: datetime.date) -> View:
    return _VIEWS.get(
        (planet, window, day),
        lambda: View(planet, ground=_ground(planet, window), epsg=window.epsg, day=day),
    )


def _ground(planet: Planet, window: _Window) -> Ground:
    def make() -> Ground:
        pixel = {"pixel_m": window.pixel_m, "decimation": window.decimation}
        cols = coordinates(window.left_m, num=window.width_px, axis="x", **pixel)
        rows = coordinates(window.top_m, num=window.height_px, axis="y", **pixel)
        if window.decimation == 1:
            cols, rows = (np.arange(a[0] - MARGIN_PX, a[-1] + MARGIN_PX + 1) for a in (cols, rows))
        return lay_out(planet, epsg=window.epsg, cols=cols, rows=rows)

    return _GROUNDS.get((planet, window), make)
