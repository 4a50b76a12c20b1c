"""What each option that makes a step cheaper does to what is learned: SeCo on Blue Marble, at equal steps.

As bench/bluemarble.py, whose parts this is made of: a job is a training run and its evaluation, ends in one JSON file, and
the same command goes on after a stop. All jobs hold out the same places; seeds are those of weights, order and views.

  python bench/options.py --data MOSAICS --eurosat EuroSAT.zip --steps 1000      do what is missing
  python bench/options.py --seeds 0 --only key-norm-ema,default                  only some
  python bench/options.py --status | --table                                     say what is done; print the table
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

from bluemarble import Bench, Job

OPTIONS = {
    "default": (),
    "fp32": ("--precision", "fp32"),
    "key-px-48": ("--key-px", "48"),
    "key-norm-ema": ("--key-norm", "ema"),
    "key-px-48-key-norm-ema": ("--key-px", "48", "--key-norm", "ema"),
    "key-groups-mixed": ("--key-groups", "mixed"),
    "compile-keys": ("--compile", "keys"),
    "shuffle-blocks": ("--shuffle", "blocks"),
}
"""What each changes from the defaults."""
TASKS = ("landcover", "climate", "place", "eurosat")
COLUMNS = {
    "landcover kNN": ("landcover", "knn", "accuracy"),
    "landcover linear": ("landcover", "linear", "accuracy"),
    "climate linear": ("climate", "linear", "accuracy"),
    "place mAP": ("place", "retrieval", "map"),
    "EuroSAT linear": ("eurosat", "linear", "accuracy"),
}


def jobs(steps: int, seeds: list[int]) -> list[Job]:
    """Return every job: the defaults of all seeds first, since all else is held against them."""
    return [
        # The job's own seed draws the places held out as well; the later flag is the one that holds.
        Job(
            name=f"{name}-{steps}-s{seed}",
            seed=0,
            method="seco",
            steps=steps,
            flags=(*flags, "--seed", str(seed)),
            tasks=TASKS,
        )
        for name, flags in OPTIONS.items()
        for seed in seeds
    ]


def scores(file: Path) -> dict[str, float]:
    """Return the columns of a finished job, percent, and its rate while training."""
    told = json.loads(file.read_text(encoding="utf-8"))
    found = {
        column: 100 * row["value"]
        for column, wanted in COLUMNS.items()
        for row in told["rows"]
        if (row["task"], row["probe"], row["metric"]) == wanted and row["output"] == "features"
    }
    rates = [row["samples_per_s"] for row in told["training"] if "samples_per_s" in row]
    return {"samples/s": statistics.median(rates), **found}


def table(results: Path, steps: int, seeds: list[int]) -> str:
    """Return Markdown: the defaults' scores, what each option gains on the same seeds, and whether it stays within."""
    columns = ["samples/s", *COLUMNS]
    lines = [f"| option | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    done = {j.name: results / f"{j.name}.json" for j in jobs(steps, seeds)}
    found = {name: scores(file) for name, file in done.items() if file.is_file()}
    base = {s: found[f"default-{steps}-s{s}"] for s in seeds if f"default-{steps}-s{s}" in found}
    if not base:
        return "the defaults are not done yet"
    span = {c: (min(b[c] for b in base.values()), max(b[c] for b in base.values())) for c in columns}
    for option in OPTIONS:
        mine = {s: found[f"{option}-{steps}-s{s}"] for s in base if f"{option}-{steps}-s{s}" in found}
        cells = []
        for column in columns if mine else ():
            mean = statistics.mean(m[column] for m in mine.values())
            if option == "default":
                low, high = span[column]
                cells.append(f"{mean:.1f} ({low:.1f} to {high:.1f})")
            elif column == "samples/s":
                cells.append(f"x {statistics.mean(m[column] / base[s][column] for s, m in mine.items()):.2f}")
            else:
                gain = statistics.mean(m[column] - base[s][column] for s, m in mine.items())
                # Gains on the same seeds, so that they need not differ by more than the seeds do.
                within = abs(gain) <= span[column][1] - span[column][0]
                cells.append(f"{gain:+.1f}{'' if within else ' (!)'}")
        if mine:
            lines.append(f"| {option} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "(!): differs from the defaults by more than their seeds differ from each other"]
    )


def main() -> None:
    """Do what is missing, say what is done, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.environ.get("SECO_DATA")
    mosaics, zipped = (Path(root) / n if root else None for n in ("bluemarble", "EuroSAT.zip"))
    parser.add_argument("--data", type=Path, default=mosaics, help="the mosaics")
    parser.add_argument("--eurosat", type=Path, default=zipped, help="EuroSAT.zip")
    parser.add_argument("--work", type=Path, default=Path("bench-out/bluemarble"), help="datasets, runs")
    parser.add_argument("--results", type=Path, default=Path("bench-out/options"), help="one JSON a job")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--only", default="", help="jobs whose names begin so, comma-separated")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--nice", type=int, default=0, help="lower the priority, 0-19")
    parser.add_argument("--status", action="store_true", help="say what is done")
    parser.add_argument("--table", action="store_true", help="print the table")
    args = parser.parse_args()
    seeds = [int(s) for s in args.seeds.split(",")]
    if args.table:
        print(table(args.results, args.steps, seeds))
        return
    wanted = [j for j in jobs(args.steps, seeds) if j.name.startswith(tuple(args.only.split(",")))]
    bench = Bench(
        work=args.work, results=args.results, data=args.data, eurosat=args.eurosat, nice=args.nice, threads=args.threads
    )  # fmt: skip
    for job in wanted:
        done = (args.results / f"{job.name}.json").is_file()
        if args.status:
            print(f"{'done' if done else 'to do':6} {job.name}")
        elif not done:
            bench.run(job)


if __name__ == "__main__":
    main()
