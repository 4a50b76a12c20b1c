"""BigEarthNet: which of 19 (or 43) kinds of land cover a patch of Sentinel-2 shows, any number of them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Integer

from seco.config import setting
from seco.data.dataset import Dataset
from seco.data.nomenclature import CLASSES_19, CLASSES_43, in_nomenclature, nomenclature_of
from seco.errors import ConfigError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes import paper
from seco.probes.features import FeatureStore
from seco.probes.labelled import footprints, open_labelled
from seco.probes.labelsets import LabelCase
from seco.probes.options import PAPER
from seco.probes.result import Headline, TaskResult
from seco.sensors import sentinel2
from seco.train.tuned import TunedLabelOptions, judge_sets

NAME = "bigearthnet"
HELP = "land-cover labels of BigEarthNet 1 or 2, any number a patch: micro and macro average precision over the split"
EXAMPLE = "seco evaluate runs/seco random:resnet18 --task bigearthnet --data ben --train-share 0.1 --normalise dataset"
HEADLINE = Headline(
    title="Land-cover labels of BigEarthNet", probe="linear", metric="map_micro",
    words="micro average precision of a linear probe on held-out patches",
)  # fmt: skip

VALIDATION_SHARE = 0.25
PARTS = ("train", "val", "test")
_SCENE = re.compile(r"_\d+_\d+$")
"""Column and row of a patch in its scene, at the end of its name."""
_SPLIT, _SHARE = 0xB160, 0xB161


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TunedLabelOptions):
    """Settings of the BigEarthNet task."""

    classes: Literal[19, 43] = setting(19, "nomenclature: 19 classes, or the 43 of version 1")
    train_share: float = setting(
        1.0,
        "share of the training and of the validation patches to use, such as 0.01 or 0.1, drawn without replacement",
    )
    split: Literal["auto", "published", "seeded"] = setting(
        "auto", "published (train, val and test), seeded (whole scenes are drawn), or the first there is"
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if not 0 < self.train_share <= 1:
            raise ConfigError(f"train share {self.train_share}; it must lie above 0, at most 1")


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by the labels of patches."""

    def settings(_: Path) -> dict[str, Any]:
        # All twelve bands of 590,000 patches are 80 GB: only what the encoder reads is kept.
        names = {b.common_name: b.name for b in sentinel2.BANDS} | {b.name: b.name for b in sentinel2.BANDS}
        wanted = [names.get(b.common_name or b.name, b.name) for b in encoder.spec.bands]
        missing = [n for n in wanted if n not in sentinel2.LEVEL_2A]
        if missing:
            raise TaskError(
                f"{encoder.name} reads {', '.join(missing)}, which BigEarthNet's patches do not have (they are of level 2A: "
                f"{', '.join(sentinel2.LEVEL_2A)}); judge an encoder of some of these"
            )
        return {"bands": tuple(wanted)}

    dataset = open_labelled(data, importer="bigearthnet", settings=settings, state=_state)
    store = FeatureStore(encoder, dataset, options)
    return judge_sets(
        NAME, store, [label_case(dataset, seed, options) for seed in options.split_seeds], options
    )


def _state(path: Path) -> str:
    """Tell a changed folder by the times of it, of its own files and of the tables beside it: its patches are too many."""
    tables = [f for f in path.parent.iterdir() if f.suffix in (".csv", ".txt", ".parquet")]
    inside = [Path(f) for f in os.scandir(path) if f.is_file()] if path.is_dir() else []
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted({path, *tables, *inside}):
        about = file.stat()
        digest.update(f"{file.resolve()}\n{about.st_size}\n{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def label_case(dataset: Dataset, seed: int, options: Options) -> LabelCase:
    """Split patches into training, validation and test.

    Raises:
        TaskError: there are no labels, labels of other data, or no published split where one is asked for.
    """
    targets, known = label_matrix(dataset, options.classes)
    scenes = _scenes(dataset)
    part, words = _parts(dataset, scenes, known, seed, options)
    as_paper = options.protocol == PAPER
    # The original keeps patches without any of the 19 labels, as zeros.
    usable = known if as_paper else known & targets.any(1)
    train, held, test = (np.flatnonzero(usable & (part == p)) for p in PARTS)
    if as_paper:
        test = held
        words += "; scored on its validation part"
    if options.train_share < 1 and as_paper:
        train = paper.subset_with_replacement(
            train, max(1, round(options.train_share * len(train))), seed=seed
        )
        words += f", {options.train_share:g} of train drawn with replacement"
    elif options.train_share < 1:
        rng = np.random.default_rng([seed, _SHARE])
        train, held = (
            np.sort(rng.permutation(rows)[: max(1, round(options.train_share * len(rows)))])
            for rows in (train, held)
        )
        words += f", {options.train_share:g} of train and validation"
    reasons = {
        "without known labels": int((~known).sum()),
        f"with none of the {options.classes} labels": int((known & ~usable).sum()),
        "in no part of the split": int((usable & (part == "")).sum()),
    }
    return LabelCase(
        seed=seed, split=words, classes=CLASSES_19 if options.classes == 19 else CLASSES_43,
        train_rows=train, train_targets=targets[train], held_rows=held, held_targets=targets[held],
        test_rows=test, test_targets=targets[test], groups=scenes[test], test_boxes=footprints(dataset, test),
        num_left_out=sum(reasons.values()),
        left_out="; ".join(f"{n} {why}" for why, n in reasons.items() if n) or None,
    )  # fmt: skip


def label_matrix(
    dataset: Dataset, num_classes: int
) -> tuple[Bool[np.ndarray, "patches labels"], Bool[np.ndarray, " patches"]]:
    """Return which labels each patch has, in the order of the nomenclature, and of which patches they are known.

    Raises:
        TaskError: no patch has labels, or they are not BigEarthNet's.
    """
    sets = dataset.label_sets
    stored = {name for found in sets if found for name in found}
    if not stored:
        raise TaskError(
            f"{dataset.source} has no sets of labels; import it with `seco dataset import bigearthnet`"
        )
    nomenclature = nomenclature_of(stored, num_classes=num_classes)
    classes = CLASSES_19 if num_classes == 19 else CLASSES_43
    column = {name: i for i, name in enumerate(classes)}
    targets = np.zeros((len(sets), len(classes)), bool)
    for row, found in enumerate(sets):
        for name in in_nomenclature(found or (), num_classes=num_classes, known=nomenclature):
            targets[row, column[name]] = True
    return targets, np.array([found is not None for found in sets])


def _scenes(dataset: Dataset) -> Integer[np.ndarray, " patches"]:
    """Number the scenes that patches were cut from: neighbours are alike, so scenes are what bootstraps and splits draw."""
    names = [_SCENE.sub("", item) for item in dataset.index["item"].to_pylist()]
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _parts(
    dataset: Dataset,
    scenes: Integer[np.ndarray, " patches"],
    known: Bool[np.ndarray, " patches"],
    seed: int,
    options: Options,
) -> tuple[np.ndarray, str]:
    """Return each patch's part, empty where it has none, and the split in words."""
    parts = np.array([p or "" for p in dataset.index["split"].to_pylist()])
    there = all(((parts == p) & known).any() for p in PARTS)
    if options.split == "published" and not there:
        raise TaskError(
            f"{dataset.source} has no published split (train, val and test in its index); give --split-files to its import, "
            "or --split seeded"
        )
    if there and options.split != "seeded":
        return parts, "published"
    numbers = np.random.default_rng([seed, _SPLIT]).permutation(int(scenes.max()) + 1)
    size = np.bincount(scenes)[numbers]
    share = np.cumsum(size) / size.sum()
    held = options.test_share + VALIDATION_SHARE * (1 - options.test_share)
    of_scene = np.empty(len(numbers), dtype="U5")
    of_scene[numbers] = np.where(share <= options.test_share, "test", np.where(share <= held, "val", "train"))
    return of_scene[scenes], f"whole scenes, test share {options.test_share:g}, seed {seed}"
