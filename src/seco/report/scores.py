"""Result tables on the terminal and as a picture: a panel a task and metric, a bar an encoder, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seco.data.sheet import save_figure
from seco.errors import ConfigError
from seco.probes.evaluation import summarise
from seco.probes.result import metric_words
from seco.runs import print_table

COLOURS = {
    "knn": "#9db8d9",
    "linear": "#1f5fa8",
    "finetune": "#0b2f5c",
    "retrieval": "#2c7a3f",
    "majority": "#b0b0b0",
}
SHOWN = ("accuracy", "map", "map_micro", "auc", "miou", "f1")
ALWAYS = ("encoder", "output", "probe", "shots", "metric", "value")


def draw_scores(rows: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Draw the accuracy or mean average precision of every encoder and output, a panel a task.

    Raises:
        ConfigError: there is nothing to draw.
    """
    kept = [r for r in rows if r["metric"] in SHOWN and r.get("shots") is None]
    tasks = list(dict.fromkeys((r["task"], r["metric"]) for r in kept))
    if not tasks:
        raise ConfigError(f"no row with metric {' or '.join(SHOWN)}; nothing to draw")
    heights = [len([r for r in kept if (r["task"], r["metric"]) == t]) for t in tasks]
    figure = Figure(figsize=(4.3 * len(tasks), 1.1 + 0.3 * max(heights)), layout="constrained")
    for axes, (task, metric) in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _panel(axes, [r for r in kept if r["task"] == task and r["metric"] == metric])
        axes.set_title(f"{task} ({metric_words(metric)})", fontsize=10, loc="left")
    return save_figure(figure, out)


def _panel(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    rows = sorted(rows, key=lambda r: (r["probe"], r["value"]))
    for y, row in enumerate(rows):
        low, high = row.get("ci_low"), row.get("ci_high")
        error = (
            [[row["value"] - low], [high - row["value"]]] if low is not None and high is not None else None
        )
        axes.barh(
            y,
            row["value"],
            color=COLOURS.get(row["probe"], "#888888"),
            height=0.75,
            xerr=error,
            ecolor="#333333",
        )
        end = max(row["value"], high if high is not None else 0.0)
        axes.text(end + 0.015, y, f"{row['value']:.3f}", va="center", fontsize=7, color="#333333")
    axes.set_yticks(range(len(rows)), [_words(r) for r in rows], fontsize=8)
    axes.set_xlim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)


def _words(row: Mapping[str, Any]) -> str:
    if row["probe"] == "majority":
        return "majority class"
    output = row.get("output")
    return f"{row['encoder']}{f' {output}' if output not in (None, 'features') else ''}, {row['probe']}"


def print_scores(rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Print result rows; what all rows share goes under the title."""
    columns = ("encoder", "output", "probe", "shots", "metric", "value", "ci_low", "ci_high", "spread", "protocol",
               "balanced_accuracy", "majority",
               "num_train", "num_test", "transductive", "split")  # fmt: skip
    strict = all(r.get("protocol", "strict") == "strict" for r in rows)
    kept = [
        c for c in columns if not (c == "protocol" and strict) and any(r.get(c) is not None for r in rows)
    ]
    shared = {c: {r.get(c) for r in rows} for c in kept if c not in ALWAYS}
    same = {c: next(iter(v)) for c, v in shared.items() if len(v) == 1 and c not in ("ci_low", "ci_high")}
    about = ", ".join(f"{c} {_short(v)}" for c, v in same.items())
    names = {"balanced_accuracy": "balanced"}
    shown = [{names.get(c, c): r.get(c) for c in kept} for r in rows]
    print_table(shown, [names.get(c, c) for c in kept if c not in same], title=f"{title}\n{about}")
    summary = summarise(rows)
    if any(s["num_seeds"] > 1 for s in summary):
        over = ("encoder", "output", "probe", "shots", "metric", "value", "spread", "num_seeds")
        print_table(summary, over, title="mean and spread over splits")


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
