"""Segmentation: the class of every pixel, by a U-Net decoder on an encoder's feature maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from seco.config import setting
from seco.data.areas import Area, Labelled, class_counts, divide
from seco.data.pairs import PairOptions, read_pairs
from seco.data.raster_scene import SceneOptions
from seco.errors import ConfigError
from seco.nets.encoder import FeatureExtractor
from seco.probes.overlap import is_transductive
from seco.probes.pixels import balanced, class_iou, interval, mean_iou, pixel_accuracy, value
from seco.probes.result import Headline, Row, TaskResult, gather, prediction_table
from seco.train import dense
from seco.train.supervised import fit

NAME = "segmentation"
HELP = "class of every pixel: a folder of images and masks; a U-Net decoder on a frozen or tuned encoder"
EXAMPLE = (
    "seco evaluate runs/seco random:resnet18 colour --task segmentation --data fields/ --json fields.json"
)
HEADLINE = Headline(
    title="Land cover, pixel by pixel", probe="unet-frozen", metric="miou",
    words="mean IoU of a decoder on frozen features, over held-out pixels",
)  # fmt: skip

MAJORITY = "majority"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(dense.DenseOptions):
    """Settings of the segmentation task."""

    ignore: tuple[int, ...] = setting((255,), "mask numbers that are no class, besides the file's own nodata")
    block_px: int = setting(
        512, "larger images are cut into blocks of about this edge, which are split and drawn"
    )
    band_names: tuple[str, ...] = setting(
        (), "names of the images' bands, in order, where the files have none"
    )
    scale: float | None = setting(None, "from stored number to reflectance, where the files do not say")
    offset: float | None = setting(None, "reflectance of stored number 0, where the files do not say")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.block_px < self.tile:
            raise ConfigError(
                f"blocks of {self.block_px} px are smaller than tiles of {self.tile} px (--block-px, --tile)"
            )


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by the maps that a decoder reads off it."""
    scene = SceneOptions(band_names=options.band_names, scale=options.scale, offset=options.offset)
    pairs = PairOptions(ignore=options.ignore, block_px=options.block_px, scene=scene)
    labelled = read_pairs(data, pairs)
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for seed in options.split_seeds:
        found, table = _one_split(encoder, labelled, options, seed)
        rows += found
        tables.append(table)
    return gather(rows, tables, options)


def _one_split(
    encoder: FeatureExtractor, labelled: Labelled, options: Options, seed: int
) -> tuple[list[Row], pa.Table]:
    """Train on one split and score its test part."""
    parts, words = divide(labelled.areas, shares=(options.test_share, options.val_share), seed=seed)
    train, val, test = (dense.of_part(labelled, parts, p) for p in ("train", "val", "test"))
    source = dense.fed(encoder, labelled.bands, train, options.normalise)
    net = dense.build(source, "segment", labelled.classes, options, size=options.size_px, seed=seed)
    weights = dense.class_weights(train, len(labelled.classes), options.class_weights)

    def validate(net: Any) -> float:
        found = dense.area_confusion(net, source, val, tile=options.tile, step=options.tile)
        return value(mean_iou, found)

    draw = dense.tile_draw(train, source, options, tile=options.tile, seed=seed)
    fit(
        net,
        options,
        draw=draw,
        validate=validate,
        seed=seed,
        weights=None if weights is None else weights.to(source.device),
    )
    matrices = dense.area_confusion(net, source, test, tile=options.tile, step=max(1, options.tile // 2))
    common = {
        "task": NAME, "seed": seed, "split": words, "num_classes": len(labelled.classes), "num_train": len(train),
        "num_test": len(test), "num_groups": len(test),
    }  # fmt: skip
    names = [c.name for c in labelled.classes]
    usual = int(class_counts(train, len(names)).argmax())
    guess = np.zeros_like(matrices)
    guess[:, :, usual] = matrices.sum(2)
    common["majority"] = value(pixel_accuracy, guess)
    boxes = [a.box for a in test]
    seen = None if None in boxes else np.array(boxes, np.float64)
    probe = f"unet-{options.tuning}"
    own = common | {
        "encoder": encoder.name, "probe": probe, "output": "features",
        "transductive": is_transductive(encoder.spec, seen),
        **dense.origin_of(encoder, source, options, labelled.fingerprint()),
    }  # fmt: skip
    rows = score_rows(
        guess, ["miou"], names, common | {"encoder": MAJORITY, "probe": MAJORITY}, options.num_draws
    )
    metrics = ["miou", "accuracy", *(f"iou:{n}" for n in names)]
    rows += score_rows(matrices, metrics, names, own, options.num_draws)
    return rows, _table(encoder.name, probe, seed=seed, test=test, matrices=matrices, names=names)


def score_rows(
    matrices: Int64[np.ndarray, "units classes classes"], metrics: list[str], names: list[str], common: dict[str, Any],
    num_draws: int,
) -> list[Row]:  # fmt: skip
    """Return a row a metric, over all pixels, with its interval over the units."""
    out = []
    for metric in metrics:
        score: Callable[..., Any]
        if metric in ("miou", "accuracy"):
            score = mean_iou if metric == "miou" else pixel_accuracy
        else:
            position = names.index(metric.removeprefix("iou:"))
            if not matrices.sum(0)[position].sum():
                continue  # a class that the test part lacks has no score

            def score(matrix: np.ndarray, position: int = position) -> np.ndarray:
                return class_iou(matrix)[..., position]

        found = interval(score, matrices, num_draws=num_draws, seed=common["seed"])
        out.append(
            Row(
                metric=metric, value=value(score, matrices), ci_low=found.low if found else None,
                ci_high=found.high if found else None,
                balanced_accuracy=value(balanced, matrices) if metric == "accuracy" else None, **common,
            )
        )  # fmt: skip
    return out


def _table(
    encoder: str, probe: str, *, seed: int, test: list[Area], matrices: np.ndarray, names: list[str]
) -> pa.Table:
    """Tell of each test area its commonest class, the commonest given, and the share of its pixels that is right."""
    return prediction_table(
        encoder=encoder, task=NAME, probe=probe, output="features", seed=seed, row=np.arange(len(test)),
        group=np.arange(len(test)), truth=[names[int(m.sum(1).argmax())] for m in matrices],
        predicted=[names[int(m.sum(0).argmax())] for m in matrices],
        score=np.array([value(pixel_accuracy, m[None]) for m in matrices]),
    )  # fmt: skip
