"""Result rows: found, checked, put together over seeds, and shown as headline numbers, bars and a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seco.errors import ConfigError
from seco.probes.evaluation import summarise
from seco.report.facts import MAX_BYTES, Run
from seco.report.markup import Child, Html, clean, count, element, join, percent

SAME = (
    "task",
    "metric",
    "encoder",
    "output",
    "probe",
    "normalise",
    "size",
    "settings",
    "encoder_fingerprint",
)
"""What rows of several seeds have in common, in the order that the table sorts by."""
TITLES = {
    "landcover": "Land cover from one picture", "climate": "Climate zone from one picture",
    "images": "Class of a labelled image", "place": "A place found again in another season",
    "season": "Month or season told from one picture",
}  # fmt: skip
METRICS = {"accuracy": "accuracy", "map": "mean average precision", "cmc@1": "right at first", "cmc@5": "right among 5",
           "cmc@10": "right among 10"}  # fmt: skip
BARS = ("accuracy", "map")
HEADLINES = (
    ("landcover", "linear", "accuracy"), ("climate", "linear", "accuracy"), ("images", "linear", "accuracy"),
    ("place", "retrieval", "map"), ("season", "linear", "accuracy"),
)  # fmt: skip
MAX_HEADLINES = 3
MAX_ROWS = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Result rows put together.

    Attributes:
        rows: a mapping each of SAME's fields with `value`, `low`, `high`, `interval` (what the ends are), `num_seeds`, ...
        sources: files read.
        notes: what was left out, and why.
    """

    rows: list[dict[str, Any]]
    sources: list[Path]
    notes: list[str]


def find_scores(runs: Sequence[Run], given: Sequence[Path] = ()) -> Scores:
    """Read result files: those given, or every `scores*.json` in the run folders and the folders that hold these.

    Raises:
        ConfigError: a file that was given is missing or holds no result rows.
    """
    files = list(given) or sorted(
        {f for run in runs for folder in (run.path, run.path.parent) for f in folder.glob("scores*.json")}
    )
    rows: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    sources = []
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
        rows.update({json.dumps(r, sort_keys=True, default=str): r for r in found})
    kept = list(rows.values())
    if len(kept) > MAX_ROWS:
        notes.append(f"Only the first {MAX_ROWS:,} of {len(kept):,} rows are shown.")
    return Scores(rows=together(kept[:MAX_ROWS]), sources=sources, notes=notes)


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
        "num_train",
        "num_test",
        "num_groups",
    )
    flat = {str(k): v for k, v in row.items() if v is None or isinstance(v, (str, int, float, bool))}
    return flat | {k: _number(row.get(k)) for k in numbers}


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
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


def encoder_words(name: str) -> str:
    """Return what an encoder is, for people."""
    kind, _, arch = name.partition(":")
    words = {"random": f"random {arch}", "imagenet": f"ImageNet {arch}"}
    plain = {"colour": "colour statistics", "majority": "commonest class"}
    return clean(words[kind] if kind in words and arch else plain.get(name, name))


def headlines(scores: Scores, runs: Sequence[Run]) -> Html:
    """Return a card for each of the first questions that the runs were asked: the run's number over those of the others."""
    names = [run.name for run in runs]
    cards: list[Html] = []
    for task, probe, metric in HEADLINES:
        rows = [
            r
            for r in scores.rows
            if (r["task"], r["metric"]) == (task, metric) and r.get("output") in (None, "features")
        ]
        rows = [r for r in rows if r["probe"] in (probe, "majority")]
        mine = [r for r in rows if r["encoder"] in names]
        if mine and len(cards) < MAX_HEADLINES:
            cards.append(_card(task, metric, rows, mine))
    return element("div", *cards, class_="cards") if cards else Html("")


def _card(task: str, metric: str, rows: Sequence[dict[str, Any]], mine: Sequence[dict[str, Any]]) -> Html:
    best = max(mine, key=lambda r: r["value"])
    others = sorted(
        (r for r in rows if r not in mine and r["probe"] != "majority"), key=lambda r: -r["value"]
    )
    majority = [r for r in rows if r["probe"] == "majority"][:1]
    bars = [
        _bar(r, is_mine=r in mine) for r in (*sorted(mine, key=lambda r: -r["value"]), *others[:3], *majority)
    ]
    probe = {
        "map": "mean average precision among held-out places",
        "accuracy": "accuracy of a linear probe on held-out places",
    }
    if task == "images":
        probe["accuracy"] = "accuracy of a linear probe on held-out images"
    said = verdict(best, [*others[:3], *majority])
    whose = f"{best['encoder']}, the best of {len(mine)} runs" if len(mine) > 1 else best["encoder"]
    return element(
        "div", element("p", TITLES.get(task, clean(task)), class_="card-title"),
        element("p", element("span", f"{100 * best['value']:.1f}", class_="big"), element("span", "%", class_="unit"),
                element("span", f"{whose}: {probe[metric]}", class_="big-note"), class_="card-number"),
        element("div", *bars, class_="bars"), element("p", said, class_="verdict"), class_="card",
    )  # fmt: skip


def verdict(best: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Say how a run stands against each other encoder, and whether the intervals let one believe it."""
    if not others:
        return "There is no other encoder to compare it with."
    parts = []
    for other in others:
        gain = 100 * (best["value"] - other["value"])
        ends = [best["low"], best["high"], other["low"], other["high"]]
        sure = None if None in ends else best["low"] > other["high"] or best["high"] < other["low"]
        trust = {None: "", True: " (intervals apart)", False: " (intervals overlap)"}[sure]
        way = (
            "level with" if abs(gain) < 0.05 else f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'}"
        )
        parts.append(f"{way} {encoder_words(other['encoder'])}{trust}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _bar(row: Mapping[str, Any], *, is_mine: bool, name: str | None = None) -> Html:
    value, low, high = row["value"], row["low"], row["high"]
    share = min(1.0, max(0.0, value))
    kind = "mine" if is_mine else "floor" if row["probe"] == "majority" else row["probe"]
    fill = element("i", class_=f"fill {_class(kind)}", style=f"width:{100 * share:.2f}%")
    whisker = None
    if low is not None and high is not None:
        left, right = (100 * min(1.0, max(0.0, x)) for x in (low, high))
        whisker = element(
            "i", class_="whisker", style=f"left:{left:.2f}%;width:{max(0.0, right - left):.2f}%"
        )
    title = f"{row['encoder']}: {percent(value)}" + (
        "" if low is None else f", {row['interval']} {percent(low)} to {percent(high)}"
    )
    return element(
        "div", element("span", name or encoder_words(row["encoder"]), class_="bar-name"),
        element("span", fill, whisker, class_="track"), element("span", f"{100 * value:.1f}", class_="bar-value"),
        class_="bar" + (" is-mine" if is_mine else ""), title=title,
    )  # fmt: skip


def _class(kind: str) -> str:
    """Return a class name of the style sheet: nothing that data say becomes one."""
    return kind if kind in ("mine", "floor", "knn", "linear", "retrieval") else "other"


def bars(scores: Scores, runs: Sequence[Run]) -> Html:
    """Return a panel of bars a task."""
    names = {run.name for run in runs}
    panels = []
    kinds = dict.fromkeys((r["task"], r["metric"]) for r in scores.rows if r["metric"] in BARS)
    for task, metric in kinds:
        rows = [r for r in scores.rows if (r["task"], r["metric"]) == (task, metric)]
        order = {p: i for i, p in enumerate(("linear", "retrieval", "knn"))}
        rows.sort(key=lambda r: (order.get(r["probe"], 3), -r["value"]))
        shown = [_bar(r, is_mine=r["encoder"] in names, name=_row_words(r)) for r in rows]
        title = element(
            "h3", TITLES.get(task, clean(task)), element("small", METRICS[metric], class_="aside")
        )
        panels.append(element("div", title, element("div", *shown, class_="bars wide"), class_="panel"))
    return element("div", *panels, class_="panels")


def _row_words(row: Mapping[str, Any]) -> str:
    if row["probe"] == "majority":
        return encoder_words("majority")
    output = row.get("output")
    said = [encoder_words(row["encoder"])]
    said += [clean(output)] if output not in (None, "features") else []
    return ", ".join([*said, {"knn": "kNN"}.get(row["probe"], clean(row["probe"]))])


COLUMNS = (
    ("task", "task"), ("encoder", "encoder"), ("output", "output"), ("probe", "probe"), ("metric", "metric"),
    ("value", "score"), ("low", "from"), ("high", "to"), ("spread", "± seeds"), ("balanced_accuracy", "balanced"),
    ("majority", "majority"), ("num_train", "train"), ("num_test", "test"),
)  # fmt: skip
PERCENTS = ("value", "low", "high", "spread", "balanced_accuracy", "majority")


def table(scores: Scores, runs: Sequence[Run]) -> Html:
    """Return the table of all rows; the page sorts and filters it."""
    names = {run.name for run in runs}
    used = [c for c in COLUMNS if any(r.get(c[0]) is not None for r in scores.rows)]
    heads = [
        element(
            "th",
            element("button", title, type="button"),
            scope="col",
            class_="num" if _is_numeric(key) else None,
        )
        for key, title in used
    ]
    lines = [
        element(
            "tr",
            *[_cell(r, key) for key, _ in used],
            class_="is-mine" if r["encoder"] in names else None,
            data_task=r["task"],
        )
        for r in scores.rows
    ]
    return element(
        "div", element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="scores sortable"),
        class_="scroll tall", tabindex="0", role="region", aria_label="Table of scores",
    )  # fmt: skip


def _is_numeric(key: str) -> bool:
    return key in PERCENTS or key.startswith("num_")


def _cell(row: Mapping[str, Any], key: str) -> Html:
    value = row.get(key)
    if not _is_numeric(key):
        mark: Child = None
        if key == "encoder" and row.get("transductive"):
            mark = element("abbr", " †", title="trained, without labels, on ground that is tested on")
        return element("td", clean("" if value is None else value), mark)
    text = "–" if value is None else f"{100 * value:.1f}" if key in PERCENTS else f"{value:,.0f}"
    return element("td", text, class_="num", data_value=None if value is None else f"{value:.6g}")


def captions(scores: Scores) -> Html:
    """Say what the numbers are."""
    kinds = ", ".join(sorted({r["interval"] for r in scores.rows}))
    said = [
        f"Percent over the whole test part; the runs of this page are dark, kNN probes pale. Thin lines: {kinds}."
    ]
    said.append(
        "A 95% interval is a bootstrap over held-out blocks (or images): two encoders err on the same places, so "
        "overlapping intervals do not mean that they are equal."
    )
    if any(r.get("majority") is not None for r in scores.rows):
        said.append(
            "Balanced: the mean over classes of the share of each that is found. Majority: the accuracy of always saying "
            "the commonest training class."
        )
    if any(r.get("transductive") for r in scores.rows):
        said.append("† trained, without labels, on ground that is tested on.")
    said += ["Read from " + ", ".join(clean(f) for f in scores.sources) + ".", *scores.notes]
    return element("p", join(said, " "), class_="caption")
