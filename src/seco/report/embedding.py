"""Features in two dimensions, and what the points can be coloured by."""

from __future__ import annotations

import calendar
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from seco.data.split import place_boxes
from seco.errors import SecoError, TaskError
from seco.places.rasters import LabelRaster, climate, land_cover
from seco.probes.rasters import label_boxes
from seco.report.ground import Ground
from seco.report.markup import clean

MAX_POINTS = 1200
"""t-SNE of 1,200 points takes some seconds on one core, and their pictures half a megabyte."""
MIN_TSNE = 50
"""With fewer points t-SNE shows its perplexity, not the data."""
PERPLEXITY = 30.0
NUM_COMPONENTS = 50
"""Principal components that t-SNE is given (van der Maaten and Hinton 2008, section 4.2: 30)."""
GREY = "#8b9197"
MAX_CLASSES = 10
PALETTE = (
    "#3f78b5", "#d98032", "#3d9970", "#9a6cc0", "#c94f4f", "#b8a23a", "#4aa5b8", "#c96ba0", "#7a8f3c", "#8a6d4f",
)  # fmt: skip
SEASONS = (("winter", "#4a86c5"), ("spring", "#62b06a"), ("summer", "#e0a32e"), ("autumn", "#b5603a"))
MONTHS = (
    "#3f6fb5", "#3f93c0", "#3fae9f", "#5db56a", "#95b84c", "#cdb43c", "#e59a33", "#e0763a", "#cb5350", "#a9487c",
    "#84509f", "#5c5db3",
)  # fmt: skip
LATITUDES = ("#c8573d", "#e2a54a", "#d9d06a", "#5fae8b", "#3b67ab")
# MODIS IGBP classes in groups that an eye can tell apart.
LAND_COVER = (
    ("forest", "#2f7d4f", (1, 2, 3, 4, 5)), ("shrubland", "#9c7f43", (6, 7)), ("savanna", "#c2b04a", (8, 9)),
    ("grassland", "#83b866", (10,)), ("wetland", "#3f9aa6", (11,)), ("cropland", "#e2a336", (12, 14)),
    ("urban and built-up", "#c4453c", (13,)), ("snow and ice", "#86b4e0", (15,)), ("barren", "#b09a86", (16,)),
)  # fmt: skip
# Main groups of Koeppen and Geiger, by the first letter of a zone.
CLIMATES = (
    ("tropical (A)", "#1f9d8a", "A"), ("arid (B)", "#dd8a3c", "B"), ("temperate (C)", "#74ad4c", "C"),
    ("continental (D)", "#4a7ec2", "D"), ("polar (E)", "#9b86cf", "E"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding:
    """Points in the unit square, and how they came there, in words."""

    points: Float[np.ndarray, "patches 2"]
    how: str


def embed(features: Float[np.ndarray, "patches dim"], *, seed: int) -> Embedding:
    """Lay features out in two dimensions.

    Raises:
        TaskError: fewer than three patches, or all have the same features.
    """
    if len(features) < 3:
        raise TaskError(f"{len(features)} patches; a picture of an embedding needs at least 3")
    centred = features.astype(np.float64) - features.mean(0)
    if not (np.abs(centred) > 1e-9).any():
        raise TaskError("all patches have the same features: the encoder has collapsed")
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    # A singular vector's sign is the library's whim; the largest entry is made positive.
    left *= np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
    components = left * singular
    if len(np.unique(features, axis=0)) < MIN_TSNE:
        flat = components[:, :2] if components.shape[1] > 1 else np.pad(components, ((0, 0), (0, 1)))
        return Embedding(points=_unit_square(flat), how="PCA, since there are too few patches for t-SNE")
    from sklearn.manifold import TSNE

    kept = components[:, :NUM_COMPONENTS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = TSNE(
            init="pca",
            perplexity=min(PERPLEXITY, len(kept) / 4),
            random_state=seed,
            learning_rate="auto",
            n_jobs=1,
        ).fit_transform(kept / kept[:, 0].std())
    return Embedding(
        points=_unit_square(points), how=f"t-SNE, perplexity {min(PERPLEXITY, len(kept) / 4):g}, seed {seed}"
    )


def _unit_square(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    return (points - low) / np.maximum(high - low, 1e-12)


def choose_points(
    place: Integer[np.ndarray, " patches"], *, most: int = MAX_POINTS
) -> Integer[np.ndarray, " chosen"]:
    """Choose patches for the picture: as many dates of each place as fit, evenly, then places."""
    places, first, num = np.unique(place, return_index=True, return_counts=True)
    each = max(1, most // len(places))
    if len(places) > most:
        keep = np.linspace(0, len(places) - 1, most).round().astype(int)
        first, num = first[keep], num[keep]
    # A place's dates are shifted by its number, so that not all show the same months.
    chosen = [
        f + (np.floor((np.arange(min(each, n)) + (i % 7) / 7) * n / min(each, n)).astype(np.int64) % n)
        for i, (f, n) in enumerate(zip(first, num, strict=True))
    ]
    return np.sort(np.concatenate(chosen))


def colourings(ground: Ground, rows: np.ndarray) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what these patches can be coloured by, and why something is missing.

    Each is `name`, `kind` (`classes` or `scale`), `values` a patch; classes with `classes` (name, colour) and `exact` words,
    scales with `low`, `high` and `colours`.
    """
    out: list[dict[str, Any]] = []
    notes: list[str] = []
    dataset = ground.dataset
    labels = [clean(ground.label(r) or "") for r in rows]
    if any(labels):
        out.append(_labels(labels))
    has_position = bool(np.isfinite(dataset.lonlat[rows]).all())
    makers: tuple[tuple[str, Callable[[], LabelRaster]], ...] = (
        ("land cover", land_cover),
        ("climate", climate),
    )
    for name, raster in makers if has_position else ():
        try:
            out.append(_by_raster(name, raster(), ground, rows))
        except SecoError as err:
            notes.append(f"No colouring by {name}: {err}.")
    if not has_position:
        notes.append(
            "The places have no position, so there is no colouring by land cover, climate or latitude."
        )
    months = dataset.months[rows]
    if (months > 0).any():
        seasons = dataset.index["season"].to_pylist()
        if has_position:
            out.append(
                _classes("season", SEASONS, [-1 if seasons[r] is None else int(seasons[r]) for r in rows])
            )
        names = tuple(zip(calendar.month_name[1:], MONTHS, strict=True))
        out.append(_classes("month", names, (months - 1).tolist()))
    else:
        notes.append("The patches have no dates, so there is no colouring by season.")
    if has_position:
        lat = dataset.lonlat[rows, 1]
        out.append(
            {
                "name": "latitude", "kind": "scale", "values": np.round(lat, 2).tolist(), "colours": LATITUDES,
                "low": float(np.floor(lat.min())), "high": float(np.ceil(lat.max())), "unit": "°",
            }
        )  # fmt: skip
    return out, notes


def _classes(
    name: str, classes: Sequence[tuple[str, str]], values: Sequence[int], exact: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return a colouring by class; what has none (-1) is grey and comes last."""
    used = [i for i in range(len(classes)) if i in set(values)]
    told = [{"name": classes[i][0], "colour": classes[i][1]} for i in used]
    number = {c: i for i, c in enumerate(used)}
    if any(v not in number for v in values):
        told.append({"name": "unknown", "colour": GREY})
    return {
        "name": name, "kind": "classes", "classes": told, "values": [number.get(v, len(used)) for v in values],
        "exact": list(exact) if exact is not None else None,
    }  # fmt: skip


def _labels(labels: Sequence[str]) -> dict[str, Any]:
    """Colour by the dataset's own labels: the commonest get a colour each, the rest share grey."""
    names, counts = np.unique([x for x in labels if x], return_counts=True)
    common = names[np.argsort(-counts, kind="stable")[:MAX_CLASSES]].tolist()
    classes = [(str(n), PALETTE[i]) for i, n in enumerate(common)]
    if len(names) > MAX_CLASSES:
        classes.append((f"{len(names) - MAX_CLASSES} other labels", GREY))
    number = {n: i for i, n in enumerate(common)}
    values = [-1 if not x else number.get(x, len(common)) for x in labels]
    return _classes("label", classes, values, list(labels))


def _by_raster(name: str, raster: LabelRaster, ground: Ground, rows: np.ndarray) -> dict[str, Any]:
    """Colour by the class that covers most of each place."""
    places, of_row = np.unique(ground.dataset.place[rows], return_inverse=True)
    codes, _ = label_boxes(place_boxes(ground.dataset)[places], raster)
    exact = ["mostly water" if c < 0 else raster.classes[c] for c in codes]
    if name == "land cover":
        group = {c: i for i, (_, _, members) in enumerate(LAND_COVER) for c in members}
        groups = [(n, c) for n, c, _ in LAND_COVER]
        values = [group.get(int(c), -1) for c in codes]
    else:
        letters = [letter for _, _, letter in CLIMATES]
        groups = [(n, c) for n, c, _ in CLIMATES]
        values = [
            letters.index(e[0]) if c >= 0 and e[:1] in letters else -1
            for c, e in zip(codes, exact, strict=True)
        ]
    return _classes(name, groups, [values[i] for i in of_row], [exact[i] for i in of_row])
