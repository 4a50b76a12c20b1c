"""A simulated planet's dataset as sites: pixels from the dataset, what they truly are from the planet that made it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _planet_sites import Site

from seco.data.dataset import Dataset, open_dataset
from seco.places.rasters import climate
from seco.planet.render import MARGIN_PX, picture, window_ground
from seco.planet.settings import Planet
from seco.planet.surfaces import BANDS, Surface
from seco.sensors.sentinel2 import SCL_CLASSES, SCL_UNCLEAR

PIXEL_M = 20
MIN_CLEAR = 0.05


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
    """Yield places of a dataset, evenly spread over it; of imagery that no planet made only clear fractions are known."""
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
    classes, names, scl = _truth(dataset, rows, raw.shape[2])
    clear = ~np.isin(scl, SCL_UNCLEAR)
    site = Site(
        name=str(dataset.place_ids[dataset.place[rows[0]]]), lon=lon, lat=lat, gsd_m=float(PIXEL_M),
        bands=tuple(b.name for b in bands), dates=dates, reflectance=np.where(clear[:, None], raw, np.nan),
        classes=classes, names=names,
    )  # fmt: skip
    return Simulated(site=site, scl=scl, raw=raw, climate=_climate(lon, lat))


def _truth(dataset: Dataset, rows: range, size: int) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Return surfaces and scene classes at 20 m: the planet's, or, of other imagery, one class, clear or not as a whole."""
    planet = planet_of(dataset)
    if planet is None:
        clear = (
            np.nan_to_num(dataset.column("clear_fraction")[rows.start : rows.stop].astype(float), nan=1.0)
            > 0.9
        )
        scl = np.where(clear, SCL_CLASSES.index("vegetation"), SCL_CLASSES.index("cloud_high"))
        return (
            np.zeros((size, size), int),
            ("all",),
            np.broadcast_to(scl[:, None, None], (len(rows), size, size)),
        )
    crs, transform = dataset.index["crs"][rows[0]].as_py(), dataset.index["transform"][rows[0]].as_py()
    epsg, (_, _, left, _, _, top) = int(crs.split(":")[1]), transform
    ground = window_ground(planet, epsg=epsg, left_m=int(left), top_m=int(top), size_px=dataset.meta.patch_px)
    inner = slice(MARGIN_PX, -MARGIN_PX)
    surfaces, scenes = [], []
    for day in dataset.dates[rows.start : rows.stop]:
        when = day.astype(datetime.date)
        fine = ground.surface_on(when)[inner, inner]
        same = (
            (fine[::2, ::2] == fine[1::2, ::2])
            & (fine[::2, ::2] == fine[::2, 1::2])
            & (fine[::2, ::2] == fine[1::2, 1::2])
        )
        surfaces.append(np.where(same, fine[::2, ::2], -1))
        scenes.append(picture(planet, ground, epsg=epsg, day=when, bands=("SCL",)).pixels["SCL"])
    return np.stack(surfaces), tuple(s.name for s in Surface), np.stack(scenes)


def planet_of(dataset: Dataset) -> Planet | None:
    """Return the planet that a dataset was made of, None where it is no simulation."""
    said = dataset.meta.provenance
    settings = said.get("planet", said.get("options", {}))
    if (
        "planet" not in str(said.get("importer", said.get("made by", said.get("source", ""))))
        and "planet" not in said
    ):
        return None
    known = {f.name: f.type for f in dataclasses.fields(Planet)}
    values = {k: v for k, v in settings.items() if k in known}
    for name in ("change_from", "change_to"):
        if isinstance(values.get(name), str):
            values[name] = datetime.date.fromisoformat(values[name])
    return Planet(**values)


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
