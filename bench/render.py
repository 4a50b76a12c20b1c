"""How fast the simulated planet is: patches a second and core, one place at one date, 264 px, twelve bands and classes.

Each repeat takes other places; all in one process with one thread. What `seco planet build` adds (choosing clear days,
writing) is measured apart.

  OMP_NUM_THREADS=1 python bench/render.py --places 40 --repeats 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seco.planet.build import build_dataset, simulate
from seco.planet.earth.render import picture, window_ground
from seco.planet.places import Place, choose_days, draw_places
from seco.planet.settings import Build
from seco.runs import environment


def rate(work: Callable[[], Any], num: int) -> tuple[float, float]:
    """Return how many patches some work makes a second, and a second of processor time (user and system, all threads)."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    return num / (time.perf_counter() - started), num / (time.process_time() - busy)


def measure(places: list[Place], build: Build) -> dict[str, tuple[float, float]]:
    """Return patches a second of each part."""
    planet, num = build.planet(), len(places) * build.num_dates
    days = [choose_days(planet, p, build) for p in places]

    def paint() -> None:
        for place, when in zip(places, days, strict=True):
            ground = window_ground(
                planet, epsg=place.epsg, left_m=place.left_m, top_m=place.top_m, size_px=build.patch_px
            )
            for day in when:
                picture(planet, ground, epsg=place.epsg, day=day)

    return {
        "lay out and paint": rate(paint, num),
        "the same, clear days chosen": rate(lambda: [simulate(planet, p, build) for p in places], num),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--places", type=int, default=40, help="places a repeat, five dates each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures")
    args = parser.parse_args()
    build = Build(num_places=args.places * (args.repeats + 1), jobs=1)
    drawn = list(draw_places(build, seed=0))
    rows: dict[str, list[tuple[float, float]]] = {}
    measure(drawn[: args.places], build)  # rasters read, caches warm
    for k in range(1, args.repeats + 1):
        for name, value in measure(drawn[k * args.places : (k + 1) * args.places], build).items():
            rows.setdefault(name, []).append(value)
        with tempfile.TemporaryDirectory() as folder:
            one = Build(num_places=args.places, jobs=1, seed=k)
            num = args.places * one.num_dates
            value = rate(lambda one=one, folder=folder: build_dataset(one, Path(folder) / "x.seco"), num)
            rows.setdefault("seco planet build, one process", []).append(value)
    print("| patches a second and core | median | least | most | a second of processor, median |")
    print("|---|---|---|---|---|")
    for name, values in rows.items():
        wall, busy = zip(*values, strict=True)
        print(
            f"| {name} | {statistics.median(wall):.1f} | {min(wall):.1f} | {max(wall):.1f} | {statistics.median(busy):.1f} |"
        )
    if args.json:
        args.json.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
