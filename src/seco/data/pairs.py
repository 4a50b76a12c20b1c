"""Folders of images and masks, paired by name: a class number a pixel."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import rasterio

from seco.data.areas import PARTS, UNKNOWN, Area, Class, Labelled, Ring, grid_blocks, make_classes
from seco.data.footprint import to_lonlat
from seco.data.grids import Grid, same_grid
from seco.data.listing import Listing
from seco.data.raster_scene import SUFFIXES, RasterScene, SceneOptions, open_scene
from seco.data.rasters import PixelReader, grid_of, raster_errors
from seco.errors import DatasetError
from seco.runs import progress

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations", "gt")
CLASS_FILES = ("classes.json", "classes.txt")
MAX_CLASSES = 256
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_MASK_END = re.compile(r"[_\-.]?(?:mask|label|gt)$", re.IGNORECASE)
_IMAGE_END = re.compile(r"[_\-.]?(?:image|img)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairOptions:
    """How a folder of images and masks is read.

    Attributes:
        ignore: mask numbers that are no class, besides the file's own nodata.
        block_px: edge of the blocks that larger images are cut into.
        scene: what the images' files do not say.
    """

    ignore: tuple[int, ...] = (255,)
    block_px: int = 512
    scene: SceneOptions = dataclasses.field(default_factory=SceneOptions)


def read_pairs(path: Path, options: PairOptions | None = None) -> Labelled:
    """Read images with their masks: `images/NAME.*` and `masks/NAME.*`, also inside or around train, val and test.

    Classes are named by `classes.txt` (a line a class: `number name #colour`) or `classes.json`
    (`[{"value": 1, "name": "forest", "colour": "#00ff00"}]`); else by their numbers.

    Raises:
        DatasetError: an image without a mask or of another size, a mask that holds no class numbers or unknown ones.
    """
    options = options or PairOptions()
    with Listing(path) as listing, PixelReader() as reader:
        pairs = _find(listing)
        declared = _declared(listing)
        areas: list[Area] = []
        bands: tuple[Any, ...] = ()
        for number, (image, mask) in enumerate(progress(pairs, "images and masks")):
            scene = open_scene(listing.path(image), options.scene, name=image)
            names = [(b.name, b.units) for b in scene.bands]
            if areas and names != [(b.name, b.units) for b in bands]:
                raise DatasetError(
                    f"{image} has bands {', '.join(b.name for b in scene.bands)} ({scene.bands[0].units}); those before "
                    f"have {', '.join(b.name for b in bands)} ({bands[0].units}): give images of one kind"
                )
            bands = scene.bands
            values = _read_mask(listing.path(mask), mask, scene.grid, options.ignore, declared)
            areas += _areas(
                scene, reader, values, number=number, part=_part(image), block_px=options.block_px
            )
    classes = declared or _numbered(areas, path)
    return Labelled(
        name=path.name, bands=bands, classes=tuple(classes[v] for v in sorted(classes)),
        areas=_renumbered(areas, sorted(classes)),
    )  # fmt: skip


def looks_like_pairs(path: Path) -> bool:
    """Whether a source has folders of images and of masks."""
    with Listing(path) as listing:
        kinds = {kind for name in listing.names for kind in (_kind(name),) if kind}
    return kinds == {"image", "mask"}


def _kind(name: str) -> str | None:
    """Return `image` or `mask` by the folders that a file lies in, the innermost first."""
    if not name.lower().endswith(SUFFIXES):
        return None
    for part in reversed(PurePosixPath(name.lower()).parts[:-1]):
        if part in IMAGES or part in MASKS:
            return "image" if part in IMAGES else "mask"
    return None


def _key(name: str, kind: str) -> str:
    """Return what an image and its mask have in common."""
    path = PurePosixPath(name)
    folders = [p for p in path.parts[:-1] if p.lower() not in (*IMAGES, *MASKS)]
    stem = (_MASK_END if kind == "mask" else _IMAGE_END).sub("", path.stem)
    return "/".join([*folders, stem])


def _find(listing: Listing) -> list[tuple[str, str]]:
    found: dict[str, dict[str, str]] = {"image": {}, "mask": {}}
    for name in listing.names:
        kind = _kind(name)
        if kind is None:
            continue
        key = _key(name, kind)
        if key in found[kind]:
            raise DatasetError(f"{found[kind][key]} and {name} are both the {kind} of {key}; leave one out")
        found[kind][key] = name
    images, masks = found["image"], found["mask"]
    if not images or not masks:
        raise DatasetError(
            f"{listing.source} has {len(images)} images and {len(masks)} masks; they go into folders images/ and masks/, "
            "a mask named as its image"
        )
    for have, lack, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = [n for k, n in have.items() if k not in lack]
        if alone:
            raise DatasetError(
                f"{len(alone)} of {len(have)} files in {listing.source} have no {what} of their name, such as {alone[0]}; "
                "add or remove them"
            )
    return [(images[k], masks[k]) for k in sorted(images)]


def _part(name: str) -> str | None:
    parts = [_PARTS[p.lower()] for p in PurePosixPath(name).parts[:-1] if p.lower() in _PARTS]
    assert all(p in PARTS for p in parts)
    return parts[-1] if parts else None


def _declared(listing: Listing) -> dict[int, Class] | None:
    """Read the classes that the source declares, by mask number."""
    name = next((n for n in CLASS_FILES if n in listing.names), None)
    if name is None:
        return None
    text = listing.read(name, limit=2**20).decode("utf-8", errors="replace")
    try:
        rows = (
            json.loads(text)
            if name.endswith("json")
            else [_line(t, i) for i, t in enumerate(text.splitlines()) if t.strip()]
        )
        named = {int(r["value"]): (str(r["name"]), r.get("colour")) for r in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise DatasetError(
            f"{listing.source}/{name} cannot be read ({err}); a line a class: `1 forest #00ff00`, or JSON "
            '[{"value": 1, "name": "forest"}]'
        ) from err
    wrong = [c for _, c in named.values() if c is not None and not re.fullmatch(r"#[0-9a-fA-F]{6}", str(c))]
    if wrong:
        raise DatasetError(f"{listing.source}/{name}: colour {wrong[0]!r}; write it as #00ff00")
    values = sorted(named)
    classes = make_classes([named[v][0] for v in values], [named[v][1] for v in values])
    return dict(zip(values, classes, strict=True))


def _line(text: str, number: int) -> dict[str, Any]:
    parts = text.split()
    value = int(parts.pop(0)) if parts[0].lstrip("-").isdigit() and len(parts) > 1 else number
    colour = parts.pop() if parts[-1].startswith("#") and len(parts) > 1 else None
    return {"value": value, "name": " ".join(parts), "colour": colour}


def _read_mask(
    path: str, name: str, grid: Grid, ignore: Sequence[int], declared: dict[int, Class] | None
) -> np.ndarray:
    """Read a mask as its own numbers, int32; what is to be ignored is the lowest number there is.

    Raises:
        DatasetError: it is no mask, of another size or grid than its image, or holds a number of no class.
    """
    with raster_errors(path), rasterio.open(path) as source:
        own = grid_of(source)
        if source.count != 1 or np.dtype(source.dtypes[0]).kind not in "iu":
            raise DatasetError(
                f"{name} has {source.count} bands of {source.dtypes[0]}; a mask has one band of whole numbers, a class each"
            )
        if (own.height, own.width) != (grid.height, grid.width):
            raise DatasetError(
                f"{name} has {own.width} x {own.height} px, its image {grid.width} x {grid.height}; give masks of the size "
                "of their images"
            )
        if own.transform is not None and grid.transform is not None and not same_grid(own, grid):
            raise DatasetError(
                f"{name} lies on {own.describe()}, its image on {grid.describe()}; warp one onto the other"
            )
        nodata = source.nodata
        values = source.read(1).astype(np.int64)
    skip = {*ignore, *([int(nodata)] if nodata is not None and np.isfinite(nodata) else [])} - set(
        declared or ()
    )
    hidden = np.isin(values, sorted(skip))
    if declared is not None:
        unknown = np.setdiff1d(values[~hidden], sorted(declared))
        if len(unknown):
            raise DatasetError(
                f"{name} holds {', '.join(map(str, unknown[:5]))}, which is no class of {CLASS_FILES[0]} or "
                f"{CLASS_FILES[1]} ({', '.join(map(str, sorted(declared)))}); add it there, or ignore it (--ignore)"
            )
    return np.where(hidden, np.iinfo(np.int64).min, values)


def _areas(
    scene: RasterScene,
    reader: PixelReader,
    values: np.ndarray,
    *,
    number: int,
    part: str | None,
    block_px: int,
) -> list[Area]:
    """Cut an image into blocks, whole where it is no larger than one and a half, and read those with labels."""
    out = []
    whole = max(values.shape) <= 1.5 * block_px
    high, wide = values.shape
    blocks = [(0, 0, high, wide)] if whole else grid_blocks(high, wide, block_px)
    for row, col, height, width in blocks:
        own = values[row : row + height, col : col + width]
        if not (own != np.iinfo(np.int64).min).any():
            continue
        pixels, measured = scene.read(reader, row, col, height, width)
        # What was not measured cannot be learned from.
        own = np.where(measured, own, np.iinfo(np.int64).min)
        out.append(
            Area(
                name=scene.name if whole else f"{scene.name} at row {row}, column {col}", images=(pixels,),
                mask=own, source=number, part=part, ring=lonlat_ring(scene.grid, row, col, height, width),
            )
        )  # fmt: skip
    return out


def lonlat_ring(grid: Grid, row: int, col: int, height: int, width: int) -> Ring | None:
    """Return a window's corners (lon, lat) in degrees, half a pixel inside of it, in order; None without a CRS.

    Neighbouring windows share an edge, and a pixel's edge is no shared ground.
    """
    if grid.crs is None or grid.transform is None:
        return None
    a, b, c, d, e, f = grid.transform
    left, right, top, bottom = col + 0.5, col + width - 0.5, row + 0.5, row + height - 0.5
    ring = [
        to_lonlat(grid.crs, a * x + b * y + c, d * x + e * y + f)
        for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))
    ]
    lons = [lon for lon, _ in ring]
    across = max(lons) - min(lons) > 180  # the antimeridian lies between
    return tuple((lon + 360 if across and lon < 0 else lon, lat) for lon, lat in ring)


def _numbered(areas: Sequence[Area], path: Path) -> dict[int, Class]:
    """Name classes by the numbers that occur."""
    found = sorted({int(v) for a in areas for v in np.unique(a.mask)} - {np.iinfo(np.int64).min})
    if len(found) > MAX_CLASSES:
        raise DatasetError(
            f"masks of {path} hold {len(found)} different numbers; the limit is {MAX_CLASSES} classes: are they pictures?"
        )
    classes = make_classes([str(v) for v in found])
    return dict(zip(found, classes, strict=True))


def _renumbered(areas: Sequence[Area], values: Sequence[int]) -> tuple[Area, ...]:
    """Give classes the numbers 0, 1, ... in order of their mask numbers."""
    out = []
    for area in areas:
        position = np.searchsorted(values, area.mask)
        known = area.mask != np.iinfo(np.int64).min
        mask = np.where(known, position, UNKNOWN).astype(np.int16)
        out.append(dataclasses.replace(area, mask=mask))
    return tuple(out)
