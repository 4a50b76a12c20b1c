"""A land-cover map of real Sentinel-2 sites, checked on ground that was not learned from.

Three sites of GreenEarthNet (Portugal, Romania, Sweden; 128 x 128 px of 20 m, the clearest date of each) become
GeoTIFFs. Labels are ESA WorldCover's, tree, grass or cropland: other classes count nowhere. The west of each site (60
columns) is learned from, with `seco finetune`; `seco predict` maps the whole of each, and the east (60 columns, 160 m
away) is what the map is compared with; so is who says everywhere the commonest class of the site's west. WorldCover is
a map too, made from a year of radar and optical imagery: agreement with it, not truth.

  python bench/landcover_map.py --data greenearthnet/ --work DIR
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import rasterio
from rasterio.transform import from_bounds

from seco.probes.pixels import balanced, class_iou, confusion, mean_iou, pixel_accuracy, value

CLASSES = {10: "tree", 30: "grass", 40: "cropland"}
BANDS = {"B02": "blue", "B03": "green", "B04": "red"}
WEST, EAST = slice(0, 60), slice(68, 128)
IGNORE = 255


def read_site(file: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float, float], str]:
    """Return reflectance (bands, h, w) of the clearest date, class numbers, bounds and the date; north up."""
    with netCDF4.Dataset(file) as source:
        mask = np.ma.filled(source["s2_dlmask"][:], 9)
        best = int((mask == 0).mean((1, 2)).argmax())
        time = source["time"]
        date = str(netCDF4.num2date(time[best], time.units))[:10]
        pixels = np.stack([np.ma.filled(source[f"s2_{b}"][best].astype(np.float32), np.nan) for b in BANDS])
        cover = np.ma.filled(source["esawc_lc"][:], 0)
        classes = np.full(cover.shape, IGNORE, np.uint8)
        for number, code in enumerate(CLASSES):
            classes[(cover == code) & (mask[best] == 0)] = number
        lon, lat = np.asarray(source["lon"][:]), np.asarray(source["lat"][:])
    if lat[0] < lat[-1]:
        pixels, classes, lat = pixels[:, ::-1], classes[::-1], lat[::-1]
    dx, dy = (lon[1] - lon[0]) / 2, (lat[0] - lat[1]) / 2
    return pixels, classes, (lon[0] - dx, lat[-1] - dy, lon[-1] + dx, lat[0] + dy), date


def write(file: Path, pixels: np.ndarray, bounds: tuple[float, float, float, float]) -> None:
    """Write bands and their names."""
    num, height, width = pixels.shape
    file.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        file, "w", driver="GTiff", count=num, height=height, width=width, dtype=pixels.dtype, crs="EPSG:4326",
        transform=from_bounds(*bounds, width, height), nodata=np.nan if pixels.dtype.kind == "f" else None,
    ) as out:  # fmt: skip
        out.write(pixels)
        if num == len(BANDS):
            out.descriptions = tuple(BANDS)


def main() -> None:
    """Make the labels, train, map, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.environ.get("SECO_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(root) / "sentinel2/greenearthnet" if root else None, help="*.nc"
    )
    parser.add_argument("--work", type=Path, required=True, help="new folder for labels, model and maps")
    parser.add_argument("--encoder", default="imagenet:tf_efficientnet_lite0")
    parser.add_argument("--steps", default="150")
    args = parser.parse_args()
    if args.data is None:
        raise SystemExit("bench: --data (or $SECO_DATA) is missing: the folder of the three sites")
    labels, truth, dates = args.work / "labels", {}, {}
    for file in sorted(args.data.glob("*.nc")):
        name = file.stem.split("_")[4]
        pixels, classes, bounds, dates[name] = read_site(file)
        write(args.work / f"{name}.tif", pixels, bounds)
        truth[name] = classes
        known = classes.copy()
        known[:, WEST.stop :] = IGNORE
        west = (bounds[0], bounds[1], bounds[0] + (bounds[2] - bounds[0]) * WEST.stop / 128, bounds[3])
        write(labels / "images" / f"{name}.tif", np.ascontiguousarray(pixels[:, :, WEST]), west)
        write(labels / "masks" / f"{name}.tif", np.ascontiguousarray(known[None, :, WEST]), west)
    (labels / "classes.txt").write_text("".join(f"{i} {n}\n" for i, n in enumerate(CLASSES.values())))
    model = args.work / "model"

    def seco(*words: str | Path) -> None:
        print("$ seco " + " ".join(map(str, words)), flush=True)
        subprocess.run([sys.executable, "-m", "seco.cli", *map(str, words)], check=True)

    seco(
        "finetune", args.encoder, model, "--data", labels, "--tile", "32", "--block-px", "32", "--steps", args.steps,
        "--val-every", "25", "--batch-size", "8", "--normalise", "dataset",
    )  # fmt: skip
    matrices, guesses, local = {}, {}, {}
    west = {n: t[:, WEST][t[:, WEST] < IGNORE] for n, t in truth.items()}
    usual = int(np.bincount(np.concatenate(list(west.values()))).argmax())
    for name, classes in truth.items():
        seco("predict", model, args.work / f"{name}.tif", args.work / f"{name}-map.tif")
        with rasterio.open(args.work / f"{name}-map.tif") as opened:
            said = opened.read(1)
        east = np.where(classes[:, EAST] == IGNORE, -1, classes[:, EAST].astype(np.int64))
        east = np.where(said[:, EAST] == IGNORE, -1, east)
        matrices[name] = confusion(east, said[:, EAST].astype(np.int64), len(CLASSES))
        guesses[name] = confusion(east, np.full_like(east, usual), len(CLASSES))
        own = int(np.bincount(west[name]).argmax())
        local[name] = confusion(east, np.full_like(east, own), len(CLASSES))
    found = {}
    for name in (*truth, "all"):
        mine = list(matrices.values()) if name == "all" else [matrices[name]]
        base, site = (list(g.values()) if name == "all" else [g[name]] for g in (guesses, local))
        iou = np.nan_to_num(class_iou(np.asarray(mine).sum(0)))
        found[name] = {
            "date": dates.get(name), "pixels": int(np.sum(mine)), "accuracy": value(pixel_accuracy, mine),
            "commonest class": value(pixel_accuracy, base), "commonest of the site": value(pixel_accuracy, site),
            "balanced": value(balanced, mine),
            "miou": value(mean_iou, mine), "iou": dict(zip(CLASSES.values(), iou.tolist())),
            "confusion": np.asarray(mine).sum(0).tolist(),
        }  # fmt: skip
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
