"""Learning curves: what each encoder scores with how many labels a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seco.data.sheet import save_figure
from seco.errors import ConfigError
from seco.report.curves import COLOURS


def draw_learning(rows: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Draw score against labels a class, a panel a task and probe; dashed: with all labels.

    Raises:
        ConfigError: no row is of few shots.
    """
    panels = list(dict.fromkeys((r["task"], r["probe"]) for r in rows if r.get("shots") is not None))
    if not panels:
        raise ConfigError("no row has a number of shots; evaluate with --shots 1,5,10,50,100")
    lines = list(dict.fromkeys((r["encoder"], r.get("output")) for r in rows if r.get("shots") is not None))
    figure = Figure(figsize=(4.6 * len(panels) + 1.4, 3.6), layout="constrained")
    for axes, (task, probe) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        mine = [r for r in rows if (r["task"], r["probe"]) == (task, probe)]
        for number, line in enumerate(lines):
            _line(
                axes,
                [r for r in mine if (r["encoder"], r.get("output")) == line],
                COLOURS[number % len(COLOURS)],
            )
        axes.set_title(f"{task}, {probe}", fontsize=10, loc="left")
        axes.set_xlabel("labels a class", fontsize=9)
        axes.set_ylabel(f"{mine[0]['metric']}, %", fontsize=9)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.axes[0].legend(fontsize=8, frameon=False)
    return save_figure(figure, out)


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], colour: str) -> None:
    """Draw one encoder: the mean over splits, the widest of their intervals, and its score with all labels."""
    few = sorted({r["shots"] for r in rows if r.get("shots") is not None})
    if not few:
        return
    mean, low, high = [], [], []
    for shots in few:
        at = [r for r in rows if r.get("shots") == shots]
        mean.append(100 * sum(r["value"] for r in at) / len(at))
        low.append(100 * min(r["ci_low"] if r.get("ci_low") is not None else r["value"] for r in at))
        high.append(100 * max(r["ci_high"] if r.get("ci_high") is not None else r["value"] for r in at))
    output = rows[0].get("output")
    name = rows[0]["encoder"] if output in (None, "features") else f"{rows[0]['encoder']} {output}"
    axes.plot(few, mean, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=name)
    axes.fill_between(few, low, high, color=colour, alpha=0.15, linewidth=0)
    whole = [r["value"] for r in rows if r.get("shots") is None]
    if whole:
        axes.axhline(100 * sum(whole) / len(whole), color=colour, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(few, [str(s) for s in few])
    axes.minorticks_off()
