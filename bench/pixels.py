"""How fast the planet's pixel server answers, with a renderer that costs nothing, beside the same bytes from a file.

python bench/pixels.py --repeats 5
python bench/pixels.py --blocks        what a window costs with blocks of other sizes: counts, not times

One client on loopback, one kept connection, client and server in one process, so that they share its one interpreter.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from seco.planet.serving.cog import VirtualCog, write_cog
from seco.planet.serving.pixels import PixelServer
from seco.runs import environment, print_table, write_json

PX = 10980
BLOCK = np.arange(512 * 512, dtype=np.uint16).reshape(512, 512)
WINDOW = 264


def main() -> None:
    """Time each kind of request in turn and print a row each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300, help="of each kind a repeat")
    parser.add_argument(
        "--blocks", action="store_true", help="count pixels and bytes a window, by size of block"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.blocks:
        rows = [_cost(px) for px in (64, 128, 256, 512)]
        print_table(rows, list(rows[0]))
        if args.json:
            write_json(args.json, {"rows": rows, "environment": environment()})
        return
    cog = _cog()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.tif"
        started = time.perf_counter()
        write_cog(cog, file, compress="none")
        written = time.perf_counter() - started
        known = {"/made.tif": cog, "/file.tif": file}
        with PixelServer(known.get) as kept, PixelServer(known.get, cache_bytes=0) as fresh:
            rows = _measure(cog, {"kept": kept, "fresh": fresh}, args.requests, args.repeats)
    print_table(rows, list(rows[0]))
    print(f"written to disk uncompressed: {cog.size_bytes / 1e6:.0f} MB in {written:.1f} s")
    if args.json:
        write_json(args.json, {"rows": rows, "environment": environment()})


def _cog(block_px: int = 512) -> VirtualCog:
    return VirtualCog(
        width_px=PX, height_px=PX, epsg=32631, left_m=399960.0, top_m=4900020.0, pixel_m=10.0, block_px=block_px,
        read=lambda _decimation, _col, _row, width, height: BLOCK[:height, :width],
    )  # fmt: skip


def _cost(block_px: int, num: int = 100) -> dict[str, object]:
    """Count what windows at random places of a band make the server do."""
    cog = _cog(block_px)
    with PixelServer({"/made.tif": cog}.get, cache_bytes=0) as server:
        _windows(server, "/made.tif", num)
        done = server.stats
    return {
        "block_px": block_px,
        "header, kB": round(len(cog.header()) / 1000),
        "pixels made for each wanted": round(done["blocks_made"] * block_px**2 / (num * WINDOW**2), 1),
        "MB sent a window": round(done["bytes"] / num / 1e6, 2),
    }


def _measure(
    cog: VirtualCog, servers: dict[str, PixelServer], num: int, repeats: int
) -> list[dict[str, object]]:
    head = len(cog.header())
    header = [(0, head)] * num
    blocks = [(head + i * cog.slot_bytes, head + (i + 1) * cog.slot_bytes) for i in range(num)]
    jobs: dict[str, Callable[[], float]] = {
        "header, made": lambda: _ask(servers["kept"], "/made.tif", header),
        "header, file": lambda: _ask(servers["kept"], "/file.tif", header),
        "block, made": lambda: _ask(servers["fresh"], "/made.tif", blocks),
        "block, kept": lambda: _ask(servers["kept"], "/made.tif", blocks),
        "block, file": lambda: _ask(servers["kept"], "/file.tif", blocks),
        "264 px window by GDAL, made": lambda: _windows(servers["fresh"], "/made.tif", num),
        "264 px window by GDAL, file": lambda: _windows(servers["kept"], "/file.tif", num),
    }
    _ask(servers["kept"], "/made.tif", blocks)
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            rates[name].append(num / job())
    return [
        {
            "request": name,
            "per second": round(statistics.median(rates[name])),
            "slowest": round(min(rates[name])),
            "fastest": round(max(rates[name])),
            "MB/s": round(statistics.median(rates[name]) * cog.slot_bytes / 1e6) if "block" in name else "",
            "of the file's rate": round(
                statistics.median(rates[name]) / statistics.median(rates[name.split(",")[0] + ", file"]), 2
            ),
        }
        for name in jobs
    ]


def _ask(server: PixelServer, path: str, ranges: list[tuple[int, int]]) -> float:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    started = time.perf_counter()
    for start, stop in ranges:
        connection.request("GET", path, headers={"Range": f"bytes={start}-{stop - 1}"})
        assert len(connection.getresponse().read()) == stop - start
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def _windows(server: PixelServer, path: str, num: int) -> float:
    """Read windows as a collector does: each scene is opened anew, and GDAL remembers nothing of the last."""
    rng = np.random.default_rng(0)
    url = f"/vsicurl/{server.url}{path}"
    started = time.perf_counter()
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", CPL_VSIL_CURL_NON_CACHED=url):
        for col, row in rng.integers(0, PX - WINDOW, (num, 2)).tolist():
            with rasterio.open(url) as source:
                source.read(1, window=Window(col, row, WINDOW, WINDOW))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
