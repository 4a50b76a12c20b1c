"""A map of a scene by a fine-tuned model: window by window, blended, and written as it comes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
from jaxtyping import Bool, Float32
from rasterio.errors import RasterioError
from rasterio.windows import Window

from seco.config import setting
from seco.data.grids import Grid
from seco.data.raster_scene import RasterScene, SceneOptions, open_scene
from seco.data.rasters import PixelReader, raster_errors
from seco.errors import ConfigError, DatasetError, SecoError
from seco.nets.tiling import Dates, blended, starts
from seco.runs import progress
from seco.use.model import Model

BLOCK_PX = 256
"""Edge of the compressed blocks of what is written."""
Write = Literal["classes", "probabilities"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """Settings of a prediction, and what the scene's files do not say."""

    write: Write = setting(
        "classes", "the likeliest class of each pixel, or the probability of each class, a band each"
    )
    tile: int | None = setting(None, "edge of a window in pixels; default: that of training")
    overlap: float = setting(0.5, "share of a window's edge that the next one covers too; they are blended")
    batch_size: int = setting(16, "windows at a time")

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.tile is not None and not 8 <= self.tile <= 2048:
            raise ConfigError(f"tile {self.tile} px; it must be from 8 to 2048")
        if not 0 <= self.overlap <= 0.9:
            raise ConfigError(f"overlap {self.overlap}; it must be from 0 to 0.9")
        if self.batch_size < 1:
            raise ConfigError(f"batch size {self.batch_size}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predicted:
    """What was written."""

    out: Path
    grid: Grid
    shares: dict[str, float]
    notes: tuple[str, ...]


def predict(
    model: Model, scene: Path, out: Path, options: Options | None = None, *, after: Path | None = None,
    after_date: str | None = None,
) -> Predicted:  # fmt: skip
    """Write the map of a scene as a GeoTIFF with the scene's CRS, transform and extent.

    What is held at a time are a row of windows and a row of output blocks, whatever the scene's height.

    Args:
        model: what predicts.
        scene: a raster file, a NetCDF file, or a folder with a file a band.
        out: GeoTIFF to write; it appears when it is whole.
        options: settings.
        after: the later scene, for a model of change.
        after_date: its date, where its files hold several.

    Raises:
        ConfigError: the model wants two scenes and one is given, or the reverse; `out` is the scene.
        DatasetError: the scene cannot be read, lacks a band, or holds nothing but nodata.
    """
    options = options or Options()
    if (model.kind == "change") != (after is not None):
        wanted = (
            "two scenes: give the later one with --after"
            if model.kind == "change"
            else "one scene: leave out --after"
        )
        raise ConfigError(f"{model.name} predicts by {model.kind} and takes {wanted}")
    if out.exists() and any(p is not None and p.exists() and out.samefile(p) for p in (scene, after)):
        raise ConfigError(f"{out} is the scene itself; choose another output")
    scenes = [open_scene(scene, options)]
    if after is not None:
        scenes.append(open_scene(after, dataclasses.replace(options, date=after_date or options.date)))
    grid = scenes[0].grid
    feeds = [model.feed(s.bands) for s in scenes]
    tile = options.tile or model.tile
    step = max(1, round(tile * (1 - options.overlap)))

    def of_windows(windows: Sequence[Dates]) -> np.ndarray:
        with torch.inference_mode():
            dates = zip(*windows, strict=True)
            inputs = [feed(np.stack(date)) for feed, date in zip(feeds, dates, strict=True)]
            return model.net.probabilities(*inputs).float().cpu().numpy()

    with PixelReader() as reader:
        strips = blended(
            of_windows, _row_reader(scenes, reader), height=grid.height, width=grid.width, tile=tile, step=step,
            batch_size=options.batch_size,
        )  # fmt: skip
        total = len(starts(grid.height, tile, step))
        shares = _write(out, grid, model, options.write, progress(strips, "rows of windows", total=total))
    notes = tuple(n for s in scenes for n in s.notes)
    if grid.crs is None:
        notes = (*notes, f"{scene} has no position, and so the map has none")
    return Predicted(out=out, grid=grid, shares=shares, notes=notes)


def _row_reader(scenes: Sequence[RasterScene], reader: PixelReader) -> Any:
    """Return what reads windows; a row of them is read at once."""
    grid = scenes[0].grid
    held: dict[str, Any] = {"row": None}

    def read(row: int, col: int, height: int, width: int) -> tuple[Dates, Bool[np.ndarray, "h w"]]:
        if held["row"] != row:
            found = [s.read(reader, row, 0, height, grid.width, onto=grid) for s in scenes]
            held.update(
                row=row, dates=[f[0] for f in found], seen=np.logical_and.reduce([f[1] for f in found])
            )
        window = slice(col, col + width)
        return tuple(d[:, :, window] for d in held["dates"]), held["seen"][:, window]

    return read


def _write(
    out: Path, grid: Grid, model: Model, write: Write,
    strips: Iterator[tuple[int, Float32[np.ndarray, "classes rows width"], Bool[np.ndarray, "rows width"]]],
) -> dict[str, float]:  # fmt: skip
    """Write strips as they come, whole rows of blocks at a time, under a temporary name; return each class's share."""
    num = len(model.classes)
    dtype = "float32" if write == "probabilities" else "uint8" if num < 255 else "uint16"
    nodata = float("nan") if write == "probabilities" else float(np.iinfo(dtype).max)
    counts = np.zeros(num, np.int64)
    temporary = out.with_name(f".{out.name}.partial-{os.getpid()}.tif")
    where = {} if grid.transform is None else {"crs": grid.crs, "transform": rasterio.Affine(*grid.transform)}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            raster_errors(str(out)),
            rasterio.open(
                temporary, "w", driver="GTiff", height=grid.height, width=grid.width, dtype=dtype, nodata=nodata,
                count=num if write == "probabilities" else 1, tiled=True, blockxsize=BLOCK_PX, blockysize=BLOCK_PX,
                compress="deflate", predictor=1 if write == "classes" else 3, BIGTIFF="IF_SAFER", **where,
            ) as target,
        ):  # fmt: skip
            _describe(target, model, write)
            waiting: list[np.ndarray] = []
            done = rows = 0
            for _, chances, seen in strips:
                known = seen & np.isfinite(chances[0])
                if write == "probabilities":
                    full = chances if len(chances) == num else np.full((num, *seen.shape), np.nan, np.float32)
                    waiting.append(np.where(known, full, np.nan).astype(np.float32))
                best = np.nan_to_num(chances, nan=-1.0).argmax(0)
                counts += np.bincount(best[known], minlength=num)
                if write == "classes":
                    waiting.append(np.where(known, best, int(nodata)).astype(dtype)[None])
                rows += seen.shape[0]
                if rows >= BLOCK_PX or done + rows == grid.height:
                    block = np.concatenate(waiting, axis=1)
                    ready = rows if done + rows == grid.height else rows // BLOCK_PX * BLOCK_PX
                    target.write(block[:, :ready], window=Window(0, done, grid.width, ready))
                    waiting, done, rows = [block[:, ready:]], done + ready, rows - ready
        if not counts.sum():
            raise DatasetError(
                f"nothing was measured anywhere in the scene, so {out} is not written; check its nodata number"
            )
        temporary.replace(out)
    except (OSError, RasterioError) as err:
        raise SecoError(f"cannot write {out}: {err}; free disk space or choose another folder") from err
    finally:
        temporary.unlink(missing_ok=True)
    return {c.name: float(n / counts.sum()) for c, n in zip(model.classes, counts, strict=True)}


def _describe(target: Any, model: Model, write: Write) -> None:
    """Write classes and colours into the file: tags of the band, a colour table, descriptions."""
    names = {f"CLASS_{i}": c.name for i, c in enumerate(model.classes)}
    classes = [{"value": i, "name": c.name, "colour": c.colour} for i, c in enumerate(model.classes)]
    target.update_tags(SOFTWARE="seco", MODEL=model.name, KIND=model.kind, CLASSES=json.dumps(classes))
    if write == "probabilities":
        for i, c in enumerate(model.classes, start=1):
            target.set_band_description(i, c.name)
        return
    target.set_band_description(1, "class")
    target.update_tags(1, **names)
    if target.dtypes[0] == "uint8":
        colours = {i: (*c.rgb, 255) for i, c in enumerate(model.classes)}
        target.write_colormap(1, {**colours, 255: (0, 0, 0, 0)})
