"""The study behind docs/results/planet.md: what each head of SeCo keeps and forgets, where every label is known.

A simulated dataset of places that change their seasons, and some of them their land. Every job is one training run (or a
baseline) and its evaluation with the `seco` commands a user has; it ends in one JSON file. Stop it at any time: the same
command goes on. About two hours on two cores.

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
from seco.tasks.change import read_changes
from seco.use.load import load_encoder

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results" / "planet"
BUILD = (
    "--places", "3000", "--dates", "6", "--patch", "66", "--bands", "B02,B03,B04,B08", "--change-share", "1", "--seed", "0",
)  # fmt: skip
STEPS, BATCH = 500, 128
SEEDS = (0, 1, 2)
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


def jobs() -> list[Job]:
    """Return every job, in the order in which they matter."""
    out = [Job(name=f"seco-s{s}", seed=s, method="seco") for s in SEEDS]
    for s in SEEDS:
        out.append(Job(name=f"random-resnet18-s{s}", seed=s, baseline=f"random:resnet18@{s}"))
        out.append(Job(name=f"colour-s{s}", seed=s, baseline="colour"))
    return out + [Job(name=f"{m}-s{s}", seed=s, method=m) for m in ("moco-tp", "moco") for s in SEEDS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where things are."""

    work: Path
    results: Path
    threads: int

    def seco(self, *words: str | Path) -> None:
        """Run a seco command; its output goes to the terminal."""
        print("$ seco " + " ".join(map(str, words)), flush=True)
        command = [sys.executable, "-m", "seco.cli", *map(str, words)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(self.threads)})

    def dataset(self) -> Path:
        """Return the dataset, simulated if it is missing."""
        out = self.work / "planet"
        if not (out / "dataset.json").is_file():
            self.seco("planet", "build", out, *BUILD)
        return out

    def run(self, job: Job) -> None:
        """Train if need be, evaluate, and write the job's JSON."""
        started = time.time()
        source, data = job.baseline, self.dataset()
        training: list[dict[str, Any]] = []
        if job.method is not None:
            run = self.work / "runs" / job.name
            resume = ("--resume",) if (run / "config.yaml").is_file() else ()
            # Drawn last, so a run that has it is whole.
            if not (run / "pictures" / "curves.png").is_file():
                self.seco(
                    "pretrain", "--data", data, "--method", job.method, "--steps", str(STEPS), "--batch-size", str(BATCH),
                    "--seed", str(job.seed), "--split-seed", str(job.seed), "--checkpoint-every", "50", "--out", run,
                    *resume,
                )  # fmt: skip
            source = str(run)
            training = read_metrics(run / METRICS_NAME)
        assert source is not None
        rows: list[dict[str, Any]] = []
        for task in TASKS:
            file = self.work / "scores" / f"{job.name}-{task}.json"
            if not file.is_file():
                self.seco(
                    "evaluate", source, "--task", task, "--data", data, "--split-seeds", str(job.seed), "--outputs", "all",
                    "--json", file,
                )  # fmt: skip
            for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
                name = row["encoder"] if row["encoder"] == "majority" else job.label
                rows.append(row | {"encoder": name})
        # The command holds paths of this machine, which tell nobody anything; the job says what was run.
        where = {k: v for k, v in environment().items() if k != "command"}
        about = {
            "job": dataclasses.asdict(job), "build": list(BUILD), "steps": STEPS, "batch": BATCH,
            "seconds_since_last_start": round(time.time() - started), "threads": self.threads, "environment": where,
            "training": training[-3:], "rows": rows,
        }  # fmt: skip
        write_json(self.results / f"{job.name}.json", about)


def distances(source: str, data: Path, seed: int) -> dict[str, dict[str, float]]:
    """Return for each output the mean cosine distance under augmentation, season, and place, over the test places.

    A patch is compared with itself after one transformation of the augmentation task, with its place's other dates between
    which no land changed, and with a patch of another place.
    """
    dataset, encoder = open_dataset(data), load_encoder(source)
    options = augmentation.Options(split_seeds=(seed,), cache="none")
    plain = FeatureStore(encoder, dataset, options)

    def alter(rows: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        kinds = 1 + rows % (len(augmentation.KINDS) - 1)
        return augmentation.transform(pixels, rows, kinds, store=plain, strength=options.strength)

    altered = FeatureStore(encoder, dataset, options, altered=Altered(name="distances", alter=alter))
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
        file = results / f"{job.name}.json"
        about = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for output, d in about.get("distances", {}).items():
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
    files = [f for j in jobs() if (f := results / f"{j.name}.json").is_file()]
    rows = [r for f in files for r in json.loads(f.read_text(encoding="utf-8"))["rows"]]
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
    args = parser.parse_args()
    if args.table:
        print(table(args.results) + "\n\n" + distance_table(args.results))
        return
    chosen = [j for j in jobs() if any(part in j.name for part in args.only.split(","))]
    left = [j for j in chosen if not (args.results / f"{j.name}.json").is_file()]
    if args.status:
        for job in chosen:
            print(f"{'to do' if job in left else 'done':<6} {job.name}")
        return
    if args.distances:
        for job in (j for j in chosen if j not in left):
            file = args.results / f"{job.name}.json"
            about = json.loads(file.read_text(encoding="utf-8"))
            source = job.baseline or str(args.work / "runs" / job.name)
            if "distances" not in about:
                about["distances"] = distances(source, args.work / "planet", job.seed)
                write_json(file, about)
        return
    bench = Bench(
        work=args.work.resolve(),
        results=args.results,
        threads=max(1, len(os.sched_getaffinity(0)) // args.jobs),
    )
    bench.dataset()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(bench.run, j) for j in left]):
            done.result()


if __name__ == "__main__":
    main()
