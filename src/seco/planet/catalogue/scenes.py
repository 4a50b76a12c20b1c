"""Scenes as pixels: a band of an acquisition as a COG that is made when it is read, and what a scene shows.

This is where the renderer, which knows no tiles and no swaths, meets the tiles and orbits, which know no ground.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from seco.errors import ConfigError
from seco.planet.bytecache import ByteCache
from seco.planet.catalogue.archive import Archive
from seco.planet.catalogue.items import Describe, contents_of
from seco.planet.catalogue.orbits import Acquisition, acquisition_on, seen
from seco.planet.catalogue.passes import FIRST_DAY, LAST_DAY
from seco.planet.catalogue.tiles import FINEST_M, Tile, tile_from_id
from seco.planet.earth.surfaces import PIXEL_M
from seco.planet.serving.cog import VirtualCog
from seco.planet.settings import Planet

SAMPLES = 48
"""Positions along each edge of a tile that are looked at to say what a scene shows."""
_PATH = re.compile(r"/([0-9]{2}[A-Z]{3}(?:[0-9]{2})?)/([0-9]{4}-[0-9]{2}-[0-9]{2})/([A-Z0-9]{3})\.tif")
HEADERS_BYTES = 32 * 2**20
"""What is kept of the headers of pictures that were asked for, 64 KiB each."""
BLOCK_PX = 256
"""Small: a block is made whole for any of its pixels, and patches are small (docs/planet-serving.md)."""


@runtime_checkable
class ReadBand(Protocol):
    """Gives a window of one band; see `seco.planet.earth.render.read_band`, which is the one that counts."""

    def __call__(
        self,
        planet: Planet,
        *,
        epsg: int,
        band: str,
        acquisition_day: datetime.date,
        left_m: int,
        top_m: int,
        width_px: int,
        height_px: int,
        decimation: int = 1,
    ) -> np.ndarray:
        """Return stored numbers of a window, swaths not considered."""
        ...


def renderer() -> ReadBand:
    """Return the planet's own renderer, which takes a moment to import."""
    from seco.planet.earth.render import read_band

    return read_band


def read_window(
    archive: Archive, tile: Tile, day: datetime.date, band: str, *, read: ReadBand, decimation: int, col: int, row: int,
    width: int, height: int,
) -> np.ndarray:  # fmt: skip
    """Return a window of a scene, with 0 (nodata) where no swath is.

    Args:
        decimation: take every so many-th native pixel.
        col, row, width, height: the window, in pixels of that decimation.
    """
    pixel = PIXEL_M[band]
    step = pixel * decimation
    left, top = tile.left_m + col * step, tile.top_m - row * step
    # The pixel that is taken stands for all that it is decimated from.
    east = left + np.arange(width) * step + pixel / 2
    north = top - np.arange(height) * step - pixel / 2
    inside = seen(epsg=tile.epsg, easting_m=east[None, :], northing_m=north[:, None], day=day)
    dtype = np.uint8 if band == "SCL" else np.uint16
    if not inside.any():
        return np.zeros((height, width), dtype)
    pixels = read(
        archive.planet, epsg=tile.epsg, band=band, acquisition_day=day, left_m=left, top_m=top, width_px=width,
        height_px=height, decimation=decimation,
    )  # fmt: skip
    return pixels if inside.all() else np.where(inside, pixels, 0).astype(dtype)


def scene_cog(
    archive: Archive, tile: Tile, acquisition: Acquisition, band: str, *, read: ReadBand
) -> VirtualCog:
    """Return one band of an acquisition as a COG whose pixels are made when they are read.

    Args:
        band: `B01` to `B12` without `B10`, `B8A`, or `SCL`.
        read: the renderer.
    """
    day = acquisition.day

    def window(decimation: int, col: int, row: int, width: int, height: int) -> np.ndarray:
        return read_window(
            archive,
            tile,
            day,
            band,
            read=read,
            decimation=decimation,
            col=col,
            row=row,
            width=width,
            height=height,
        )

    size = tile.edge_m // PIXEL_M[band]
    return VirtualCog(
        width_px=size,
        height_px=size,
        read=window,
        dtype="uint8" if band == "SCL" else "uint16",
        epsg=tile.epsg,
        left_m=tile.left_m,
        top_m=tile.top_m,
        pixel_m=PIXEL_M[band],
        nodata=0,
        block_px=BLOCK_PX,
        description=band,
        about=_about(archive.planet, f"{tile.id} {day} {band}"),
    )


def _about(planet: Planet, what: str) -> str:
    """Return the words in a file that say what it is, and all that its pixels depend on."""
    words = f"Simulated by seco planet, no real imagery. {what}; seed {planet.seed}"
    if planet.change_share:
        words += (
            f"; share of changed land {planet.change_share:g} from {planet.change_from} to {planet.change_to}"
        )
    return words


def describer(archive: Archive, *, read: ReadBand | None = None) -> Describe:
    """Return what says what scenes show: a sample of their own scene classification."""
    read = read or renderer()
    size = archive.tile_px * FINEST_M // PIXEL_M["SCL"]
    decimation = max(size // SAMPLES, 1)

    def describe(tile: Tile, acquisition: Acquisition) -> dict[str, float]:
        num = -(-size // decimation)
        return contents_of(
            read_window(
                archive,
                tile,
                acquisition.day,
                "SCL",
                read=read,
                decimation=decimation,
                col=0,
                row=0,
                width=num,
                height=num,
            )
        )

    return describe


def finder(archive: Archive, *, read: ReadBand | None = None) -> Callable[[str], VirtualCog | None]:
    """Return what finds the COG of a path such as `/31UFQ/2023-07-02/B04.tif`; None where there is none.

    Any tile is found, whether the catalogue has places in it or not.
    """
    read = read or renderer()

    kept: ByteCache[VirtualCog | None] = ByteCache(HEADERS_BYTES, size=_held_bytes)

    def find(path: str) -> VirtualCog | None:
        match = _PATH.fullmatch(path)
        # What is no path of a scene is not remembered: there is no end of such, nor of their length.
        return None if match is None else kept.get(path, lambda: _find(archive, match, read))

    return find


def _held_bytes(cog: VirtualCog | None) -> int:
    # The header is by far the largest that a picture holds, and whoever finds one asks for it.
    return 1024 + (0 if cog is None else len(cog.header()))


def _find(archive: Archive, match: re.Match[str], read: ReadBand) -> VirtualCog | None:
    if match[3] not in PIXEL_M:
        return None
    try:
        tile = tile_from_id(match[1], tile_px=archive.tile_px)
        day = datetime.date.fromisoformat(match[2])
    except (ConfigError, ValueError):
        return None
    if not (FIRST_DAY <= day <= LAST_DAY and archive.holds(day)):
        return None
    taken = acquisition_on(tile, day)
    return None if taken is None else scene_cog(archive, tile, taken, match[3], read=read)


def path_of(tile: Tile, acquisition: Acquisition) -> str:
    """Return the folder of a scene, `31UFQ/2023-07-02`, in addresses and on disk."""
    return f"{tile.id}/{acquisition.day}"
