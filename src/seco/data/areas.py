"""Labelled ground in memory: pixels of one date or two, and a class a pixel; and how it is split."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import shapely
from jaxtyping import Float, Int64, Integer

from seco.data.overlap import overlapping
from seco.errors import DatasetError
from seco.sensors.bands import Band

Ring = tuple[tuple[float, float], ...]

UNKNOWN = -1
"""Class of a pixel that nobody has labelled, or that is to be ignored."""
PARTS = ("train", "val", "test")
MAX_BYTES = 2**33
"""Most imagery held in memory, all areas together."""
_COLOURS = (
    "#1b7837", "#e6ab02", "#c51b7d", "#2166ac", "#a6d96a", "#d73027", "#8073ac", "#bf812d", "#35978f", "#fdae61",
    "#4d4d4d", "#f1b6da", "#006d77", "#b8de29", "#7f3b08", "#9ecae1",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Class:
    """What a class is called, and the colour it is drawn in."""

    name: str
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three bytes."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


def make_classes(names: Sequence[str], colours: Sequence[str | None] = ()) -> tuple[Class, ...]:
    """Give every class a colour: its own, or one of a fixed list."""
    own = [*colours, *[None] * (len(names) - len(colours))]
    return tuple(
        Class(name=n, colour=c or _COLOURS[i % len(_COLOURS)])
        for i, (n, c) in enumerate(zip(names, own, strict=True))
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Area:
    """One image, or one block of a large one.

    Attributes:
        name: of the image, and where in it.
        images: stored pixels of each date, (bands, height, width).
        mask: class of each pixel, UNKNOWN where it has none.
        source: number of the image that it is part of.
        part: `train`, `val` or `test` where the source says so.
        ring: its corners, (lon, lat) in degrees, where it has a position.
        city: the larger place it lies in, where scores are told by it.
    """

    name: str
    images: tuple[np.ndarray, ...]
    mask: Integer[np.ndarray, "h w"]
    source: int
    part: str | None = None
    ring: Ring | None = None
    city: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """Bounds (west, south, east, north) in degrees, where it has a position."""
        return None if self.ring is None else ring_box(self.ring)


def ring_box(ring: Ring) -> tuple[float, float, float, float]:
    """Return the bounds (west, south, east, north) of corners."""
    lons, lats = zip(*ring, strict=True)
    return min(lons), min(lats), max(lons), max(lats)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """Areas of one kind of imagery with one set of classes."""

    name: str
    areas: tuple[Area, ...]
    bands: tuple[Band, ...]
    classes: tuple[Class, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that it fits into memory and has something to learn."""
        size = sum(i.nbytes for a in self.areas for i in a.images)
        if size > MAX_BYTES:
            raise DatasetError(
                f"{self.name} holds {size / 2**30:.1f} GB of labelled imagery; the limit is {MAX_BYTES / 2**30:.0f} GB: "
                "give fewer images or smaller cuts of them"
            )
        counts = class_counts(self.areas, len(self.classes))
        if (counts > 0).sum() < 2:
            only = ", ".join(c.name for c, n in zip(self.classes, counts, strict=True) if n) or "none"
            raise DatasetError(f"{self.name} has labels of one class only ({only}); at least two are needed")

    def fingerprint(self) -> str:
        """Hash pixels and labels."""
        digest = hashlib.blake2b(digest_size=8)
        for area in self.areas:
            for part in (*area.images, area.mask):
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def class_counts(areas: Sequence[Area], num_classes: int) -> Int64[np.ndarray, " classes"]:
    """Count the pixels of each class."""
    total = np.zeros(num_classes, np.int64)
    for area in areas:
        total += np.bincount(area.mask[area.mask >= 0], minlength=num_classes)[:num_classes]
    return total


def statistics(
    areas: Sequence[Area], bands: Sequence[Band]
) -> tuple[Float[np.ndarray, " bands"], Float[np.ndarray, " bands"]]:
    """Return mean and deviation of each band over all dates, stored units, what was not measured left out."""
    num, total, squares = (np.zeros(len(bands)) for _ in range(3))
    nodata = np.array([np.nan if b.nodata is None else b.nodata for b in bands])[:, None, None]
    for area in areas:
        for image in area.images:
            values = image.astype(np.float64)
            seen = np.isfinite(values) & (values != nodata)
            num += seen.sum((1, 2))
            total += values.sum((1, 2), where=seen)
            squares += (values**2).sum((1, 2), where=seen)
    num = np.maximum(num, 1)
    mean = total / num
    return mean, np.sqrt(np.maximum(squares / num - mean**2, 0.0))


def grid_blocks(height: int, width: int, edge: int) -> list[tuple[int, int, int, int]]:
    """Cut a raster into blocks (row, col, height, width) of about `edge` pixels, all of nearly one size."""
    rows = np.linspace(0, height, max(1, round(height / edge)) + 1).astype(int)
    cols = np.linspace(0, width, max(1, round(width / edge)) + 1).astype(int)
    return [
        (int(r), int(c), int(r2 - r), int(c2 - c))
        for r, r2 in itertools.pairwise(rows)
        for c, c2 in itertools.pairwise(cols)
    ]


def groups(areas: Sequence[Area]) -> Int64[np.ndarray, " areas"]:
    """Number the groups that must stay in one part: areas that share ground."""
    group = np.arange(len(areas))
    placed = [i for i, a in enumerate(areas) if a.ring is not None]
    if placed:
        boxes = np.array([areas[i].box for i in placed], np.float64)
        pairs = overlapping(boxes, boxes)
        one, two = pairs[pairs[:, 0] < pairs[:, 1]].T
        # Grids are turned against meridians, so that boxes around neighbours overlap where these do not.
        rings = shapely.polygons([areas[i].ring for i in placed])
        shared = np.zeros(len(one), bool)
        for turn in (-360.0, 0.0, 360.0):
            moved = shapely.transform(rings, lambda points, turn=turn: points + np.array([turn, 0.0]))
            shared |= shapely.intersects(rings[one], moved[two])
        for a, b in zip(one[shared], two[shared], strict=True):
            first, second = group[placed[a]], group[placed[b]]
            group[group == max(first, second)] = min(first, second)
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def divide(areas: Sequence[Area], *, shares: tuple[float, float], seed: int) -> tuple[list[str], str]:
    """Say which part each area belongs to: the source's own, else drawn by whole groups of areas that share ground.

    Args:
        areas: what to divide.
        shares: of the areas for test and for validation.
        seed: of the draw.

    Returns:
        `train`, `val` or `test` for each, and the split in words.

    Raises:
        DatasetError: too few areas, an empty part, or parts of the source that share ground.
    """
    parts: list[str | None] = [a.part for a in areas]
    group = groups(areas)
    words = f"seeded, test share {shares[0]:g}, seed {seed}" if shares[0] else f"seeded, seed {seed}"
    if any(parts):
        if not all(parts):
            first = next(a.name for a in areas if a.part is None)
            raise DatasetError(
                f"{first} is in no folder train, val or test, but others are; put all into one of them"
            )
        words = "published"
        for number in np.unique(group):
            members = np.flatnonzero(group == number)
            found = sorted({str(parts[i]) for i in members})
            if len(found) > 1:
                names = ", ".join(areas[i].name for i in members[:3])
                raise DatasetError(
                    f"{' and '.join(found)} share ground: {names}; a place belongs to one part only"
                )
    wanted = [p for p, share in zip(("test", "val"), shares, strict=True) if share and p not in parts]
    free = {int(group[i]) for i, p in enumerate(parts) if p in (None, "train")}
    if any(parts) and "train" not in parts:
        raise DatasetError(f"none of the {len(areas)} areas is for training; put some into a folder train")
    order = np.random.default_rng([seed, 0xA3EA]).permutation(sorted(free))
    if len(order) < len(wanted) + 1:
        raise DatasetError(
            f"{len(areas)} areas in {len(order)} groups that share no ground; train and {' and '.join(wanted)} need one "
            "each: give more images, or smaller blocks (--block-px)"
        )
    position = 0
    for part in wanted:
        share = shares[0] if part == "test" else shares[1]
        num = max(1, min(round(share * len(order)), len(order) - 1 - (part == "test" and "val" in wanted)))
        num = min(num, len(order) - position - 1)
        for number in order[position : position + num]:
            parts = [part if group[i] == number else p for i, p in enumerate(parts)]
        position += num
        if words == "published":
            words += f", {part} share {share:g} drawn from train, seed {seed}"
    return [p or "train" for p in parts], words
