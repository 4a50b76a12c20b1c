"""Fine-tune an encoder on the user's own labels: classes of images, of pixels, or change; the result is a model folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from seco import config as configs
from seco.config import setting
from seco.data.areas import Area, Class, Labelled, class_counts, divide
from seco.data.oscd import looks_like_oscd, read_oscd
from seco.data.pairs import PairOptions, looks_like_pairs, read_pairs
from seco.data.raster_scene import SceneOptions, open_scene
from seco.data.vectors import label_scenes, read_shapes
from seco.errors import ConfigError, TaskError
from seco.nets.encoder import Encoder
from seco.nets.feed import Normalise
from seco.nets.predictor import Kind, Predictor
from seco.probes.pixels import class_f1, mean_iou, value
from seco.runs import CONFIG_NAME, MetricsLog
from seco.sensors.bands import Band
from seco.train import dense
from seco.train.supervised import Batch, Fitted, Training, fit
from seco.use import examples as labelled_images
from seco.use.model import HEAD_NAME, Model, fed_spec, save_model

HISTORY_NAME = "metrics.jsonl"
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Training, SceneOptions):
    """Settings of fine-tuning, and what the imagery's files do not say."""

    kind: Literal["auto", "classify", "segment", "change"] = setting(
        "auto", "class of an image, of a pixel, or change between two dates; auto: by what the data are"
    )
    label_field: str = setting("class", "of points or polygons: the field that holds the class")
    tile: int = setting(64, "edge of the tiles (or of the images around points), in pixels of the imagery")
    size: int | None = setting(
        None, "resize tiles to this many pixels before encoding; default: they stay as they are"
    )
    normalise: Normalise | None = setting(
        None,
        "what standardises the input: spec, dataset, paper; default: the encoder's own, or dataset if units differ",
    )
    val_share: float = setting(
        0.2, "share of the labels on which training stops, where the source has no part for it"
    )
    block_px: int = setting(
        512, "larger images are cut into blocks of about this edge, which validation is drawn from"
    )
    ignore: tuple[int, ...] = setting((255,), "mask numbers that are no class, besides the file's own nodata")
    class_weights: Literal["none", "sqrt", "balanced"] = setting(
        "sqrt", "weight of a class in the loss: one, or by the inverse of its share (its root: sqrt)"
    )
    seed: int = setting(0, "of the head's weights and every draw")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if not 16 <= self.tile <= 2048:
            raise ConfigError(f"tile {self.tile} px; it must be from 16 to 2048")
        if not 0 < self.val_share < 1:
            raise ConfigError(
                f"validation share {self.val_share}; it must lie between 0 and 1, both excluded"
            )
        if self.block_px < self.tile:
            raise ConfigError(
                f"blocks of {self.block_px} px are smaller than tiles of {self.tile} px (--block-px, --tile)"
            )
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}; give 0 or more")

    def scene(self) -> SceneOptions:
        """What the imagery's files do not say."""
        return SceneOptions(**{f.name: getattr(self, f.name) for f in dataclasses.fields(SceneOptions)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is trained on what."""

    kind: Kind
    bands: tuple[Band, ...]
    classes: tuple[Class, ...]
    tile: int
    areas: Sequence[Area]
    words: str
    draw: Callable[[Callable[[np.ndarray], Tensor]], Callable[[int], Batch]]
    validate: Callable[[Callable[[np.ndarray], Tensor]], Callable[[Predictor], float]]
    weights: Tensor | None


def finetune(
    encoder: Encoder, data: Sequence[Path], out: Path, options: Options | None = None, *, labels: Path | None = None,
    start: Literal["new", "resume"] = "new", say: Say = print,
) -> Fitted:  # fmt: skip
    """Train a head on an encoder, and the encoder where it is tuned; write a model folder.

    Args:
        encoder: what to start from; it is copied.
        data: a labelled dataset or folder; or with `labels` one scene or more.
        out: model folder; new, unless it is resumed.
        options: settings.
        labels: points or polygons over the scenes.
        start: anew, or from the newest checkpoint in `out`.
        say: takes lines for the user.

    Raises:
        SecoError: see the error tree; `InterruptedRunError` after Ctrl-C, with a checkpoint written.
    """
    options = options or Options()
    config = out / CONFIG_NAME
    if start == "new" and (config.exists() or (out / HEAD_NAME).exists()):
        raise ConfigError(f"{out} holds a model already; go on with --resume, or choose another folder")
    if start == "resume" and not config.exists():
        raise ConfigError(f"{out} holds nothing to resume; leave out --resume to start")
    plan = _plan(data, labels, options)
    source = dense.fed(encoder, plan.bands, plan.areas, options.normalise)
    other = [b.name for b in plan.bands if b.units != "display"]
    if source.normalise == "paper" and other:
        raise ConfigError(
            f"normalise paper of band {other[0]}, which is no display bytes: it cuts each band at limits of its own, which "
            "no model keeps; use --normalise dataset"
        )
    net = dense.build(source, plan.kind, plan.classes, options, size=options.size, seed=options.seed)
    out.mkdir(parents=True, exist_ok=True)
    if start == "new":
        configs.write_yaml(options, config)
    say(
        f"{plan.kind}: {len(plan.classes)} classes ({', '.join(c.name for c in plan.classes)[:200]}), {plan.words}; "
        f"{encoder.name} {options.tuning}, normalised by {source.normalise}, {options.steps} steps of {options.batch_size}"
    )
    weights = None if plan.weights is None else plan.weights.to(source.device)
    try:
        done = fit(
            net, options, draw=plan.draw(source), validate=plan.validate(source), seed=options.seed, weights=weights,
            run=out, start=start, say=say,
        )  # fmt: skip
    except ConfigError:
        if start == "new":
            config.unlink()  # refused before the first step: the same folder takes other settings
        raise
    log = MetricsLog(out / HISTORY_NAME, keep_until_step=-1)
    for line in done.history:
        log.add(**line)
    log.close()
    spec = fed_spec(encoder.spec, source, plan.bands)
    model = Model(
        net=net, spec=spec, classes=plan.classes, tile=plan.tile, device=source.device, name=out.name
    )
    about: dict[str, Any] = {
        "encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint(), "data": [p.name for p in data],
        "labels": labels.name if labels else None, "split": plan.words, "steps": done.num_steps,
        "best_step": done.best_step, "validation": done.best_score, "normalise": source.normalise,
    }  # fmt: skip
    save_model(out, model, about=about)
    return done


def _plan(data: Sequence[Path], labels: Path | None, options: Options) -> _Plan:
    """Read the labels and divide them."""
    if labels is not None:
        return _over_scenes(data, labels, options)
    if len(data) != 1:
        raise ConfigError(f"{len(data)} sources without --labels; give one labelled folder or dataset")
    path = data[0]
    kind = options.kind
    if not path.exists():
        raise TaskError(f"{path} does not exist; give a labelled folder or dataset, or a scene with --labels")
    if kind == "auto":
        kind = "change" if looks_like_oscd(path) else "segment" if looks_like_pairs(path) else "classify"
    if kind == "classify":
        found = labelled_images.of_folder(path, val_share=options.val_share, seed=options.seed)
        return _of_images(found, options)
    if kind == "change":
        return _of_areas(read_oscd(path), "change", options)
    pairs = PairOptions(ignore=options.ignore, block_px=options.block_px, scene=options.scene())
    return _of_areas(read_pairs(path, pairs), "segment", options)


def _over_scenes(data: Sequence[Path], labels: Path, options: Options) -> _Plan:
    """Lay points or polygons over scenes: points label images around them, unless pixels are asked for."""
    shapes = read_shapes(labels, options.label_field)
    scenes = [open_scene(p, options.scene()) for p in data]
    kind = options.kind if options.kind != "auto" else "classify" if shapes.are_points else "segment"
    if kind == "change" or (kind == "classify" and not shapes.are_points):
        what = (
            "points and polygons tell classes, not change"
            if kind == "change"
            else "images are cut around points"
        )
        raise ConfigError(f"kind {kind} with {labels.name}: {what}; use --kind segment")
    if kind == "classify":
        found = labelled_images.of_points(
            scenes, shapes, tile=options.tile, val_share=options.val_share, seed=options.seed
        )
        return _of_images(found, options)
    # Blocks must be many enough to hold some out, however small the scene is.
    smallest = min(min(s.grid.height, s.grid.width) for s in scenes)
    block_px = max(options.tile, min(options.block_px, smallest // 3))
    return _of_areas(label_scenes(scenes, shapes, block_px=block_px), "segment", options)


def _of_images(found: labelled_images.Examples, options: Options) -> _Plan:
    num = int((~found.held).sum())
    return _Plan(
        kind="classify", bands=found.bands, classes=found.classes, tile=int(found.pixels.shape[-1]), areas=found.areas,
        words=f"{num} images to train on, {int(found.held.sum())} to stop on ({found.words})",
        draw=lambda feed: labelled_images.image_draw(found, feed, options, seed=options.seed),
        validate=lambda feed: labelled_images.validate_images(found, feed),
        weights=labelled_images.example_weights(found, options.class_weights),
    )  # fmt: skip


def _of_areas(labelled: Labelled, kind: Literal["segment", "change"], options: Options) -> _Plan:
    if kind == "change" and any(len(a.images) != 2 for a in labelled.areas):
        raise TaskError(f"{labelled.name} has one date an area; change needs two")
    areas = [a for a in labelled.areas if a.part != "test"] or list(labelled.areas)
    if kind == "change":
        areas = [half for a in areas for half in _halves(a, options.val_share)]
    labelled = dataclasses.replace(labelled, areas=tuple(areas))
    parts, words = divide(labelled.areas, shares=(0.0, options.val_share), seed=options.seed)
    train, val = dense.of_part(labelled, parts, "train"), dense.of_part(labelled, parts, "val")
    learned, watched = (class_counts(part, len(labelled.classes)) for part in (train, val))
    lacking = [
        f"no {labelled.classes[i].name} to {what}"
        for there, here, what in ((learned, watched, "stop on"), (watched, learned, "train on"))
        for i in np.flatnonzero((there > 0) & (here == 0))
    ]
    if lacking:
        hint = "; try another --seed, or smaller blocks (--block-px)" if kind == "segment" else ""
        words += f"; {', '.join(lacking)}{hint}"

    def validate(feed: Callable[[np.ndarray], Tensor]) -> Callable[[Predictor], float]:
        def score(net: Predictor) -> float:
            found = dense.area_confusion(net, feed, val, tile=options.tile, step=options.tile)
            return value(mean_iou if kind == "segment" else lambda m: class_f1(m)[..., 1], found)

        return score

    return _Plan(
        kind=kind, bands=labelled.bands, classes=labelled.classes, tile=options.tile, areas=train,
        words=f"{len(train)} areas to train on, {len(val)} to stop on ({words})",
        draw=lambda feed: dense.tile_draw(train, feed, options, tile=options.tile, seed=options.seed), validate=validate,
        weights=dense.class_weights(train, len(labelled.classes), options.class_weights),
    )  # fmt: skip


def _halves(area: Area, share: float) -> tuple[Area, Area]:
    """Cut a city into what is learned from and a strip to stop on."""
    one, two = dense.strips(area, share)
    return dataclasses.replace(one, part="train"), dataclasses.replace(two, part="val")
