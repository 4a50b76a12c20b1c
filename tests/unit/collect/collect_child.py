"""A planet of numbers for tests of collecting: every pixel follows from where, when and which band; and runs in children."""

import datetime as dt
import json
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from seco.collect.collecting import collect
from seco.collect.faults import Patience
from seco.collect.settings import Collect
from seco.data import layout as layouts
from seco.planet.earth.surfaces import PIXEL_M

BANDS = ("B04", "B8A", "B09")
FIRST, LAST = dt.date(2023, 1, 1), dt.date(2023, 6, 30)
SIZE = 60
PATIENT = Patience(tries=8, first_s=0.002, longest_s=0.02, slow_down_s=0.005, read_s=20)
POINTS = "lon,lat\n" + "".join(f"{4.10 + 0.009 * i:.6f},{48.90 + 0.006 * (i % 5):.6f}\n" for i in range(12))


def read(planet, *, epsg, band, acquisition_day, left_m, top_m, width_px, height_px, decimation=1):
    """Return pixels of a window; as `seco.planet.earth.render.read_band`, but at no cost."""
    pixel = PIXEL_M[band]
    x = (left_m // pixel + np.arange(width_px) * decimation)[None, :]
    y = (-top_m // pixel + np.arange(height_px) * decimation)[:, None]
    day = acquisition_day.toordinal()
    if band == "SCL":
        # Clouds over squares of 2 km, other ones each day, and a shadow here and there.
        square = (x // 100 * 7 + y // 100 * 13 + day * 5) % 11
        return np.where(square < 3, 9, np.where(square == 3, 3, 4)).astype(np.uint8)
    texture = (x * 31 + y * 17 + x * y // 7 + day * 101 + len(band) * 7 + ord(band[-1]) * 1009) % 8000
    return (1000 + texture).astype(np.uint16)


def settings(places: Path, catalog: Path, **changed) -> Collect:
    """Return settings that suit this planet."""
    return Collect(
        **{
            "places": places, "catalog": str(catalog), "first": FIRST, "last": LAST, "seasons": 2, "spacing_days": 80,
            "window_days": 40, "max_cloud": 100.0, "bands": BANDS, "size": SIZE, "hosts": "private", "concurrency": 8,
            "min_clear": 0.8, **changed,
        }
    )  # fmt: skip


def take(planet: Path, catalog: Path, out: Path, **changed):
    """Collect from a planet's catalogue, impatiently."""
    places = changed.pop("places", planet / "places.csv")
    return collect(settings(places, catalog, **changed), out, patience=PATIENT)


def contents(out: Path) -> dict[str, bytes]:
    """The bytes of pixels, and the rows of the index; of dataset.json all but what names the catalogue."""
    found = {
        str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if "/archive/" in str(p) and p.is_file()
    }  # fmt: skip
    found["rows"] = json.dumps(pq.read_table(out / "index.parquet").to_pylist(), default=str)
    meta = json.loads((out / "dataset.json").read_text())
    for name in ("catalog", "catalog_url"):
        del meta["provenance"]["options"][name]
    del meta["checksum"], meta["licence"], meta["provenance"]["source"]
    return found | {"meta": meta}


def small_shards() -> None:
    """Make shards of a few patches, so that a small collection has several."""
    layouts.SHARD_BYTES = 5 * (2 * SIZE**2 + 2 * (SIZE // 2) ** 2 + 2 * (SIZE // 6) ** 2)


def run(places: str, catalog: str, out: str, changed: dict) -> None:
    """Collect; what a child process does until it is killed."""
    small_shards()
    collect(settings(Path(places), Path(catalog), **changed), Path(out), patience=PATIENT)


def signal_once(number: int, *, num_places: int):
    """Return what sends us a signal when so many places are there; a second one would have its way."""
    left = [1]

    def show(view) -> None:
        if view.standing.num_places >= num_places and left:
            left.clear()
            signal.raise_signal(number)

    return show


def run_and_stop(places: str, catalog: str, out: str, changed: dict, after: int) -> None:
    """Collect, and send SIGTERM to ourselves when so many places are there."""
    small_shards()

    show = signal_once(signal.SIGTERM, num_places=after)
    collect(settings(Path(places), Path(catalog), **changed), Path(out), patience=PATIENT, show=show)
