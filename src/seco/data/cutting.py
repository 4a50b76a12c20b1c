"""Cut scenes of one place into patches on one grid: the plan (pure), and the pixels, patch by patch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal

import numpy as np

from seco.data.encodings import Encoding, convert, empty
from seco.data.footprint import to_lonlat
from seco.data.grids import Grid, Plane, Tile, factors, native_size, same_grid, span, tiles
from seco.data.masks import MaskRule
from seco.data.rasters import PixelReader
from seco.data.scenes import Collection, Scene
from seco.data.writer import Patch
from seco.errors import DatasetError

OnMisaligned = Literal["error", "resample"]
MASK = "mask"
"""Stands for a scene's cloud mask among the names of its bands."""
HOLD_BYTES = 128 * 2**20
"""Pixels held at once, about."""
_MAX_REFLECTANCE = 3.0
"""No surface is three times as bright as a white diffuser; a mean above it means that numbers are not reflectance."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """All scenes of one place and its finest grid, which every scene shares or is resampled onto.

    Attributes:
        grids: for each band the grid it is read on.
        onto: (scene position, band) of the planes that are resampled onto that grid.
    """

    name: str
    grid: Grid
    grids: dict[str, Grid]
    scenes: tuple[Scene, ...]
    onto: frozenset[tuple[int, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """How all places are cut.

    Attributes:
        native_px: for each band the edge of a patch in its own pixels, or None where it is repeated onto the finest grid.
        targets: for each band the encoding that the dataset holds.
        sources: the encoding of each plane, by file and band name.
        rule: how masks are read.
        check_floats: refuse floats that cannot be reflectance.
        min_clear: least clear fraction of a patch at a date.
        min_dates: least number of dates of a patch.
    """

    patch_px: int
    stride_px: int
    native_px: dict[str, int | None]
    targets: dict[str, Encoding]
    sources: Mapping[tuple[str, str], Encoding]
    rule: MaskRule | None
    check_floats: bool
    min_clear: float
    min_dates: int


@dataclasses.dataclass
class Counts:
    """What was left out while cutting."""

    empty: int = 0
    cloudy: int = 0
    unmasked: int = 0
    few_dates: int = 0


def plan_places(collection: Collection, *, on_misaligned: OnMisaligned) -> list[Place]:
    """Find the grid of each place: that of its first scene.

    Raises:
        DatasetError: scenes or bands lie on different grids, and are not to be resampled.
    """
    return [
        _plan_place(name, tuple(scenes), collection.bands, on_misaligned)
        for name, scenes in groupby(collection.scenes, key=lambda s: s.place)
    ]


def _plan_place(
    name: str, scenes: tuple[Scene, ...], bands: Sequence[str], on_misaligned: OnMisaligned
) -> Place:
    first = scenes[0]
    fine = min(
        (first.planes[b].grid for b in bands), key=lambda g: (g.pixel[0] * g.pixel[1], -g.height * g.width)
    )
    grids: dict[str, Grid] = {}
    onto: set[tuple[int, str]] = set()
    for i, scene in enumerate(scenes):
        for band in bands:
            grid = scene.planes[band].grid
            wanted = grids.get(band, fine)
            fits = same_grid(wanted, grid) if band in grids else factors(fine, grid) is not None
            if not fits:
                if on_misaligned == "error":
                    raise DatasetError(_misaligned(name, scene, band, grid, wanted))
                onto.add((i, band))
            grids.setdefault(band, grid if fits else fine)
        if scene.mask is not None and factors(fine, scene.mask.grid) is None:
            if on_misaligned == "error":
                raise DatasetError(_misaligned(name, scene, "of the cloud mask", scene.mask.grid, fine))
            onto.add((i, MASK))
    return Place(name=name, grid=fine, grids=grids, scenes=scenes, onto=frozenset(onto))


def _misaligned(place: str, scene: Scene, band: str, grid: Grid, wanted: Grid) -> str:
    return (
        f"place {place} on {scene.when.date()}: band {band} is {grid.describe()}; the place's grid is {wanted.describe()}: "
        "give aligned files, or say --on-misaligned resample"
    )


def native_sizes(
    places: Sequence[Place], bands: Sequence[str], *, patch_px: int, stride_px: int
) -> dict[str, int | None]:
    """Return which bands keep their own coarser pixels: those whose pixels divide the patch, alike in all places."""
    out: dict[str, int | None] = {}
    for band in bands:
        sizes = set()
        for place in places:
            factor = factors(place.grid, place.grids[band])
            sizes.add(native_size(factor, patch_px=patch_px, stride_px=stride_px) if factor else None)
        out[band] = sizes.pop() if len(sizes) == 1 else None
    return out


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Cuts places into patches. A batch of tiles is held with all their dates, so that each file is opened once a batch."""

    cut: Cut
    reader: PixelReader
    counts: Counts

    def patches(self, place: Place) -> Iterator[Patch]:
        """Yield the patches of a place, tile by tile, each tile's dates in order.

        Raises:
            DatasetError: a file cannot be read, or its numbers are not what they are taken for.
        """
        todo = tiles(place.grid, patch_px=self.cut.patch_px, stride_px=self.cut.stride_px)
        size = sum(np.dtype(t.dtype).itemsize for t in self.cut.targets.values()) * self.cut.patch_px**2
        at_once = max(1, HOLD_BYTES // (size * len(place.scenes)))
        for start in range(0, len(todo), at_once):
            batch = todo[start : start + at_once]
            found: list[list[Patch]] = [[] for _ in batch]
            for i in range(len(place.scenes)):
                for tile, patches in zip(batch, found, strict=True):
                    patch = self._patch(place, i, tile)
                    if patch is not None:
                        patches.append(patch)
            for patches in found:
                if len(patches) < self.cut.min_dates:
                    self.counts.few_dates += bool(patches)
                else:
                    yield from patches

    def _patch(self, place: Place, position: int, tile: Tile) -> Patch | None:
        """Return the patch of one scene, or None where it holds nothing or too little of the ground is seen."""
        scene = place.scenes[position]
        pixels: dict[str, np.ndarray] = {}
        missing: list[np.ndarray] = []
        for band, target in self.cut.targets.items():
            source = self.cut.sources[scene.planes[band].path, band]
            stored = self._band(place, position, band, tile, source)
            if self.cut.check_floats and source.units == "reflectance":
                _check_reflectance(stored, source, scene.planes[band].path, band)
            pixels[band] = convert(stored, source, target)
            missing.append(_spread(empty(stored, source.nodata), self.cut.patch_px))
        if np.logical_and.reduce(missing).all():
            self.counts.empty += 1
            return None
        clear = None
        if self.cut.rule is not None and scene.mask is not None:
            hidden = self._hidden(place, position, tile, scene.mask, self.cut.rule)
            clear = float(1.0 - (hidden | np.logical_or.reduce(missing)).mean())
        if self.cut.min_clear > 0 and (clear is None or clear < self.cut.min_clear):
            self.counts.cloudy += clear is not None
            self.counts.unmasked += clear is None
            return None
        lon, lat = _centre(place.grid, tile, self.cut.patch_px)
        return Patch(
            place=f"{place.name}_r{tile.number_row:03d}_c{tile.number_col:03d}",
            pixels=pixels, date=scene.when.date(), lon=lon, lat=lat, crs=place.grid.crs,
            transform=place.grid.window(tile.row, tile.col), item=scene.item, baseline=scene.baseline,
            clear_fraction=clear,
        )  # fmt: skip

    def _band(self, place: Place, position: int, band: str, tile: Tile, source: Encoding) -> np.ndarray:
        """Return the stored numbers of one band, in its own pixels or repeated onto the finest grid."""
        plane, grid = place.scenes[position].planes[band], place.grids[band]
        onto = grid if (position, band) in place.onto else None
        nodata = math.nan if source.nodata is None and source.dtype.startswith("float") else source.nodata
        if onto is not None and nodata is None:
            raise DatasetError(
                f"{plane.path} declares no nodata number, which resampling needs; give --nodata"
            )
        native = self.cut.native_px[band]
        if native is not None:
            factor = self.cut.patch_px // native
            row, col = tile.row // factor, tile.col // factor
            return self.reader.read(plane, row, col, native, native, onto=onto, nodata=nodata)
        down, across = factors(place.grid, grid) or (1.0, 1.0)
        rows = span(tile.row, self.cut.patch_px, down, grid.height)
        cols = span(tile.col, self.cut.patch_px, across, grid.width)
        pixels = self.reader.read(
            plane, rows.start, cols.start, rows.size, cols.size, onto=onto, nodata=nodata
        )
        return pixels[rows.take][:, cols.take]

    def _hidden(self, place: Place, position: int, tile: Tile, mask: Plane, rule: MaskRule) -> np.ndarray:
        """Return where the ground is hidden, on the finest grid."""
        size = self.cut.patch_px
        factor = factors(place.grid, mask.grid)
        if factor is None or (position, MASK) in place.onto:
            # A pixel outside the mask was not looked at; 255 stands for that and no rule calls it clear.
            pixels = self.reader.read(
                mask, tile.row, tile.col, size, size, onto=place.grid, nodata=255.0, nearest=True
            )
            return rule.unclear(pixels, mask.nodata) | (pixels == 255)
        rows = span(tile.row, size, factor[0], mask.grid.height)
        cols = span(tile.col, size, factor[1], mask.grid.width)
        pixels = self.reader.read(mask, rows.start, cols.start, rows.size, cols.size)
        return rule.unclear(pixels, mask.nodata)[rows.take][:, cols.take]


def _check_reflectance(stored: np.ndarray, source: Encoding, path: str, band: str) -> None:
    valid = stored[~empty(stored, source.nodata)]
    if valid.size and abs(float(valid.mean())) > _MAX_REFLECTANCE:
        raise DatasetError(
            f"{path}: floats of band {band} average {float(valid.mean()):.4g}, which is no reflectance (0 to 1); "
            "give --scale, such as --scale 0.0001, or --units reflectance to take them as they are"
        )


def _spread(mask: np.ndarray, patch_px: int) -> np.ndarray:
    """Repeat a coarser band's mask onto the finest grid."""
    times = patch_px // len(mask)
    return mask if times == 1 else mask.repeat(times, 0).repeat(times, 1)


def _centre(grid: Grid, tile: Tile, patch_px: int) -> tuple[float | None, float | None]:
    if grid.crs is None or grid.transform is None:
        return None, None
    a, b, c, d, e, f = grid.transform
    col, row = tile.col + patch_px / 2, tile.row + patch_px / 2
    lon, lat = to_lonlat(grid.crs, a * col + b * row + c, d * col + e * row + f)
    return (lon + 180) % 360 - 180, lat
