"""The study behind docs/results/planet.md: what each head of SeCo keeps and forgets, where every label is known.

A simulated dataset of places that change their seasons, and some of them their land. Every job is one training run (or a
baseline) and its evaluation with the `seco` commands a user has; it ends in one JSON file. Stop it at any time: the same
command goes on. The dataset is simulated first if it is missing. A smaller study (`--places`, `--steps`, `--seeds`) has
folders of its own in `--work`; give it `--results` of its own too.

  python bench/planet.py                     do what is missing
  python bench/planet.py --jobs 2 --only seco
  python bench/planet.py --status            say what is done
  python bench/planet.py --distances         measure distances of the runs that are there, into the same files
  python bench/planet.py --table             print the tables of the results page
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from seco.data.dataset import open_dataset
from seco.data.split import TEST
from seco.probes.blocks import splits
from seco.probes.evaluation import summarise
from seco.probes.features import Altered, FeatureStore
from seco.runs import METRICS_NAME, environment, read_metrics, write_json
from seco.tasks import augmentation
from seco.tasks.change import DATES, read_changes
from seco.use.load import load_encoder

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results" / "planet"
BUILD = ("--dates", "6", "--patch", "66", "--bands", "B02,B03,B04,B08", "--change-share", "1", "--seed", "0")
PLACES, STEPS, BATCH = 3000, 500, 128
SEEDS = (0, 1, 2)
IMAGENET = "imagenet:tf_efficientnet_lite0"
VERSION = 2
"""Raised when a task or the dataset comes to mean something else: files of another version are made again."""
NOBODY = ("majority", DATES)
"""Encoders of rows that look at no pixel."""
TASKS = ("label", "season", "augmentation", "change", "place")
COLUMNS = {
    "label linear accuracy": "class",
    "season linear accuracy": "season",
    "augmentation linear accuracy": "augmentation",
    "place retrieval map": "place (mAP)",
    "change distance auc": "change (AUC)",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One line of the study: an encoder judged on one split of places."""

    name: str
    seed: int
    baseline: str | None = None
    method: str | None = None

    @property
    def label(self) -> str:
        """What rows of several seeds have in common."""
        return self.name.rsplit("-s", 1)[0]


def jobs(seeds: tuple[int, ...] = SEEDS) -> list[Job]:
    """Return every job, in the order in which they matter."""
    out = [Job(name=f"seco-s{s}", seed=s, method="seco") for s in seeds]
    for s in seeds:
        out.append(Job(name=f"random-resnet18-s{s}", seed=s, baseline=f"random:resnet18@{s}"))
        out.append(Job(name=f"imagenet-lite0-s{s}", seed=s, baseline=IMAGENET))
        out.append(Job(name=f"colour-s{s}", seed=s, baseline="colour"))
    return out + [Job(name=f"{m}-s{s}", seed=s, method=m) for m in ("moco-tp", "moco") for s in seeds]


def finished(job: Job, results: Path) -> dict[str, Any] | None:
    """Return what a job found, or None where it is to be done, or was done by an older study."""
    file = results / f"{job.name}.json"
    about = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return about if about.get("version") == VERSION else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where things are."""

    work: Path
    results: Path
    threads: int
    places: int = PLACES
    steps: int = STEPS

    @property
    def folder(self) -> Path:
        """Where runs and scores of this size go."""
        return self.work / f"{self.places}-places-{self.steps}-steps"

    def seco(self, *words: str | Path) -> None:
        """Run a seco command; its output goes to the terminal."""
        print("$ seco " + " ".join(map(str, words)), flush=True)
        command = [sys.executable, "-m", "seco.cli", *map(str, words)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(self.threads)})

    def dataset(self) -> Path:
        """Return the dataset, simulated if it is missing."""
        out = self.work / f"planet-{self.places}"
        if not (out / "dataset.json").is_file():
            self.seco("planet", "build", out, "--places", str(self.places), *BUILD)
        return out

    def source(self, job: Job) -> str:
        """Return the encoder of a job as `seco evaluate` takes it."""
        return job.baseline or str(self.folder / "runs" / job.name)

    def run(self, job: Job) -> None:
        """Train if need be, evaluate, and write the job's JSON."""
        started = time.time()
        source, data = self.source(job), self.dataset()
        training: list[dict[str, Any]] = []
        if job.method is not None:
            run = Path(source)
            resume = ("--resume",) if (run / "config.yaml").is_file() else ()
            # Drawn last, so a run that has it is whole.
            if not (run / "pictures" / "curves.png").is_file():
                self.seco(
                    "pretrain", "--data", data, "--method", job.method, "--steps", str(self.steps),
                    "--batch-size", str(BATCH), "--seed", str(job.seed), "--split-seed", str(job.seed),
                    "--checkpoint-every", "50", "--out", run, *resume,
                )  # fmt: skip
            training = read_metrics(run / METRICS_NAME)
        # What display bytes its numbers would have been is not known; random weights are fed like this by default.
        feed = ("--normalise", "dataset") if source == IMAGENET else ()
        rows: list[dict[str, Any]] = []
        for task in TASKS:
            file = self.folder / "scores" / f"{job.name}-{task}.json"
            if not file.is_file():
                self.seco(
                    "evaluate", source, "--task", task, "--data", data, "--split-seeds", str(job.seed), "--outputs", "all",
                    "--json", file, *feed,
                )  # fmt: skip
            for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
                name = row["encoder"] if row["encoder"] in NOBODY else job.label
                rows.append(row | {"encoder": name})
        # The command holds paths of this machine, which tell nobody anything; the job says what was run.
        where = {k: v for k, v in environment().items() if k != "command"}
        about = {
            "job": dataclasses.asdict(job), "version": VERSION, "places": self.places, "build": list(BUILD),
            "steps": self.steps, "batch": BATCH, "seconds_since_last_start": round(time.time() - started),
            "threads": self.threads, "environment": where, "training": training[-3:], "rows": rows,
        }  # fmt: skip
        write_json(self.results / f"{job.name}.json", about)


def distances(source: str, data: Path, seed: int) -> dict[str, dict[str, float]]:
    """Return for each output the mean cosine distance under augmentation, season, and place, over the test places.

    A patch is compared with itself after one transformation of the augmentation task, with its place's other dates between
    which no land changed, and with a patch of another place.
    """
    dataset = open_dataset(data)
    feed = {"normalise": "dataset"} if source == IMAGENET else {}
    # Baselines see the bands that `seco evaluate` gives them; runs know their own.
    encoder = load_encoder(source, bands=None if source == IMAGENET else dataset.meta.bands)
    options = augmentation.Options(split_seeds=(seed,), cache="none", **feed)
    plain = FeatureStore(encoder, dataset, options)

    def alter(rows: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        # By place, not by row: first rows are multiples of the number of dates, and would meet half of the kinds.
        kinds = 1 + dataset.place[rows] % (len(augmentation.KINDS) - 1)
        return augmentation.transform(pixels, rows, kinds, store=plain, strength=options.strength)

    altered = FeatureStore(encoder, dataset, options, altered=Altered(name="distances 2", alter=alter))
    split, _ = next(splits(dataset, options))
    share = read_changes(dataset)
    rows = np.flatnonzero(split.part[dataset.place] == TEST)
    first = rows[np.r_[True, dataset.place[rows][1:] != dataset.place[rows][:-1]]]
    anchor = first[np.searchsorted(dataset.place[first], dataset.place[rows])]
    kept = (rows != anchor) & (share[rows] == share[anchor])
    there = plain.get(rows, encoder.outputs)
    after = altered.get(first, encoder.outputs)
    out = {}
    for output in encoder.outputs:
        unit = there[output] / np.linalg.norm(there[output], axis=1, keepdims=True)
        of = dict(zip(rows.tolist(), unit))
        start = np.stack([of[r] for r in first.tolist()])
        turned = after[output] / np.linalg.norm(after[output], axis=1, keepdims=True)
        pairs = np.stack([of[r] for r in anchor[kept].tolist()])
        out[output] = {
            "augmentation": float(1 - (start * turned).sum(1).mean()),
            "season": float(1 - (pairs * unit[kept]).sum(1).mean()),
            "place": float(1 - (start * np.roll(start, 1, axis=0)).sum(1).mean()),
        }
    return out


def distance_table(results: Path) -> str:
    """Return as Markdown how far augmentation and season move each output, in units of the distance between places."""
    cells: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for job in jobs():
        for output, d in (finished(job, results) or {}).get("distances", {}).items():
            cell = cells.setdefault((job.label, output), [])
            cell.append((d["augmentation"] / d["place"], d["season"] / d["place"]))
    lines = [
        "| encoder | output | augmentation | season | season / augmentation | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for (encoder, output), pairs in cells.items():
        values = np.array([(a, b, b / a) for a, b in pairs])
        spread = values.std(axis=0, ddof=1) if len(pairs) > 1 else [None] * 3
        words = [
            f"{m:.2f}" + (f" ± {s:.2f}" if s is not None else "") for m, s in zip(values.mean(axis=0), spread)
        ]
        lines.append(f"| {encoder} | {output} | {' | '.join(words)} | {len(pairs)} |")
    return "\n".join(lines)


def table(results: Path) -> str:
    """Return the results as Markdown: a line an output of an encoder, percent, mean ± sample deviation over seeds."""
    rows = [r for j in jobs() if (about := finished(j, results)) for r in about["rows"]]
    unique = {(r["encoder"], r["task"], r["output"], r["probe"], r["metric"], r["seed"]): r for r in rows}
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for s in summarise(unique.values()):
        if s["encoder"] == "majority":
            names = [f"{s['task']} linear accuracy"]
        else:
            names = [f"{s['task']} {s['probe']} {s['metric']}"]
        cell = cells.setdefault((s["encoder"], s["output"] or ""), {})
        for name in (n for n in names if n in COLUMNS):
            spread = f" ± {100 * s['spread']:.1f}" if s["spread"] is not None else ""
            cell[name] = f"{100 * s['value']:.1f}{spread}"
            cell["seeds"] = str(s["num_seeds"])
    lines = [
        f"| encoder | output | {' | '.join(COLUMNS.values())} | seeds |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for (encoder, output), cell in cells.items():
        lines.append(f"| {encoder} | {output} | {' | '.join(cell.get(n, '') for n in (*COLUMNS, 'seeds'))} |")
    return "\n".join(lines)


def main() -> None:
    """Do what is missing, say what is done, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("bench-out/planet"), help="dataset and runs, large")
    parser.add_argument("--results", type=Path, default=RESULTS, help="one JSON a finished job")
    parser.add_argument("--only", default="", help="jobs whose names contain this, comma-separated")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--status", action="store_true", help="say what is done")
    parser.add_argument("--distances", action="store_true", help="measure distances of finished jobs")
    parser.add_argument("--table", action="store_true", help="print the tables")
    parser.add_argument("--places", type=int, default=PLACES, help="places of the planet")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each training run")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="seeds to do, comma-separated")
    args = parser.parse_args()
    if args.table:
        print(table(args.results) + "\n\n" + distance_table(args.results))
        return
    seeds = tuple(int(s) for s in args.seeds.split(","))
    chosen = [j for j in jobs(seeds) if any(part in j.name for part in args.only.split(","))]
    left = [j for j in chosen if finished(j, args.results) is None]
    if args.status:
        for job in chosen:
            print(f"{'to do' if job in left else 'done':<6} {job.name}")
        return
    bench = Bench(
        work=args.work.resolve(),
        results=args.results,
        threads=max(1, len(os.sched_getaffinity(0)) // args.jobs),
        places=args.places,
        steps=args.steps,
    )
    if args.distances:
        for job in (j for j in chosen if j not in left):
            about = finished(job, args.results)
            if about is not None and "distances" not in about:
                about["distances"] = distances(bench.source(job), bench.dataset(), job.seed)
                write_json(args.results / f"{job.name}.json", about)
        return
    bench.dataset()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(bench.run, j) for j in left]):
            done.result()


if __name__ == "__main__":
    main()
