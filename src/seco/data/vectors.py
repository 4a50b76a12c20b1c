"""Points and polygons with a class, and the ground that they label in rasters."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio import Affine
from rasterio.features import rasterize

from seco.data.areas import UNKNOWN, Area, Labelled, grid_blocks, make_classes
from seco.data.grids import Grid
from seco.data.pairs import lonlat_ring
from seco.data.raster_scene import RasterScene
from seco.data.rasters import PixelReader
from seco.errors import DatasetError
from seco.runs import progress

MAX_BYTES = 2**29
LONLAT = "OGC:CRS84"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes:
    """Points or polygons.

    Attributes:
        name: of the file.
        geometries: in `crs`, x before y.
        labels: number of the class of each.
        classes: names, sorted.
        crs: as pyproj takes it.
    """

    name: str
    geometries: tuple[Any, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    crs: str

    @property
    def are_points(self) -> bool:
        """Whether all are points."""
        return all(g.geom_type == "Point" for g in self.geometries)

    def on(self, crs: str) -> np.ndarray:
        """Return the geometries in another CRS."""
        transformer = Transformer.from_crs(self.crs, crs, always_xy=True)
        return shapely.transform(
            np.array(self.geometries, object),
            lambda xy: np.stack(transformer.transform(xy[:, 0], xy[:, 1]), 1),
        )


def read_shapes(path: Path, field: str) -> Shapes:
    """Read GeoJSON, or GeoPackage and other files where pyogrio is installed.

    Raises:
        DatasetError: the file cannot be read, has no such field, or holds lines or empty geometries.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; give a GeoJSON or GeoPackage file of points or polygons")
    if path.suffix.lower() in (".geojson", ".json"):
        geometries, values, crs = _geojson(path, field)
    else:
        geometries, values, crs = _by_pyogrio(path, field)
    kinds = sorted({g.geom_type for g in geometries} - {"Point", "Polygon", "MultiPolygon"})
    if kinds or not geometries:
        raise DatasetError(f"{path} holds {', '.join(kinds) or 'no geometry'}; labels are points or polygons")
    if any(g.is_empty or not np.isfinite(g.bounds).all() for g in geometries):
        raise DatasetError(
            f"{path} holds an empty geometry, or coordinates that are not finite; mend the file"
        )
    try:
        CRS.from_user_input(crs)
    except ProjError as err:
        raise DatasetError(f"{path}: CRS {crs!r} is not known ({err})") from err
    names = sorted({str(v) for v in values}, key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v))
    return Shapes(
        name=path.name, geometries=tuple(geometries), labels=tuple(names.index(str(v)) for v in values),
        classes=tuple(names), crs=crs,
    )  # fmt: skip


def _geojson(path: Path, field: str) -> tuple[list[Any], list[Any], str]:
    if path.stat().st_size > MAX_BYTES:
        raise DatasetError(
            f"{path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}: use a GeoPackage"
        )
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        features = whole["features"]
        geometries = [shapely.geometry.shape(f["geometry"]) for f in features]
        properties = [f.get("properties") or {} for f in features]
        crs = whole.get("crs", {}).get("properties", {}).get("name", LONLAT)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as err:
        raise DatasetError(f"{path} is no GeoJSON FeatureCollection ({type(err).__name__}: {err})") from err
    _check_field(path, field, [p.get(field) for p in properties], sorted({k for p in properties for k in p}))
    return geometries, [p[field] for p in properties], str(crs)


def _by_pyogrio(path: Path, field: str) -> tuple[list[Any], list[Any], str]:
    if importlib.util.find_spec("pyogrio") is None:
        raise DatasetError(
            f"{path}: reading {path.suffix} needs `pip install pyogrio`; or convert it to GeoJSON"
        )
    raw = importlib.import_module("pyogrio.raw")
    try:
        meta, _, geometry, columns = raw.read(path)
        geometries = list(shapely.from_wkb(geometry))
    except (RuntimeError, ValueError, OSError, shapely.errors.ShapelyError) as err:
        raise DatasetError(f"cannot read {path}: {' '.join(str(err).split())}") from err
    names = [str(n) for n in meta["fields"]]
    values = list(columns[names.index(field)]) if field in names else [None]
    _check_field(path, field, values, names)
    if not meta["crs"]:
        raise DatasetError(f"{path} has no CRS, so it cannot be laid over rasters; assign one")
    return geometries, values, str(meta["crs"])


def _check_field(path: Path, field: str, values: Sequence[Any], known: Sequence[str]) -> None:
    missing = sum(v is None for v in values)
    if missing:
        raise DatasetError(
            f"{path}: {missing} of {len(values)} features have no {field!r}; fields: "
            f"{', '.join(known) or 'none'} (--label-field)"
        )


def burn(
    shapes: Sequence[Any], labels: Sequence[int], transform: Affine, shape: tuple[int, int]
) -> np.ndarray:
    """Return the class of each pixel whose centre lies in a polygon, or that holds a point; UNKNOWN elsewhere."""
    if not len(shapes):
        return np.full(shape, UNKNOWN, np.int16)
    pairs = list(zip(shapes, labels, strict=True))
    return rasterize(pairs, out_shape=shape, transform=transform, fill=UNKNOWN, dtype="int16")


def label_scenes(scenes: Sequence[RasterScene], shapes: Shapes, *, block_px: int) -> Labelled:
    """Cut scenes into blocks, and keep those that a point or polygon lies in, with a class a pixel.

    Raises:
        DatasetError: a scene has no CRS, scenes have different bands, or nothing is labelled.
    """
    areas: list[Area] = []
    with PixelReader() as reader:
        for number, scene in enumerate(scenes):
            check_alike(scene, scenes[0])
            placed, transform = placed_on(scene.grid, shapes, scene.name)
            tree = shapely.STRtree(placed)
            for row, col, height, width in progress(
                grid_blocks(scene.grid.height, scene.grid.width, block_px), f"labels of {scene.name}"
            ):
                own = transform * Affine.translation(col, row)
                ring = shapely.Polygon([own * c for c in ((0, 0), (width, 0), (width, height), (0, height))])
                hit = np.sort(tree.query(ring, predicate="intersects"))
                mask = burn(list(placed[hit]), [shapes.labels[i] for i in hit], own, (height, width))
                if (mask == UNKNOWN).all():
                    continue
                pixels, measured = scene.read(reader, row, col, height, width)
                mask = np.where(measured, mask, UNKNOWN).astype(np.int16)
                if (mask == UNKNOWN).all():
                    continue
                ring = lonlat_ring(scene.grid, row, col, height, width)
                name = f"{scene.name} at row {row}, column {col}"
                areas.append(Area(name=name, images=(pixels,), mask=mask, source=number, ring=ring))
    if not areas:
        raise DatasetError(
            f"no feature of {shapes.name} lies on measured ground of {', '.join(s.name for s in scenes)}; check their CRS "
            f"({shapes.crs})"
        )
    return Labelled(
        name=shapes.name, areas=tuple(areas), bands=scenes[0].bands, classes=make_classes(shapes.classes)
    )


def placed_on(grid: Grid, shapes: Shapes, name: str) -> tuple[np.ndarray, Affine]:
    """Return the geometries in a grid's CRS, and its transform.

    Raises:
        DatasetError: the grid has no CRS.
    """
    if grid.crs is None or grid.transform is None:
        raise DatasetError(
            f"{name} has no CRS, so no point or polygon can be laid over it; give a georeferenced scene"
        )
    return shapes.on(grid.crs), Affine(*grid.transform)


def check_alike(scene: RasterScene, first: RasterScene) -> None:
    """Check that two scenes have the same bands in one order, with one meaning.

    Raises:
        DatasetError: they have not.
    """
    ours, theirs = ([(b.name, b.units, b.scale, b.offset) for b in s.bands] for s in (scene, first))
    if ours != theirs:
        raise DatasetError(
            f"{scene.name} has bands {', '.join(f'{b.name} ({b.units})' for b in scene.bands)}, {first.name} has "
            f"{', '.join(f'{b.name} ({b.units})' for b in first.bands)}, or their scales differ; give scenes of one kind"
        )
