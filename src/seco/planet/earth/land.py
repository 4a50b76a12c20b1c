"""What each block of land is: wild, farmed or built on, by the real land cover and the cities around; and its parcels."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32

from seco.places.rasters import climate
from seco.planet.earth import geography
from seco.planet.earth.noise import Cells, field, scramble, uniform
from seco.planet.earth.surfaces import FARM, MIXTURES, TOWN
from seco.planet.utm import to_lonlat

LAT_STEP = 0.25
"""Seasons are those of the nearest multiple of this latitude, degrees."""
BLOCK, REGION = 2, 10
"""First words of the keys of random numbers; those of `ground` and `events` are others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """What laying out needs everywhere: the pixels, their blocks, and the key of all random fields."""

    cols: np.ndarray
    rows: np.ndarray
    key: tuple[int, ...]
    blocks: Cells
    sites: Sites

    def field(self, *which: int, period_px: int, octaves: int = 1, gain: float = 0.5) -> np.ndarray:
        """Return a random field over the window."""
        return field(
            self.cols, self.rows, key=(*self.key, *which), period_px=period_px, octaves=octaves, gain=gain
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sites:
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
    def of(cls, blocks: Cells, key: tuple[int, ...], epsg: int) -> Sites:
        """Look up the real land under each block, and draw what it is here."""
        i, j = blocks.i, blocks.j
        identity = scramble(*key, BLOCK, 9, i, j)
        # Borders of the coarse rasters are blurred: a block is looked up a little beside its site.
        easting = 10 * (blocks.x + 300 * (uniform(*key, REGION, 0, i, j).astype(np.float64) - 0.5))
        northing = -10 * (blocks.y + 300 * (uniform(*key, REGION, 1, i, j).astype(np.float64) - 0.5))
        spots = geography.look(*to_lonlat(epsg, easting, northing))
        mixture = MIXTURES[spots.land_cover].copy()
        # Around a city's heart blocks turn into town, whatever the cell's dominant class is.
        turned = np.where(spots.land_cover == 15, 0.0, 0.85 * spots.town)[:, None]
        mixture *= 1 - turned
        mixture[:, TOWN] += turned[:, 0]
        mixture /= mixture.sum(axis=1, keepdims=True)
        draw = uniform(*key, BLOCK, 2, i, j)
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
        turn = uniform(*key, REGION, 2, *region) * np.pi + 0.5 * (uniform(*key, BLOCK, 3, i, j) - 0.5)
        size = 10 + 26 * uniform(*key, REGION, 3, *region) * (0.6 + 0.8 * uniform(*key, BLOCK, 4, i, j))
        plot = 4.5 + 3.5 * uniform(*key, BLOCK, 5, i, j)
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
class Parcels:
    """Rectangles within a block: where a pixel lies in its own, and that one's random numbers."""

    edge_px: np.ndarray
    hash: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, window: Window, origin: tuple[int, int]) -> Parcels:
        """Find the parcel of every pixel, whose position is given relative to `origin`."""
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
        return cls(edge_px=edge, hash=mixed * np.uint64(0x9E3779B97F4A7C15))

    def draw(self, which: int) -> Float32[np.ndarray, "h w"]:
        """Return one of four random numbers of each pixel's parcel, 0-1."""
        return ((self.hash >> np.uint64(16 * which)) & np.uint64(0xFFFF)).astype(np.float32) * np.float32(
            1 / 65536
        )
