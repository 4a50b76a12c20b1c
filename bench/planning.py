"""Planning at scale, no pixels: `seco collect plan` of up to a million places over two years, seconds and memory.

The catalogue is made first (once a folder): all tiles of the places, every pass of the planet's orbits, and of these a
fifth: the scenes with 10% of cloud or less, as a server that filters would answer.
`python bench/planning.py --work DIR --out planning.json`; DIR may be removed afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seco.collect.planner import read_places
from seco.places.settings import Places
from seco.places.table import make_places
from seco.planet.catalogue.geoparquet import write_items
from seco.planet.catalogue.items import CONTENTS, make_item
from seco.planet.catalogue.orbits import acquisitions
from seco.planet.catalogue.tiles import Tile, tiles_covering
from seco.runs import environment, progress, write_rows

FIRST, LAST = dt.date(2023, 1, 1), dt.date(2024, 12, 31)
CLEAR_SHARE, MAX_CLOUD = 0.2, 10.0
CYCLE_DAYS = 10
"""Days after which orbits repeat."""
CHILD = """
import json, resource, sys, time
from seco.cli import main
begun = time.perf_counter()
code = main(sys.argv[1:])
seconds = time.perf_counter() - begun
own, others = (resource.getrusage(w).ru_maxrss / 1024 for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"code": code, "seconds": seconds, "peak_mb": own, "peak_helper_mb": others}), file=sys.stderr)
"""
SAMPLE_S = 0.5


def patterns(tiles: Sequence[Tile]) -> Iterator[dict[str, Any]]:
    """Yield the items of the first ten days, in which every orbit is flown once."""
    contents = dict.fromkeys(CONTENTS, 0.0)
    for tile in progress(tiles, "tiles"):
        for taken in acquisitions(tile, first=FIRST, last=FIRST + dt.timedelta(days=CYCLE_DAYS - 1)):
            item = make_item(
                tile, taken, contents=contents, seed=0,
                href=lambda name, t=tile, a=taken: f"https://example.org/{t.id}/{a.day}/{name}",
            )  # fmt: skip
            if item is not None:
                yield {**item, "links": []}


def write_catalog(tiles: Sequence[Tile], out: Path) -> int:
    """Write a catalogue of two years, in order of time: the first ten days again and again, on other days."""
    pattern_file = out.with_name("pattern.parquet")
    write_items(patterns(tiles), pattern_file)
    pattern = pq.read_table(pattern_file)
    draws = np.random.default_rng(0)
    num, temporary = 0, out.with_name("writing.parquet")
    with pq.ParquetWriter(temporary, pattern.schema, compression="zstd") as writer:
        for later in progress(range(0, (LAST - FIRST).days + 1, CYCLE_DAYS), "cycles"):
            kept = pattern.filter(pa.array(draws.random(len(pattern)) < CLEAR_SHARE))
            moved = _moved(kept, dt.timedelta(days=later), draws.uniform(0, MAX_CLOUD, len(kept)).round(6))
            writer.write_table(moved, row_group_size=20_000)
            num += len(kept)
    temporary.replace(out)
    return num


def _moved(table: pa.Table, later: dt.timedelta, cloud: np.ndarray) -> pa.Table:
    """Return scenes as they are so many days later, under other clouds."""
    days = [t.date() for t in table["datetime"].to_pylist()]
    texts = [(f"{d:%Y%m%d}", f"{d + later:%Y%m%d}", str(d), str(d + later)) for d in days]

    def text(column: pa.Array) -> pa.Array:
        values = column.to_pylist()
        return pa.array(
            [v.replace(a, b).replace(c, e) for v, (a, b, c, e) in zip(values, texts, strict=True)],
            column.type,
        )

    assets = table["assets"].combine_chunks()
    moved = []
    for i in range(assets.type.num_fields):
        asset = assets.field(i)
        fields = [asset.field(j) for j in range(asset.type.num_fields)]
        at = asset.type.get_field_index("href")
        fields[at] = text(fields[at])
        moved.append(pa.StructArray.from_arrays(fields, fields=list(asset.type)))
    time_type = table.schema.field("datetime").type
    columns = {
        "id": text(table["id"]), "s2:datatake_id": text(table["s2:datatake_id"]),
        "datetime": pa.array([t + later for t in table["datetime"].to_pylist()], time_type),
        "eo:cloud_cover": pa.array(cloud, table.schema.field("eo:cloud_cover").type),
        "assets": pa.StructArray.from_arrays(moved, fields=list(assets.type)),
    }  # fmt: skip
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def make(work: Path, num: int) -> tuple[Path, Path]:
    """Make places and their catalogue, unless they are there."""
    work.mkdir(parents=True, exist_ok=True)
    places, catalog = work / f"places{num}.parquet", work / "items.parquet"
    if not places.is_file():
        make_places(Places(num_places=num), places)
    if not catalog.is_file():
        there = read_places(places)
        tiles = tiles_covering([p.lon for p in there], [p.lat for p in there])
        print(f"{num} places, {len(tiles)} tiles; {write_catalog(tiles, catalog)} scenes")
    return places, catalog


def subset(places: Path, num: int) -> Path:
    """Return a file of the first places; they are in the order of drawing, so that they spread as all do."""
    file = places.with_name(f"first{num}.parquet")
    if not file.is_file():
        pq.write_table(pq.read_table(places).slice(0, num), file)
    return file


def measure(places: Path, catalog: Path, num: int, work: Path, *, again: bool) -> dict[str, Any]:
    """Plan in a process of its own, searches not kept from before; and again with what was kept."""
    out = work / f"plan-{num}-{os.getpid()}"
    words = [
        "collect", "plan", "--places", str(subset(places, num)), "--catalog", str(catalog), "--from", str(FIRST), "--to",
        str(LAST), "--out", str(out), "--json",
    ]  # fmt: skip
    rows = []
    for what in ("first", "again") if again else ("first",):
        with (
            (out.with_suffix(".out")).open("w+") as told_out,
            (out.with_suffix(".err")).open("w+") as told_err,
        ):
            child = subprocess.Popen([sys.executable, "-c", CHILD, *words], stdout=told_out, stderr=told_err)
            together = 0.0
            while child.poll() is None:
                together = max(together, family_mb(child.pid))
                time.sleep(SAMPLE_S)
            told_out.seek(0)
            told_err.seek(0)
            survey_text, told_text = told_out.read(), told_err.read()
        if child.returncode:
            raise SystemExit(told_text[-2000:])
        survey = json.loads(survey_text)
        rows.append({"call": what, "together_mb": together, **json.loads(told_text.strip().splitlines()[-1])})
    return {
        "places": num, "seconds": round(rows[0]["seconds"], 1), "peak_mb": round(rows[0]["peak_mb"]),
        "peak_helper_mb": round(rows[0]["peak_helper_mb"]),  # of the largest helper: there is one a core
        "peak_together_mb": round(rows[0]["together_mb"]),
        "again_seconds": round(rows[1]["seconds"], 1) if again else None,
        "again_peak_mb": round(rows[1]["peak_mb"]) if again else None,
        "whole": survey["num_whole"], "patches": survey["num_patches"], "scenes_found": survey["num_found"],
    }  # fmt: skip


def family_mb(number: int) -> float:
    """Return what a process and all that it started hold at this moment, MB; what they share counts once."""
    total = 0.0
    with contextlib.suppress(OSError, StopIteration):  # one that ended meanwhile holds nothing
        for thread in Path(f"/proc/{number}/task").iterdir():
            total += sum(family_mb(int(child)) for child in (thread / "children").read_text().split())
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def main() -> None:
    """Make, plan, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("planning.json"))
    parser.add_argument("--places", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--no-again", action="store_true", help="plan each once only")
    args = parser.parse_args()
    places, catalog = make(args.work, max(args.places))
    rows = []
    for num in args.places:
        begun = time.perf_counter()
        rows.append(measure(places, catalog, num, args.work, again=not args.no_again))
        print(json.dumps(rows[-1]), f"({time.perf_counter() - begun:.0f} s)", flush=True)
        write_rows(args.out, rows)
    args.out.with_suffix(".environment.json").write_text(json.dumps(environment(), indent=2))


if __name__ == "__main__":
    main()
