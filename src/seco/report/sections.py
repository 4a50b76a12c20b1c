"""The sections of a page, built from runs whose data are opened once; one that cannot be there says why in a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from seco.errors import SecoError
from seco.report import about, compare, gallery, history, seasons
from seco.report.embedding import choose_points, colourings, embed
from seco.report.facts import Run
from seco.report.ground import Ground, find_ground
from seco.report.held import Held, encode_baselines, encode_held
from seco.report.markup import Html, clean, count, element, join
from seco.report.neighbours import Neighbours, find_neighbours
from seco.report.options import Report
from seco.report.pictures import sprite
from seco.report.rows import Scores
from seco.report.worldmap import map_data

MAX_DETAILED = 4
"""Runs whose views, neighbours and embedding are shown: each takes seconds and pictures."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """One section: the anchor, the title, what it shows."""

    id: str
    title: str
    body: Html


def missing(reason: object) -> Html:
    """Return the line that stands where a section cannot."""
    return note(f"Not shown: {clean(reason)}")


def note(reason: str) -> Html:
    """Return one line about what is missing; what stands in backticks is code."""
    text = " ".join(clean(reason).split())
    pieces = f"{text}{'' if text.endswith('.') else '.'}".split("`")
    return element("p", *[element("code", x) if i % 2 else x for i, x in enumerate(pieces)], class_="missing")


def attempt(build: Callable[[], Html]) -> Html:
    """Build a piece of the page, or say why it cannot be built."""
    try:
        return build()
    except SecoError as err:
        return missing(err)


class Sections:
    """What the sections of one page share: the runs, their data opened once, and the numbers for the scripts."""

    def __init__(self, runs: Sequence[Run], report: Report, scores: Scores, say: Say) -> None:
        """Open the data of every run."""
        self.runs, self.report, self.scores, self.say = list(runs), report, scores, say
        self.data: dict[str, Any] = {"charts": [], "maps": [], "embeddings": []}
        self.grounds: dict[str, Ground | SecoError] = {r.label: self._open(r) for r in runs}
        self.detailed = self.runs[:MAX_DETAILED]

    def _open(self, run: Run) -> Ground | SecoError:
        try:
            return find_ground(run, self.report.data)
        except SecoError as err:
            self.say(f"{run.label}: no pictures of its data: {err}")
            return err

    def ground(self, run: Run) -> Ground:
        """Return the data of a run, or raise why they cannot be had."""
        found = self.grounds[run.label]
        if isinstance(found, SecoError):
            raise found
        return found

    def build(self) -> list[Section]:
        """Return all sections, in order; `data` then holds the numbers for the scripts."""
        sections = [
            Section(id="run", title="What was run", body=self._about()),
            Section(id="scores", title="Comparison", body=self._scores()),
            Section(id="training", title="Training", body=self._training()),
            Section(id="map", title="Places", body=self._map()),
            Section(id="seasons", title="Seasons", body=self._seasons()),
            Section(id="views", title="Views", body=self._views()),
        ]
        held = {run.label: self._held(run) for run in self.detailed}
        sections.append(
            Section(id="neighbours", title="Neighbours across seasons", body=self._neighbours(held))
        )
        sections.append(Section(id="embedding", title="Embedding", body=self._embeddings(held)))
        return sections

    def _about(self) -> Html:
        if len(self.runs) == 1:
            (run,) = self.runs
            return about.run_block(run, data=attempt(lambda: about.data_block(self.ground(run))))
        blocks = [about.run_block(r, title=r.label) for r in self.runs]
        data = self._per_ground(lambda _, ground: join([element("h3", "Data"), about.data_block(ground)]))
        return join([about.differences(self.runs), *blocks, data])

    def _scores(self) -> Html:
        scores = self.scores
        known = {r["run"] for r in scores.rows}
        unknown = [r for r in self.runs if r.label not in known]
        if not scores.rows:
            hint = "no scores*.json in the run folder or beside it; make one with `seco evaluate ... --json scores.json`"
            return join([missing(hint), *[note(n) for n in scores.notes]])
        parts = [
            compare.bars(scores),
            compare.table(scores),
            compare.captions(scores),
            *[note(n) for n in scores.notes],
        ]
        if unknown:
            names = ", ".join(r.label for r in unknown)
            parts.append(
                note(
                    f"Of {names} there are no scores; make some with `seco evaluate RUN ... --json scores-NAME.json`"
                )
            )
        return join(parts)

    def _training(self) -> Html:
        found = history.charts(self.runs)
        states = [
            element("p", element("b", f"{r.label}: "), history.state_words(r), class_="caption first")
            for r in self.runs
            if len(self.runs) > 1
        ]
        if not found:
            return join([*states, missing("nothing was logged, so there is nothing to draw")])
        self.data["charts"] = found
        charts = [
            element("figure", element("figcaption", element("b", c["title"]), element("small", c["hint"])),
                    element("div", class_="plot"), class_="chart", data_chart=i)
            for i, c in enumerate(found)
        ]  # fmt: skip
        text = (
            "Point at a chart to read its values; a name in the legend hides its line. Each point is the mean since "
            "the log line before it."
        )
        return join([*states, element("div", *charts, class_="charts"), element("p", text, class_="caption")])

    def _map(self) -> Html:
        def one(run: Run, ground: Ground) -> Html:
            data = map_data(run, ground, seed=self.report.seed)
            self.data["maps"].append(data)
            told = ", ".join(f"{n:,} {p}" for n, p in zip(data["counts"], data["parts"], strict=True))
            said = [f"{ground.counted(data['num_known'])}: {told}."]
            if data["num_known"] < data["num_places"]:
                said.append(f"{data['num_places'] - data['num_known']:,} more have no position.")
            if data["num_shown"] < data["num_known"]:
                said.append(f"{data['num_shown']:,} of them are drawn, chosen with seed {self.report.seed}.")
            if data["blocks"]:
                said.append(
                    "Shaded: the blocks that were held out as a whole, so that no ground is both trained on and tested on."
                )
            if "left out" in data["parts"]:
                said.append("Left out: places that share ground with a held-out one, or have too few dates.")
            said.append("Point at a place to see it.")
            return join(
                [
                    element("div", class_="map", data_map=len(self.data["maps"]) - 1),
                    element("p", " ".join(said), class_="caption"),
                ]
            )

        return self._per_ground(one)

    def _per_ground(self, build: Callable[[Run, Ground], Html]) -> Html:
        """Build a piece for every dataset and division of it, not for every run."""
        seen: dict[tuple[str, bytes], list[Run]] = {}
        bodies = []
        for run in self.runs:
            try:
                ground = self.ground(run)
            except SecoError as err:
                bodies.append(self._titled(run, missing(err)))
                continue
            key = (ground.tier.fingerprint, "".join(ground.part).encode())
            seen.setdefault(key, []).append(run)
        for runs in seen.values():
            body = attempt(lambda runs=runs: build(runs[0], self.ground(runs[0])))  # type: ignore[misc]
            if len(seen) > 1:
                body = join([element("h3", ", ".join(r.label for r in runs)), body])
            bodies.append(body)
        return join(bodies)

    def _titled(self, run: Run, body: Html) -> Html:
        return join([element("h3", run.label), body]) if len(self.runs) > 1 else body

    def _each(self, build: Callable[[Run], Html]) -> Html:
        """Build a piece for every run, up to MAX_DETAILED."""
        bodies = [self._titled(run, attempt(lambda run=run: build(run))) for run in self.detailed]  # type: ignore[misc]
        if len(self.runs) > MAX_DETAILED:
            bodies.append(
                missing(
                    f"the other {len(self.runs) - MAX_DETAILED} runs; this is shown for the first {MAX_DETAILED}"
                )
            )
        return join(bodies)

    def _seasons(self) -> Html:
        return self._per_ground(lambda _, ground: seasons.seasonal_sheet(ground, seed=self.report.seed))

    def _views(self) -> Html:
        num = 3 if len(self.runs) == 1 else 2
        return self._each(lambda run: gallery.views_section(run, self.ground(run), num_places=num))

    def _held(self, run: Run) -> Held | SecoError:
        try:
            ground = self.ground(run)
            self.say(f"report: features of held-out places, {run.label}")
            return encode_held(
                run,
                ground,
                num_places=self.report.num_places,
                seed=self.report.seed,
                device=self.report.device,
            )
        except SecoError as err:
            return err

    def _neighbours(self, held: dict[str, Held | SecoError]) -> Html:
        def one(run: Run) -> Html:
            patches = held[run.label]
            if isinstance(patches, SecoError):
                raise patches
            found = find_neighbours(patches, seed=self.report.seed)
            others: list[tuple[str, Neighbours]] = []
            why = None
            try:
                self.say(f"report: features of random weights and colour statistics beside {run.label}")
                beside = encode_baselines(patches, run, device=self.report.device)
                others = [(b.encoder, find_neighbours(b, seed=self.report.seed)) for b in beside]
            except SecoError as err:
                why = note(f"No baseline beside it: {err}")
            block = gallery.neighbours_block(
                found, patches.ground, words=patches.words, name=run.label, baselines=others
            )
            return join([block, why])

        return self._each(one)

    def _embeddings(self, held: dict[str, Held | SecoError]) -> Html:
        groups: dict[tuple[str, bytes], list[tuple[Run, Held]]] = {}
        bodies = []
        for run in self.detailed:
            patches = held[run.label]
            if isinstance(patches, SecoError):
                bodies.append(self._titled(run, missing(patches)))
            else:
                key = (patches.ground.tier.fingerprint, patches.rows.tobytes())
                groups.setdefault(key, []).append((run, patches))
        bodies += [attempt(lambda members=members: self._embedding(members)) for members in groups.values()]  # type: ignore[misc]
        if len(self.runs) > MAX_DETAILED:
            bodies.append(
                missing(
                    f"the other {len(self.runs) - MAX_DETAILED} runs; this is shown for the first {MAX_DETAILED}"
                )
            )
        return join(bodies)

    def _embedding(self, members: Sequence[tuple[Run, Held]]) -> Html:
        """Build one picture for runs that saw the same held-out patches: a panel a run, one selector."""
        ground = members[0][1].ground
        at = choose_points(members[0][1].place)
        rows = members[0][1].rows[at]
        panels, notes = [], []
        for run, patches in members:
            self.say(f"report: embedding of {len(at)} patches, {run.label}")
            try:
                flat = embed(patches.features[at], seed=self.report.seed)
            except SecoError as err:
                notes.append(f"{run.label} is not shown: {clean(err)}.")
                continue
            x, y = ((flat.points * 1000).round().astype(int)).T
            panels.append({"label": run.label, "how": flat.how, "x": x.tolist(), "y": y.tolist()})
        if not panels:
            return missing(" ".join(notes))
        coloured, why = colourings(ground, rows)
        places = [clean(ground.dataset.place_ids[p]) for p in ground.dataset.place[rows]]
        px = min(64 if ground.tier.patch_px >= 64 and len(rows) <= 400 else 48, max(ground.tier.patch_px, 24))
        self.data["embeddings"].append(
            {
                "panels": panels, "named": len(self.runs) > 1, "colourings": coloured, "place": places,
                "sprite": sprite(rows, ground.tier, px=px),
                "date": [ground.date_words(int(r)) for r in rows],
                "where": [gallery.position_words(*ground.dataset.lonlat[r]) for r in rows],
            }
        )  # fmt: skip
        how = " and ".join(dict.fromkeys(p["how"] for p in panels))
        joined = ", joined to the other days of its place" if len(set(places)) < len(places) else ""
        text = (
            f"Features of {count(len(rows), 'patch', 'patches')}, from {members[0][1].words}, in two dimensions ({how}). "
            "Near points look alike to the encoder; distances between far groups mean little. Point at one to see its "
            f"patch{joined}, click to keep it."
        )
        box = element("div", class_="embedding", data_embedding=len(self.data["embeddings"]) - 1)
        return join([box, element("p", " ".join([text, *why, *notes]), class_="caption")])
