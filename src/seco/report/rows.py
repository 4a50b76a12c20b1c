"""Result rows: found, checked, given to the runs that they are of, and put together over seeds."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seco.errors import ConfigError, SecoError
from seco.probes.evaluation import summarise
from seco.probes.options import STRICT
from seco.report.facts import MAX_BYTES, Run
from seco.report.markup import clean, count
from seco.use.load import load_encoder

SAME = (
    "task", "metric", "encoder", "run", "output", "probe", "shots", "protocol", "normalise", "size", "settings",
    "encoder_fingerprint", "data_fingerprint",
)  # fmt: skip
"""What rows of several seeds have in common, in the order that the table sorts by."""
MAX_ROWS, MAX_NAMED = 2000, 6
MAX_VALUE = 1e15
"""What is larger, or is not finite, is no score and no count."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Result rows put together.

    Attributes:
        rows: a mapping each of SAME's fields with `value`, `low`, `high`, `interval` (what the ends are), `num_seeds`, ...;
            `run` is the label of the run that a row is of, None of other encoders.
        sources: files read.
        notes: what was left out, and why.
    """

    rows: list[dict[str, Any]]
    sources: list[Path]
    notes: list[str]


def find_scores(runs: Sequence[Run], given: Sequence[Path] = ()) -> Scores:
    """Read result files: those given, or every `scores*.json` in the run folders and the folders that hold these.

    Of files that were found, rows of other runs are left out: they are no part of what was asked for. Baselines stay.

    Raises:
        ConfigError: a file that was given is missing or holds no result rows.
    """
    files = list(given) or sorted(
        {f for run in runs for folder in (run.path, run.path.parent) for f in folder.glob("scores*.json")}
    )
    rows: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    sources = []
    owners = _Owners(runs)
    for file in files:
        try:
            found, num_wrong = _read_rows(file)
        except ConfigError as err:
            if given:
                raise
            notes.append(f"{err}.")
            continue
        sources.append(file)
        if num_wrong:
            notes.append(
                f"{count(num_wrong, 'row')} of {file.name} lack a number or a name and are left out."
            )
        found = [r | {"run": owners.of(r, file)} for r in found]
        rows.update({json.dumps(r, sort_keys=True, default=str): r for r in found})
    kept = list(rows.values())
    if not given:
        others = Counter(r["encoder"] for r in kept if r["run"] is None and not is_baseline(r["encoder"]))
        kept = [r for r in kept if r["encoder"] not in others or r["run"] is not None]
        notes += _left_out(others, runs)
    kept = [r | {"encoder": r["run"]} if r["run"] is not None else r for r in kept]
    if len(kept) > MAX_ROWS:
        notes.append(f"Only the first {MAX_ROWS:,} of {len(kept):,} rows are shown.")
    return Scores(rows=together(kept[:MAX_ROWS]), sources=sources, notes=notes)


def is_baseline(encoder: str) -> bool:
    """Tell an encoder that anyone has, `random:resnet18` or `colour`, from one that lies in a folder."""
    return encoder in ("colour", "majority") or encoder.partition(":")[0] in ("random", "imagenet")


def _left_out(others: Mapping[str, int], runs: Sequence[Run]) -> list[str]:
    """Say which rows of files that were found are not shown, and how to have them."""
    names = {r.name for r in runs}
    notes = []
    stale, foreign = [x for x in others if x in names], [x for x in others if x not in names]
    if stale:
        num = count(sum(others[x] for x in stale), "row")
        why = "made from other weights than the run holds now, or from another run of its name"
        notes.append(f"{num} of {clean(', '.join(stale))} left out: {why}.")
    if foreign:
        num = count(sum(others[x] for x in foreign), "row")
        some = clean(", ".join(foreign[:MAX_NAMED])) + (" and others" if len(foreign) > MAX_NAMED else "")
        notes.append(
            f"{num} of {some} left out: no run of this page. Name it too, or its file with `--scores`."
        )
    return notes


class _Owners:
    """Which run a row is of: rows know an encoder's name, its folder's, which several runs can have."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.fingerprints: dict[Path, str | None] = {}

    def of(self, row: Mapping[str, Any], file: Path) -> str | None:
        """Return the label of the run whose weights a row was made from, or that lies nearest to the row's file."""
        named = [r for r in self.runs if r.name == row["encoder"]]
        told = row.get("encoder_fingerprint")
        if isinstance(told, str):
            known = {r.label: self._fingerprint(r) for r in named}
            same = [label for label, fingerprint in known.items() if fingerprint == told]
            if same:
                return same[0]
            named = [r for r in named if known[r.label] is None]
        if len(named) > 1:
            folder = file.resolve().parent
            near = [
                [r for r in named if r.path.resolve() == folder],
                [r for r in named if r.path.resolve().parent == folder],
            ]
            named = next((found for found in near if found), [])
        return named[0].label if len(named) == 1 else None

    def _fingerprint(self, run: Run) -> str | None:
        """Return the fingerprint of the encoder that a run holds now, None where it holds none."""
        if run.path not in self.fingerprints:
            found = None
            if run.spec is not None:
                try:
                    found = load_encoder(run.path, device="cpu").fingerprint()
                except SecoError:
                    # That it cannot be loaded is said where its features are wanted.
                    found = None
            self.fingerprints[run.path] = found
        return self.fingerprints[run.path]


def _read_rows(file: Path) -> tuple[list[dict[str, Any]], int]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{file} is larger than {MAX_BYTES:,} bytes; it is no table of scores")
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise ConfigError(
            f"cannot read scores {file}: {err}; make it with `seco evaluate --json FILE`"
        ) from err
    rows = values.get("rows") if isinstance(values, dict) else None
    if not isinstance(rows, list):
        raise ConfigError(f'{file} holds no {{"rows": [...]}}; make it with `seco evaluate --json FILE`')
    good = [_plain(r) for r in rows if isinstance(r, dict) and _is_row(r)]
    return good, len(rows) - len(good)


def _is_row(row: Mapping[str, Any]) -> bool:
    named = all(isinstance(row.get(k), str) for k in ("encoder", "task", "probe", "metric"))
    return named and _number(row.get("value")) is not None


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Keep flat values; what should be a number and is none counts as not given."""
    numbers = (
        "value",
        "ci_low",
        "ci_high",
        "balanced_accuracy",
        "majority",
        "shots",
        "num_train",
        "num_test",
        "num_groups",
    )
    flat = {str(k): v for k, v in row.items() if v is None or isinstance(v, (str, int, float, bool))}
    return flat | {k: _number(row.get(k)) for k in numbers} | {"protocol": flat.get("protocol") or STRICT}


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_VALUE
    return value if good else None


def together(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put rows that differ in seed alone together: the mean, and how far seeds or the bootstrap spread."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(k) for k in SAME), []).append(row)
    out = []
    for summary, members in zip(summarise(rows, by=SAME), groups.values(), strict=True):
        one = members[0]
        if len(members) == 1:
            interval = ("95% interval", one.get("ci_low"), one.get("ci_high"))
        else:
            interval = (f"range of {len(members)} seeds", summary["value_min"], summary["value_max"])
        if interval[1] is None or interval[2] is None:
            interval = ("no interval given", None, None)
        told = ("num_train", "num_test", "num_groups", "num_classes", "transductive", "split")
        out.append(
            summary
            | {"interval": interval[0], "low": interval[1], "high": interval[2]}
            | {k: one.get(k) for k in told}
        )
    return out
