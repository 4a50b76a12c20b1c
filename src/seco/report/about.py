"""What was run, on what, and how to do it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seco.data.dataset import Dataset
from seco.report.facts import MAX_COUNT, Run, command_again, command_typed, flat_settings
from seco.report.ground import PARTS, Ground
from seco.report.history import mean_rate, state_words
from seco.report.markup import Child, Html, clean, count, element, join

CHIEF = ("method", "encoder", "init", "steps", "batch_size", "seed", "view_px")
"""Settings that are shown before one asks for all."""


def run_block(run: Run, *, title: str | None = None, data: Html | None = None) -> Html:
    """Return what one run was, under `title` and beside its data where these are given."""
    env, started = run.environment, run.started
    versions = env.get("versions")
    machine = [
        env.get("processor"),
        f"{env['num_cpus']} CPUs" if env.get("num_cpus") else None,
        env.get("system"),
    ]
    computed = [started.get("device"), started.get("precision")]
    rate = mean_rate(run)
    facts: dict[str, Child] = {
        "State": state_words(run) if title else None,
        "Settings": _words(
            [f"{k.replace('_', ' ')} {v}" for k, v in flat_settings(run).items() if k in CHIEF]
        ),
        "Machine": _words(machine),
        "Computed on": _words(
            [*computed, None if rate is None or rate >= MAX_COUNT else f"{rate:,.0f} places/s (median)"]
        ),
        "Versions": _words([f"{k} {v}" for k, v in versions.items()] if isinstance(versions, dict) else [])
        + (f", Python {clean(env['python'])}" if env.get("python") else ""),
        "Commit": clean(env.get("commit") or "unknown (an installed package)") if env else "",
        "Run folder": clean(run.path),
    }
    typed, again = command_typed(run), command_again(run)
    return element(
        "div", element("h3", title) if title else None,
        _command("The same run again, all settings spelt out by its config", again) if again else
        element("p", "No command can be given: the run's settings cannot be read.", class_="missing"),
        _command("What was typed", typed) if typed else None, element("div", facts_list(facts), data, class_="run-data"),
        *[element("p", f"{_sentence(n)}", class_="missing") for n in run.notes],
        settings_table([run]) if run.config else None, class_="run",
    )  # fmt: skip


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _words(values: Sequence[Any]) -> str:
    return clean(", ".join(str(v) for v in values if v not in (None, "")))


def _command(label: str, command: str) -> Html:
    # A browser would break a line behind the two hyphens of a flag.
    words = [element("span", w, class_="flag") if w.startswith("--") else w for w in command.split(" ")]
    copy = element("button", "copy", type="button", class_="copy")
    return element(
        "div", element("span", label, class_="label"),
        element("div", element("code", join(words, " ")), copy, class_="command"),
        class_="command-block",
    )  # fmt: skip


def facts_list(facts: Mapping[str, Child]) -> Html:
    """Return names and values, leaving out what is empty."""
    pairs = [join([element("dt", k), element("dd", v)]) for k, v in facts.items() if v not in (None, "")]
    return element("dl", *pairs, class_="facts")


def settings_table(runs: Sequence[Run]) -> Html:
    """Return every setting, folded away."""
    (run,) = runs
    lines = [
        element("tr", element("th", k, scope="row"), element("td", v)) for k, v in flat_settings(run).items()
    ]
    return element(
        "details", element("summary", f"All {len(lines)} settings"),
        element("div", element("table", element("tbody", *lines), class_="settings"), class_="scroll"),
    )  # fmt: skip


def differences(runs: Sequence[Run]) -> Html:
    """Return the settings, versions and machines that differ between runs, side by side."""
    columns = [flat_settings(r) | _surroundings(r) for r in runs]
    keys = list(dict.fromkeys(k for c in columns for k in c))
    different = [k for k in keys if len({c.get(k) for c in columns}) > 1]
    if not different:
        return element("p", "All settings are the same, and so are versions and machines.", class_="caption")
    head = element(
        "tr", element("th", "setting", scope="col"), *[element("th", r.label, scope="col") for r in runs]
    )
    lines = [
        element("tr", element("th", k, scope="row"), *[element("td", c.get(k, "–")) for c in columns])
        for k in different
    ]
    same = len(keys) - len(different)
    return join(
        [
            element("div", element("table", element("thead", head), element("tbody", *lines), class_="settings differ"),
                    class_="scroll", tabindex="0", role="region", aria_label="Settings that differ"),
            element("p", f"What differs between the runs; {count(same, 'other setting or version', 'others')} are the same.",
                    class_="caption"),
        ]
    )  # fmt: skip


def _surroundings(run: Run) -> dict[str, str]:
    env, started = run.environment, run.started
    versions = env.get("versions")
    named = versions if isinstance(versions, dict) else {}
    told = {"commit": env.get("commit"), "processor": env.get("processor"), "device": started.get("device"),
            "precision computed in": started.get("precision"), "data fingerprint": started.get("dataset")}  # fmt: skip
    told |= {f"version of {k}": v for k, v in named.items()}
    return {k: clean(v) for k, v in told.items() if v is not None}


def data_block(ground: Ground) -> Html:
    """Return what the dataset is."""
    dataset, meta = ground.dataset, ground.dataset.meta
    bands = ", ".join(f"{b.name} ({'DN' if b.units == 'dn' else b.units})" for b in meta.bands[:16]) + (
        " …" if len(meta.bands) > 16 else ""
    )
    provenance = {k: v for k, v in meta.provenance.items() if isinstance(v, (str, int, float))}
    parts = [
        f"{count(int((ground.part == p).sum()), 'place')} {_part_words(p)}"
        for p in PARTS
        if (ground.part == p).any()
    ]
    return facts_list(
        {
            "Dataset": clean(dataset.path), "Holds": f"{ground.counted(len(ground.num_dates))}, {_dates(dataset, ground)}",
            "Divided": ", ".join(parts), "Patches": f"{meta.patch_px} px, {bands}",
            "Made by": _words([f"{k} {v}" for k, v in provenance.items()]), "Licence": clean(meta.licence),
            "Fingerprint": dataset.fingerprint,
        }
    )  # fmt: skip


def _part_words(part: str) -> str:
    return {"train": "to train on"}.get(part, part)


def _dates(dataset: Dataset, ground: Ground) -> str:
    low, high = int(ground.num_dates.min()), int(ground.num_dates.max())
    each = f"{low}" if low == high else f"{low} to {high}"
    known = dataset.dates[~np.isnat(dataset.dates)]
    when = f", {known.min()} to {known.max()}" if len(known) else ", no dates known"
    noun = "patch" if high == 1 else "patches"
    return f"{each} {noun} each ({len(dataset):,} in all{when})"
