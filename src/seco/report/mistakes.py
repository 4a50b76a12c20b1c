"""What a probe gets wrong: confusion matrices, and pictures of patches that it misjudged."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Integer
from matplotlib.figure import Figure

from seco.data.dataset import Dataset
from seco.data.sheet import as_rgb, rgb_positions, save_figure
from seco.errors import TaskError
from seco.probes.options import FINETUNE, PROBES

CLASSIFIERS = (*PROBES, FINETUNE)
MAX_PANELS = 12
MAX_CLASSES = 60
NUM_EXAMPLES = 12
SEVERAL = "; "
"""Between the names of labels, where a patch has several."""


def _panels(predictions: pa.Table) -> list[tuple[str, pa.Table]]:
    """Divide predictions, of all labels and of any seed, by encoder, output and probe.

    Raises:
        TaskError: no probe gives a class, or there are too many panels.
    """
    kept = predictions.filter(
        pc.and_(pc.is_in(predictions["probe"], pa.array(CLASSIFIERS)), pc.is_null(predictions["shots"]))
    )
    keys = list(
        dict.fromkeys(zip(*(kept[n].to_pylist() for n in ("encoder", "output", "probe")), strict=True))
    )
    if not keys:
        raise TaskError(
            "no probe of this task says a class, so there is nothing to confuse; leave out --confusion and --errors"
        )
    if len(keys) > MAX_PANELS:
        raise TaskError(
            f"{len(keys)} encoders, outputs and probes; a picture takes {MAX_PANELS}: judge fewer at a time"
        )
    out = []
    for encoder, output, probe in keys:
        same = pc.and_(
            pc.and_(pc.equal(kept["encoder"], encoder), pc.equal(kept["output"], output)),
            pc.equal(kept["probe"], probe),
        )
        name = encoder if output == "features" else f"{encoder} {output}"
        out.append((f"{name}, {probe}", kept.filter(same)))
    return out


def confusion(
    truth: list[str], predicted: list[str]
) -> tuple[list[str], Integer[np.ndarray, "classes classes"]]:
    """Return the classes, and how many patches of each (down) were called each (across); as scikit-learn's."""
    names, numbers = np.unique([*truth, *predicted], return_inverse=True)
    num = len(names)
    pairs = numbers[: len(truth)] * num + numbers[len(truth) :]
    return names.tolist(), np.bincount(pairs, minlength=num * num).reshape(num, num)


def draw_confusion(predictions: pa.Table, out: Path) -> Path:
    """Draw a confusion matrix for each encoder, output and probe, each line in percent of its class; seeds together.

    Raises:
        TaskError: patches have several labels or no class, or there are too many classes or panels.
    """
    panels = _panels(predictions)
    classes = set(predictions["truth"].to_pylist()) | set(predictions["predicted"].to_pylist())
    if any(SEVERAL in name for name in classes) or "" in classes:
        raise TaskError(
            "patches have any number of labels, which a confusion matrix cannot show; leave out --confusion"
        )
    if len(classes) > MAX_CLASSES:
        raise TaskError(
            f"{len(classes)} classes; a confusion matrix takes {MAX_CLASSES}: leave out --confusion"
        )
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    edge = 1.6 + 0.32 * len(classes)
    figure = Figure(figsize=(edge * across, edge * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.axis("off")
    for axes, (name, table) in zip(grid, panels, strict=False):
        names, counts = confusion(table["truth"].to_pylist(), table["predicted"].to_pylist())
        share: Float[np.ndarray, "a b"] = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        ticks = range(len(names))
        axes.set_xticks(ticks, names, rotation=90, fontsize=7)
        axes.set_yticks(ticks, [f"{n} ({c})" for n, c in zip(names, counts.sum(1), strict=True)], fontsize=7)
        for i, j in zip(*np.nonzero(share >= 0.5), strict=True):
            axes.text(
                j,
                i,
                f"{share[i, j]:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if share[i, j] > 55 else "black",
            )
        axes.set_title(f"{name}: {100 * np.trace(counts) / counts.sum():.1f}%", fontsize=9, loc="left")
        axes.set_xlabel("said", fontsize=8)
        axes.set_ylabel("is", fontsize=8)
    return save_figure(figure, out)


def examples(table: pa.Table, num: int) -> list[tuple[int, str, str]]:
    """Choose misjudged patches: one of each confusion in turn, the commonest confusion first; (row, truth, predicted)."""
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, truth, said in zip(*(table[n].to_pylist() for n in ("row", "truth", "predicted")), strict=True):
        if truth != said and row not in kinds[truth, said]:
            kinds[truth, said].append(row)
    ordered = sorted(((k, rows) for k, rows in kinds.items() if rows), key=lambda kv: (-len(kv[1]), kv[0]))
    out: list[tuple[int, str, str]] = []
    for turn in range(max((len(rows) for _, rows in ordered), default=0)):
        out += [(rows[turn], *kind) for kind, rows in ordered if len(rows) > turn]
        if len(out) >= num:
            break
    return out[:num]


def draw_errors(predictions: pa.Table, dataset: Dataset, out: Path) -> Path:
    """Draw patches that each encoder, output and probe misjudged, a line each: what it is, and what was said.

    Raises:
        TaskError: no probe gives a class, or there are too many panels.
    """
    panels = _panels(predictions)
    bands = dataset.meta.bands
    shown = list(dict.fromkeys(bands[i].name for i in rgb_positions(bands)))
    tier = dataset.training(shown)
    figure = Figure(figsize=(1.35 * NUM_EXAMPLES + 0.6, 1.9 * len(panels) + 0.2), layout="constrained")
    grid = figure.subplots(len(panels), NUM_EXAMPLES, squeeze=False)
    for line, (name, table) in zip(grid, panels, strict=True):
        chosen = examples(table, NUM_EXAMPLES)
        for axes in line:
            axes.axis("off")
        line[0].set_title(f"{name}: none wrong" if not chosen else "", fontsize=8, loc="left")
        for axes, (row, truth, said) in zip(line, chosen, strict=False):
            axes.imshow(as_rgb(np.asarray(tier.pixels[row]), tier), interpolation="nearest")
            axes.set_title(f"is {truth[:26]}\nsaid {said[:26] or 'nothing'}", fontsize=6, loc="left")
        if chosen:
            line[0].text(
                -0.08,
                0.5,
                name,
                transform=line[0].transAxes,
                rotation=90,
                ha="right",
                va="center",
                fontsize=7,
            )
    return save_figure(figure, out)
