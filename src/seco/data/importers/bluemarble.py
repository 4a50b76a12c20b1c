"""NASA Blue Marble Next Generation: the twelve monthly global mosaics of 2004 become places of twelve dates."""

import datetime
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from seco.config import setting
from seco.data.importing import ImportReport
from seco.data.writer import DatasetWriter, Patch, disk_errors
from seco.errors import ConfigError, DatasetError
from seco.places.apart import Squares
from seco.places.land import land_fraction
from seco.places.samplers import candidates, select_places
from seco.places.sphere import KM_PER_DEG
from seco.runs import progress
from seco.sensors.rgb import display_bands

HELP = "the twelve monthly Blue Marble mosaics: places around cities or on land, twelve dates each"
EXAMPLE = "seco dataset import bluemarble bluemarble/ places.seco --places 3000 --patch 64 --seed 0"

YEAR = 2004
LICENCE = "NASA Earth Observatory, Blue Marble Next Generation (Stockli et al. 2005); public domain"
MAX_WIDTH_PX = 86_400
"""Width of NASA's largest mosaic (500 m); anything wider is no Blue Marble."""
_MONTH = re.compile(r"^(?:(\d{2})_[a-z]{3}|world(?:\.topo(?:\.bathy)?)?\.2004(\d{2})\D.*)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How places are drawn from the mosaics."""

    num_places: int = setting(3000, "places to draw", flag="--places")
    patch_px: int = setting(64, "edge of a patch, pixels", flag="--patch")
    seed: int = setting(0, "seed of the places")
    sampler: Literal["cities", "land"] = setting(
        "cities", "cities: Gaussian around the most populous, as SeCo; land: uniform on land"
    )
    num_cities: int = setting(10_000, "how many of the most populous cities (the paper: 10,000)")
    sigma_km: float | None = setting(
        None,
        "standard deviation around a city, km; the paper's 50 suits patches of 2.6 km; default: one patch width",
    )
    min_land: float = setting(0.95, "least land fraction of a patch, 0-1")
    lat_min: float = setting(-60.0, "southernmost patch edge, degrees")
    lat_max: float = setting(75.0, "northernmost patch edge, degrees")
    overlap: bool = setting(True, "let patches of two places share pixels")

    def __post_init__(self) -> None:
        if self.num_places < 1:
            raise ConfigError(f"{self.num_places} places asked; ask for at least 1 (--places)")
        if self.patch_px < 8:
            raise ConfigError(f"patch of {self.patch_px} px; at least 8 (--patch)")
        if not 0 <= self.min_land <= 1:
            raise ConfigError(f"least land fraction {self.min_land}; between 0 and 1 (--min-land)")
        if not -90 <= self.lat_min < self.lat_max <= 90:
            raise ConfigError(
                f"latitudes {self.lat_min} to {self.lat_max}; give -90 <= lat-min < lat-max <= 90"
            )


def run(source: Path, out: Path, options: Options) -> ImportReport:
    """Cut places from the mosaics in folder `source` into a new dataset at `out`.

    Raises:
        DatasetError: a month is missing, damaged or of another size, or land does not allow so many places.
    """
    if out.exists():
        raise DatasetError(f"{out} exists already; choose another folder, or remove it first")
    files = find_months(source)
    width, height = check_sizes(files)
    degrees = 360 / width
    windows = draw_windows(width, height, options)
    provenance = {
        "importer": "bluemarble", "year": YEAR, "mosaic_px": [width, height], "files": [f.name for f in files.values()],
        "options": {k: getattr(options, k) for k in options.__dataclass_fields__},
    }  # fmt: skip
    bands = display_bands(stretch="Blue Marble Next Generation", gsd_m=degrees * KM_PER_DEG * 1000)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-mosaics-") as scratch:
        mosaics = {month: decode(file, Path(scratch)) for month, file in progress(files.items(), "mosaics")}
        with DatasetWriter(
            out, bands=bands, patch_px=options.patch_px, licence=LICENCE, provenance=provenance
        ) as writer:
            for i, window in enumerate(progress(windows, "places")):
                cut = _patches(
                    f"{i:06d}", window, mosaics=mosaics, files=files, degrees=degrees, px=options.patch_px
                )
                for patch in cut:
                    writer.add(patch)
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches)


def find_months(folder: Path) -> dict[int, Path]:
    """Return the file of each month 1-12.

    Raises:
        DatasetError: a month is missing, or there twice.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give the one that holds the twelve monthly mosaics")
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        matched = (
            _MONTH.match(file.stem) if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif") else None
        )
        if matched is None:
            continue
        month = int(matched[1] or matched[2])
        if month in found:
            raise DatasetError(f"month {month} is there twice: {found[month].name} and {file.name}; keep one")
        found[month] = file
    missing = [m for m in range(1, 13) if m not in found]
    if missing:
        raise DatasetError(
            f"{folder} lacks month {', '.join(map(str, missing))} of 12; files are named 01_jan.jpg ... 12_dec.jpg, "
            "or world.2004MM.3x5400x2700.jpg as NASA names them"
        )
    return {m: found[m] for m in range(1, 13)}


def _open(file: Path) -> Image.Image:
    """Open an image that may be larger than Pillow's limit against decompression bombs; ours is on the width."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(file)
    except (OSError, UnidentifiedImageError) as err:
        raise DatasetError(f"{file} is not an image that can be read ({err}); download it again") from err
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def check_sizes(files: dict[int, Path]) -> tuple[int, int]:
    """Return width and height that all mosaics share, reading headers only.

    Raises:
        DatasetError: sizes differ, or are not those of a global mosaic.
    """
    sizes = {}
    for month, file in files.items():
        with _open(file) as image:
            sizes[month] = image.size
    width, height = sizes[1]
    for month, size in sizes.items():
        if size != (width, height):
            raise DatasetError(
                f"{files[month].name} is {size[0]} x {size[1]} px, {files[1].name} is {width} x {height}; "
                "all months must have one size"
            )
    if width != 2 * height or not 64 <= width <= MAX_WIDTH_PX:
        raise DatasetError(
            f"{files[1].name} is {width} x {height} px; a global mosaic is twice as wide as high and at most {MAX_WIDTH_PX}"
        )
    return width, height


def decode(file: Path, scratch: Path) -> np.ndarray:
    """Decode a mosaic into a memory map (height, width, 3), so that twelve of them need no memory of their own."""
    target = scratch / f"{file.stem}.npy"
    with _open(file) as image:
        strict, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as err:
            raise DatasetError(f"{file} is cut short or damaged ({err}); download it again") from err
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = strict
    with disk_errors(target):
        np.save(target, pixels)
    return np.load(target, mmap_mode="r")


def draw_windows(width: int, height: int, options: Options) -> np.ndarray:
    """Draw upper left corners (col, row) of accepted patches, int64 (places, 2)."""
    px = options.patch_px
    if px > height // 2:
        raise DatasetError(
            f"patch of {px} px; the mosaics are {width} x {height}, so at most {height // 2} (--patch)"
        )
    degrees = 360 / width
    extent = px * degrees
    squares = Squares(px)

    def corners(lonlat: np.ndarray) -> np.ndarray:
        col = np.floor((lonlat[:, 0] + 180) / degrees - px / 2 + 0.5)
        row = np.floor((90 - lonlat[:, 1]) / degrees - px / 2 + 0.5)
        return np.stack([np.clip(col, 0, width - px), np.clip(row, 0, height - px)], axis=1).astype(np.int64)

    def accept(lonlat: np.ndarray) -> np.ndarray:
        at = corners(lonlat)
        north = 90 - at[:, 1] * degrees
        inside = (north <= options.lat_max) & (north - extent >= options.lat_min)
        lon = -180 + (at[:, 0] + px / 2) * degrees
        land = land_fraction(lon, north - extent / 2, width_deg=extent, height_deg=extent)
        good = inside & (land >= options.min_land)
        if not options.overlap:
            for i in np.flatnonzero(good):
                good[i] = squares.take(int(at[i, 0]), int(at[i, 1]))
        return good

    sigma_km = options.sigma_km if options.sigma_km is not None else extent * KM_PER_DEG
    stream = candidates(
        options.sampler, seed=options.seed, num_cities=options.num_cities, sigma_km=sigma_km,
        lat_min=options.lat_min, lat_max=options.lat_max,
    )  # fmt: skip
    chosen = select_places(
        stream, num=options.num_places, accept=accept,
        max_tries=max(200_000, 400 * options.num_places),
        relax="--min-land, --lat-min/--lat-max, --sampler, --patch, or allow overlap (--overlap)",
    )  # fmt: skip
    return corners(chosen)


def _patches(
    place: str,
    window: np.ndarray,
    *,
    mosaics: dict[int, np.ndarray],
    files: dict[int, Path],
    degrees: float,
    px: int,
) -> Iterator[Patch]:
    col, row = (int(v) for v in window)
    west, north = -180 + col * degrees, 90 - row * degrees
    for month, mosaic in mosaics.items():
        cut = mosaic[row : row + px, col : col + px]
        yield Patch(
            place=place, pixels=np.ascontiguousarray(cut.transpose(2, 0, 1)), date=datetime.date(YEAR, month, 1),
            lon=west + px * degrees / 2, lat=north - px * degrees / 2, crs="OGC:CRS84",
            transform=(degrees, 0.0, west, 0.0, -degrees, north), item=files[month].name, clear_fraction=1.0,
        )  # fmt: skip
