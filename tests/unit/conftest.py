"""A small dataset for whoever needs one: written by the writer itself, a place a spatial block, seasons that differ."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
