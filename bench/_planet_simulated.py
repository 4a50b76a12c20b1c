"""A simulated planet's dataset as sites: pixels from the dataset, what they truly are from the truth beside it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _planet_sites import Site

from seco.data.dataset import Dataset, open_dataset
from seco.errors import DatasetError
from seco.places.rasters import climate
from seco.planet.earth.surfaces import BANDS, CLASSES
from seco.sensors.sentinel2 import SCL_UNCLEAR

PIXEL_M = 20
TRUTH_NAME = "truth"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """One place of a dataset.

    Attributes:
        site: its series at 20 m, NaN where the scene classes say that the ground is hidden; classes are surfaces where
            all four 10 m pixels are of one.
        scl: scene class of each pixel and date.
        raw: the same reflectance with what hides the ground.
        climate: Koeppen class.
    """

    site: Site
    scl: np.ndarray
    raw: np.ndarray
    climate: str


def read(path: Path, *, max_places: int) -> Iterator[Simulated]:
    """Yield places of a dataset, evenly spread over it.

    Raises:
        DatasetError: no planet made it, so that nobody knows what its pixels are.
    """
    dataset = open_dataset(path)
    starts = dataset.first_row
    ends = np.append(starts[1:], len(dataset))
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(max_places, len(starts))).astype(int))
    for i in chosen:
        yield _place(dataset, range(int(starts[i]), int(ends[i])))


def _place(dataset: Dataset, rows: range) -> Simulated:
    lon, lat = (float(v) for v in dataset.lonlat[rows[0]])
    bands = tuple(b for b in dataset.meta.bands if b.name in BANDS)
    dates = tuple(d.astype(datetime.date) for d in dataset.dates[rows.start : rows.stop])
    frames = []
    for row in rows:
        read, stack = dataset.read(row), []
        for band in bands:
            slope, offset = band.to_reflectance or (1.0, 0.0)
            values = read[band.name].astype(np.float32)
            hidden = np.isnan(values) if band.nodata is None else values == band.nodata
            stack.append(
                _at_20m(np.where(hidden, np.nan, values * slope + offset), dataset.meta.patch_px // 2)
            )
        frames.append(np.stack(stack))
    raw = np.stack(frames)
    classes, names, scl = _truth(dataset, rows, int(dataset.place[rows[0]]), raw.shape[2])
    clear = ~np.isin(scl, SCL_UNCLEAR)
    site = Site(
        name=str(dataset.place_ids[dataset.place[rows[0]]]), lon=lon, lat=lat, gsd_m=float(PIXEL_M),
        bands=tuple(b.name for b in bands), dates=dates, reflectance=np.where(clear[:, None], raw, np.nan),
        classes=classes, names=names,
    )  # fmt: skip
    return Simulated(site=site, scl=scl, raw=raw, climate=_climate(lon, lat))


def _truth(
    dataset: Dataset, rows: range, place: int, size: int
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Return surfaces and scene classes at 20 m."""
    truth = dataset.path / TRUTH_NAME
    if not truth.is_dir():
        raise DatasetError(
            f"{dataset.path} has no {TRUTH_NAME} beside its pixels; give one made by `seco planet build`"
        )
    fine = np.load(truth / "surface.npy", mmap_mode="r")[place].astype(int)
    corners = [fine[i : 2 * size : 2, j : 2 * size : 2] for i in (0, 1) for j in (0, 1)]
    same = np.logical_and.reduce([c == corners[0] for c in corners])
    scl = np.load(truth / "scl.npy", mmap_mode="r")[rows.start : rows.stop]
    return np.where(same, corners[0], -1), CLASSES, np.asarray(scl)


def _climate(lon: float, lat: float) -> str:
    zones = climate()
    rows, columns = zones.codes.shape
    code = zones.codes[
        min(int((90 - lat) * rows / 180), rows - 1), int((lon + 180) * columns / 360) % columns
    ]
    return zones.classes[int(code)]


def _at_20m(values: np.ndarray, size: int) -> np.ndarray:
    height = values.shape[0]
    if height >= size:
        k = height // size
        return values[: size * k, : size * k].reshape(size, k, size, k).mean(axis=(1, 3))
    # 60 m bands: pixels of 20 m that lie in one.
    at = (np.arange(size) * height) // size
    return values[np.ix_(at, at)]
