"""What the order of an epoch costs where the training tier is not in memory: places a second, bytes fetched a place.

A tier of --gb is written to --work (real bytes, so that nothing is a hole), the kernel is asked to forget it before each
round (posix_fadvise), and batches are read as `seco pretrain` reads them, in turn: any place after any other or
blocks of neighbours, each as the memory map does it by itself and with the patches of a batch asked for beforehand.

python bench/loader.py --work /some/disk --gb 3 --repeats 3 --json loader.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from seco.bench.families.reading import bytes_from_disk, drop
from seco.bench.imagery import RGB
from seco.data.tier import TrainingTier
from seco.methods import _contract as methods
from seco.runs import environment, print_table, write_json
from seco.train import places as module
from seco.train.places import Places, batches
from seco.train.settings import Pretrain, make_viewer, resolve

NUM_DATES = 5
ASK = module.ask_for


def ignore(pixels: Any, rows: np.ndarray) -> None:
    """Ask for nothing."""


def write(file: Path, num_places: int, px: int) -> None:
    """Write a tier of noise, each million bytes like the one before."""
    noise = np.random.default_rng(0).integers(1, 255, 2**20, dtype=np.uint8).tobytes()
    shape = (num_places * NUM_DATES, len(RGB), px, px)
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
        left = int(np.prod(shape))
        while left:
            left -= out.write(noise[: min(left, len(noise))])


def run(file: Path, args: argparse.Namespace, *, shuffle: str, asked: bool, first: int) -> dict[str, float]:
    """Read some batches from a cold file."""
    drop([file])
    pixels = np.load(file, mmap_mode="r")
    num = len(pixels) // NUM_DATES
    places = Places(
        first_row=np.arange(num) * NUM_DATES, num_dates=np.full(num, NUM_DATES), train=np.arange(num),
        held_out=np.zeros(0, np.int64), boxes=np.zeros((0, 4)), how="none", num_short=0,
    )  # fmt: skip
    numbers = {k: np.full(3, v) for k, v in (("mean", 110.0), ("std", 30.0), ("low", 0.0), ("high", 255.0))}
    tier = TrainingTier(pixels=pixels, bands=RGB, fingerprint="made", dataset=cast(Any, None), **numbers)
    config = resolve(
        Pretrain(batch_size=args.batch_size, steps=10**6, view_px=args.px), num_places=num, patch_px=args.px
    )
    viewer = make_viewer(config, tier, methods.find("seco").PLAN)
    module.ask_for = ASK if asked else ignore
    before, began = bytes_from_disk() or 0, time.perf_counter()
    reading = batches(
        tier, places, viewer, batch_size=args.batch_size, first=first, last=first + args.batches, seed=0,
        shuffle=cast(Any, shuffle),
    )  # fmt: skip
    for _ in reading:
        pass
    seconds, fetched = time.perf_counter() - began, (bytes_from_disk() or 0) - before
    total = args.batches * args.batch_size
    return {"places_per_s": total / seconds, "kb_from_disk_a_place": fetched / total / 1000}


def main() -> None:
    """Write, read in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gb", type=float, default=3.0)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    file = args.work / "loader-tier.npy"
    num = int(args.gb * 1e9 / (NUM_DATES * len(RGB) * args.px**2))
    ways = [(s, a) for s in ("places", "blocks") for a in (False, True)]
    taken: dict[tuple[str, bool], list[dict[str, float]]] = {w: [] for w in ways}
    try:
        write(file, num, args.px)
        os.sync()  # what is not on the disk yet cannot be forgotten
        for repeat in range(args.repeats):
            for way in ways:
                first = repeat * args.batches
                taken[way].append(run(file, args, shuffle=way[0], asked=way[1], first=first))
    finally:
        file.unlink(missing_ok=True)
    rows = []
    for (shuffle, asked), each in taken.items():
        rates = [t["places_per_s"] for t in each]
        rows.append(
            {
                "shuffle": shuffle, "asked for beforehand": "yes" if asked else "no",
                "places/s": statistics.median(rates), "min": min(rates), "max": max(rates),
                "kB a place": statistics.median(t["kb_from_disk_a_place"] for t in each),
            }
        )  # fmt: skip
    print_table(
        rows, tuple(rows[0]), title=f"{num:,} places of {NUM_DATES} dates, {args.px} px, cache dropped"
    )
    if args.json:
        write_json(args.json, {"rows": rows, "environment": environment()})


if __name__ == "__main__":
    main()
