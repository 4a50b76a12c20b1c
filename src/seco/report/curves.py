"""Curves of one or more runs: loss, accuracy of each head, and the probe on held-out places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seco.data.sheet import save_figure
from seco.errors import ConfigError
from seco.runs import METRICS_NAME, read_metrics

COLOURS = ("#1f5fa8", "#c2571a", "#2c7a3f", "#7a3f9e", "#a02040", "#4d4d4d")
TITLES = {
    "loss": "loss of each head",
    "accuracy": "queries that find their positive",
    "match": "the same, among the batch's keys",
    "probe": "probe on held-out places",
    "samples_per_s": "samples a second",
}


def draw_curves(runs: Sequence[Path], out: Path) -> Path:
    """Draw the metrics of runs side by side, a panel a kind of number.

    Raises:
        ConfigError: a run has logged nothing.
    """
    logs = {run.name: read_metrics(run / METRICS_NAME) for run in runs}
    for name, lines in logs.items():
        if not lines:
            raise ConfigError(f"run {name} has logged nothing yet ({METRICS_NAME}); nothing to draw")
    figure = Figure(figsize=(16, 3.4), layout="constrained")
    panels = figure.subplots(1, len(TITLES))
    for axes, (kind, title) in zip(panels, TITLES.items(), strict=True):
        keys = sorted(
            {
                k
                for lines in logs.values()
                for line in lines
                for k in line
                if k == kind or k.startswith(f"{kind}_")
            }
        )
        keys = [k for k in keys if not (kind == "loss" and k == "loss" and len(keys) > 1)]
        _panel(axes, logs, keys, kind)
        axes.set_title(title, fontsize=10, loc="left")
    return save_figure(figure, out)


def _panel(axes: Axes, logs: dict[str, list[dict]], keys: Sequence[str], kind: str) -> None:
    colour = iter(COLOURS * 4)
    for run, lines in logs.items():
        for key in keys:
            points = [(line["step"], line[key]) for line in lines if key in line]
            if not points:
                continue
            label = (
                key.removeprefix(f"{kind}_") if len(logs) == 1 else f"{run} {key.removeprefix(f'{kind}_')}"
            )
            axes.plot(
                *zip(*points, strict=True),
                label=label,
                color=next(colour),
                linewidth=1.5,
                marker="." if len(points) < 12 else "",
            )
    axes.set_xlabel("step", fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if kind in ("accuracy", "match", "probe"):
        axes.set_ylim(0, 1)
    if axes.get_lines() and kind != "samples_per_s":
        axes.legend(fontsize=8, frameon=False)
