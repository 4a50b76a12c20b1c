"""Measure the real data that the simulated planet is calibrated to, and the planet itself by the same definitions.

  python bench/planet_calibration.py --data DATA --write-curves            make src/seco/planet/earth/curves.json again
  python bench/planet_calibration.py --data DATA --write-measures DIR      all measured numbers as JSON
  python bench/planet_calibration.py --data DATA --simulated PLANET.seco   draw both side by side, print the differences

The pictures of docs/planet.md, about five minutes:
  seco planet build world.seco --places 260 --dates 12 --patch 132 --from 2021-01-01 --to 2022-01-01
  seco planet build europe.seco --places 90 --dates 12 --patch 132 --from 2021-01-01 --to 2022-01-01 --within sites.geojson
  seco planet build sky.seco --places 60 --dates 12 --patch 132 --min-clear 0 --lat-min 44 --lat-max 60
  python bench/planet_calibration.py --data DATA --simulated europe.seco world.seco --sky sky.seco
where sites.geojson holds boxes around the real sites (--write-boxes sites.geojson makes it).

DATA holds `bluemarble/` (the twelve mosaics) and `sentinel2/` (GreenEarthNet cubes, a Theia series, one L2A tile);
with --write-measures also the 13-band scenes. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import _planet_bluemarble as bluemarble
import _planet_compare as compare
import _planet_measures as measures
import _planet_pictures as pictures
import _planet_simulated as simulated
import _planet_sites as sites
import numpy as np

from seco.runs import write_atomic, write_json
from seco.sensors.sentinel2 import SCL_CLASSES

REPO = Path(__file__).resolve().parent.parent

# West, south, east, north: land of the same climate around the sites of Portugal, of France and Romania, and of Sweden.
BOXES = ((-9, 37, -5, 42), (3, 45, 26, 51), (12, 56, 27, 62))


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data")
    parser.add_argument("--write-curves", action="store_true", help="write the package's table of seasons")
    parser.add_argument(
        "--write-measures", type=Path, metavar="DIR", help="write every measured number as JSON"
    )
    parser.add_argument("--write-boxes", type=Path, metavar="FILE", help="write boxes around the real sites")
    parser.add_argument(
        "--simulated", type=Path, nargs="+", metavar="DATASET", help="made by `seco planet build`"
    )
    parser.add_argument(
        "--sky",
        type=Path,
        metavar="DATASET",
        help="one built with --min-clear 0, for clouds; else the others",
    )
    parser.add_argument("--places", type=int, default=400, help="places of each to measure")
    parser.add_argument(
        "--pictures", type=Path, default=REPO / "docs" / "pictures", help="where the pictures go"
    )
    asked = parser.parse_args()
    if not (asked.write_curves or asked.write_measures or asked.write_boxes or asked.simulated):
        parser.error("nothing to do: give --write-curves, --write-measures, --write-boxes or --simulated")
    if asked.write_boxes:
        write_json(asked.write_boxes, {"type": "FeatureCollection", "features": [_box(*b) for b in BOXES]})
    if asked.write_curves:
        target = REPO / "src" / "seco" / "planet" / "earth" / "curves.json"
        write_atomic(target, bluemarble.table(bluemarble.measure(asked.data / "bluemarble")))
        print(f"wrote {target}")
    if asked.write_measures:
        asked.write_measures.mkdir(parents=True, exist_ok=True)
        write_json(asked.write_measures / "surfaces.json", surfaces(asked.data))
        write_json(asked.write_measures / "curves.json", bluemarble.measure(asked.data / "bluemarble"))
        print(f"wrote surfaces.json and curves.json in {asked.write_measures}")
    if asked.simulated:
        side_by_side(asked.data, asked.simulated, sky=asked.sky, places=asked.places, out=asked.pictures)
    return 0


def _box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def real_sites(data: Path) -> list[sites.Site]:
    """Read the real surface reflectance."""
    folder = data / "sentinel2"
    return [
        *sites.greenearthnet(folder / "greenearthnet"),
        sites.theia(folder / "zonetest_T31UFQ.zip"),
        sites.tile(folder / "T29UNU_20221005"),
    ]


def surfaces(data: Path) -> dict[str, Any]:
    """Measure every class of every real site and scene."""
    out: dict[str, Any] = {}
    for site in real_sites(data):
        out[site.name] = {
            "lat": site.lat, "lon": site.lon, "bands": site.bands, "classes": measures.by_class(site),
            "ndvi_correlation": measures.correlation_length(site) if len(site.dates) > 1 else {},
        }  # fmt: skip
        if site.names == SCL_CLASSES:
            out[site.name]["patches"] = compare.sky_patches(site.classes, site.gsd_m)
    for site in sites.top_of_atmosphere(
        data / "sentinel2" / "ssl4eo_2patches.zip", data / "OSCD_2cities.zip"
    ):
        clean = sites.subtract_haze(site.reflectance[0])
        out[site.name] = {"level": site.level, "bands": site.bands, "classes": {}}
        for i, name in enumerate(site.names):
            where = site.classes == i
            if where.sum() >= measures.MIN_PIXELS:
                out[site.name]["classes"][name] = {
                    "pixels": int(where.sum()),
                    "toa_median": np.median(site.reflectance[0][:, where], axis=1)
                    .astype(float)
                    .round(4)
                    .tolist(),
                    "estimate_median": np.median(clean[:, where], axis=1).astype(float).round(4).tolist(),
                }
    return out


def side_by_side(data: Path, datasets: list[Path], *, sky: Path | None, places: int, out: Path) -> None:
    """Measure both sides, print their differences and draw them."""
    real = real_sites(data)
    planet = [p for dataset in datasets for p in simulated.read(dataset, max_places=places)]
    print(f"{len(planet)} simulated places, {sum(len(p.site.dates) for p in planet)} patches\n")
    cloudy = planet if sky is None else list(simulated.read(sky, max_places=places))
    pairs = [
        compare.pair(want, real, cloudy if "cloud" in want.surfaces else planet) for want in compare.WANTED
    ]
    seasons = compare.seasons(planet)
    print(compare.reflectance_table(pairs))
    print(compare.curve_table(pairs, seasons))
    print(compare.structure_table(real, planet, cloudy))
    pictures.histograms(pairs, out / "planet-histograms.png")
    pictures.curves(pairs, seasons, out / "planet-curves.png")
    print(f"drew {out / 'planet-histograms.png'} and planet-curves.png")


if __name__ == "__main__":
    sys.exit(main())
