"""The study behind docs/results/transfer.md: encoders on EuroSAT and UC Merced, strict protocol.

Every job is one encoder on one task and one seed, judged by the `seco evaluate` command that a user has, and ends in one
JSON file. Features are kept between jobs. Stop it at any time: the same command goes on with what is missing.

  python bench/transfer.py                                        the baselines: colour, random, ImageNet
  python bench/transfer.py runs/seco exported/                    your encoders beside them
  python bench/transfer.py --finetune                             fine-tuning too
  python bench/transfer.py --status                               say what is done
  python bench/transfer.py --table                                print the tables of the results page

A run whose weights are newer than its rows is judged again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seco.probes.evaluation import summarise
from seco.runs import environment, write_json

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results" / "transfer"
COLOUR = "colour"
BASELINES = (COLOUR, "random:resnet18", "imagenet:tf_efficientnet_lite0")
TASKS = {"eurosat": "EuroSAT.zip", "ucmerced": "UCMerced_LandUse_128px.zip"}
SEEDS = (0, 1, 2)
SHOTS = (1, 5, 10, 50, 100)
MOST_SHOTS = {"eurosat": 100, "ucmerced": 50}
"""UC Merced has 80 training images a class, of which 50 are the most of `SHOTS`."""
_ALL = ("--steps", "1000", "--batch-size", "32", "--val-every", "200", "--precision", "auto")
FINETUNE = {
    "finetune-all": _ALL,
    "finetune-all-batch-norm": (*_ALL, "--norm", "batch"),
    "finetune-all-one-rate": (*_ALL, "--norm", "batch", "--encoder-lr", "0.001", "--layer-decay", "1"),
    "finetune": ("--num-labels", "1000", "--steps", "150", "--batch-size", "32", "--val-every", "50"),
}
"""Fine-tuning that two cores can do in minutes: with all labels, as it is by default, with batch norm that follows the
batches, and with that at the head's own rate in every layer, as from scratch; and with 1,000 labels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One encoder on one task at one seed: probes on all and on few labels, or fine-tuning."""

    encoder: str
    task: str
    seed: int
    mode: str

    @property
    def name(self) -> str:
        """What its file is called."""
        label = re.sub(
            r"[^A-Za-z0-9.]+", "-", Path(self.encoder).name if ":" not in self.encoder else self.encoder
        )
        return f"{self.task}-{label}-{self.mode}-s{self.seed}"

    def words(self) -> list[str]:
        """Return the flags of `seco evaluate` but for encoder, data and outputs."""
        common = ["--task", self.task, "--split-seeds", str(self.seed)]
        if self.mode in FINETUNE:
            return [*common, "--probe", "finetune", *FINETUNE[self.mode]]
        shots = ",".join(str(s) for s in SHOTS if s <= MOST_SHOTS[self.task])
        return [*common, "--probe", "knn,linear", "--shots", shots]


def jobs(encoders: Sequence[str], modes: Sequence[str]) -> Iterator[Job]:
    """Yield the jobs, in the order in which they matter."""
    for mode in modes:
        for seed in SEEDS:
            for task in TASKS:
                for encoder in encoders:
                    if mode in FINETUNE and encoder == COLOUR:
                        continue  # it has no weights
                    # Random weights are drawn anew with each split: one draw's luck is no baseline.
                    own = f"{encoder}@{seed}" if encoder.startswith("random:") else encoder
                    yield Job(encoder=own, task=task, seed=seed, mode=mode)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where things are."""

    data: Path
    results: Path
    work: Path
    nice: int

    def file(self, job: Job) -> Path:
        """Return where a job's rows go."""
        return self.results / f"{job.name}.json"

    def is_done(self, job: Job) -> bool:
        """Tell whether a job's rows are there and newer than its encoder's weights."""
        file, weights = self.file(job), list(Path(job.encoder).glob("**/encoder.safetensors"))
        return file.is_file() and all(w.stat().st_mtime < file.stat().st_mtime for w in weights)

    def run(self, job: Job) -> None:
        """Judge, and write the job's JSON."""
        started = time.time()
        found = self.work / f"{job.name}.json"
        command = ["evaluate", job.encoder, "--data", str(self.data / TASKS[job.task]), *job.words()]
        print("$ seco " + " ".join(command), flush=True)
        subprocess.run(
            [sys.executable, "-m", "seco.cli", *command, "--json", str(found)],
            check=True,
            preexec_fn=(lambda: os.nice(self.nice)) if self.nice else None,
        )
        rows = json.loads(found.read_text(encoding="utf-8"))["rows"]
        for row in rows:
            row["encoder"] = row["encoder"].split("@")[0]
        # The command holds paths of this machine, which tell nobody anything; the job says what was run.
        where = {k: v for k, v in environment().items() if k != "command"}
        job_words = dataclasses.asdict(job) | {
            "encoder": job.encoder if ":" in job.encoder else Path(job.encoder).name
        }
        about = {
            "job": job_words, "flags": job.words(), "seconds": round(time.time() - started), "environment": where,
            "rows": rows,
        }  # fmt: skip
        write_json(self.file(job), about)


def table(results: Path) -> str:
    """Return the results as Markdown: percent, mean ± sample deviation over seeds; the best of each column bold."""
    files = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(results.glob("*.json"))]
    rows = [r | {"mode": f["job"]["mode"]} for f in files for r in f["rows"]]
    lines = []
    for task in TASKS:
        of_task = [r for r in rows if r["task"] == task and r["metric"] == "accuracy"]
        own = [r for r in of_task if r["mode"] == "probes"]
        # The majority row comes with each encoder of a split: one a split is enough.
        own = list({(r["encoder"], r["probe"], r["shots"], r["seed"]): r for r in own}.values())
        found = summarise(own)
        whole = [s for s in found if s["shots"] is None]
        lines += _grid(
            f"{task}, all labels", whole, lambda s: s["probe"], [r for r in own if r["shots"] is None]
        )
        few = [s for s in found if s["shots"] is not None]
        for probe in sorted({s["probe"] for s in few}):
            mine = sorted((s for s in few if s["probe"] == probe), key=lambda s: s["shots"])
            lines += _grid(f"{task}, {probe}, labels a class", mine, lambda s: str(s["shots"]), [])
        # A column a way: the mode stands for what they share.
        tuned = [r | {"probe": r["mode"]} for r in of_task if r["probe"] == "finetune"]
        lines += _grid(f"{task}, fine-tuned", summarise(tuned), lambda s: s["probe"], tuned)
    return "\n".join(lines)


def _grid(title: str, found: list[dict[str, Any]], column: Any, rows: list[dict[str, Any]]) -> list[str]:
    """Return one table: a line an encoder, the best last."""
    columns = list(dict.fromkeys(column(s) for s in found if s["probe"] != "majority"))
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for s in found:
        for name in columns if s["probe"] == "majority" else [column(s)]:
            cells.setdefault(s["encoder"], {})[name] = s
    if not columns:
        return []
    best = {c: max((line[c]["value"] for line in cells.values() if c in line), default=0) for c in columns}

    def words(s: dict[str, Any] | None, name: str) -> str:
        if s is None:
            return ""
        spread = f" ± {100 * s['spread']:.1f}" if s["spread"] is not None else ""
        text = f"{100 * s['value']:.1f}{spread}"
        return f"**{text}**" if round(100 * s["value"], 1) == round(100 * best[name], 1) else text

    seeds = {
        e: "-".join(map(str, sorted({s["num_seeds"] for s in line.values()}))) for e, line in cells.items()
    }
    head = "linear" if "linear" in columns else columns[-1]
    out = [
        f"\n### {title}\n",
        f"| encoder | {' | '.join(columns)} | seeds |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, line in sorted(cells.items(), key=lambda c: c[1].get(head, {"value": -1.0})["value"]):
        out.append(f"| {name} | {' | '.join(words(line.get(c), c) for c in columns)} | {seeds[name]} |")
    tests = {r["num_test"] for r in rows}
    return [*out, f"\n{', '.join(map(str, sorted(tests)))} test images a seed."] if tests else out


def main() -> None:
    """Do what is missing, say what is done, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.environ.get("SECO_DATA")
    parser.add_argument(
        "encoders", nargs="*", help="runs, exported encoders, ... judged besides the baselines"
    )
    parser.add_argument("--data", type=Path, default=root, help="folder of EuroSAT.zip and UC Merced")
    parser.add_argument("--work", type=Path, default=Path("bench-out/transfer"), help="rows as they come")
    parser.add_argument("--results", type=Path, default=RESULTS, help="one JSON a finished job")
    parser.add_argument("--finetune", action="store_true", help="fine-tuning too")
    parser.add_argument("--only", default="", help="jobs whose names contain this, comma-separated")
    parser.add_argument("--nice", type=int, default=0, help="lower the priority, 0-19")
    parser.add_argument("--status", action="store_true", help="say what is done")
    parser.add_argument("--table", action="store_true", help="print the tables")
    args = parser.parse_args()
    if args.table:
        print(table(args.results))
        return
    if args.data is None:
        raise SystemExit("bench: --data (or $SECO_DATA) is missing: the folder of EuroSAT.zip and UC Merced")
    bench = Bench(data=Path(args.data), results=args.results, work=args.work, nice=args.nice)
    args.work.mkdir(parents=True, exist_ok=True)
    modes = ("probes", *FINETUNE) if args.finetune else ("probes",)
    wanted = [
        j for j in jobs((*BASELINES, *args.encoders), modes) if any(w in j.name for w in args.only.split(","))
    ]
    for job in wanted:
        done = bench.is_done(job)
        if args.status:
            print(f"{'done' if done else 'to do':6} {job.name}")
        elif not done:
            bench.run(job)


if __name__ == "__main__":
    main()
