"""Windows a second of `seco collect`'s reader against bare async-tiff on obstore, tuned rasterio and odc-stac, same run.

Each patch is one window of a COG of its own, as with places that are far apart; a server with a delay stands for a distant
one. All ways get the same pixels, in turn, so many times. `python bench/collect.py --out results.json` (about two
minutes) writes JSON and prints a table; nginx serves where it can wait (libnginx-mod-http-echo),
else the planet's own server.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _serving import best_program, served

from seco.collect.hrefs import Allowed
from seco.collect.model import Asset, PixelWindow
from seco.collect.rasters import Rasters
from seco.collect.wire import Wire
from seco.planet.serving.cog import VirtualCog, write_cog
from seco.runs import environment, print_table, write_rows

PX, BLOCK_PX, PATCH_PX, PIXEL_M = 2196, 512, 264, 10.0
LEFT, TOP = 399960.0, 4900020.0


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
                tiff = await GeoTIFF.open(name.partition("?")[0], store=store)
                window = Window(col_off=w.column, row_off=w.row, width=w.width, height=w.height)
                return (await tiff.read(window=window)).data[0]

        return await asyncio.gather(*[one(n, w) for n, w in zip(names, wanted, strict=True)])

    return asyncio.run(go())


def gdal(
    base: str, names: list[str], wanted: list[PixelWindow], at_once: int, folder: Path
) -> list[np.ndarray]:
    """Read with rasterio in threads, GDAL told not to list folders and to take a whole header at once."""
    import rasterio
    from rasterio.windows import Window

    def one(name: str, w: PixelWindow) -> np.ndarray:
        path = f"/vsicurl/{base}{name}" if base else str(folder / name)
        with (
            rasterio.Env(
                GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_HTTP_MERGE_CONSECUTIVE_RANGES="YES",
                GDAL_HTTP_MULTIPLEX="YES", GDAL_INGESTED_BYTES_AT_OPEN=32768,
            ),
            rasterio.open(path) as source,
        ):  # fmt: skip
            pixels: np.ndarray = source.read(1, window=Window(w.column, w.row, w.width, w.height))
            return pixels

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, names, wanted))


def odc(
    base: str, names: list[str], wanted: list[PixelWindow], at_once: int, folder: Path
) -> list[np.ndarray]:
    """Read with odc-stac, an item a patch, as many at once, configured for the cloud as its documentation says."""
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox
    from rasterio.transform import Affine

    odc.stac.configure_rio(cloud_defaults=True)

    def one(job: tuple[int, str, PixelWindow]) -> np.ndarray:
        number, name, w = job
        item = pystac.Item(
            f"p{number}", None, None, dt.datetime(2023, 1, 1, tzinfo=dt.UTC),
            {"proj:epsg": 32631, "proj:shape": [PX, PX], "proj:transform": [PIXEL_M, 0, LEFT, 0, -PIXEL_M, TOP]},
            stac_extensions=["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        )  # fmt: skip
        item.add_asset(
            "B04",
            pystac.Asset(f"{base}{name}" if base else str(folder / name), media_type=pystac.MediaType.COG),
        )
        grid = Affine(PIXEL_M, 0, LEFT + w.column * PIXEL_M, 0, -PIXEL_M, TOP - w.row * PIXEL_M)
        box = GeoBox((w.height, w.width), grid, "EPSG:32631")
        return np.asarray(
            odc.stac.load([item], bands=["B04"], geobox=box, dtype="uint16", nodata=0)["B04"][0]
        )

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, [(i, n, w) for i, (n, w) in enumerate(zip(names, wanted, strict=True))]))


OURS, BARE = "seco", "async-tiff + obstore, bare"
WAYS: dict[str, Callable[[str, list[str], list[PixelWindow], int, Path], list[np.ndarray]]] = {
    OURS: ours, BARE: bare, "rasterio, tuned, threads": gdal, "odc-stac": odc,
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
    parser.add_argument("--at-once", type=int, default=64, help="windows at once of seco and async-tiff")
    parser.add_argument("--threads", type=int, default=24, help="threads of rasterio and odc-stac")
    parser.add_argument("--server", choices=["nginx", "seco"], default=best_program())
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
            if delay is None:
                rows += measure(None, names, wanted, args=args, folder=folder, delay=None)
                continue
            with served(folder, delay_s=delay / 1000, program=args.server) as server:
                rows += measure(server, names, wanted, args=args, folder=folder, delay=delay)
    columns = (
        "delay_ms", "way", "patches_a_second", "low", "high", "of_bare", "of_rasterio", "of_odc_stac",
        "requests_a_patch", "cpu_ms_a_patch",
    )  # fmt: skip
    print_table(
        rows,
        columns,
        title=f"{args.patches} patches, {args.at_once} at once, {args.threads} threads, median of {args.repeats}",
    )
    write_rows(args.out, rows)
    args.out.with_suffix(".environment.json").write_text(json.dumps(environment(), indent=2))


def times(rates: dict[str, list[float]], name: str, other: str) -> float:
    """Return the median of the ratios of two ways, run by run."""
    return round(statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True)), 2)


def measure(server, names, wanted, *, args, folder, delay) -> list[dict]:
    """Time every way in turn, so many times; all must give the same pixels."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    asked: dict[str, int] = dict.fromkeys(WAYS, 0)
    truth = None
    base = f"{server.url}/" if server else ""
    for repeat in range(args.repeats):
        for number, (name, way) in enumerate(WAYS.items()):
            # GDAL remembers what it read by address, whoever asked: each turn of each way has addresses of its own.
            there = [f"{n}?turn={repeat}.{number}" for n in names] if base else names
            before = server.num_requests() if server else 0
            # Rivals get the number of threads that suits them best; ours and bare async-tiff the requests at once.
            at_once = args.at_once if name in (OURS, BARE) else args.threads
            begun, used = time.perf_counter(), time.process_time()
            found = way(base, there, wanted, at_once, folder)
            rates[name].append(len(names) / (time.perf_counter() - begun))
            cpu[name].append((time.process_time() - used) / len(names) * 1000)
            asked[name] = server.num_requests() - before - (server.program == "nginx") if server else 0
            truth = found if truth is None else truth
            assert all(np.array_equal(a, b) for a, b in zip(found, truth, strict=True)), name
    return [
        {
            "delay_ms": delay, "way": name, "patches_a_second": round(statistics.median(rates[name]), 1),
            "low": round(min(rates[name]), 1), "high": round(max(rates[name]), 1),
            "cpu_ms_a_patch": round(statistics.median(cpu[name]), 2), "repeats": args.repeats,
            "requests_a_patch": round(asked[name] / len(names), 2) if base else None,
            "of_bare": times(rates, name, BARE),
            "of_rasterio": times(rates, name, "rasterio, tuned, threads"), "of_odc_stac": times(rates, name, "odc-stac"),
            "patches": len(names), "at_once": args.at_once if name in (OURS, BARE) else args.threads,
            "server": server.program if server else "files",
        }
        for name in WAYS
    ]  # fmt: skip


if __name__ == "__main__":
    main()
