"""Labelled images for fine-tuning a classifier: from a labelled dataset or folder, or cut around points in scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from torch import Tensor

from seco.data.areas import UNKNOWN, Area, Class, make_classes
from seco.data.labels import class_labels, stratified
from seco.data.raster_scene import RasterScene
from seco.data.rasters import PixelReader
from seco.data.vectors import Shapes, placed_on
from seco.errors import TaskError
from seco.nets.predictor import Predictor
from seco.probes.labelled import open_labelled
from seco.probes.scores import accuracy
from seco.sensors.bands import Band
from seco.train import images
from seco.train.dense import class_weights
from seco.train.supervised import Batch, Training

_HELD = 0xF1A1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Images of one size with a class each.

    Attributes:
        pixels: (n, bands, px, px) stored numbers, a memory map perhaps.
        rows: of `pixels` that take part.
        labels: class of each of `rows`.
        held: whether each of `rows` is for validation.
        bands: what the numbers mean.
        classes: by label.
        words: how they were divided.
    """

    pixels: np.ndarray
    rows: Integer[np.ndarray, " n"]
    labels: Integer[np.ndarray, " n"]
    held: np.ndarray
    bands: tuple[Band, ...]
    classes: tuple[Class, ...]
    words: str

    def __post_init__(self) -> None:
        """Check that there is something to learn and something to stop on."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        if (counts > 0).sum() < 2:
            raise TaskError(
                f"{len(self.rows)} labelled images of {int((counts > 0).sum())} class; at least two are needed"
            )
        alone = [c.name for c, n in zip(self.classes, counts, strict=True) if n == 1]
        if alone:
            raise TaskError(
                f"class {', '.join(alone)} has one image; give two at least, one to stop on, or leave it out"
            )
        if not self.held.any() or self.held.all():
            raise TaskError(
                f"{len(self.rows)} images ({self.words}) leave training or validation empty; give more"
            )

    @property
    def areas(self) -> list[Area]:
        """The training images as areas, for statistics."""
        some = self.rows[~self.held][:4096]
        empty = np.full(self.pixels.shape[-2:], UNKNOWN, np.int16)
        return [Area(name="", images=(np.asarray(self.pixels[r]),), mask=empty, source=0) for r in some]


def of_folder(path: Path, *, val_share: float, seed: int) -> Examples:
    """Read a labelled dataset, or a folder or zip with a folder of images a class; a published test part is left out.

    Raises:
        TaskError: fewer than two classes, or too few images.
    """
    dataset = open_labelled(path)
    names, labels = class_labels(dataset)
    parts = np.array([p or "" for p in dataset.index["split"].to_pylist()])
    usable = (labels >= 0) & (parts != "test")
    held = usable & (parts == "val")
    words = "published validation part"
    if not held.any():
        held = stratified(dataset, labels, usable, val_share, seed=(seed, _HELD))
        words = f"validation share {val_share:g}, stratified by class, seed {seed}"
    rows = np.flatnonzero(usable)
    tier = dataset.training()
    return Examples(
        pixels=tier.pixels, rows=rows, labels=labels[rows], held=held[rows], bands=tuple(tier.bands),
        classes=make_classes(names), words=words,
    )  # fmt: skip


def of_points(
    scenes: Sequence[RasterScene], shapes: Shapes, *, tile: int, val_share: float, seed: int
) -> Examples:
    """Cut an image around each point that lies in a scene; those for validation share no pixel with the others.

    Raises:
        DatasetError: a scene has no CRS.
        TaskError: too few points lie on measured ground.
    """
    pixels, labels, where = [], [], []
    with PixelReader() as reader:
        for number, scene in enumerate(scenes):
            placed, transform = placed_on(scene.grid, shapes, scene.name)
            height, width = scene.grid.height, scene.grid.width
            if min(height, width) < tile:
                raise TaskError(
                    f"{scene.name} has {width} x {height} px, less than an image of {tile} px (--tile)"
                )
            for point, label in zip(placed, shapes.labels, strict=True):
                x, y = ~transform * (point.x, point.y)
                if not (0 <= x < width and 0 <= y < height):
                    continue
                row = int(np.clip(int(y) - tile // 2, 0, height - tile))
                col = int(np.clip(int(x) - tile // 2, 0, width - tile))
                found, measured = scene.read(reader, row, col, tile, tile)
                if measured[int(y) - row, int(x) - col]:
                    pixels.append(found)
                    labels.append(label)
                    where.append((number, row, col))
    if not pixels:
        raise TaskError(
            f"no point of {shapes.name} lies on measured ground of {', '.join(s.name for s in scenes)}"
        )
    corner = np.array(where)
    cell = np.unique(corner // (1, 4 * tile, 4 * tile), axis=0, return_inverse=True)[1].ravel()
    order = np.random.default_rng([seed, _HELD]).permutation(cell.max() + 1)
    chosen = order[: max(1, round(val_share * len(order)))] if len(order) > 1 else order[:0]
    held = np.isin(cell, chosen)
    near = np.zeros(len(held), bool)
    for number, row, col in corner[held]:
        apart = np.abs(corner - (number, row, col))
        near |= ~held & (apart[:, 0] == 0) & (apart[:, 1:] < tile).all(1)
    rows = np.flatnonzero(~near)
    words = f"validation {len(chosen)} of {len(order)} squares of {4 * tile} px, {int(near.sum())} beside them left out"
    return Examples(
        pixels=np.stack(pixels), rows=rows, labels=np.array(labels)[rows], held=held[rows], bands=scenes[0].bands,
        classes=make_classes(shapes.classes), words=words,
    )  # fmt: skip


def image_draw(
    examples: Examples, feed: Callable[[np.ndarray], Tensor], settings: Training, *, seed: int
) -> Callable[[int], Batch]:
    """Return what draws the training images of a step."""
    train = ~examples.held
    return images.image_draw(
        examples.pixels,
        examples.rows[train],
        examples.labels[train].astype(np.int64),
        feed,
        settings,
        seed=seed,
    )


def validate_images(examples: Examples, feed: Callable[[np.ndarray], Tensor]) -> Callable[[Predictor], float]:
    """Return what gives the accuracy on the validation images."""
    rows, truth = examples.rows[examples.held], examples.labels[examples.held]

    def validate(net: Predictor) -> float:
        return accuracy(truth, images.image_logits(net, feed, examples.pixels, rows).argmax(1))

    return validate


def example_weights(examples: Examples, how: str) -> Tensor | None:
    """Return the weight of each class in the loss, as for maps."""
    mask = examples.labels[~examples.held][None].astype(np.int16)
    return class_weights([Area(name="", images=(), mask=mask, source=0)], len(examples.classes), how)
