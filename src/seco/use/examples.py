"""Labelled images for fine-tuning a classifier: from a labelled dataset or folder, or cut around points in scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer
from torch import Tensor

from seco.data.areas import UNKNOWN, Area, Class, make_classes, ring_box
from seco.data.labels import class_labels, stratified
from seco.data.overlap import touched
from seco.data.pairs import lonlat_ring
from seco.data.raster_scene import RasterScene
from seco.data.rasters import PixelReader
from seco.data.vectors import Shapes, check_alike, placed_on
from seco.errors import TaskError
from seco.nets.predictor import Predictor
from seco.probes.labelled import check_apart, open_labelled
from seco.probes.scores import accuracy
from seco.sensors.bands import Band
from seco.train import images
from seco.train.dense import class_weights
from seco.train.supervised import Batch, Training

_HELD = 0xF1A1
MOST_FOR_STATISTICS = 4096


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
        """Training images as areas, for statistics: so many, evenly, since rows are often sorted by class."""
        train = self.rows[~self.held]
        some = train[np.linspace(0, len(train) - 1, min(MOST_FOR_STATISTICS, len(train))).astype(int)]
        empty = np.full(self.pixels.shape[-2:], UNKNOWN, np.int16)
        return [Area(name="", images=(np.asarray(self.pixels[r]),), mask=empty, source=0) for r in some]


def of_folder(path: Path, *, val_share: float, seed: int) -> Examples:
    """Read a labelled dataset, or a folder or zip with a folder of images a class; a published test part is left out.

    Raises:
        TaskError: fewer than two classes, too few images, or a published validation part that shares a place with training.
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
    else:
        check_apart(dataset, {"train": usable & ~held, "val": held})
    rows = np.flatnonzero(usable)
    tier = dataset.training()
    return Examples(
        pixels=tier.pixels, rows=rows, labels=labels[rows], held=held[rows], bands=tuple(tier.bands),
        classes=make_classes(names), words=words,
    )  # fmt: skip


def of_points(
    scenes: Sequence[RasterScene], shapes: Shapes, *, tile: int, val_share: float, seed: int
) -> Examples:
    """Cut an image around each point that lies in a scene; those for validation share no ground with the others.

    Scenes may show the same ground (at several dates, say): what is held out of one is held out of all.

    Raises:
        DatasetError: a scene has no CRS, or scenes have different bands.
        TaskError: too few points lie on measured ground.
    """
    pixels, labels, rings = [], [], []
    with PixelReader() as reader:
        for scene in scenes:
            check_alike(scene, scenes[0])
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
                    rings.append(lonlat_ring(scene.grid, row, col, tile, tile))
    if not pixels:
        raise TaskError(
            f"no point of {shapes.name} lies on measured ground of {', '.join(s.name for s in scenes)}"
        )
    box = np.array([ring_box(r) for r in rings if r is not None], np.float64)
    cell = _squares(box)
    order = np.random.default_rng([seed, _HELD]).permutation(cell.max() + 1)
    chosen = order[: max(1, round(val_share * len(order)))] if len(order) > 1 else order[:0]
    held = np.isin(cell, chosen)
    # Boxes are half a pixel short on each side: images that share a single row of pixels would only touch.
    hair = 0.25 * float(box[0, 3] - box[0, 1]) / tile
    near = ~held & touched(box, box[held], grow_deg=hair) if held.any() else np.zeros(len(held), bool)
    rows = np.flatnonzero(~near)
    words = f"validation {len(chosen)} of {len(order)} squares of {4 * tile} px, {int(near.sum())} beside them left out"
    return Examples(
        pixels=np.stack(pixels), rows=rows, labels=np.array(labels)[rows], held=held[rows], bands=scenes[0].bands,
        classes=make_classes(shapes.classes), words=words,
    )  # fmt: skip


def _squares(box: Float[np.ndarray, "n 4"]) -> Integer[np.ndarray, " n"]:
    """Number the squares of the globe, four images wide, that images (west, south, east, north, degrees) lie in."""
    high = 4 * float(box[0, 3] - box[0, 1])
    row = np.floor((box[:, 1] + box[:, 3]) / 2 / high)
    wide = high / np.maximum(np.cos(np.radians(row * high)), 0.01)
    col = np.floor((box[:, 0] + box[:, 2]) / 2 / wide)
    return np.unique(np.stack([row, col], 1), axis=0, return_inverse=True)[1].ravel().astype(np.int64)


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
