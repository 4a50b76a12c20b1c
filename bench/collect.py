"""Patches a second of `seco collect`'s reader against bare async-tiff on obstore and a plain rasterio loop, same run.

Each patch is one window of a COG of its own, as with places that are far apart. A server with a delay stands for a
distant one; then the same files are read from disk. `python bench/collect.py --out results.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from seco.collect.hrefs import Allowed
from seco.collect.model import Asset, PixelWindow
from seco.collect.rasters import Rasters
from seco.collect.wire import Wire
from seco.planet.serving.cog import VirtualCog, write_cog
from seco.runs import environment, write_rows

PX, BLOCK_PX, PATCH_PX, PIXEL_M = 2196, 512, 264, 10.0
LEFT, TOP = 399960.0, 4900020.0
SERVER = """
import sys
from pathlib import Path
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer
root = Path(sys.argv[1])
faults = FaultSchedule.parse(sys.argv[2], seed=0) if sys.argv[2] else None
server = PixelServer(lambda path: root / path.lstrip("/"), faults=faults).start()
print(server.url, flush=True)
server.wait()
"""


def make(folder: Path, num: int) -> list[str]:
    """Write COGs with smooth texture and noise, which compress about as real ones."""
    names = []
    for i in range(num):
        rng = np.random.default_rng(i)
        noise = rng.integers(0, 300, (PX, PX)).astype(np.uint16)

        def read(d: int, c: int, r: int, w: int, h: int, *, n: np.ndarray = noise) -> np.ndarray:
            x, y = np.meshgrid(np.arange(c, c + w) * d, np.arange(r, r + h) * d)
            inside = n[np.minimum(y, PX - 1), np.minimum(x, PX - 1)]
            return (1500 + 800 * np.sin(x / 200) * np.cos(y / 300) + inside).astype(np.uint16)

        cog = VirtualCog(
            width_px=PX, height_px=PX, epsg=32631, left_m=LEFT, top_m=TOP, pixel_m=PIXEL_M, read=read, dtype="uint16",
            nodata=0, block_px=BLOCK_PX, scale=1e-4, offset=-0.1, description="B04", about=f"bench {i}",
        )  # fmt: skip
        write_cog(cog, folder / f"{i}.tif")
        names.append(f"{i}.tif")
    return names


def windows(num: int) -> list[PixelWindow]:
    """Return a window for each file, the same in every run."""
    at = np.random.default_rng(0).integers(0, PX - PATCH_PX, (num, 2))
    return [PixelWindow(column=int(c), row=int(r), width=PATCH_PX, height=PATCH_PX) for c, r in at]


def ours(
    base: str, names: list[str], wanted: list[PixelWindow], at_once: int, folder: Path
) -> list[np.ndarray]:
    """Read as `seco collect` does."""

    async def go() -> list[np.ndarray]:
        allowed = Allowed(files_below=folder, private="allow")
        async with Wire(allowed=allowed, concurrency=at_once) as wire:
            rasters, gate = Rasters(wire), asyncio.Semaphore(at_once)

            async def one(name: str, window: PixelWindow) -> np.ndarray:
                asset = Asset(
                    band="B04", href=f"{base}{name}", pixel_m=PIXEL_M, shape=(PX, PX), dtype="uint16", nodata=0.0,
                    transform=(PIXEL_M, 0.0, LEFT, 0.0, -PIXEL_M, TOP), scale=1e-4, offset=-0.1,
                )  # fmt: skip
                async with gate:
                    return await rasters.read(asset, window)

            return await asyncio.gather(*[one(n, w) for n, w in zip(names, wanted, strict=True)])

    return asyncio.run(go())


def bare(
    base: str, names: list[str], wanted: list[PixelWindow], at_once: int, folder: Path
) -> list[np.ndarray]:
    """Read with async-geotiff on obstore, without retries, limits, checks or counts."""
    from async_geotiff import GeoTIFF, Window
    from obstore.store import HTTPStore, LocalStore

    async def go() -> list[np.ndarray]:
        store = (
            HTTPStore.from_url(base, client_options={"allow_http": True})
            if base
            else LocalStore(prefix=folder)
        )
        gate = asyncio.Semaphore(at_once)

        async def one(name: str, w: PixelWindow) -> np.ndarray:
            async with gate:
                tiff = await GeoTIFF.open(name, store=store)
                window = Window(col_off=w.column, row_off=w.row, width=w.width, height=w.height)
                return (await tiff.read(window=window)).data[0]

        return await asyncio.gather(*[one(n, w) for n, w in zip(names, wanted, strict=True)])

    return asyncio.run(go())


def gdal(
    base: str, names: list[str], wanted: list[PixelWindow], at_once: int, folder: Path
) -> list[np.ndarray]:
    """Read with rasterio in threads, GDAL told not to list folders."""
    import rasterio
    from rasterio.windows import Window

    def one(name: str, w: PixelWindow) -> np.ndarray:
        path = f"/vsicurl/{base}{name}" if base else str(folder / name)
        with (
            rasterio.Env(
                GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_HTTP_MULTIPLEX="YES", VSI_CACHE=False,
                GDAL_INGESTED_BYTES_AT_OPEN=32768, CPL_VSIL_CURL_CACHE_SIZE=0,
            ),
            rasterio.open(path) as source,
        ):  # fmt: skip
            pixels: np.ndarray = source.read(1, window=Window(w.column, w.row, w.width, w.height))
            return pixels

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, names, wanted))


def gdal_one_by_one(
    base: str, names: list[str], wanted: list[PixelWindow], _: int, folder: Path
) -> list[np.ndarray]:
    """Read with a plain rasterio loop."""
    return gdal(base, names, wanted, 1, folder)


WAYS: dict[str, Callable[[str, list[str], list[PixelWindow], int, Path], list[np.ndarray]]] = {
    "seco": ours, "async-tiff + obstore, bare": bare, "rasterio, threads": gdal, "rasterio, a loop": gdal_one_by_one,
}  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("collect.json"))
    parser.add_argument("--patches", type=int, default=96)
    parser.add_argument(
        "--files", type=int, default=24, help="different COGs; each is opened anew for each patch of it"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--delays-ms", type=int, nargs="+", default=[30, 100])
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = make(folder, args.files)
        # A name of its own for each patch, so that nobody's memory of headers or blocks helps.
        names = []
        for i in range(args.patches):
            (folder / f"patch{i}.tif").hardlink_to(folder / files[i % len(files)])
            names.append(f"patch{i}.tif")
        wanted = windows(args.patches)
        for delay in [*args.delays_ms, None]:
            server = None
            base = ""
            if delay is not None:
                server = subprocess.Popen(
                    [sys.executable, "-c", SERVER, str(folder), f"delay={delay / 1000}"],
                    stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                assert server.stdout is not None
                base = server.stdout.readline().strip() + "/"
            try:
                rows += measure(base, names, wanted, args=args, folder=folder, delay=delay)
            finally:
                if server is not None:
                    server.kill()
                    server.wait()
    for row in rows:
        print(json.dumps(row))
    write_rows(args.out, rows)
    args.out.with_suffix(".environment.json").write_text(json.dumps(environment(), indent=2))


def measure(base, names, wanted, *, args, folder, delay) -> list[dict]:
    """Time every way in turn, so many times; all must give the same pixels."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    truth = None
    for _ in range(args.repeats):
        for name, way in WAYS.items():
            begun, used = time.perf_counter(), time.process_time()
            found = way(base, names, wanted, args.at_once, folder)
            rates[name].append(len(names) / (time.perf_counter() - begun))
            cpu[name].append((time.process_time() - used) / len(names) * 1000)
            truth = found if truth is None else truth
            assert all(np.array_equal(a, b) for a, b in zip(found, truth, strict=True)), name
    return [
        {
            "delay_ms": delay, "way": name, "patches_a_second": round(statistics.median(rates[name]), 1),
            "low": round(min(rates[name]), 1), "high": round(max(rates[name]), 1),
            "cpu_ms_a_patch": round(statistics.median(cpu[name]), 2), "repeats": args.repeats,
            "patches": len(names), "at_once": args.at_once,
        }
        for name in WAYS
    ]  # fmt: skip


if __name__ == "__main__":
    main()
