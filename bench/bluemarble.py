"""The study behind docs/results/bluemarble.md: SeCo, its rivals and baselines on Blue Marble, at equal steps.

Every job is one training run and its evaluation, made with the `seco` commands a user has, and ends in one JSON file.
Stop it at any time: the same command goes on, in the middle of a run too. Hours to days on two cores.

  python bench/bluemarble.py --data MOSAICS --eurosat EuroSAT.zip          do what is missing
  python bench/bluemarble.py --jobs 2 --only settings                      two at a time, one thread each; only some
  python bench/bluemarble.py --status                                      say what is done
  python bench/bluemarble.py --table                                       print the tables of the results page
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from seco.probes.evaluation import summarise
from seco.probes.scores import bootstrap_sums
from seco.runs import METRICS_NAME, environment, read_metrics, write_json

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results" / "bluemarble"
PLACES = 6000
BATCH = 128
SEEDS = (0, 1, 2)
METHODS = ("seco", "moco-tp", "moco")
LITE0 = "tf_efficientnet_lite0"
CLASS_COLUMNS = {
    "knn accuracy": "kNN-20",
    "knn accuracy balanced": "balanced",
    "linear accuracy": "linear",
    "linear accuracy balanced": "balanced",
}
PROBES = ("knn", "linear")
PLACE_COLUMNS = {"retrieval cmc@1": "CMC@1", "retrieval cmc@10": "CMC@10", "retrieval map": "mAP"}
GEOGRAPHY = ("landcover", "climate", "season", "place")
NUM_LABELS = 4000
"""Labels of EuroSAT's training part that probes are fitted on."""
PAPER = ("--optimiser", "sgd", "--negatives", "queue")
SETTINGS = {
    "default": (),
    "queue": ("--negatives", "queue"),
    "both": ("--negatives", "both"),
    "momentum-0.9": ("--momentum", "0.9"),
    "momentum-0.99": ("--momentum", "0.99"),
    "sgd": ("--optimiser", "sgd"),
    "sgd-queue": PAPER,
    "sgd-queue-momentum-0.999": (*PAPER, "--momentum", "0.999"),
    "lr-0.0003": ("--lr", "0.0003"),
    "lr-0.003": ("--lr", "0.003"),
    "temperature-0.07": ("--temperature", "0.07"),
    "temperature-0.2": ("--temperature", "0.2"),
    "crop-0.08": ("--crop-scale", "0.08,1"),
    "crop-0.5": ("--crop-scale", "0.5,1"),
    "no-hue": ("--jitter", "0.4,0.4,0.4,0"),
    "no-jitter-no-grey": ("--jitter-p", "0", "--grey-p", "0"),
    "groups-16": ("--group-size", "16"),
}
"""Of MoCo in 200 steps: what each changes from the defaults."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One line of the study: an encoder (trained here, or a baseline) judged on one split of places."""

    name: str
    seed: int
    baseline: str | None = None
    method: str | None = None
    steps: int = 1000
    encoder: str = "resnet18"
    flags: tuple[str, ...] = ()
    dataset: str = "places"
    tasks: tuple[str, ...] = (*GEOGRAPHY, "eurosat")


def jobs() -> list[Job]:
    """Return every job, in the order in which they matter."""
    out = []
    for seed in SEEDS:
        for text in ("colour", f"random:resnet18@{seed}", f"imagenet:{LITE0}"):
            label = text.split("@")[0].replace(":", "-")
            out.append(Job(name=f"{label}-s{seed}", seed=seed, baseline=text))
        out += [Job(name=f"{m}-1000-s{seed}", seed=seed, method=m) for m in METHODS]
    out.append(Job(name=f"random-{LITE0}-s0", seed=0, baseline=f"random:{LITE0}"))
    out.append(Job(name="eurosat-moco-1000-s0", seed=0, method="moco", dataset="eurosat", tasks=("eurosat",)))
    out.append(Job(name="seco-lite0-1000-s0", seed=0, method="seco", encoder=LITE0))
    for siblings in ("own", "none"):
        flags = ("--siblings", siblings)
        out.append(Job(name=f"seco-siblings-{siblings}-1000-s0", seed=0, method="seco", flags=flags))
    out += [Job(name=f"{m}-paper-1000-s0", seed=0, method=m, flags=PAPER) for m in METHODS]
    out += [
        Job(
            name=f"settings-{k}-s0",
            seed=0,
            method="moco",
            steps=200,
            flags=v,
            tasks=("landcover", "place", "eurosat"),
        )
        for k, v in SETTINGS.items()
    ]
    out += [Job(name=f"{m}-3000-s0", seed=0, method=m, steps=3000) for m in METHODS]
    return out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where things are."""

    work: Path
    results: Path
    data: Path | None
    eurosat: Path | None
    nice: int
    threads: int

    def seco(self, *words: str | Path) -> None:
        """Run a seco command; its output goes to the terminal."""
        command = [sys.executable, "-m", "seco.cli", *map(str, words)]
        print("$ seco " + " ".join(map(str, words)), flush=True)
        subprocess.run(
            command,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
            preexec_fn=(lambda: os.nice(self.nice)) if self.nice else None,
        )

    def dataset(self, kind: str) -> Path:
        """Return the dataset of a kind, made if it is missing."""
        out = self.work / kind
        if (out / "dataset.json").is_file():
            return out
        if kind == "places":
            if self.data is None:
                raise SystemExit("bench: --data is missing: the folder of the twelve Blue Marble mosaics")
            self.seco(
                "dataset",
                "import",
                "bluemarble",
                self.data,
                out,
                "--places",
                str(PLACES),
                "--sampler",
                "land",
            )
            return out
        if self.eurosat is None:
            raise SystemExit("bench: --eurosat is missing: the path of EuroSAT.zip")
        self.seco("dataset", "import", "images", self.eurosat, out)
        return out

    def run(self, job: Job) -> None:
        """Train if need be, evaluate, and write the job's JSON."""
        started = time.time()
        source = job.baseline
        training: list[dict[str, Any]] = []
        if job.method is not None:
            run = self.work / "runs" / job.name
            resume = ("--resume",) if (run / "config.yaml").is_file() else ()
            # Drawn last, so a run that has it is whole.
            if not (run / "pictures" / "curves.png").is_file():
                self.seco(
                    "pretrain", "--data", self.dataset(job.dataset), "--method", job.method, "--encoder", job.encoder,
                    "--steps", str(job.steps), "--batch-size", str(BATCH), "--seed", str(job.seed), "--split-seed",
                    str(job.seed), "--checkpoint-every", "50", "--out", run, *job.flags, *resume,
                )  # fmt: skip
            source = str(run)
            training = read_metrics(run / METRICS_NAME)
        rows: list[dict[str, Any]] = []
        blocks: dict[str, dict[str, str]] = {}
        assert source is not None
        for task in job.tasks:
            rows += self.evaluate(job, source, task)
            blocks |= sums(self.scores(job, task).with_suffix(".parquet"), task)
        # The command holds paths of this machine, which tell nobody anything; the job says what was run.
        where = {k: v for k, v in environment().items() if k != "command"}
        about = {
            "job": dataclasses.asdict(job), "seconds_since_last_start": round(time.time() - started),
            "threads": self.threads, "environment": where, "training": training[-10:], "rows": rows,
            "blocks": blocks,
        }  # fmt: skip
        write_json(self.results / f"{job.name}.json", about)

    def scores(self, job: Job, task: str) -> Path:
        """Return where the rows of a task go; the predictions lie beside them."""
        return self.work / "scores" / f"{job.name}-{task}.json"

    def evaluate(self, job: Job, source: str, task: str) -> list[dict[str, Any]]:
        """Run one task; features and every head are judged where the question is what a head keeps."""
        file = self.scores(job, task)
        spec = Path(source) / "encoder" / "encoder.safetensors"
        if not file.is_file() or (spec.is_file() and spec.stat().st_mtime > file.stat().st_mtime):
            name, data = ("images", "eurosat") if task == "eurosat" else (task, "places")
            few = ("--num-labels", str(NUM_LABELS)) if task == "eurosat" else ()
            self.seco(
                "evaluate", source, "--task", name, "--data", self.dataset(data), "--split-seeds", str(job.seed),
                *few, "--outputs", "all", "--json", file, "--predictions", file.with_suffix(".parquet"),
            )  # fmt: skip
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        label = _label(job)
        return [
            {**r, "task": task, "encoder": r["encoder"] if r["encoder"] == "majority" else label}
            for r in rows
        ]


def _label(job: Job) -> str:
    """Return what rows of several seeds have in common."""
    return job.name.rsplit("-s", 1)[0]


def packed(numbers: np.ndarray) -> str:
    """Return numbers as text for JSON: thousands of them, most of them equal."""
    return base64.b64encode(zlib.compress(numbers.astype("<f4").tobytes(), 9)).decode()


def unpacked(text: str) -> np.ndarray:
    """Return what `packed` took."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").astype(np.float64)


def sums(predictions: Path, task: str) -> dict[str, dict[str, str]]:
    """Return for each output and probe the size and sum of scores of every test block: all that paired intervals need."""
    part = pq.read_table(predictions, columns=["output", "probe", "group", "score"])
    kinds = np.array(
        [f"{task} {o} {p}" for o, p in zip(part["output"].to_pylist(), part["probe"].to_pylist())]
    )
    group, score = part["group"].to_numpy(), part["score"].to_numpy()
    out = {}
    for kind in np.unique(kinds):
        _, block = np.unique(group[kinds == kind], return_inverse=True)
        total = np.bincount(block, weights=score[kinds == kind])
        out[str(kind)] = {"size": packed(np.bincount(block)), "total": packed(total)}
    return out


def paired(results: Path, reference: str) -> str:
    """Return as Markdown how much better the features of each encoder are than a reference's on the same patches."""
    done = {j: results / f"{j.name}.json" for j in jobs() if (results / f"{j.name}.json").is_file()}
    blocks = {j: json.loads(f.read_text(encoding="utf-8"))["blocks"] for j, f in done.items()}
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    for base in (j for j in blocks if _label(j) == reference):
        for job, mine in blocks.items():
            if job.seed != base.seed or job is base:
                continue
            for kind in (k for k in mine if k in blocks[base] and " features " in k):
                a, b = ({k: unpacked(v) for k, v in some[kind].items()} for some in (mine, blocks[base]))
                if not np.array_equal(a["size"], b["size"]):
                    raise SystemExit(
                        f"bench: {job.name} and {base.name} were tested on different patches of {kind}"
                    )
                gain = a["total"] - b["total"]
                interval = bootstrap_sums(gain, a["size"], num_draws=1000, seed=job.seed)
                words = f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval else ""
                task, _, probe = kind.split()
                cell = cells.setdefault((_label(job), task, probe), {})
                cell[job.seed] = f"{100 * gain.sum() / a['size'].sum():+.1f}{words}"
    seeds = sorted({s for cell in cells.values() for s in cell})
    lines = [
        f"| encoder | task | probe | {' | '.join(f'seed {s}' for s in seeds)} |",
        "|---" * (3 + len(seeds)) + "|",
    ]
    lines += [
        f"| {' | '.join(key)} | {' | '.join(c.get(s, '') for s in seeds)} |" for key, c in cells.items()
    ]
    return "\n".join(lines)


def table(results: Path) -> str:
    """Return the results as Markdown, a table a task: percent, mean ± sample deviation over seeds, the best last."""
    rows = [
        r
        for j in jobs()
        if (results / f"{j.name}.json").is_file()
        for r in json.loads((results / f"{j.name}.json").read_text(encoding="utf-8"))["rows"]
    ]
    for row in rows:
        row.setdefault("protocol", "strict")  # files of before there were others do not say it
    # A majority row comes with each encoder of a split: one a split is enough.
    rows = list(
        {(r["encoder"], r["task"], r["output"], r["probe"], r["metric"], r["seed"]): r for r in rows}.values()
    )
    lines = []
    for task in (*GEOGRAPHY, "eurosat"):
        columns = PLACE_COLUMNS if task == "place" else CLASS_COLUMNS
        cells: dict[tuple[str, str], dict[str, tuple[float, str]]] = {}
        for s in summarise([r for r in rows if r["task"] == task]):
            cell = cells.setdefault((s["encoder"], s["output"] or ""), {})
            for field, suffix in (("value", ""), ("balanced_accuracy", " balanced")):
                # Who always says the commonest class does so whatever the probe.
                probes = PROBES if s["probe"] == "majority" else (s["probe"],)
                for name in (f"{p} {s['metric']}{suffix}" for p in probes):
                    if name not in columns or s[field] is None:
                        continue
                    spread = f" ± {100 * s['spread']:.1f}" if s["spread"] is not None and not suffix else ""
                    cell[name] = (s[field], f"{100 * s[field]:.1f}{spread}")
            cell["seeds"] = (0, str(s["num_seeds"]))
        titles = list(columns.values())
        lines += [
            f"\n### {task}\n",
            f"| encoder | output | {' | '.join(titles)} | seeds |",
            "|---" * (len(titles) + 3) + "|",
        ]
        last = list(columns)[-1] if task == "place" else "linear accuracy"
        for (encoder, output), cell in sorted(cells.items(), key=lambda c: c[1].get(last, (-1.0, ""))[0]):
            words = [cell.get(n, (0, ""))[1] for n in (*columns, "seeds")]
            lines.append(f"| {encoder} | {output} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    """Do what is missing, say what is done, or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.environ.get("SECO_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(root) / "bluemarble" if root else None, help="the mosaics"
    )
    parser.add_argument(
        "--eurosat", type=Path, default=Path(root) / "EuroSAT.zip" if root else None, help="EuroSAT.zip"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("bench-out/bluemarble"), help="datasets and runs, large"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="one JSON a finished job")
    parser.add_argument("--only", default="", help="jobs whose names contain this, comma-separated")
    parser.add_argument("--nice", type=int, default=0, help="lower the priority, 0-19")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time, which share the cores; two of one thread outdo one of two",
    )
    parser.add_argument("--status", action="store_true", help="say what is done")
    parser.add_argument("--table", action="store_true", help="print the tables")
    args = parser.parse_args()
    if args.table:
        print(table(args.results))
        for reference in ("random-resnet18", "moco-1000"):
            print(f"\n### gain over {reference}, on the same patches\n\n{paired(args.results, reference)}")
        return
    wanted = [j for j in jobs() if any(w in j.name for w in args.only.split(","))]
    if args.status:
        for job in wanted:
            print(f"{'done' if (args.results / f'{job.name}.json').is_file() else 'to do':6} {job.name}")
        return
    bench = Bench(
        work=args.work, results=args.results, data=args.data, eurosat=args.eurosat, nice=args.nice,
        threads=max(1, (os.cpu_count() or 1) // args.jobs),
    )  # fmt: skip
    missing = [j for j in wanted if not (args.results / f"{j.name}.json").is_file()]
    for kind in sorted({"eurosat", *(j.dataset for j in missing)}):
        bench.dataset(kind)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        running = [pool.submit(bench.run, job) for job in missing]
        try:
            for done in concurrent.futures.as_completed(running):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
