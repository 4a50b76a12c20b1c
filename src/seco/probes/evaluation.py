"""What a task is, how one is found (a module of `seco.tasks`, by its name), and how encoders are judged by one."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import pyarrow as pa

from seco.errors import TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes.options import EvaluationOptions
from seco.probes.result import PREDICTION_SCHEMA, Headline, TaskResult
from seco.probes.scores import bootstrap

SAME = ("encoder", "task", "probe", "metric", "output", "protocol", "shots", "size")
"""What rows of several seeds have in common."""


@runtime_checkable
class Task(Protocol):
    """The contract of a module in `seco.tasks`.

    Attributes:
        NAME: the module's name.
        HELP: one line.
        EXAMPLE: a command.
        HEADLINE: what a page says of it.
        Options: frozen keyword-only dataclass of settings, with defaults for all.
    """

    NAME: str
    HELP: str
    EXAMPLE: str
    HEADLINE: Headline
    Options: type[Any]

    def run(self, encoder: FeatureExtractor, data: Path, options: Any) -> TaskResult:
        """Judge an encoder on the data at a path. The test part selects nothing."""


def names() -> list[str]:
    """Return the names of all tasks."""
    package = importlib.import_module("seco.tasks")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(name: str) -> Task:
    """Return a task by name.

    Raises:
        TaskError: there is none of that name.
    """
    if name not in names():
        raise TaskError(f"no task {name!r}; known: {', '.join(names())}")
    return cast(Task, importlib.import_module(f"seco.tasks.{name}"))


def headline(name: str) -> Headline | None:
    """Return what a page says of a task; None of one that this version does not know."""
    return find(name).HEADLINE if name in names() else None


def evaluate(encoders: Sequence[FeatureExtractor], task: str, data: Path, options: Any = None) -> TaskResult:
    """Judge encoders by one task, all with the same splits and draws.

    Args:
        encoders: with different names, by which rows are told apart.
        task: a name of `names()`.
        data: what the task takes: a dataset, or for `images` a folder or zip too.
        options: the task's Options; its defaults if None.

    Returns:
        The rows and predictions of all encoders; rows that belong to no encoder (the majority class) stand once. Of
        several sizes (`options.size`) the rows have a field, and predictions are of `ENCODER at SIZE px`.

    Raises:
        TaskError: no such task, no encoder, two encoders of one name, or data that do not suit the task.
    """
    module = find(task)
    if not encoders:
        raise TaskError(
            "no encoder to judge; give a run, an exported encoder, random:ARCH, imagenet:ARCH or colour"
        )
    twice = [name for name, num in Counter(e.name for e in encoders).items() if num > 1]
    if twice:
        raise TaskError(
            f"several encoders are called {', '.join(twice)}; rename their folders, so that rows can be told apart"
        )
    chosen = module.Options() if options is None else options
    results = [
        _at_size(module, encoder, Path(data), chosen, size)
        for size in chosen.size or (None,)
        for encoder in encoders
    ]
    rows = {tuple(row.values()): row for result in results for row in result.rows}
    return TaskResult(
        rows=list(rows.values()),
        predictions=pa.concat_tables([r.predictions for r in results]),
        dataset=results[0].dataset,
    )


def _at_size(
    task: Task, encoder: FeatureExtractor, data: Path, options: EvaluationOptions, size: int | None
) -> TaskResult:
    """Judge at one of the sizes asked for."""
    if len(options.size) < 2 or size is None:
        return task.run(encoder, data, options)
    result = task.run(encoder, data, dataclasses.replace(options, size=(size,)))
    table = result.predictions
    named = pa.array([sized(name, size) for name in table["encoder"].to_pylist()], pa.string())
    table = table.set_column(0, PREDICTION_SCHEMA.field("encoder"), named)
    return dataclasses.replace(result, predictions=table)


def sized(encoder: str, size: int | None) -> str:
    """Return what an encoder is called at one of several sizes."""
    return encoder if size is None else f"{encoder} at {size} px"


def summarise(rows: Iterable[Mapping[str, Any]], *, by: Sequence[str] = SAME) -> list[dict[str, Any]]:
    """Return mean and spread of rows that differ in seed (or in whatever else is not in `by`).

    Returns:
        For each combination of `by`, in order of appearance: those fields, `value` (the mean), `spread` (sample standard
        deviation; None for a single row), `num_seeds`, `value_min`, `value_max`, and the means of `balanced_accuracy` and
        `majority` where all rows have them.
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in by), []).append(row)
    out = []
    for key, members in groups.items():
        values = np.array([m["value"] for m in members], np.float64)
        summary: dict[str, Any] = dict(zip(by, key, strict=True))
        summary |= {
            "value": float(values.mean()),
            "spread": float(values.std(ddof=1)) if len(values) > 1 else None,
            "num_seeds": len(values),
            "value_min": float(values.min()),
            "value_max": float(values.max()),
        }
        for name in ("balanced_accuracy", "majority"):
            given = [m.get(name) for m in members]
            summary[name] = float(np.mean(given)) if None not in given else None  # type: ignore[arg-type]
        out.append(summary)
    return out


def compare(predictions: pa.Table, reference: str, *, num_draws: int = 1000) -> list[dict[str, Any]]:
    """Return how much better each encoder scores than a reference, on the very same test samples.

    Two encoders err on the same hard places, so the interval of their difference is far narrower than the two intervals of
    their scores suggest. The bootstrap draws whole blocks and takes the difference within them.

    Args:
        predictions: of `evaluate`, or several of them concatenated, for one task or more.
        reference: name of the encoder that the others are compared with.
        num_draws: bootstrap draws.

    Returns:
        A row for each other encoder, task, probe, output, number of shots and seed: `value` (difference of the mean scores,
        0-1), `ci_low` and `ci_high`. Outputs that the reference lacks are left out.

    Raises:
        TaskError: the reference has no predictions, or they are of other samples.
    """
    kinds = ("task", "probe", "output", "shots", "seed")
    parts = _partition(predictions, ("encoder", *kinds))
    if not any(key[0] == reference for key in parts):
        known = ", ".join(dict.fromkeys(str(key[0]) for key in parts))
        raise TaskError(
            f"no predictions of {reference!r} to compare with; there are those of {known or 'nobody'}"
        )
    out = []
    for (encoder, *kind), part in parts.items():
        base = parts.get((reference, *kind))
        if encoder == reference or base is None:
            continue
        if not part["row"].equals(base["row"]):
            raise TaskError(
                f"{encoder} and {reference} were tested on different patches; evaluate them together"
            )
        gain = part["score"].to_numpy() - base["score"].to_numpy()
        interval = bootstrap(gain, part["group"].to_numpy(), num_draws=num_draws, seed=int(kind[-1]))
        out.append(
            {
                "encoder": encoder,
                "reference": reference,
                **dict(zip(kinds, kind, strict=True)),
                "value": float(gain.mean()),
                "ci_low": interval.low if interval else None,
                "ci_high": interval.high if interval else None,
            }
        )
    return out


def _partition(table: pa.Table, keys: Sequence[str]) -> dict[tuple, pa.Table]:
    """Divide a table by the values of its key columns."""
    numbered = table.select(list(keys)).append_column("position", pa.array(np.arange(len(table))))
    groups = numbered.group_by(list(keys), use_threads=False).aggregate([("position", "list")]).to_pylist()
    return {tuple(g[k] for k in keys): table.take(g["position_list"]) for g in groups}
