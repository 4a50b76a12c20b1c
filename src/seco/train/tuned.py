"""The probe `finetune` of `seco evaluate`: the encoder learns too, at a rate a layer.

Validation stops it and picks the weights; the test part is scored once, at the end.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Integer, Shaped

from seco.config import setting
from seco.data.dataset import Dataset
from seco.errors import ConfigError, TaskError
from seco.nets.decoders import Tuning
from seco.nets.encoder import Encoder, FeatureExtractor
from seco.nets.feed import Feed
from seco.nets.predictor import Predictor
from seco.probes import labelled
from seco.probes.classify import Case, Scorer
from seco.probes.features import FeatureStore
from seco.probes.labelsets import LabelCase, LabelOptions, LabelScorer, judge_labels
from seco.probes.linear import FIT, VALIDATE
from seco.probes.options import FINETUNE, PROBES, ProbeOptions
from seco.probes.precision import LabelScores
from seco.probes.result import TaskResult, gather
from seco.probes.scores import accuracy
from seco.train.images import image_draw, image_logits
from seco.train.supervised import Loss, Training, fit

OUTPUT = "features"
"""The encoder's output that the head stands on, as rows tell it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedOptions(Training, ProbeOptions):
    """Settings of tasks on images that can be fine-tuned on, besides their probes."""

    KNOWN_PROBES: ClassVar[tuple[str, ...]] = (*PROBES, FINETUNE)
    probes: tuple[str, ...] = setting(
        PROBES,
        f"probes with commas: {', '.join(PROBES)}, {FINETUNE} (the encoder is trained too)",
        flag="--probe",
    )
    tuning: Tuning = setting(
        "tuned", "of finetune: train the encoder's weights too (a frozen one is the probe linear)"
    )
    steps: int = setting(1000, "most steps of finetune; it ends sooner where validation no longer gains")
    batch_size: int = setting(32, "images a step of finetune")
    val_every: int = setting(100, "steps of finetune from one look at the validation part to the next")

    def __post_init__(self) -> None:
        """Check ranges."""
        ProbeOptions.__post_init__(self)
        Training.__post_init__(self)
        if FINETUNE in self.probes and self.tuning != "tuned":
            raise ConfigError(
                "tuning frozen with probe finetune; a frozen encoder is what --probe linear judges"
            )
        if FINETUNE in self.probes and self.class_weights != "none":
            raise ConfigError(
                f"class weights {self.class_weights} with probe finetune; it has none, leave them out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedImageOptions(TunedOptions, labelled.ImageOptions):
    """Settings of tasks on labelled images."""

    def __post_init__(self) -> None:
        """Check ranges."""
        labelled.ImageOptions.__post_init__(self)
        TunedOptions.__post_init__(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TunedLabelOptions(TunedOptions, LabelOptions):
    """Settings of tasks with several labels a patch."""

    def __post_init__(self) -> None:
        """Check ranges."""
        LabelOptions.__post_init__(self)
        TunedOptions.__post_init__(self)


def judge_images(
    task: str, encoder: FeatureExtractor, dataset: Dataset, options: TunedImageOptions
) -> TaskResult:
    """Judge an encoder by the class of images, by all probes asked for."""
    results = []
    if plain := _plain(options):
        results.append(labelled.judge_images(task, encoder, dataset, plain))
    if FINETUNE in options.probes:
        cases = [labelled.image_case(dataset, seed, options) for seed in options.split_seeds]
        results.append(_classes(task, FeatureStore(encoder, dataset, options), cases, options))
    return _together(results)


def judge_sets(
    task: str, store: FeatureStore, cases: Iterable[LabelCase], options: TunedLabelOptions
) -> TaskResult:
    """Judge an encoder by any number of labels a patch, by all probes asked for."""
    cases, results = list(cases), []
    if plain := _plain(options):
        results.append(judge_labels(task, store, cases, plain))
    if FINETUNE in options.probes:
        results.append(_sets(task, store, cases, options))
    return _together(results)


Options = TypeVar("Options", bound=TunedOptions)


def _plain(options: Options) -> Options | None:
    """Return the settings of the probes that train no encoder; None without such. Rows do not tell the others of them."""
    probes = tuple(p for p in options.probes if p != FINETUNE)
    names = {f.name for f in dataclasses.fields(Training)}
    usual: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(options) if f.name in names}
    return dataclasses.replace(options, **(usual | {"probes": probes})) if probes else None


def _together(results: list[TaskResult]) -> TaskResult:
    """Return rows and predictions of several; rows of no encoder (the majority class) stand once."""
    rows = [r for result in results for r in result.rows]
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for row in rows:
        key = (row["encoder"], row["probe"], row["metric"], row["output"], row["shots"], row["seed"])
        if key not in seen:
            kept.append(row)
        seen.add(key)
    return dataclasses.replace(
        results[0], rows=kept, predictions=pa.concat_tables(r.predictions for r in results)
    )


def _classes(task: str, store: FeatureStore, cases: Iterable[Case], options: TunedImageOptions) -> TaskResult:
    rows, tables = [], []
    for case in cases:
        scorer = Scorer(task, store, case, options)
        fit_part, held = case.parts == FIT, case.parts == VALIDATE
        if not held.any():
            raise TaskError(
                f"no training image is left to stop on ({case.split}); use more labels (--num-labels)"
            )
        truth = case.train_labels[held]
        logits = _tuned(
            store, options, rows=case.train_rows[fit_part], targets=case.train_labels[fit_part].astype(np.int64),
            held=case.train_rows[held], score=functools.partial(_accuracy, truth),
            test=case.test_rows, num_classes=len(case.classes), loss="softmax", seed=case.seed,
        )  # fmt: skip
        row, table = scorer.told(FINETUNE, OUTPUT, logits.argmax(1).astype(np.int64))
        rows += [scorer.majority_row(), row]
        tables.append(table)
    return gather(rows, tables, options, dataset=store.dataset.path)


def _sets(
    task: str, store: FeatureStore, cases: Iterable[LabelCase], options: TunedLabelOptions
) -> TaskResult:
    rows, tables = [], []
    for case in cases:
        scorer = LabelScorer(task, store, case, options)
        truth = case.held_targets
        logits = _tuned(
            store, options, rows=case.train_rows, targets=case.train_targets.astype(np.float32), held=case.held_rows,
            score=functools.partial(_micro, truth), test=case.test_rows,
            num_classes=len(case.classes), loss="multilabel", seed=case.seed,
        )  # fmt: skip
        found, table = scorer.told(FINETUNE, OUTPUT, logits, logits > 0)
        rows += [*scorer.baseline(), *found]
        tables.append(table)
    return gather(rows, tables, options, dataset=store.dataset.path)


def _accuracy(truth: np.ndarray, logits: np.ndarray) -> float:
    return accuracy(truth, logits.argmax(1))


def _micro(truth: np.ndarray, logits: np.ndarray) -> float:
    return LabelScores(truth, logits).micro()


def _tuned(
    store: FeatureStore,
    options: TunedOptions,
    *,
    rows: Integer[np.ndarray, " train"],
    targets: Shaped[np.ndarray, "train ..."],
    held: Integer[np.ndarray, " held"],
    score: Callable[[np.ndarray], float],
    test: Integer[np.ndarray, " test"],
    num_classes: int,
    loss: Loss,
    seed: int,
) -> Float32[np.ndarray, "test classes"]:
    """Train on some patches until `score` of the held ones no longer gains, and return the logits of the test patches.

    Raises:
        TaskError: the encoder has no weights to train, or its logits are not finite.
    """
    encoder, tier = store.encoder, store.tier
    if not isinstance(encoder, Encoder):
        raise TaskError(f"{encoder.name} has no weights to fine-tune; judge it by --probe knn,linear")
    feed = Feed(
        encoder.spec,
        tier.bands,
        normalise=store.normalise,
        stats=(tier.mean, tier.std),
        device=encoder.device,
    )
    net = Predictor(
        encoder.net["backbone"],
        kind="classify",
        num_classes=num_classes,
        tuning="tuned",
        size=store.size,
        seed=seed,
        norm=options.norm,
    ).to(encoder.device)

    def validate(moved: Predictor) -> float:
        return score(image_logits(moved, feed, tier.pixels, held))

    draw = image_draw(tier.pixels, rows, targets, feed, options, seed=seed)
    fit(net, options, draw=draw, validate=validate, seed=seed, loss=loss)
    logits = image_logits(net, feed, tier.pixels, test)
    if not np.isfinite(logits).all():
        raise TaskError(
            f"encoder {encoder.name}, fine-tuned, gives numbers that are not finite; lower --encoder-lr"
        )
    return logits
