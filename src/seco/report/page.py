"""One self-contained page about one or more runs."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import seco
from seco.errors import ConfigError
from seco.report import compare, history, seasons
from seco.report.facts import read_runs
from seco.report.ground import TRAIN, UNKNOWN, Ground
from seco.report.markup import Html, as_json, clean, count, element, escape, join
from seco.report.options import Report
from seco.report.rows import find_scores
from seco.report.sections import Say, Section, Sections
from seco.runs import write_atomic

PAGE_NAME = "index.html"
SCRIPTS = ("base.js", "charts.js", "scatter.js", "tables.js")
METHOD_NAMES = {"seco": "SeCo", "moco": "MoCo v2", "moco-tp": "MoCo v2 with temporal positives"}


def write_report(runs: Sequence[Path], out: Path, report: Report | None = None, *, say: Say = print) -> Path:
    """Write the page about some runs.

    Args:
        runs: run folders.
        out: folder of the page, made where it is missing.
        report: settings; the defaults if None.
        say: takes lines for the user.

    Returns:
        The page, `out`/index.html.

    Raises:
        ConfigError: `out` cannot be a folder, a folder holds no run, or a file of scores that was asked for cannot be read.
        SecoError: the page cannot be written.
    """
    chosen = report or Report()
    _require_folder(out)
    found = read_runs(runs)
    for run in found:
        for note in run.notes:
            say(f"{run.label}: {note}")
    scores = find_scores(found, [Path(f) for f in chosen.scores])
    sections = Sections(found, chosen, scores, say)
    target = out / PAGE_NAME
    write_atomic(target, _filled(sections, sections.build()))
    for line in [*compare.in_words(scores), *scores.notes]:
        say(line)
    return target


def _require_folder(out: Path) -> None:
    """Refuse a folder that cannot be made before minutes go into the page; nothing is made yet."""
    there = next(p for p in (out.absolute(), *out.absolute().parents) if os.path.lexists(p))
    if not there.is_dir():
        raise ConfigError(f"{out} cannot be a folder: {there} is a file; choose another (--out)")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"nothing can be written into {there}; choose another folder (--out)")


def _filled(page: Sections, sections: Sequence[Section]) -> str:
    script = "\n".join(_file(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    cards = compare.headlines(page.scores)
    values = {
        "title": escape(f"{', '.join(r.label for r in page.runs)} – seco report"),
        "policy": Html(
            f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "style": _file("page.css"), "script": script, "data": as_json(page.data),
        "contents": join([element("li", element("a", s.title, href=f"#{s.id}")) for s in sections]),
        "heading": _heading(page), "lede": _lede(page), "cards": cards,
        "progress": _progress(page), "strip": _strip(page),
        "sections": join(
            [element("section", element("h2", s.title), s.body, id=s.id, aria_label=s.title) for s in sections]
        ),
        "foot": _foot(page),
    }  # fmt: skip
    # In one pass, so that nothing in the data is taken for a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], _file("page.html"))


def _heading(page: Sections) -> Html:
    if len(page.runs) > 1:
        return escape(" · ".join(r.label for r in page.runs[:4]) + (" …" if len(page.runs) > 4 else ""))
    (run,) = page.runs
    # A run whose settings cannot be read has a name all the same: its folder's.
    name = METHOD_NAMES.get(run.method, run.method) if run.method != UNKNOWN else run.label
    ground = page.grounds[run.label]
    if not isinstance(ground, Ground) or not (ground.part == TRAIN).any():
        return escape(name)
    places = int((ground.part == TRAIN).sum())
    num_dates = ground.num_dates[ground.part == TRAIN]
    most = int(num_dates.max())
    each = f"{'up to ' if int(num_dates.min()) < most else ''}{most} dates each"
    return escape(f"{name} on {ground.counted(places)}" + (f", {each}" if most > 1 else ""))


def _strip(page: Sections) -> Html:
    """Return the picture at the top, if there are any data to make one of."""
    ground = next((g for g in page.grounds.values() if isinstance(g, Ground)), None)
    return seasons.hero_strip(ground, seed=page.report.seed) if ground else Html("")


def _lede(page: Sections) -> Html:
    if len(page.runs) > 1:
        done = sum(r.is_finished for r in page.runs)
        which = "all" if done == len(page.runs) else done or "none"
        return escape(f"{len(page.runs)} runs side by side, {which} of them finished.")
    (run,) = page.runs
    config = run.config
    what = [
        clean(config.get("encoder") or (run.spec.arch if run.spec else "encoder unknown")),
        count(run.num_steps, "step")
        + (f" of {config.get('batch_size')} places" if config.get("batch_size") else "")
        if run.num_steps
        else "length unknown",
    ]
    what.append("trained without labels")
    return join([escape(", ".join(what) + ". "), escape(history.state_words(run))])


def _progress(page: Sections) -> Html:
    named = len(page.runs) > 1
    return join([history.progress_bar(r, name=r.label if named else None) for r in page.runs])


def _foot(page: Sections) -> Html:
    stamps = [r.last_logged for r in page.runs if r.last_logged]
    when = f" Last log line: {max(stamps):%Y-%m-%d %H:%M} UTC." if stamps else ""
    land = " Land: global-land-mask (NOAA GLOBE)." if page.data["maps"] else ""
    return escape(
        f"Made by seco {seco.__version__}; this file is complete in itself and asks nothing of a network.{when}{land}"
    )


def _file(name: str) -> str:
    return (files("seco.report") / "page" / name).read_text(encoding="utf-8")
