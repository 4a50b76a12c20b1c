"""Maps of classes and of change: tiles to train on, and whole areas to validate and test on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from seco.config import setting
from seco.data.areas import Area, Class, Labelled, class_counts, statistics
from seco.errors import ConfigError, DatasetError, TaskError
from seco.nets.baselines import ColourEncoder
from seco.nets.encoder import Encoder, FeatureExtractor
from seco.nets.feed import Feed, Normalise, Stats
from seco.nets.predictor import Kind, Predictor, RawBands
from seco.nets.tiling import Dates, blended, pad
from seco.probes.options import EvaluationOptions
from seco.probes.pixels import confusion
from seco.sensors.bands import Band, match
from seco.train.supervised import IGNORED, Batch, Training

_TILES = 0x711E
"""Word after the seed for drawing tiles."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseOptions(Training, EvaluationOptions):
    """Settings that tasks on maps share."""

    tile: int = setting(96, "edge of the tiles to train and predict on, in pixels of the imagery")
    val_share: float = setting(0.2, "share of the training part on which training stops")

    def __post_init__(self) -> None:
        """Check ranges."""
        EvaluationOptions.__post_init__(self)
        Training.__post_init__(self)
        if not 16 <= self.tile <= 2048:
            raise ConfigError(f"tile {self.tile} px; it must be from 16 to 2048")
        if not 0 < self.val_share < 1:
            raise ConfigError(
                f"validation share {self.val_share}; it must lie between 0 and 1, both excluded"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fed:
    """An encoder's network with a way to feed it.

    Attributes:
        backbone: the network; `RawBands` for the colour baseline.
        feed: from stored pixels of the imagery to its input.
        normalise: how they are standardised.
        stats: mean and deviation of each band of the imagery, for `dataset`.
        device: where to compute.
    """

    backbone: torch.nn.Module
    feed: Feed
    normalise: Normalise
    stats: Stats
    device: torch.device

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Return normalised input."""
        return self.feed(pixels)


def fed(
    encoder: FeatureExtractor, bands: Sequence[Band], areas: Sequence[Area], normalise: Normalise | None
) -> Fed:
    """Find out how an encoder is fed with imagery.

    Where nothing is said and the imagery's units cannot be converted to the encoder's (reflectance for an encoder of display
    bytes), it is standardised by the statistics of `areas`.

    Raises:
        TaskError: the encoder has no feature maps.
        DatasetError: a band is missing, or units cannot be converted and `spec` is asked for.
    """
    if isinstance(encoder, Encoder):
        backbone, device = encoder.net["backbone"], encoder.device
    elif isinstance(encoder, ColourEncoder):
        backbone, device = RawBands(len(encoder.spec.bands)), torch.device("cpu")
    else:
        raise TaskError(f"{encoder.name} has no feature maps; maps need an encoder, or colour")
    match(bands, encoder.spec.bands)
    stats = statistics(areas, bands)
    how = cast(Normalise, normalise or encoder.spec.normalise)
    try:
        feed = Feed(encoder.spec, bands, normalise=how, stats=stats, device=device)
    except DatasetError:
        if normalise is not None:
            raise
        how = "dataset"
        feed = Feed(encoder.spec, bands, normalise=how, stats=stats, device=device)
    return Fed(backbone=backbone, feed=feed, normalise=how, stats=stats, device=device)


def tile_draw(
    areas: Sequence[Area], feed: Callable[[np.ndarray], Tensor], settings: Training, *, tile: int, seed: int
) -> Callable[[int], Batch]:
    """Return what draws the tiles of a step.

    Half of them lie anywhere (an area is drawn by its size), half around a pixel of a class that is drawn first, all
    classes alike: a class that covers 1% of the ground is seen in more than 1% of the tiles.
    """
    sizes = np.array([a.mask.size for a in areas], np.float64)
    places = _class_pixels(areas)

    def draw(step: int) -> Batch:
        rng = np.random.default_rng([seed, _TILES, step])
        images: list[list[np.ndarray]] = [[] for _ in areas[0].images]
        masks = []
        for number in range(settings.batch_size):
            if number % 2 or not places:
                area = areas[rng.choice(len(areas), p=sizes / sizes.sum())]
                centre = [int(rng.integers(n)) for n in area.shape]
            else:
                chosen = places[int(rng.integers(len(places)))]
                index, row, col = chosen[int(rng.integers(len(chosen)))]
                area, centre = areas[index], [int(row), int(col)]
            offset = [int(rng.integers(tile)) for _ in range(2)]
            row, col = (
                int(np.clip(c - o, 0, max(0, n - tile)))
                for c, o, n in zip(centre, offset, area.shape, strict=True)
            )
            turns, flip = (
                (int(rng.integers(4)), int(rng.integers(2))) if settings.augment == "turns" else (0, 0)
            )
            for date, image in zip(images, area.images, strict=True):
                date.append(_turned(pad(image[:, row : row + tile, col : col + tile], tile), turns, flip))
            own = area.mask[row : row + tile, col : col + tile]
            full = np.full((tile, tile), IGNORED, np.int64)
            full[: own.shape[0], : own.shape[1]] = own
            masks.append(_turned(full, turns, flip))
        target = torch.from_numpy(np.stack(masks))
        inputs = tuple(feed(np.stack(date)) for date in images)
        return Batch(inputs=inputs, target=target.to(inputs[0].device))

    return draw


def _class_pixels(areas: Sequence[Area]) -> list[Int64[np.ndarray, "n 3"]]:
    """Return some pixels (area, row, column) of each class that is there, evenly over all that there are."""
    found: dict[int, list[np.ndarray]] = {}
    for i, area in enumerate(areas):
        for value in np.unique(area.mask[area.mask >= 0]):
            rows, cols = np.nonzero(area.mask == value)
            keep = slice(None, None, max(1, len(rows) // 2000))
            rows, cols = rows[keep], cols[keep]
            found.setdefault(int(value), []).append(np.stack([np.full(len(rows), i), rows, cols], 1))
    return [np.concatenate(found[v]).astype(np.int64) for v in sorted(found)]


def _turned(pixels: np.ndarray, turns: int, flip: int) -> np.ndarray:
    out = np.rot90(pixels, turns, axes=(-2, -1))
    return out[..., ::-1] if flip else out


def class_weights(areas: Sequence[Area], num_classes: int, how: str) -> Tensor | None:
    """Return the weight of each class in the loss, of mean 1 over pixels; classes that are not there weigh nothing."""
    if how == "none":
        return None
    counts = class_counts(areas, num_classes).astype(np.float64)
    share = counts / counts.sum()
    raw = np.divide(
        1.0, share if how == "balanced" else np.sqrt(share), out=np.zeros(num_classes), where=share > 0
    )
    return torch.tensor(raw / (raw * share).sum(), dtype=torch.float32)


def predict_area(
    net: Predictor,
    feed: Callable[[np.ndarray], Tensor],
    area: Area,
    *,
    tile: int,
    step: int,
    batch_size: int = 16,
) -> Float32[np.ndarray, "classes h w"]:
    """Return the probability of each class of a whole area, by overlapping tiles."""
    height, width = area.shape
    seen = np.ones((height, width), bool)

    def read(row: int, col: int, high: int, wide: int) -> tuple[Dates, np.ndarray]:
        window = (slice(row, row + high), slice(col, col + wide))
        return tuple(i[(slice(None), *window)] for i in area.images), seen[window]

    strips = blended(
        window_predictor(net, feed),
        read,
        height=height,
        width=width,
        tile=tile,
        step=step,
        batch_size=batch_size,
    )
    return np.concatenate([strip for _, strip, _ in strips], axis=1)


def window_predictor(
    net: Predictor, feed: Callable[[np.ndarray], Tensor]
) -> Callable[[Sequence[Dates]], Float32[np.ndarray, "n classes tile tile"]]:
    """Return what gives the probabilities of windows of stored pixels."""

    def predict(windows: Sequence[Dates]) -> np.ndarray:
        with torch.inference_mode():
            inputs = [feed(np.stack(date)) for date in zip(*windows, strict=True)]
            return net.probabilities(*inputs).float().cpu().numpy()

    return predict


def predicted_classes(
    net: Predictor, feed: Callable[[np.ndarray], Tensor], areas: Sequence[Area], *, tile: int, step: int
) -> list[np.ndarray]:
    """Return the likeliest class of each pixel of each area."""
    net.eval()
    return [predict_area(net, feed, a, tile=tile, step=step).argmax(0) for a in areas]


def area_confusion(
    net: Predictor, feed: Callable[[np.ndarray], Tensor], areas: Sequence[Area], *, tile: int, step: int
) -> Int64[np.ndarray, "areas classes classes"]:
    """Return the confusion of each area over all its pixels."""
    found = predicted_classes(net, feed, areas, tile=tile, step=step)
    return np.stack([confusion(a.mask, p, net.num_classes) for a, p in zip(areas, found, strict=True)])


def build(
    source: Fed, kind: Kind, classes: Sequence[Class], settings: Training, *, size: int | None, seed: int
) -> Predictor:
    """Put a head for these classes on an encoder, on its device."""
    net = Predictor(
        source.backbone, kind=kind, num_classes=len(classes), tuning=settings.tuning, size=size, seed=seed,
        norm=settings.norm,
    )  # fmt: skip
    return net.to(source.device).to(memory_format=torch.channels_last)


def of_part(labelled: Labelled, parts: Sequence[str], part: str) -> list[Area]:
    """Return the areas of one part."""
    return [a for a, p in zip(labelled.areas, parts, strict=True) if p == part]


def origin_of(encoder: FeatureExtractor, source: Fed, options: DenseOptions, data: str) -> dict[str, Any]:
    """Return the fields of a row that tell what it was made from."""
    return {
        "normalise": source.normalise, "size": options.size_px, "encoder_fingerprint": encoder.fingerprint(),
        "data_fingerprint": data,
    }  # fmt: skip


def strips(area: Area, share: float) -> tuple[Area, Area]:
    """Cut a city in two: what is learned from, and a strip along one of its edges for validation.

    Of the four edges the one is taken whose strip has the share of change nearest to the whole's: a strip without any
    change could not tell one model from another.
    """
    height, width = area.shape
    changed = float((area.mask == 1).mean())
    found: list[tuple[float, int, tuple[slice, slice], tuple[slice, slice]]] = []
    for axis, length in ((0, height), (1, width)):
        num = max(1, round(share * length))
        for window, rest in (
            (slice(length - num, None), slice(0, length - num)),
            (slice(0, num), slice(num, None)),
        ):
            index = (window, slice(None)) if axis == 0 else (slice(None), window)
            other = (rest, slice(None)) if axis == 0 else (slice(None), rest)
            found.append((abs(float((area.mask[index] == 1).mean()) - changed), len(found), index, other))
    _, _, strip, rest_of_it = min(found, key=lambda f: f[:2])

    def cut(index: tuple[slice, slice], what: str) -> Area:
        return dataclasses.replace(
            area, name=f"{area.name} ({what})", mask=area.mask[index],
            images=tuple(i[(slice(None), *index)] for i in area.images),
        )  # fmt: skip

    return cut(rest_of_it, "training"), cut(strip, "validation")
