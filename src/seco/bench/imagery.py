"""Imagery to measure on, made up: smooth as land is, so that files compress as real ones do; the same for everyone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio

from seco.data.dataset import Dataset, open_dataset
from seco.data.writer import DatasetWriter, Patch
from seco.sensors import sentinel2
from seco.sensors.bands import Band
from seco.sensors.rgb import display_bands

RGB = display_bands(stretch="made up")
TWELVE = tuple(b for b in sentinel2.BANDS if b.name != "B10")
"""All that surface reflectance has, as in the original's full product."""
ORIGINAL_NAMES = {"red": "B4", "green": "B3", "blue": "B2"}
"""How the original names the files of a date."""


def made_patch(bands: Sequence[Band], px: int, *, seed: int) -> np.ndarray:
    """Return one patch (bands, px, px): uint8 for display bytes, else uint16 Sentinel-2 numbers."""
    rng = np.random.default_rng(seed)
    display = bands[0].units == "display"
    field = np.zeros((len(bands), px, px), np.float32)
    for cell in (64, 16, 4, 1):
        grid = rng.standard_normal((len(bands), -(-px // cell), -(-px // cell)), np.float32)
        field += (
            np.repeat(np.repeat(grid, cell, 1), cell, 2)[:, :px, :px]
            * {64: 1.0, 16: 0.6, 4: 0.4, 1: 0.1}[cell]
        )
    middle, width, top = (110, 30, 255) if display else (2000, 500, 10_000)
    return np.clip(middle + width * field, 1, top).astype(np.uint8 if display else np.uint16)


def made_dataset(folder: Path, *, bands: Sequence[Band], px: int, num_places: int, num_dates: int) -> Dataset:
    """Return the dataset in `folder`, written now if it is not there."""
    if folder.exists():
        return open_dataset(folder)
    with DatasetWriter(
        folder, bands=bands, patch_px=px, licence="none", provenance={"importer": "seco bench"}
    ) as writer:
        for place in range(num_places):
            for date in range(num_dates):
                pixels = made_patch(bands, px, seed=place * num_dates + date)
                day = datetime.date(2020, 1, 1) + datetime.timedelta(days=90 * date)
                writer.add(Patch(place=f"{place:06d}", pixels=pixels, date=day, item=_item(place, date)))
    return open_dataset(folder)


def _item(place: int, date: int) -> str:
    return f"20200101T000000_{place:06d}_{date}"


def original_layout(dataset: Dataset, folder: Path) -> list[Path]:
    """Write every patch as the original keeps it: a folder a place, in it a folder a date, in it a GeoTIFF a band.

    Display bytes are compressed as JPEG, as the original's download does; 16 bits, which JPEG has not, with DEFLATE.

    Returns:
        The folder of each patch.
    """
    places, rows = dataset.place, dataset.index["item"].to_pylist()
    out = []
    for row in range(len(dataset)):
        date = folder / dataset.place_ids[places[row]] / rows[row]
        date.mkdir(parents=True, exist_ok=True)
        for band, pixels in zip(dataset.meta.bands, dataset.read(row).values(), strict=True):
            file = date / f"{ORIGINAL_NAMES.get(band.name, band.name)}.tif"
            if not file.exists():
                with rasterio.open(
                    file, "w", driver="GTiff", height=pixels.shape[0], width=pixels.shape[1], count=1, dtype=pixels.dtype,
                    compress="JPEG" if pixels.dtype == np.uint8 else "DEFLATE", crs="EPSG:4326",
                    transform=rasterio.Affine(1e-4, 0, 10, 0, -1e-4, 50),
                ) as written:  # fmt: skip
                    written.write(pixels, 1)
        out.append(date)
    return out
