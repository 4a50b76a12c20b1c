"""Small rasters for the importers' tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

UTM = "EPSG:32631"
WEST, NORTH = 500_000.0, 5_400_000.0


def write_raster(
    path: Path, pixels: np.ndarray, *, pixel_m: float = 10.0, west: float = WEST, north: float = NORTH,
    crs: str | None = UTM, names: tuple[str, ...] = (), tags: dict[str, str] | None = None,
    scale: tuple[float, float] | None = None, **profile: Any,
) -> Path:  # fmt: skip
    """Write (height, width) or (bands, height, width) as GeoTIFF under any name."""
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {} if crs is None else {"crs": crs, "transform": from_origin(west, north, pixel_m, pixel_m)}
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
        dtype=pixels.dtype.name, **where, **profile,
    ) as out:  # fmt: skip
        out.write(pixels)
        for i, name in enumerate(names):
            out.set_band_description(i + 1, name)
        out.update_tags(**(tags or {}))
        if scale is not None:
            out.scales, out.offsets = [scale[0]] * len(pixels), [scale[1]] * len(pixels)
    return path


@pytest.fixture
def raster() -> Callable[..., Path]:
    """Write a small raster; see `write_raster`."""
    return write_raster
