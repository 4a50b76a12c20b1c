"""What a step of each method costs, side by side: views and update, in turn, in one process.

python bench/steps.py --data places.seco --repeats 10
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from _ready import ready

from seco.runs import environment, print_table, write_json
from seco.train.settings import Pretrain

METHODS = ("moco", "moco-tp", "seco")


def main() -> None:
    """Time the methods and print a row each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="dataset of places, three dates or more each"
    )
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--repeats", type=int, default=10, help="steps of each that count, after two that do not"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    num_steps = args.repeats + 2
    settings = {"data": args.data, "encoder": args.encoder, "batch_size": args.batch_size, "steps": num_steps}
    all_ready = [ready(Pretrain(method=m, **settings)) for m in METHODS]
    reading = [r.batches() for r in all_ready]
    views: dict[str, list[float]] = {m: [] for m in METHODS}
    updates: dict[str, list[float]] = {m: [] for m in METHODS}
    for step in range(num_steps):
        for name, each, batches in zip(METHODS, all_ready, reading, strict=True):
            batch = next(batches)
            started = time.perf_counter()
            made = each.views(batch)
            between = time.perf_counter()
            each.method.update(made, step=step)
            if step >= 2:
                views[name].append(1000 * (between - started) / args.batch_size)
                updates[name].append(1000 * (time.perf_counter() - between) / args.batch_size)
    for batches in reading:
        batches.close()
    rows = []
    for name in METHODS:
        ratios = [
            (v + u) / (a + b)
            for v, u, a, b in zip(views[name], updates[name], views["moco"], updates["moco"], strict=True)
        ]
        rows.append(
            {
                "method": name,
                "views_ms": statistics.median(views[name]),
                "update_ms": statistics.median(updates[name]),
                "times_moco": statistics.median(ratios),
                "times_moco_min": min(ratios),
                "times_moco_max": max(ratios),
            }
        )
    print_table(rows, tuple(rows[0]), title=f"{args.encoder}, batch {args.batch_size}: ms a sample")
    if args.json:
        write_json(args.json, {"rows": rows, "environment": environment()})


if __name__ == "__main__":
    main()
