"""Scores as headline numbers, bars and a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from seco.probes.evaluation import headline
from seco.probes.options import STRICT
from seco.probes.result import Headline, metric_words
from seco.report.markup import Child, Html, clean, element, join, percent
from seco.report.rows import Scores

MAX_HEADLINES, MAX_OTHERS = 3, 3
MAJORITY = "majority"
LEVEL = 0.0005
"""Less than this between two scores shows as no difference."""


def encoder_words(name: str) -> str:
    """Return what an encoder is, for people."""
    kind, _, arch = name.partition(":")
    words = {"random": f"random {arch}", "imagenet": f"ImageNet {arch}"}
    plain = {"colour": "colour statistics", "majority": "the commonest class"}
    return clean(words[kind] if kind in words and arch else plain.get(name, name))


def headlines(scores: Scores) -> Html:
    """Return a card for each of the first questions that the runs were asked: the run's number over those of the others."""
    cards = [_card(c) for c in answers(scores)[:MAX_HEADLINES]]
    return element("div", *cards, class_="cards") if cards else Html("")


def in_words(scores: Scores) -> list[str]:
    """Return the same as `headlines` for a terminal, a line a question."""
    return [
        f"{a.headline.title}: {a.best['encoder']} {percent(a.best['value'])}. "
        f"{verdict(a.best, a.others, asks=a.headline.asks)}"
        for a in answers(scores)
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What runs and others came to in one question.

    Attributes:
        mine: rows of the runs, the best first.
        others: of at most three other encoders, the best first, and of the majority class; of the same data and settings.
    """

    headline: Headline
    mine: list[dict[str, Any]]
    others: list[dict[str, Any]]

    @property
    def best(self) -> dict[str, Any]:
        """The best row of the runs."""
        return self.mine[0]


def answers(scores: Scores) -> list[Answer]:
    """Return the questions that the runs were asked: those where more is better first, each kind in the rows' order."""
    out = []
    for task in dict.fromkeys(r["task"] for r in scores.rows):
        about = headline(task)
        if about is None:
            continue
        rows = [r for r in scores.rows if r["task"] == task and _is_chief(r, about)]
        mine = sorted((r for r in rows if r["run"] is not None), key=lambda r: -r["value"])
        if not mine:
            continue
        alike = [r for r in rows if r["run"] is None and _is_alike(r, mine[0])]
        majority = [r for r in alike if r["probe"] == MAJORITY][:1]
        others = sorted((r for r in alike if r["probe"] != MAJORITY), key=lambda r: -r["value"])
        out.append(Answer(headline=about, mine=mine, others=_kept(others) + majority))
    return sorted(out, key=lambda a: a.headline.asks != "skill")


def _is_chief(row: Mapping[str, Any], about: Headline) -> bool:
    """Tell the rows that a task is summed up by: features, all labels, the strict protocol."""
    return (
        row["metric"] == about.metric and row["probe"] in (about.probe, MAJORITY) and row.get("shots") is None
        and row.get("output") in (None, "features") and row["protocol"] == STRICT
    )  # fmt: skip


def _is_alike(row: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Tell whether a row is of the same data and settings."""
    data = (row.get("data_fingerprint"), mine.get("data_fingerprint"))
    return (None in data or data[0] == data[1]) and row.get("settings") == mine.get("settings")


def _kept(others: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best three, random weights among them if there are any: who does not beat these has learned nothing."""
    best = list(others[:MAX_OTHERS])
    random = next((r for r in others if r["encoder"].startswith("random:")), None)
    return best if random is None or random in best else [*best[:-1], random]


def _card(answer: Answer) -> Html:
    best, about = answer.best, answer.headline
    bars = [_bar(r) for r in (*answer.mine, *answer.others)]
    several = len(answer.mine) > 1
    whose = f"{best['encoder']}, the best of {len(answer.mine)} runs" if several else best["encoder"]
    lead = standing(best, answer.others) if about.asks == "skill" else None
    said = (
        [element("b", f"{lead} "), distances(best, answer.others)]
        if lead
        else [distances(best, answer.others)]
    )
    return element(
        "div", element("p", about.title, class_="card-title"),
        element("p", element("span", f"{100 * best['value']:.1f}", class_="big"), element("span", "%", class_="unit"),
                element("span", f"{whose}: {about.words}", class_="big-note"), class_="card-number"),
        element("div", *bars, class_="bars"), element("p", *said, class_="verdict"), class_="card",
    )  # fmt: skip


def verdict(best: Mapping[str, Any], others: Sequence[Mapping[str, Any]], *, asks: str = "skill") -> str:
    """Say how a run stands against each other encoder, and whether the intervals let one believe it."""
    lead = standing(best, others) if asks == "skill" else None
    return " ".join(x for x in (lead, distances(best, others)) if x)


def standing(best: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str | None:
    """Say in a sentence whom a run beats: none, some, or all, and of whom that is not sure. None without others."""
    if not others:
        return None
    lost = [encoder_words(o["encoder"]) for o in others if best["value"] - o["value"] < LEVEL]
    unsure = [encoder_words(o["encoder"]) for o in others if _is_apart(best, o) is not True]
    if len(lost) == len(others):
        return "Beats none of these." if len(lost) > 1 else f"Does not beat {lost[0]}."
    if lost:
        return f"Does not beat {_and(lost, 'or')}."
    if len(unsure) == len(others):
        return f"Highest here, but not clearly above {_and(unsure, 'or')}."
    return (
        f"Above all of these, though not clearly above {_and(unsure, 'or')}."
        if unsure
        else "Clearly above all of these."
    )


def _and(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _is_apart(best: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    """Tell whether two intervals have nothing in common; None where one is not known."""
    if None in (best["low"], best["high"], other["low"], other["high"]):
        return None
    return bool(best["low"] > other["high"] or best["high"] < other["low"])


def distances(best: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Say how many points lie between a run and each other encoder."""
    if not others:
        return "There is no other encoder to compare it with."
    parts = []
    for other in others:
        gain = best["value"] - other["value"]
        trust = {None: "", True: " (intervals apart)", False: " (intervals overlap)"}[_is_apart(best, other)]
        way = (
            "level with"
            if abs(gain) < LEVEL
            else f"{100 * abs(gain):.1f} points {'above' if gain > 0 else 'below'}"
        )
        parts.append(f"{way} {encoder_words(other['encoder'])}{trust}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _bar(row: Mapping[str, Any], *, name: str | None = None) -> Html:
    value, low, high, is_mine = row["value"], row["low"], row["high"], row["run"] is not None
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


def share_bar(name: str, value: float, *, kind: str) -> Html:
    """Return a bar of a share 0-1 that has no interval."""
    fill = element("i", class_=f"fill {_class(kind)}", style=f"width:{100 * value:.2f}%")
    return element(
        "div", element("span", name, class_="bar-name"), element("span", fill, class_="track"),
        element("span", f"{100 * value:.1f}", class_="bar-value"), class_="bar" + (" is-mine" if kind == "mine" else ""),
    )  # fmt: skip


def _class(kind: str) -> str:
    """Return a class name of the style sheet: nothing that data say becomes one."""
    return kind if kind in ("mine", "floor", "knn", "linear", "retrieval", "distance") else "other"


def bars(scores: Scores) -> Html:
    """Return a panel of bars a task, of the metric that sums it up, or that comes first."""
    panels = []
    for task in dict.fromkeys(r["task"] for r in scores.rows):
        rows = [r for r in scores.rows if r["task"] == task]
        about = headline(task)
        metric = (
            about.metric if about and any(r["metric"] == about.metric for r in rows) else rows[0]["metric"]
        )
        rows = [r for r in rows if r["metric"] == metric]
        order = {p: i for i, p in enumerate(("linear", "retrieval", "distance", "knn"))}
        rows.sort(key=lambda r: (order.get(r["probe"], 4), -r["value"]))
        shown = [_bar(r, name=_row_words(r)) for r in rows]
        title = element(
            "h3",
            about.title if about else clean(task),
            element("small", metric_words(metric), class_="aside"),
        )
        panels.append(element("div", title, element("div", *shown, class_="bars wide"), class_="panel"))
    return element("div", *panels, class_="panels")


def _row_words(row: Mapping[str, Any]) -> str:
    if row["probe"] == "majority":
        return encoder_words("majority")
    output = row.get("output")
    said = [encoder_words(row["encoder"])]
    said += [clean(output)] if output not in (None, "features") else []
    said.append({"knn": "kNN"}.get(row["probe"], clean(row["probe"])))
    if row.get("shots") is not None:
        said.append(f"{row['shots']} labels a class")
    if row["protocol"] != STRICT:
        said.append(f"{clean(row['protocol'])} protocol")
    return ", ".join(said)


COLUMNS = (
    ("task", "task"), ("encoder", "encoder"), ("output", "output"), ("probe", "probe"), ("shots", "shots"),
    ("metric", "metric"),
    ("value", "score"), ("low", "from"), ("high", "to"), ("spread", "± seeds"), ("balanced_accuracy", "balanced"),
    ("majority", "majority"), ("num_train", "train"), ("num_test", "test"),
)  # fmt: skip
PERCENTS = ("value", "low", "high", "spread", "balanced_accuracy", "majority")


def table(scores: Scores) -> Html:
    """Return the table of all rows; the page sorts and filters it."""
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
            class_="is-mine" if r["run"] is not None else None,
            data_task=r["task"],
        )
        for r in scores.rows
    ]
    return element(
        "div", element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="scores sortable"),
        class_="scroll tall", tabindex="0", role="region", aria_label="Table of scores",
    )  # fmt: skip


def _is_numeric(key: str) -> bool:
    return key in PERCENTS or key == "shots" or key.startswith("num_")


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
        "Percent over the whole test part; the runs of this page are strongest in colour, kNN probes palest.",
        f"Thin lines: {kinds}.",
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
    said += [
        "Read from " + ", ".join(clean(f) for f in scores.sources) + ".",
    ]
    return element("p", join(said, " "), class_="caption")
