"""OSCD: where a city changed between two dates; learned on feature differences, and read off distances untrained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float32, Int64
from torch.nn import functional

from seco.config import setting
from seco.data.areas import Area, Labelled, grid_blocks
from seco.data.oscd import CLASSES, read_oscd
from seco.errors import ConfigError, TaskError
from seco.nets.decoders import feature_maps
from seco.nets.encoder import FeatureExtractor
from seco.nets.tiling import pad, starts
from seco.probes.options import ALL, chosen_outputs
from seco.probes.pixels import (
    block_confusions,
    class_f1,
    class_iou,
    class_precision,
    class_recall,
    interval,
    value,
)
from seco.probes.ranking import auc, average_precision, ranking_interval
from seco.probes.result import Headline, Row, TaskResult, gather, prediction_table
from seco.train import dense
from seco.train.supervised import fit

NAME = "oscd"
HELP = "change between two dates of a city (Onera): a U-Net on feature differences, and distances without any training"
EXAMPLE = "seco evaluate runs/seco random:resnet18 colour --task oscd --data OSCD/ --json oscd.json"
HEADLINE = Headline(
    title="Change in cities (Onera)", probe="unet-frozen", metric="f1",
    words="F1 of changed pixels in the test cities, by a U-Net on frozen features",
)  # fmt: skip

CHANGE = 1
MAPS = "maps"
METRICS = {"f1": class_f1, "precision": class_precision, "recall": class_recall, "iou": class_iou}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(dense.DenseOptions):
    """Settings of the change-detection task."""

    outputs: tuple[str, ...] = setting(
        (ALL,),
        "outputs whose distance is scored: features, z0, z1, ... with commas, or all; maps is always scored",
    )
    test_cities: tuple[str, ...] = setting(
        (),
        "cities to test on, the others are for training; default: as published, by the folder of their labels",
    )
    class_weights: Literal["none", "sqrt", "balanced"] = setting(
        "sqrt", "weight of a class in the loss: one, or by the inverse of its share (its root: sqrt)"
    )
    probes: tuple[str, ...] = setting(
        ("unet", "distance"),
        "unet (trained on the training cities), distance (nothing trained), or both",
        flag="--probe",
    )
    window: int = setting(32, "edge of the windows whose embeddings are compared for distance, pixels")
    stride: int = setting(8, "pixels from one of them to the next")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        wrong = [p for p in self.probes if p not in ("unet", "distance")]
        if wrong or not self.probes:
            raise ConfigError(f"probe {', '.join(wrong) or '(none given)'}; known: unet, distance")
        if not 8 <= self.window <= 512 or not 1 <= self.stride <= self.window:
            raise ConfigError(
                f"window {self.window} px every {self.stride} px; from 8 to 512 px, the stride no larger than it"
            )


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by change detection."""
    labelled = read_oscd(data)
    train, test, words = split_cities(labelled, options.test_cities)
    parts = [dense.strips(a, options.val_share) for a in train]
    learn, val = [a for a, _ in parts], [b for _, b in parts]
    source = dense.fed(encoder, labelled.bands, learn, options.normalise)
    rows: list[Row] = []
    tables: list[pa.Table] = []
    for seed in options.split_seeds:
        common = {
            "encoder": encoder.name, "task": NAME, "seed": seed, "num_classes": 2, "num_test": len(test),
            "split": words, **dense.origin_of(encoder, source, options, labelled.fingerprint()),
        }  # fmt: skip
        if "unet" in options.probes:
            found, table = _learned(source, (learn, val, test), options, common)
            rows += found
            tables.append(table)
        if "distance" in options.probes and seed == options.split_seeds[0]:
            found, table = _distances(encoder, source, labelled, test, options=options, common=common)
            rows += found
            tables.append(table)
    return gather(rows, tables, options)


def split_cities(labelled: Labelled, wanted: Sequence[str]) -> tuple[list[Area], list[Area], str]:
    """Return training cities, test cities and the split in words.

    Raises:
        TaskError: a city is not there, or a part is empty.
    """
    known = [a.name for a in labelled.areas]
    unknown = [c for c in wanted if c not in known]
    if unknown:
        raise TaskError(
            f"no city {', '.join(unknown)} with labels in {labelled.name}; there are {', '.join(known)}"
        )
    test = [a for a in labelled.areas if (a.name in wanted if wanted else a.part == "test")]
    train = (
        [a for a in labelled.areas if a not in test]
        if wanted
        else [a for a in labelled.areas if a.part != "test"]
    )
    if not train or not test:
        raise TaskError(
            f"{labelled.name} has {len(train)} cities to train on and {len(test)} to test on ({', '.join(known)}); both are "
            "needed: name those to test on with --test-cities"
        )
    names = [", ".join(a.name for a in part) for part in (train, test)]
    return train, test, f"train {names[0]}, validation a strip of each; test {names[1]}"


def _learned(
    source: dense.Fed,
    parts: tuple[list[Area], list[Area], list[Area]],
    options: Options,
    common: dict[str, Any],
) -> tuple[list[Row], pa.Table]:
    """Train the U-Net, and score it over all pixels of the test cities and of each of them."""
    learn, val, test = parts
    seed = common["seed"]
    net = dense.build(source, "change", CLASSES, options, size=options.size_px, seed=seed)
    weights = dense.class_weights(learn, 2, options.class_weights)

    def validate(net: Any) -> float:
        found = dense.area_confusion(net, source, val, tile=options.tile, step=options.tile)
        return value(lambda m: class_f1(m)[..., CHANGE], found)

    draw = dense.tile_draw(learn, source, options, tile=options.tile, seed=seed)
    fit(
        net,
        options,
        draw=draw,
        validate=validate,
        seed=seed,
        weights=None if weights is None else weights.to(source.device),
    )
    found = dense.predicted_classes(net, source, test, tile=options.tile, step=max(1, options.tile // 2))
    blocks = [block_confusions(a.mask, p, 2, edge=options.tile) for a, p in zip(test, found, strict=True)]
    probe = f"unet-{options.tuning}"
    everything = np.concatenate(blocks)
    # Who says change everywhere: precision is the share of change, recall 1.
    share = everything[:, CHANGE].sum() / everything.sum()
    common = common | {
        "probe": probe, "output": "features", "num_train": len(learn), "num_groups": len(everything),
        "majority": float(2 * share / (1 + share)),
    }  # fmt: skip
    rows = _score_rows(everything, "", common, options.num_draws)
    for area, own in zip(test, blocks, strict=True):
        rows += _score_rows(own, f":{area.name}", common | {"num_groups": len(own)}, options.num_draws)
    table = prediction_table(
        encoder=common["encoder"], task=NAME, probe=probe, output="features", seed=seed, row=np.arange(len(everything)),
        group=np.repeat(np.arange(len(test)), [len(b) for b in blocks]),
        truth=[_words(m.sum(1)) for m in everything], predicted=[_words(m.sum(0)) for m in everything],
        score=np.array([value(lambda m: class_f1(m)[..., CHANGE], m[None]) for m in everything]),
    )  # fmt: skip
    return rows, table


def _words(pixels: np.ndarray) -> str:
    return f"{pixels[CHANGE] / max(1, pixels.sum()):.4f} changed"


def _score_rows(
    blocks: Int64[np.ndarray, "blocks 2 2"], suffix: str, common: dict[str, Any], num_draws: int
) -> list[Row]:
    out = []
    for metric, by_class in METRICS.items():

        def score(matrix: np.ndarray, by_class: Callable[..., np.ndarray] = by_class) -> np.ndarray:
            return by_class(matrix)[..., CHANGE]

        found = interval(score, blocks, num_draws=num_draws, seed=common["seed"])
        low, high = (found.low, found.high) if found else (None, None)
        out.append(
            Row(metric=f"{metric}{suffix}", value=value(score, blocks), ci_low=low, ci_high=high, **common)
        )
    return out


def _distances(
    encoder: FeatureExtractor, source: dense.Fed, labelled: Labelled, test: list[Area], *, options: Options,
    common: dict[str, Any],
) -> tuple[list[Row], pa.Table]:  # fmt: skip
    """Score the distance of each output's embeddings of the two dates, pixel by pixel: nothing is trained."""
    outputs = chosen_outputs(options.outputs, encoder.outputs, encoder.name)
    scores: dict[str, list[np.ndarray]] = {o: [] for o in (*outputs, MAPS)}
    for area in test:
        found = window_distances(encoder, area, source, labelled=labelled, outputs=outputs, options=options)
        for output in outputs:
            scores[output].append(found[output])
        scores[MAPS].append(map_distances(source, area, options.tile, size=options.size_px))
    known = [a.mask >= 0 for a in test]
    truth = np.concatenate([a.mask[k] == CHANGE for a, k in zip(test, known, strict=True)])
    if not truth.any() or truth.all():
        raise TaskError(
            f"the test cities ({', '.join(a.name for a in test)}) hold one kind of ground only; both are needed"
        )
    group = np.concatenate(
        [_blocks(a, i, options.tile)[k] for i, (a, k) in enumerate(zip(test, known, strict=True))]
    )
    rows: list[Row] = []
    tables = []
    for output, maps in scores.items():
        flat = np.concatenate([m[k] for m, k in zip(maps, known, strict=True)]).astype(np.float64)
        for metric, measure in (("auc", auc), ("ap", average_precision)):
            found_ci = ranking_interval(
                flat, truth, group, metric=metric, num_draws=options.num_draws, seed=common["seed"]
            )
            rows.append(
                Row(
                    probe="distance", output=output, metric=metric, value=measure(flat, truth),
                    ci_low=found_ci.low if found_ci else None, ci_high=found_ci.high if found_ci else None,
                    num_groups=len(np.unique(group)), majority=0.5 if metric == "auc" else float(truth.mean()), **common,
                )
            )  # fmt: skip
        blocks, where = np.unique(group, return_inverse=True)
        num = np.bincount(where)
        tables.append(
            prediction_table(
                encoder=encoder.name, task=NAME, probe="distance", output=output, seed=common["seed"], row=blocks,
                group=blocks, truth=[f"{s:.4f} changed" for s in np.bincount(where, weights=truth) / num],
                predicted=["" for _ in blocks], score=np.bincount(where, weights=flat) / num,
            )
        )  # fmt: skip
    return rows, pa.concat_tables(tables)


def _blocks(area: Area, number: int, edge: int) -> np.ndarray:
    out = np.zeros(area.shape, np.int64)
    for i, (row, col, height, width) in enumerate(grid_blocks(*area.shape, edge)):
        out[row : row + height, col : col + width] = 1_000_000 * number + i
    return out


def window_distances(
    encoder: FeatureExtractor,
    area: Area,
    source: dense.Fed,
    *,
    labelled: Labelled,
    outputs: Sequence[str],
    options: Options,
) -> dict[str, Float32[np.ndarray, "h w"]]:
    """Return for each output the distance (1 - cosine) of two dates' windows, each pixel's the mean of those it lies in."""
    height, width = area.shape
    edge = options.window
    rows, cols = (
        starts(height, edge, min(options.stride, edge)),
        starts(width, edge, min(options.stride, edge)),
    )
    corners = [(r, c) for r in rows for c in cols]
    total = {o: np.zeros((height, width), np.float64) for o in outputs}
    number = np.zeros((height, width))
    for start in range(0, len(corners), 1024):
        some = corners[start : start + 1024]
        both = [
            encoder.encode(
                np.stack([pad(image[:, r : r + edge, c : c + edge], edge) for r, c in some]), bands=labelled.bands,
                normalise=source.normalise, stats=source.stats, size=options.size_px, outputs=outputs,
            )
            for image in area.images
        ]  # fmt: skip
        for output in outputs:
            one, two = (b[output].astype(np.float64) for b in both)
            norm = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
            far = 1 - (one * two).sum(1) / np.maximum(norm, 1e-12)
            for (r, c), distance in zip(some, far, strict=True):
                total[output][r : r + edge, c : c + edge] += distance
        for r, c in some:
            number[r : r + edge, c : c + edge] += 1
    return {o: (total[o] / number).astype(np.float32) for o in outputs}


def map_distances(
    source: dense.Fed, area: Area, tile: int, *, size: int | None = None
) -> Float32[np.ndarray, "h w"]:
    """Return the distance of the two dates' feature maps a pixel: of unit vectors, mean over the maps' resolutions.

    A single map (the raw bands) is compared by Euclidean distance: its level tells. With `size`, the imagery is enlarged
    before encoding as much as tiles of `tile` pixels are.
    """
    height, width = area.shape
    edge = max(tile, 2 * 64)
    fed_px = edge if size is None else round(edge * size / tile)
    out, number = np.zeros((height, width)), np.zeros((height, width))
    for r in starts(height, edge, edge // 2):
        for c in starts(width, edge, edge // 2):
            pair = np.stack([pad(i[:, r : r + edge, c : c + edge], edge) for i in area.images])
            with torch.inference_mode():
                x = source(pair)
                if fed_px != edge:
                    x = functional.interpolate(x, (fed_px, fed_px), mode="bilinear", antialias=True)
                maps = feature_maps(source.backbone, x)
                far = torch.zeros(1, 1, edge, edge, device=source.device)
                for m in maps:
                    unit = functional.normalize(m.float(), dim=1) if len(maps) > 1 else m
                    d = (unit[:1] - unit[1:]).pow(2).sum(1, keepdim=True).sqrt()
                    far += functional.interpolate(
                        d, (edge, edge), mode="bilinear", align_corners=False
                    ) / len(maps)
            own = far[0, 0].cpu().numpy()[: min(edge, height), : min(edge, width)]
            out[r : r + edge, c : c + edge] += own
            number[r : r + edge, c : c + edge] += 1
    return (out / number).astype(np.float32)
