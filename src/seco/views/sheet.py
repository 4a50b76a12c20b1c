"""The sheet that shows what a method sees: stored seasons, every view and what it got, who is positive and negative."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seco.data.sheet import as_rgb, save_figure
from seco.data.tier import TrainingTier
from seco.views.augment import Parameters
from seco.views.batch import Viewer
from seco.views.plan import Negatives, Siblings, ViewPlan

POSITIVE, NEGATIVE, MUTED = "#1a7f37", "#b3261e", "#666666"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looked:
    """Some places as a method sees them.

    Attributes:
        rows: patches that serve as t0, t1, ... (seasons, places).
        views: view name -> (places, bands, px, px), in stored units.
        drawn: view name -> what each place's view got.
    """

    rows: np.ndarray
    views: dict[str, np.ndarray]
    drawn: dict[str, Parameters]


def look(
    tier: TrainingTier,
    viewer: Viewer,
    *,
    places: Sequence[int],
    first_row: np.ndarray,
    num_dates: np.ndarray,
    epoch: int = 0,
) -> Looked:
    """Make the views of some places by the draws that training makes in that epoch."""
    chosen = np.asarray(places, np.int64)
    rows = viewer.rows(epoch, chosen, first_row, num_dates)
    stored = tier.pixels[rows.ravel()].reshape(*rows.shape, *tier.pixels.shape[1:])
    if stored.dtype == np.uint16:
        stored = stored.astype(np.int32)
    views = viewer.views(torch.from_numpy(stored), epoch, chosen)
    scale, shift = tier.std[:, None, None], tier.mean[:, None, None]
    return Looked(
        rows=rows,
        views={name: v.numpy() * scale + shift for name, v in views.items()},
        drawn=viewer.parameters(epoch, chosen, patch_px=tier.patch_px),
    )


def draw_sheet(
    tier: TrainingTier,
    viewer: Viewer,
    out: Path,
    *,
    places: Sequence[int],
    first_row: np.ndarray,
    num_dates: np.ndarray,
    epoch: int = 0,
    title: str,
    siblings: Siblings = "all",
    negatives: Negatives = "batch",
) -> Path:
    """Draw one band of pictures a place: the seasons drawn, then every view with what it got; below, who is who.

    Args:
        places: positions of the places to show.
        first_row, num_dates: per place of the dataset.
        epoch: which epoch's draws to show; the same draws as in training with this seed.
        siblings: the method's option, which decides the negatives named.
    """
    chosen = np.asarray(places, np.int64)
    seen = look(tier, viewer, places=places, first_row=first_row, num_dates=num_dates, epoch=epoch)
    rows = seen.rows
    num_cols = len(rows) + len(viewer.plan.views)
    legend = explain(viewer.plan, siblings=siblings, negatives=negatives)
    figure = Figure(
        figsize=(2.1 * num_cols, 2.7 * len(chosen) + 0.33 * len(legend) + 1.2), layout="constrained"
    )
    grid = figure.add_gridspec(
        len(chosen) + 1, num_cols, height_ratios=[1.0] * len(chosen) + [0.11 * len(legend) + 0.1]
    )
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", fontweight="bold")
    for line, place in enumerate(chosen):
        for s, row in enumerate(rows[:, line]):
            axes = figure.add_subplot(grid[line, s])
            axes.imshow(as_rgb(np.asarray(tier.pixels[row]), tier), interpolation="nearest")
            if line == 0:
                axes.set_title(f"stored t{s}", fontsize=10, color=MUTED)
            name = tier.dataset.place_ids[place]
            date = tier.dataset.dates[row]
            axes.set_xlabel(
                (f"place {name}\n" if s == 0 else "") + ("" if np.isnat(date) else str(date)), fontsize=8
            )
            _bare(axes)
        for v, view in enumerate(viewer.plan.views):
            axes = figure.add_subplot(grid[line, len(rows) + v])
            axes.imshow(as_rgb(seen.views[view.name][line], tier), interpolation="nearest")
            if line == 0:
                kind = "augmented" if view.augment else "only cropped"
                axes.set_title(f"{view.name} = t{view.season}, {kind}", fontsize=10)
            axes.set_xlabel(in_words(seen.drawn[view.name], line), fontsize=7)
            _bare(axes)
    axes = figure.add_subplot(grid[len(chosen), :])
    axes.axis("off")
    for i, (text, colour) in enumerate(legend):
        axes.text(
            0.0,
            1 - (i + 0.5) / len(legend),
            text,
            fontsize=9,
            color=colour,
            va="center",
            transform=axes.transAxes,
        )
    return save_figure(figure, out)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def in_words(parameters: Parameters, i: int) -> str:
    """Say what sample `i` of a view got: its crop, then the jitter in its drawn order, grey, blur, flip."""
    got = parameters.describe(i)
    top, left, height, width = got.pop("crop")
    lines = [f"crop {width} x {height} px at {left},{top}"]
    for k, v in got.items():
        if not isinstance(v, bool):
            lines.append(f"hue {v:+.3f}" if k == "hue" else f"blur {v} px" if k == "blur" else f"{k} {v}")
    lines += [k for k, v in got.items() if isinstance(v, bool)]
    pairs = [", ".join(lines[i : i + 2]) for i in range(0, len(lines), 2)]
    return "\n".join(pairs)


def differs(plan: ViewPlan, key: str) -> str:
    """Say in what a key differs from the query besides its crop."""
    views = {v.name: v for v in plan.views}
    parts = []
    if views[key].season != views["q"].season:
        parts.append("season")
    if views[key].augment or views["q"].augment:
        parts.append("augmentation")
    return " and ".join(parts) if parts else "crop alone"


def explain(
    plan: ViewPlan, *, siblings: Siblings = "all", negatives: Negatives = "batch"
) -> list[tuple[str, str]]:
    """Return lines (text, colour) that say for each head who is positive and who is negative."""
    sources = {
        "queue": "the queue of earlier {}",
        "batch": "{} of every other place in the batch",
        "both": "{0} of every other place in the batch; the queue of earlier {0}",
    }
    whose = {"all": "every place in the batch", "own": "the same place", "none": ""}[siblings]
    out = []
    for head in plan.heads:
        out.append(
            (f"{head.name}: positive {head.positive} (differs in {differs(plan, head.positive)})", POSITIVE)
        )
        names = [f"{s} (differs in {differs(plan, s)})" for s in head.siblings if siblings != "none"]
        extra = f"; and of {whose}: " + ", ".join(names) if names else ""
        out.append((f"      negatives: {sources[negatives].format(head.positive)}{extra}", NEGATIVE))
    return out
