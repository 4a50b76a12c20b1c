"""A small dataset for whoever needs one: written by the writer itself, a place a spatial block, seasons that differ."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from seco.data.writer import DatasetWriter, Patch
from seco.sensors.bands import Band
from seco.sensors.rgb import display_bands


def _centre(i: int) -> tuple[float, float]:
    """Return the centre of a 10-degree block of its own."""
    return -175.0 + 10 * (7 * i % 36), -55.0 + 10 * ((7 * i // 36 + i) % 12)


def write_dataset(
    out: Path,
    *,
    num_places: int = 24,
    num_dates: int | Sequence[int] = 4,
    px: int = 16,
    bands: Sequence[Band] | None = None,
    dtype: str = "uint8",
    labels: Sequence[str] | None = None,
    label_sets: Sequence[Sequence[str] | None] | None = None,
    splits: Sequence[str] | None = None,
    positions: bool = True,
    seed: int = 0,
) -> Path:
    """Write places of one texture each, whose brightness goes with the season; pixels depend on `seed`."""
    bands = tuple(bands or display_bands(stretch="made up"))
    dates = [num_dates] * num_places if isinstance(num_dates, int) else list(num_dates)
    rng = np.random.default_rng(seed)
    high = 200 if dtype == "uint8" else 8000
    with DatasetWriter(
        out, bands=bands, patch_px=px, licence="none", provenance={"importer": "test"}
    ) as writer:
        for i in range(num_places):
            texture = rng.integers(10, high, (len(bands), px, px))
            lon, lat = _centre(i)
            step = 0.01
            for j in range(dates[i]):
                pixels = (texture * (0.6 + 0.1 * j) + rng.integers(0, 10, texture.shape)).astype(dtype)
                where: dict[str, Any] = {}
                if positions:
                    west, north = lon - step * px / 2, lat + step * px / 2
                    where = {
                        "lon": lon,
                        "lat": lat,
                        "crs": "EPSG:4326",
                        "transform": (step, 0.0, west, 0.0, -step, north),
                    }
                writer.add(
                    Patch(
                        place=f"{i:06d}",
                        pixels=pixels,
                        date=datetime.date(2020, 1 + 2 * j, 3),
                        item=f"scene-{i}-{j}",
                        label=labels[i] if labels else None,
                        labels=tuple(found) if label_sets and (found := label_sets[i]) is not None else None,
                        split=splits[i] if splits else None,
                        **where,
                    )
                )
    return out


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Write a small dataset; settings as `write_dataset`."""
    return lambda name="places.seco", **settings: write_dataset(tmp_path / name, **settings)


@pytest.fixture(scope="module")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 24 places x 4 dates x RGB x 16 px that the tests of a module share and do not change."""
    return write_dataset(tmp_path_factory.mktemp("data") / "places.seco")


BIGEARTHNET_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def write_patch(
    folder: Path, name: str, *, bands: Sequence[str] = BIGEARTHNET_BANDS, level: int = 500
) -> Path:
    """Write the bands of a patch, each on its own grid over the same 1,200 m of UTM zone 33."""
    (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(level)
    col, row = (int(v) for v in name.rsplit("_", 2)[1:])
    for band in bands:
        px = {"B01": 20, "B09": 20}.get(band, 120 if band in ("B02", "B03", "B04", "B08") else 60)
        pixels = rng.integers(level, level + 200, (1, px, px)).astype(np.uint16)
        step = 1200 / px
        transform = rasterio.Affine(step, 0, 300000 + 1200 * col, 0, -step, 5300000 - 1200 * row)
        with rasterio.open(
            folder / name / f"{name}_{band}.tif", "w", driver="GTiff", width=px, height=px, count=1, dtype="uint16",
            crs="EPSG:32633", transform=transform,
        ) as out:  # fmt: skip
            out.write(pixels)
    return folder / name


def write_v1(root: Path, labels: Sequence[Sequence[str]], **settings: object) -> list[str]:
    """Write version 1: a folder a patch with its labels, and the published lists beside them."""
    names = [f"S2A_MSIL2A_2017061{3 + i % 2}T101031_{i}_{87 - i}" for i in range(len(labels))]
    for i, (name, found) in enumerate(zip(names, labels, strict=True)):
        patch = write_patch(root, name, level=400 + 100 * i, **settings)  # type: ignore[arg-type]
        about = {
            "labels": list(found), "coordinates": {"ulx": 0, "uly": 0, "lrx": 1200, "lry": -1200}, "projection": "",
            "tile_source": "S2A.SAFE", "acquisition_date": "2017-06-13 10:10:31",
        }  # fmt: skip
        (patch / f"{name}_labels_metadata.json").write_text(json.dumps(about))
    return names


def write_v2(root: Path, labels: Sequence[Sequence[str]]) -> list[str]:
    """Write version 2: a folder a scene, a folder a patch in it, radar beside it, and the table."""
    scene = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    names = [f"{scene}_{26 + i}_57" for i in range(len(labels))]
    for i, name in enumerate(names):
        write_patch(root / "BigEarthNet-S2" / scene, name, level=400 + 100 * i)
    radar = root / "BigEarthNet-S1" / "S1A_IW_GRDH_1SDV_20170613T165043"
    write_patch(radar, "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_26_57", bands=("VH",))
    num = len(names)
    table = {
        "patch_id": names, "labels": [list(found) for found in labels],
        "split": [("train", "validation", "test")[i % 3] for i in range(num)], "country": ["Austria"] * num,
        "s1_name": ["S1"] * num, "s2v1_name": ["S2"] * num,
        "contains_seasonal_snow": [i == 1 for i in range(num)],
        "contains_cloud_or_shadow": [i == 2 for i in range(num)],
    }  # fmt: skip
    pq.write_table(pa.table(table), root / "metadata.parquet")
    return names


@pytest.fixture
def ben() -> SimpleNamespace:
    """Write miniatures in the exact layouts of BigEarthNet 1 and 2."""
    return SimpleNamespace(write_patch=write_patch, write_v1=write_v1, write_v2=write_v2)
