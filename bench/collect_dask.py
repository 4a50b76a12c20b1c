"""One Dask worker, two, and two of which one is killed: patches a second, and is the dataset the very same?

The places and scenes of `resilience.py`, patches of 264 px, from a server with a delay. Workers are processes of this
machine with one thread each and the same number of requests at once each.
`python bench/collect_dask.py --work DIR --out dask.json`; DIR is that of `resilience.py`, or made.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import distributed
from _serving import best_program, served
from resilience import PATIENT, catalog_of, contents, make, settings

from seco.collect.collecting import View, collect
from seco.runs import environment, write_json


def take(
    places: Path, catalog: Path, out: Path, *, args: argparse.Namespace, num_workers: int, kill: str
) -> dict[str, Any]:
    """Collect with so many workers (none: alone), one killed in the middle where that is asked; return how it went."""
    wanted = dataclasses.replace(
        settings(places, catalog), num_places=args.places, size=264, concurrency=args.concurrency
    )
    for old in (out, out.with_name(out.name + ".partial")):
        shutil.rmtree(old, ignore_errors=True)
    killed: list[int] = []
    with distributed.LocalCluster(
        n_workers=max(num_workers, 1), threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:  # fmt: skip
        if num_workers:
            wanted = dataclasses.replace(wanted, scheduler=cluster.scheduler_address)

        def show(view: View) -> None:
            if kill == "one" and not killed and view.standing.num_places >= args.places // 3:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

        begun = time.perf_counter()
        done = collect(wanted, out, patience=PATIENT, show=show)
        seconds = time.perf_counter() - begun
    return {
        "workers": num_workers, "killed": len(killed), "seconds": round(seconds, 1), "patches": done.num_patches,
        "patches_a_second": round(done.num_patches / seconds, 2), "contents": contents(out),
    }  # fmt: skip


def main() -> None:
    """Collect in every way, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("dask.json"))
    parser.add_argument("--places", type=int, default=60)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--delay-ms", type=int, default=100)
    args = parser.parse_args()
    places, planet = make(args.work)
    rows = []
    with served(planet / "tiles", delay_s=args.delay_ms / 1000, program=best_program()) as server:
        catalog = catalog_of(planet, args.work / "dask-catalog", server.url)
        for num, kill in ((0, "none"), (1, "none"), (2, "none"), (2, "one")):
            row = take(places, catalog, args.work / "dask.seco", args=args, num_workers=num, kill=kill)
            row["is_equal"] = rows == [] or row["contents"] == rows[0]["contents"]
            rows.append(row)
            print(json.dumps({k: v for k, v in row.items() if k != "contents"}), flush=True)
    for row in rows:
        del row["contents"]
    write_json(
        args.out,
        {"rows": rows, "options": {k: str(v) for k, v in vars(args).items()}, "environment": environment()},
    )


if __name__ == "__main__":
    main()
