"""What was logged while training, as charts; and where a run stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from seco.report.facts import Run
from seco.report.markup import Html, clean, count, element

MAX_LINE_POINTS = 600
"""Points of one line; a chart is some 500 pixels wide."""
KINDS = (
    ("loss", "Loss of each head", "number", "lower is better; heads with more negatives start higher"),
    ("accuracy", "Queries that find their positive", "percent", "among the batch's keys and all negatives of the head"),
    ("match", "The same, among the batch's keys alone", "percent", "so that queues of different length compare"),
    ("probe", "Probe on held-out places", "percent",
     "does the nearest neighbour show the same place in another season (or the same label)?"),
    ("samples_per_s", "Throughput", "number", "places a second, between two log lines"),
    ("lr", "Learning rate", "number", "warm-up and decay as logged"),
)  # fmt: skip
MAX_OTHERS = 4
MAX_CLOCK_S = 1000 * 86_400
"""What takes longer is no estimate any more, but a log that is damaged or a rate close to nothing."""


def charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the charts: runs with the same kind of number share one. Colours tell runs apart, or heads of a single run."""
    keys: dict[str, None] = {}
    for run in runs:
        for line in run.metrics:
            keys.update(dict.fromkeys(k for k, v in line.items() if k != "step" and _is_number(v)))
    out = []
    taken: set[str] = {"loss"} if any(k.startswith("loss_") for k in keys) else set()
    for kind, title, unit, hint in KINDS:
        mine = sorted(k for k in keys if (k == kind or k.startswith(f"{kind}_")) and k not in taken)
        taken |= set(mine)
        if mine:
            out.append(_chart(runs, mine, kind=kind, title=title, unit=unit, hint=hint))
    # A newer seco may log numbers that this one has no title for.
    others = sorted(set(keys) - taken)[:MAX_OTHERS]
    return out + [_chart(runs, [k], kind=k, title=clean(k), unit="number", hint="as logged") for k in others]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _chart(
    runs: Sequence[Run], keys: Sequence[str], *, kind: str, title: str, unit: str, hint: str
) -> dict[str, Any]:
    lines = []
    for r, run in enumerate(runs):
        for k, key in enumerate(keys):
            points = [(line["step"], line[key]) for line in run.metrics if _is_number(line.get(key))]
            if not points:
                continue
            head = "" if key == kind else key.removeprefix(f"{kind}_").replace("_", " ")
            name = head or kind.replace("_", " ")
            lines.append(
                {
                    "name": name if len(runs) == 1 else f"{run.label} {head}".strip(),
                    "colour": r if len(runs) > 1 else k, "dash": k if len(runs) > 1 else 0, **_thinned(points),
                }
            )  # fmt: skip
    return {"title": title, "unit": unit, "hint": hint, "lines": lines}


def _thinned(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Return points as x and y, evenly chosen where there are many; what is not finite is a gap."""
    if len(points) > MAX_LINE_POINTS:
        keep = np.unique(np.linspace(0, len(points) - 1, MAX_LINE_POINTS).round().astype(int))
        points = [points[i] for i in keep]
    return {
        "x": [x for x, _ in points],
        "y": [float(f"{y:.5g}") if math.isfinite(y) else None for _, y in points],
    }


def state_words(run: Run) -> str:
    """Say where a run stands: finished, or at which step of how many when its last line was logged."""
    of = f" of {run.num_steps:,}" if run.num_steps else ""
    when = f" on {run.last_logged:%Y-%m-%d at %H:%M} UTC" if run.last_logged else ""
    if run.is_finished:
        return f"Finished: {count(run.num_steps or 0, 'step')}; last line logged{when}."
    if not run.metrics and run.has_encoder:
        return "The run holds an encoder, but no log line that can be read."
    if not run.metrics:
        return "Nothing was logged yet: the run has just started, or was stopped before its first log line."
    if run.num_steps is None:
        return f"Step {run.step:,} was logged last{when}; how many there were to be is not known."
    left = run.seconds_left
    rest = f" If it still runs, about {clock(left)} are left at the rate last logged." if left else ""
    if run.spec is None and run.has_encoder:
        return f"Step {run.step:,}{of} was logged last{when}. The run holds an encoder that cannot be read.{rest}"
    kept = (
        f" It holds the encoder of step {run.spec.num_steps:,}." if run.spec else " It holds no encoder yet."
    )
    return f"Not finished: step {run.step:,}{of}, logged{when}. It is running or was interrupted.{rest}{kept}"


def progress_bar(run: Run, *, name: str | None = None) -> Html | None:
    """Return how far a run is that is not finished; None of one that is, or whose length nobody knows."""
    if run.is_finished or run.num_steps is None:
        return None
    share = min(1.0, run.step / run.num_steps)
    left = run.seconds_left
    words = f"{share:.0%}" + (f", about {clock(left)} left if it still runs" if left else "")
    track = element("span", element("i", class_="fill", style=f"width:{100 * share:.2f}%"), class_="track")
    told = f"Step {run.step:,} of {run.num_steps:,}"
    return element(
        "div", element("span", f"{name}: {told}" if name else told), track, element("span", words),
        class_="progress", role="img", aria_label=f"{told}, {words}",
    )  # fmt: skip


def clock(seconds: float) -> str:
    """Return a duration in words, coarse."""
    if seconds < 90:
        return count(max(1, round(seconds)), "second")
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86_400:.1f} days" if seconds < MAX_CLOCK_S else f"over {MAX_CLOCK_S // 86_400:,} days"


def mean_rate(run: Run) -> float | None:
    """Return the median of the rates logged, places a second."""
    logged = [line.get("samples_per_s") for line in run.metrics]
    rates = [float(r) for r in logged if isinstance(r, (int, float)) and math.isfinite(r)]
    return float(np.median(rates)) if rates else None
