"""1,000 places in five seasons through faults and kills: is the dataset the very same?

Places lie in six tiles of 10 km, on both sides of the equator and near the date line; each gets five patches of 60 px (bands
of 10, 20 and 60 m) from scenes of the planet's orbits. Their pixels are numbers that follow from where, when and which band,
under drawn clouds (the planet's own pictures would take hours here, and show no more), made once and served on loopback:

- `clean`: nothing goes wrong;
- `transient`: one request in ten fails (429, 500, 502, 503, reset, cut short, a byte wrong, slow);
- `permanent`: of a tenth of the scenes an asset is gone (404), always fails (500), or holds broken blocks;
- `without`: nothing goes wrong, but the catalogue lacks those scenes;
- `killed`: `kill -9` at 20 random moments spread over the work, under the transient faults; each time the same call goes on.
  What is whole is committed every second here, not every minute, so that there is something to go on from;
- `memory-300`, `memory-1000`, `memory-3000`: so many places of full size (264 px), closer together, each in its own process;
  its peak before and after the pictures, and ten times on the way what it holds, what of that is in use, and what the C
  library keeps of the memory that was given back.

Expected: `transient` and `killed` equal `clean`, and `permanent` equals `without`: pixels byte for byte, index row for row.
`python bench/resilience.py --work DIR --out resilience.json`; a phase whose result is in the file is not run again.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import datetime as dt
import functools
import hashlib
import json
import multiprocessing
import random
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seco.collect import collecting, runner
from seco.collect.collecting import Collected, View, collect
from seco.collect.faults import Patience
from seco.collect.pictures import draw_pictures
from seco.collect.settings import Collect
from seco.planet.catalogue import making
from seco.planet.catalogue.points import write_points
from seco.planet.catalogue.tiles import tiles_covering
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer
from seco.planet.serving.serve import copy_catalog
from seco.planet.utm import to_lonlat
from seco.runs import environment, write_json

SITES = ((4.1, 48.9), (-68.8, -32.9), (179.9, -16.5), (-0.6, 5.6), (77.2, 28.6), (139.6, 35.9))
TILE_PX, EDGE_PX, A_SIDE, A_SIDE_CLOSE = 1098, 60, 14, 24
FIRST, LAST = dt.date(2022, 1, 1), dt.date(2023, 6, 30)
BANDS = {"B04": 10, "B8A": 20, "B09": 60, "SCL": 20}
NUM = 1_000
PATIENT = Patience(tries=10, first_s=0.01, longest_s=0.2, slow_down_s=0.05)
TRANSIENT = (
    "429@0.02 retry-after=0; 500@0.02; 502@0.01; 503@0.01 retry-after=0; reset@0.01; truncate@0.01; corrupt@0.01; "
    "delay=0.2@0.01"
)
KILLS = 20
COMMIT_S = 1.0
PHASES = ("clean", "transient", "permanent", "without", "killed", "memory-300", "memory-1000", "memory-3000")


def read(
    _planet: Any, *, epsg: int, band: str, acquisition_day: dt.date, left_m: int, top_m: int, width_px: int, height_px: int,
    decimation: int = 1,
) -> np.ndarray:  # fmt: skip
    """Return pixels of a window; as `seco.planet.earth.render.read_band`, but at no cost."""
    del epsg  # tiles of two zones may look alike
    x = (left_m // BANDS[band] + np.arange(width_px) * decimation)[None, :]
    y = (-top_m // BANDS[band] + np.arange(height_px) * decimation)[:, None]
    day = acquisition_day.toordinal()
    if band == "SCL":
        # Clouds over squares of 2 km, other ones each day, and a shadow here and there.
        square = (x // 100 * 7 + y // 100 * 13 + day * 5) % 11
        return np.where(square < 3, 9, np.where(square == 3, 3, 4)).astype(np.uint8)
    texture = (x * 31 + y * 17 + x * y // 7 + day * 101 + ord(band[-1]) * 1009) % 8000
    return (1000 + texture).astype(np.uint16)


def settings(places: Path, catalog: Path) -> Collect:
    """Return what is collected in every phase."""
    return Collect(
        places=places, num_places=NUM, catalog=str(catalog), first=FIRST, last=LAST, seasons=5, spacing_days=91,
        window_days=45, max_cloud=100.0, bands=("B04", "B8A", "B09"), size=EDGE_PX, min_clear=0.6, hosts="private",
    )  # fmt: skip


def write_places(file: Path, a_side: int) -> Path:
    """Write places, so many squared in each tile."""
    steps = 1_000 + (TILE_PX * 10 - 2_000) * (np.arange(a_side) + 0.5) / a_side
    points = []
    for lon, lat in SITES:
        tile = tiles_covering([lon], [lat], tile_px=TILE_PX)[0]
        east, south = np.meshgrid(tile.left_m + steps, tile.top_m - steps)
        points.append(np.stack(to_lonlat(tile.epsg, east.ravel(), south.ravel()), axis=1))
    write_points(np.round(np.concatenate(points), 6), file)
    return file


def make(work: Path) -> tuple[Path, Path]:
    """Make places and their scenes, or go on with it; return the places' file and the planet's folder."""
    work.mkdir(parents=True, exist_ok=True)
    places, planet = write_places(work / "places.csv", A_SIDE), work / "planet"
    making.BANDS = tuple(b for b in BANDS if b != "SCL")  # no other bands are asked for
    scenes = making.Scenes(
        points=places,
        first=FIRST,
        last=LAST,
        tile_px=TILE_PX,
        revisit_days=15,
        render=True,
        jobs=1,
        static="no",
    )
    making.make_scenes(scenes, planet, read=read, say=lambda line: print(line, flush=True))
    return places, planet


def bad_scenes(planet: Path) -> dict[str, str]:
    """Return a tenth of the scenes, `TILE/DAY`, and what is wrong with each."""
    names = sorted(str(p.parent.relative_to(planet / "tiles")) for p in (planet / "tiles").rglob("B04.tif"))
    chosen = random.Random(0).sample(names, len(names) // 10)  # noqa: S311 - no secret
    return {name: ("gone", "fails", "broken")[i % 3] for i, name in enumerate(chosen)}


def server(planet: Path, faults: str, *, broken: frozenset[str] = frozenset()) -> PixelServer:
    """Serve the rendered files; those of broken scenes with their blocks overwritten."""
    root = planet / "tiles"

    def find(path: str) -> Any:
        file = root / path.lstrip("/")
        if not file.is_file():
            return None
        if file.name == "B8A.tif" and str(file.parent.relative_to(root)) in broken:
            data = bytearray(file.read_bytes())
            data[len(data) // 8 :] = b"\xff" * len(data[len(data) // 8 :])
            return bytes(data)
        return file

    return PixelServer(find, faults=FaultSchedule.parse(faults, seed=1) if faults else None)


def catalog_of(planet: Path, folder: Path, url: str, *, without: frozenset[str] = frozenset()) -> Path:
    """Write the planet's items with the addresses of a server, some scenes left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_catalog(planet, folder, pixels_url=url)
    file = folder / "items.parquet"
    table = pq.read_table(file)
    hrefs = pa.array([str(a["red"]["href"]) for a in table["assets"].to_pylist()])
    keep = [h.removeprefix(f"{url}/").rpartition("/")[0] not in without for h in hrefs.to_pylist()]
    pq.write_table(table.filter(pa.array(keep)), file)
    return file


def contents(out: Path) -> dict[str, str]:
    """Return digests of what must be equal: every file of pixels, and the rows of the index."""
    found = {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted((out / "archive").rglob("*")) if p.is_file()
    }  # fmt: skip
    rows = pq.read_table(out / "index.parquet").to_pylist()
    return found | {"rows": hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()}


def run_phase(phase: str, places: Path, planet: Path, work: Path, *, num: int) -> dict[str, Any]:
    """Collect under a phase's faults; return what came out."""
    bad = bad_scenes(planet)
    faults, broken, without = "", frozenset[str](), frozenset[str]()
    if phase in ("transient", "killed"):
        faults = TRANSIENT
    elif phase == "permanent":
        kinds = {"gone": "404:/{}/B09.tif", "fails": "500:/{}/SCL.tif"}
        faults = "; ".join(kinds[what].format(name) for name, what in bad.items() if what in kinds)
        broken = frozenset(n for n, what in bad.items() if what == "broken")
    elif phase == "without":
        without = frozenset(bad)
    out = work / f"{phase}.seco"
    for old in (out, out.with_name(out.name + ".partial")):
        shutil.rmtree(old, ignore_errors=True)
    with server(planet, faults, broken=broken) as pixels:
        catalog = catalog_of(planet, work / f"{phase}-catalog", pixels.url, without=without)
        begun = time.monotonic()
        kills: list[dict[str, int]] = []
        memory: dict[str, Any] = {"peak_mb": None}
        if phase == "killed":
            kills = kill_over_and_over(places, catalog, out, pixels, num)
        if phase.startswith("memory"):
            num = int(phase.partition("-")[2])
            places = write_places(work / "close.csv", A_SIDE_CLOSE)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                memory = pool.apply(memory_of, (places, catalog, out, num))
            done = take(places, catalog, out, num_places=num, size=264)
        else:
            done = take(places, catalog, out, num_places=num)
        stats = pixels.stats
        row = {
            "phase": phase, "seconds": round(time.monotonic() - begun, 1), "places": done.num_places,
            "patches": done.num_patches, "looked_at": done.tally.looked_at, "missed": done.tally.missed,
            "rejected": done.tally.rejected, "requests": stats["requests"], "faults": stats["faults"],
            "requests_a_patch": round(stats["requests"] / done.num_patches, 2), "kills": kills,
            **memory,
        }  # fmt: skip
    return {**row, "contents": contents(out)}


def take(places: Path, catalog: Path, out: Path, **changed: Any) -> Collected:
    """Collect, or go on."""
    return collect(dataclasses.replace(settings(places, catalog), **changed), out, patience=PATIENT)


def take_committing(places: Path, catalog: Path, out: Path, num: int) -> None:
    """Collect, or go on, and commit often."""
    collecting.run = functools.partial(runner.run, commit_s=COMMIT_S)  # type: ignore[assignment]
    take(places, catalog, out, num_places=num)


def memory_of(places: Path, catalog: Path, out: Path, num: int) -> dict[str, Any]:
    """Collect places of full size; return the most memory that this process had, and how it went there, MB."""
    held: dict[int, dict[str, int]] = {}

    def look(view: View) -> None:
        tenth = view.standing.num_places * 10 // num
        if tenth not in held:
            held[tenth] = {"places": view.standing.num_places, **memory_now()}

    collect(
        dataclasses.replace(settings(places, catalog), num_places=num, size=264),
        out,
        patience=PATIENT,
        show=look,
    )
    peak = peak_mb()
    draw_pictures(out)
    return {"peak_mb": peak, "peak_with_pictures_mb": peak_mb(), "held": [*held.values()]}


def peak_mb() -> float:
    """Return the most memory that this process had, MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


class _MallInfo(ctypes.Structure):
    """What glibc's `mallinfo2` gives, bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    )


def memory_now() -> dict[str, int]:
    """Return what this process holds, what of it is in use, and what the C library keeps free in it; all MB."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _MallInfo
    found = libc.mallinfo2()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    bytes_ = (pages * resource.getpagesize(), found.uordblks + found.hblkhd, found.fordblks)
    return dict(zip(("rss_mb", "in_use_mb", "kept_free_mb"), (b >> 20 for b in bytes_), strict=True))


def kill_over_and_over(
    places: Path, catalog: Path, out: Path, pixels: PixelServer, num: int
) -> list[dict[str, int]]:
    """Start, kill at a random moment, and start again; 20 times."""
    context = multiprocessing.get_context("spawn")
    draws = random.Random(2)  # noqa: S311 - no secret
    kills: list[dict[str, int]] = []
    while len(kills) < KILLS and not out.exists():
        before = pixels.stats["requests"]
        process = context.Process(target=take_committing, args=(places, catalog, out, num))
        process.start()
        # Moments are drawn in requests, so that they are spread over the work on a slow machine too.
        until = before + draws.randrange(1, max(13 * num // 5, 10))
        while process.is_alive() and pixels.stats["requests"] < until:
            process.join(0.01)
        if process.is_alive():
            process.join(draws.random())
            process.kill()
        process.join()
        if process.exitcode == -9:
            ledger = out.with_name(out.name + ".partial") / ".ledger" / "ledger.json"
            mark = json.loads(ledger.read_bytes())["mark"] if ledger.is_file() else {"num_patches": 0}
            kills.append({"requests": pixels.stats["requests"] - before, "committed": mark["num_patches"]})
            print("killed", kills[-1], flush=True)
        elif process.exitcode:
            raise SystemExit(f"the child ended with {process.exitcode}")
    return kills


def verdicts(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return which datasets are equal."""
    pairs = (("transient", "clean"), ("killed", "clean"), ("permanent", "without"), ("permanent", "clean"))
    return {
        f"{a} == {b}": rows[a]["contents"] == rows[b]["contents"] for a, b in pairs if a in rows and b in rows
    }


def main() -> None:
    """Run the phases that are not done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("resilience.json"))
    parser.add_argument("--places", type=int, default=NUM)
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    args = parser.parse_args()
    places, planet = make(args.work)
    found = json.loads(args.out.read_bytes()) if args.out.is_file() else {"rows": {}}
    for phase in args.phases:
        if phase in found["rows"]:
            continue
        row = run_phase(phase, places, planet, args.work, num=args.places)
        found["rows"][phase] = row
        found |= {"equal": verdicts(found["rows"]), "environment": environment()}
        write_json(args.out, found)
        print(json.dumps({k: v for k, v in row.items() if k not in ("contents", "kills")}), flush=True)
    print(json.dumps(found["equal"], indent=2))


if __name__ == "__main__":
    main()
