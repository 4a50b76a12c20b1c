"""The folder layout that SeCo and SSL4EO-S12 share: `000123/<date>_<item>/B2.tif ... B12.tif, metadata.json`.

What reads SeCo's own data reads this: TorchGeo's `SeasonalContrastS2`, the original's loader, `seco dataset import seco`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seco.config import setting
from seco.data.dataset import Dataset
from seco.data.encodings import Encoding, convert
from seco.data.exporting import ExportReport
from seco.data.writer import disk_errors
from seco.errors import ConfigError, DatasetError
from seco.runs import progress
from seco.sensors import sentinel2
from seco.sensors.bands import Band

HELP = "the folder layout of SeCo and SSL4EO-S12, a GeoTIFF a band, which TorchGeo's SeasonalContrastS2 reads"
EXAMPLE = "seco dataset export seco places.seco data/seasonal_contrast_100k"

_ROWS = 32
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DISPLAY = Encoding(dtype="uint8", units="display", scale=1 / 255, offset=0.0)
_README = (
    "Written by `seco dataset export seco`: a folder a place, in it a folder a date, in it a GeoTIFF a band. Folders of "
    "places are numbered in the dataset's order; places.csv has their names."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the export."""

    values: Literal["display", "dn"] = setting(
        "display",
        "display: reflectance 0 to 1 as bytes 0 to 255, clipped, as SeCo's own files (these without JPEG's losses); "
        "dn: 16 bits of Sentinel-2, as SSL4EO-S12's",
    )
    bands: tuple[str, ...] = setting((), "bands to write, such as B02,B03,B04; default: all")


def run(dataset: Dataset, out: Path, options: Options) -> ExportReport:
    """Write the dataset's patches to a new folder `out`.

    Raises:
        DatasetError: a band is none of Sentinel-2's, or has no way to reflectance; the disk is full; `out` exists.
    """
    bands = _bands(dataset, options)
    if out.exists():
        raise DatasetError(f"{out} exists already; choose another folder, or remove it")
    partial = out.with_name(out.name + ".partial")
    with disk_errors(out):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        num_files = _write(dataset, partial, bands, options)
        partial.rename(out)
    notes = []
    if dataset.index["transform"].null_count == len(dataset):
        notes.append("the dataset has no grids: the GeoTIFFs have no place on the Earth")
    if options.values == "display":
        notes.append("reflectance above 1 became 255; --values dn keeps the numbers")
    return ExportReport(
        num_places=dataset.meta.num_places, num_patches=len(dataset), num_files=num_files, notes=tuple(notes)
    )


def _bands(dataset: Dataset, options: Options) -> dict[str, Band]:
    """Return the bands to write by the layout's names (`B2`, `B8A`)."""
    known = {b.name for b in sentinel2.BANDS}
    chosen = dataset.bands(options.bands or None)
    wrong = [b.name for b in chosen if sentinel2.canonical(b.name) not in known]
    if wrong:
        raise DatasetError(
            f"band {', '.join(wrong)} is none of Sentinel-2's; this layout has no other; leave it out (--bands)"
        )
    if options.values == "dn" and any(b.units != "dn" for b in chosen):
        raise ConfigError(
            f"{dataset.path} holds no Sentinel-2 numbers but {chosen[0].units}; use --values display"
        )
    for band in chosen:
        if band.to_reflectance is None:
            raise DatasetError(
                f"band {band.name} is display bytes of an unknown stretch: no reflectance can be made of it"
            )
    return {_layout_name(b.name): b for b in chosen}


def _layout_name(name: str) -> str:
    text = sentinel2.canonical(name)
    return f"B{int(text[1:])}" if text[1:].isdigit() else text


def _write(dataset: Dataset, folder: Path, bands: dict[str, Band], options: Options) -> int:
    width = max(6, len(str(dataset.meta.num_places - 1)))
    num_files = 0
    for start in progress(range(0, len(dataset), _ROWS), "patches"):
        rows = dataset.index.slice(start, _ROWS).to_pylist()
        planes = dataset.planes(start, start + len(rows))
        of_band = {
            n: (p, i) for g, p in zip(dataset.meta.groups, planes, strict=True) for i, n in enumerate(g.bands)
        }
        for row in rows:
            place = folder / f"{dataset.place[row['row']]:0{width}d}"
            there = place / _item_name(row, place)
            there.mkdir(parents=True)
            for name, band in bands.items():
                group, at = of_band[band.name]
                pixels = _pixels(group[row["row"] - start, at], band, row["baseline"], options)
                _write_tiff(there / f"{name}.tif", pixels, row, dataset.meta.patch_px)
                num_files += 1
            (there / "metadata.json").write_text(json.dumps(_metadata(row), indent=1), encoding="utf-8")
    lines = [f"{i:0{width}d},{json.dumps(name)}\n" for i, name in enumerate(dataset.place_ids)]
    (folder / "places.csv").write_text("folder,place\n" + "".join(lines), encoding="utf-8")
    (folder / "README.txt").write_text(_README + "\n", encoding="utf-8")
    return num_files


def _item_name(row: dict[str, Any], place: Path) -> str:
    """Return a folder's name that begins with the date, as the layout's do; the time of day is not known."""
    date = f"{row['date']:%Y%m%dT000000}" if row["date"] is not None else "undated"
    name = f"{date}_{_UNSAFE.sub('-', row['item'] or 'item')[:120]}"
    return name if not (place / name).exists() else f"{name}_{row['row']}"


def _pixels(plane: np.ndarray, band: Band, baseline: str | None, options: Options) -> np.ndarray:
    """Return a band's numbers as the layout has them."""
    slope, intercept = band.to_reflectance or (1.0, 0.0)
    source = Encoding(
        dtype=plane.dtype.name, units=band.units, scale=slope, offset=intercept, nodata=band.nodata
    )
    if options.values == "display":
        return convert(plane, source, dataclasses.replace(_DISPLAY, nodata=0.0))
    # Readers of this layout take the offset from the baseline in metadata.json.
    target = Encoding(
        dtype="uint16", units="dn", scale=1 / sentinel2.QUANTIFICATION, nodata=0.0,
        offset=sentinel2.reflectance_offset(baseline),
    )  # fmt: skip
    return convert(plane, source, target)


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    """Return what Earth Engine writes of an image, as far as it is known."""
    properties: dict[str, Any] = {"CLEAR_FRACTION": row["clear_fraction"]}
    if row["baseline"]:
        properties["PROCESSING_BASELINE"] = row["baseline"]
    if row["date"] is not None:
        midnight = dt.datetime.combine(row["date"], dt.time(), dt.UTC)
        properties["system:time_start"] = int(midnight.timestamp() * 1000)
    return {
        "type": "Image", "id": row["item"], "properties": properties,
        "place": {"id": row["place"], "longitude": row["lon"], "latitude": row["lat"]},
    }  # fmt: skip


def _write_tiff(path: Path, pixels: np.ndarray, row: dict[str, Any], patch_px: int) -> None:
    import rasterio
    from rasterio.transform import Affine

    where: dict[str, Any] = {}
    if row["transform"] is not None and row["crs"] is not None:
        step = patch_px / pixels.shape[1], patch_px / pixels.shape[0]
        where = {"crs": row["crs"], "transform": Affine(*row["transform"]) @ Affine.scale(*step)}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=pixels.shape[0], width=pixels.shape[1], dtype=pixels.dtype,
        compress="deflate", predictor=2, nodata=0, **where,
    ) as out:  # fmt: skip
        out.write(pixels, 1)
