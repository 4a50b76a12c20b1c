"""Every reader that is found gives what rasterio gives of the file itself, or says by kind why it cannot."""

import asyncio
import dataclasses
import traceback

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from seco.collect import rasters
from seco.collect.faults import Patience, PixelFault
from seco.collect.hrefs import Allowed
from seco.collect.model import Asset, PixelWindow
from seco.collect.readers.base import Reader, clip
from seco.collect.wire import Wire
from seco.errors import ConfigError
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer

QUICK = Patience(tries=3, first_s=0.001, longest_s=0.004, slow_down_s=0.002, connect_s=2, read_s=5)
LEFT, TOP, PIXEL = 399960.0, 4900020.0, 10.0
HEIGHT, WIDTH = 300, 420
FILL = 7
READERS = rasters.names()
WINDOWS = {
    "inside": (100, 90, 64, 64),
    "one block": (10, 10, 20, 20),
    "whole": (0, 0, WIDTH, HEIGHT),
    "one pixel": (WIDTH - 1, HEIGHT - 1, 1, 1),
    "over the upper left": (-30, -20, 64, 64),
    "over the lower right": (WIDTH - 20, HEIGHT - 11, 64, 64),
    "wider than all": (-10, 50, WIDTH + 30, 5),
    "beyond": (WIDTH + 5, 0, 10, 10),
    "long before": (-900, -900, 10, 10),
}
LAYOUTS = {
    "plain": {"compress": None},
    "deflate": {"compress": "deflate", "predictor": 2},
    "no predictor": {"compress": "deflate"},
    "lzw": {"compress": "lzw", "predictor": 2},
    "zstd": {"compress": "zstd"},
    "sparse": {"compress": "deflate", "sparse_ok": True},
    "big": {"compress": "deflate", "bigtiff": "yes"},
    "most significant byte first": {"compress": "deflate", "predictor": 2, "endianness": "big"},
    "most significant byte first, plain": {"compress": None, "endianness": "big"},
}
ONLY_GDAL = {
    "strips": {"tiled": False},
    "packbits": {"compress": "packbits"},
    "lerc": {"compress": "lerc"},
}


def numbers(dtype: str = "uint16") -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.integers(0, 200, (HEIGHT, WIDTH)) + np.arange(WIDTH) // 4).astype(dtype)


def write(path, pixels, *, driver="GTiff", **options):
    kinds = {"tiled": True, "blockxsize": 64, "blockysize": 64} if driver == "GTiff" else {}
    with rasterio.open(
        path, "w", driver=driver, height=HEIGHT, width=WIDTH, count=1, dtype=pixels.dtype, crs="EPSG:32631",
        transform=from_origin(LEFT, TOP, PIXEL, PIXEL), nodata=FILL, **{**kinds, **options},
    ) as out:  # fmt: skip
        if options.get("sparse_ok"):
            pixels[64:192, 128:] = FILL
            out.write(pixels[:64], 1, window=Window(0, 0, WIDTH, 64))
        else:
            out.write(pixels, 1)


def asset(href: str, dtype: str = "uint16") -> Asset:
    return Asset(
        band="B04", href=href, pixel_m=PIXEL, shape=(HEIGHT, WIDTH), transform=(PIXEL, 0.0, LEFT, 0.0, -PIXEL, TOP),
        dtype=dtype, nodata=float(FILL), scale=1e-4, offset=-0.1,
    )  # fmt: skip


def window(name: str) -> PixelWindow:
    column, row, width, height = WINDOWS[name]
    return PixelWindow(column=column, row=row, width=width, height=height)


def read(folder, what: Asset, *windows: PixelWindow, reader: str | None = None):
    async def go():
        async with Wire(patience=QUICK, allowed=Allowed(files_below=folder, private="allow")) as wire:
            if reader is not None:
                raster = await rasters.find(reader).open(what, wire)
                return await asyncio.gather(*[raster.read(w) for w in windows])
            kept = rasters.Rasters(wire)
            out = await asyncio.gather(*[kept.read(what, w) for w in windows])
            assert kept.num_opened == 1, "one header for all windows"
            return out

    return asyncio.run(go())


def wanted(path, w: PixelWindow) -> np.ndarray:
    with rasterio.open(path) as source:
        all_of_it = source.read(1)
    out = np.full((w.height, w.width), FILL, all_of_it.dtype)
    for i in range(w.height):
        for j in (np.arange(w.width),):
            inside = (w.column + j >= 0) & (w.column + j < WIDTH)
            if 0 <= w.row + i < HEIGHT:
                out[i, j[inside]] = all_of_it[w.row + i, w.column + j[inside]]
    return out


def test_readers_are_found_and_keep_the_contract():
    assert {"cog", "rasterio"} <= set(READERS)
    for name in READERS:
        found = rasters.find(name)
        assert isinstance(found, Reader)
        assert found.HELP
    assert len({rasters.find(n).PREFERENCE for n in READERS}) == len(READERS)
    with pytest.raises(ConfigError, match="known: cog, rasterio"):
        rasters.find("base")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_window_equals_rasterios(tmp_path, reader, layout):
    write(tmp_path / "a.tif", numbers(), **LAYOUTS[layout])
    windows = [window(n) for n in WINDOWS]
    found = read(tmp_path, asset("a.tif"), *windows, reader=reader)
    for name, w, pixels in zip(WINDOWS, windows, found, strict=True):
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, wanted(tmp_path / "a.tif", w), err_msg=name)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("reader", READERS)
def test_types_stay_as_they_are(tmp_path, reader, dtype):
    write(tmp_path / "a.tif", numbers(dtype), compress="deflate")
    (pixels,) = read(tmp_path, asset("a.tif", dtype), window("inside"), reader=reader)
    assert pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(pixels, wanted(tmp_path / "a.tif", window("inside")))


@pytest.mark.parametrize("layout", ONLY_GDAL)
def test_what_the_fast_reader_cannot_the_other_reads(tmp_path, layout):
    write(tmp_path / "a.tif", numbers(), **ONLY_GDAL[layout])
    with pytest.raises(PixelFault) as caught:
        read(tmp_path, asset("a.tif"), window("inside"), reader="cog")
    assert caught.value.kind == "unsupported"
    windows = [window(n) for n in WINDOWS]
    for w, pixels in zip(windows, read(tmp_path, asset("a.tif"), *windows), strict=True):
        np.testing.assert_array_equal(pixels, wanted(tmp_path / "a.tif", w))


def test_jpeg_2000(tmp_path):
    write(tmp_path / "a.jp2", numbers(), driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    what = asset("a.jp2")
    assert not rasters.find("cog").suits(what)
    for name in ("inside", "over the lower right"):
        (pixels,) = read(tmp_path, what, window(name))
        np.testing.assert_array_equal(pixels, wanted(tmp_path / "a.jp2", window(name)))


@pytest.mark.parametrize("epsg", [4326, 3035])
def test_rasters_of_another_crs_are_resampled_onto_utm(tmp_path, make, epsg):
    """An item that is not in UTM is parsed, planned and cut; every window equals the plain way."""
    from pyproj import Transformer
    from rasterio.warp import transform_bounds

    from seco.collect.parse import parse_item
    from seco.collect.plan import plan_places

    place = make.place(50_000, 50_000)
    bounds = transform_bounds(
        "EPSG:4326", f"EPSG:{epsg}", place.lon - 0.05, place.lat - 0.04, place.lon + 0.05, place.lat + 0.04
    )
    step = 1e-4 if epsg == 4326 else 10.0
    height, width = (int((b - a) / step) for a, b in ((bounds[1], bounds[3]), (bounds[0], bounds[2])))
    transform = from_origin(bounds[0], bounds[3], step, step)
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    smooth = 4000 + 2000 * np.sin(across / 15) * np.cos(down / 20) + rng.integers(0, 20, (height, width))
    bands = {"B04": smooth.astype(np.uint16)}
    bands["SCL"] = rng.integers(2, 8, (height, width)).astype(np.uint8)
    bands["B04"][:, : width // 3] = 0  # not seen
    assets = {}
    for name, pixels in bands.items():
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", height=height, width=width, count=1, dtype=pixels.dtype,
            crs=f"EPSG:{epsg}", transform=transform, nodata=0, tiled=True, blockxsize=128, blockysize=128,
        ) as out:  # fmt: skip
            out.write(pixels, 1)
        assets[name] = {"href": f"./{name}.tif", "type": "image/tiff"}
    (item,) = make.items("31UFQ", last="2023-01-06")[:1]
    west, south, east, north = place.lon - 0.045, place.lat - 0.035, place.lon + 0.045, place.lat + 0.035
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {
        **item["properties"], "proj:epsg": epsg, "proj:shape": [height, width], "proj:transform": list(transform)[:6],
        "s2:nodata_pixel_percentage": 30.0,
    }  # fmt: skip
    item = {
        **item,
        "assets": assets,
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    scene = parse_item(item, catalog="k", bands=("B04",), base=str(tmp_path / "items.json"))
    assert scene.epsg == 32631
    days = {"first": scene.day, "last": scene.day, "seasons": 1, "size": 264}
    (plan,) = plan_places([place], [scene], make.collect(**days))
    (candidate,) = plan.seasons[0].candidates
    for name in bands:
        asset_ = Asset.from_json(scene.assets[name].to_json())
        assert asset_.warp is not None
        assert not rasters.find("cog").suits(asset_)
        cut = candidate.window.pixels(asset_)
        (found,) = read(tmp_path, asset_, cut)
        # The plain way: each pixel's centre, projected, and the source's pixels around it.
        a, _, left, _, e, top = candidate.window.transform(asset_.pixel_m)
        x, y = np.meshgrid(np.arange(found.shape[1]) + 0.5, np.arange(found.shape[0]) + 0.5)
        to_source = Transformer.from_crs(32631, epsg, always_xy=True)
        sx, sy = to_source.transform(left + a * x, top + e * y)
        column, row = (sx - bounds[0]) / step, (bounds[3] - sy) / step
        if name == "SCL":
            wanted_ = bands[name][row.astype(int), column.astype(int)]
            assert (found == wanted_).mean() > 0.999
        else:
            c, r = np.floor(column - 0.5).astype(int), np.floor(row - 0.5).astype(int)
            u, v = column - 0.5 - c, row - 0.5 - r
            four = [bands[name][r + i, c + j].astype(float) for i in (0, 1) for j in (0, 1)]
            whole = np.logical_and.reduce([f > 0 for f in four])
            wanted_ = (four[0] * (1 - u) + four[1] * u) * (1 - v) + (four[2] * (1 - u) + four[3] * u) * v
            assert 0.5 < whole.mean() < 1
            # GDAL widens the kernel a little where a step is more than a pixel of the source.
            error = np.abs(found - wanted_)[whole]
            assert np.median(error) < 10
            assert np.corrcoef(found[whole], wanted_[whole])[0, 1] > 0.999
            assert ((found == 0) == ~np.logical_or.reduce([f > 0 for f in four])).mean() > 0.98
    wrong = dataclasses.replace(asset_, warp=dataclasses.replace(asset_.warp, epsg=3857))
    with pytest.raises(PixelFault, match="CRS is"):
        read(tmp_path, wrong, cut)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"shape": (HEIGHT + 1, WIDTH)}, "shape"),
        ({"dtype": "int32"}, "dtype"),
        ({"transform": (PIXEL, 0.0, LEFT + 5, 0.0, -PIXEL, TOP)}, "corner"),
        ({"transform": (20.0, 0.0, LEFT, 0.0, -20.0, TOP)}, "pixel"),
    ],
)
def test_a_raster_that_is_not_the_catalogues_is_refused(tmp_path, reader, changed, what):
    write(tmp_path / "a.tif", numbers())
    with pytest.raises(PixelFault, match=what) as caught:
        read(tmp_path, dataclasses.replace(asset("a.tif"), **changed), window("inside"), reader=reader)
    assert caught.value.kind == "mismatch"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (b"not a picture" * 9, ("corrupt", "unsupported")),
        (b"II*\0" + b"\xff" * 400, ("corrupt", "unsupported", "too-large")),
        (b"<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>", ("corrupt", "unsupported")),
        (b"", ("mismatch", "corrupt", "unsupported")),
    ],
)
def test_what_is_no_tiff(tmp_path, reader, data, kinds):
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(PixelFault) as caught:
        read(tmp_path, asset("a.tif"), window("inside"), reader=reader)
    assert caught.value.kind in kinds


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_cut_off(tmp_path, reader):
    write(tmp_path / "a.tif", numbers(), compress="deflate")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(PixelFault) as caught:
        read(tmp_path, asset("a.tif"), window("whole"), reader=reader)
    assert caught.value.kind in ("mismatch", "corrupt", "unsupported")


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_not_there(tmp_path, reader):
    with pytest.raises(PixelFault) as caught:
        read(tmp_path, asset("a.tif"), window("whole"), reader=reader)
    assert caught.value.kind == "missing"


@pytest.mark.parametrize("reader", READERS)
def test_windows_out_of_bounds(tmp_path, reader):
    write(tmp_path / "a.tif", numbers())
    for width, height in ((0, 5), (5, -1), (100_000, 100_000)):
        with pytest.raises(PixelFault, match="too-large"):
            read(
                tmp_path,
                asset("a.tif"),
                PixelWindow(column=0, row=0, width=width, height=height),
                reader=reader,
            )


@pytest.mark.parametrize("faults", ["corrupt@0.3", "reset@0.3", "truncate@0.3", "429@0.3 retry-after=0"])
def test_damage_on_the_way_is_fetched_again(tmp_path, faults):
    write(tmp_path / "a.tif", numbers(), compress="deflate", predictor=2)
    find = {"/a.tif": tmp_path / "a.tif"}.get
    windows = [window(n) for n in WINDOWS]
    for seed in range(4):
        with PixelServer(find, faults=FaultSchedule.parse(faults, seed=seed)) as server:

            async def go(url=server.url):
                async with Wire(patience=QUICK, allowed=Allowed(private="allow")) as wire:
                    kept = rasters.Rasters(wire)
                    return [await kept.read(asset(f"{url}/a.tif"), w) for w in windows]

            for w, pixels in zip(windows, asyncio.run(go()), strict=True):
                np.testing.assert_array_equal(pixels, wanted(tmp_path / "a.tif", w))


def test_damage_for_good_is_given_up(tmp_path):
    write(tmp_path / "a.tif", numbers(), compress="deflate")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[-3000:-2000] = b"\xff" * 1000
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(PixelFault) as caught:
        read(tmp_path, asset("a.tif"), window("whole"), reader=None)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize(("faults", "asked"), [("500", 2), ("503 retry-after=0", 2), ("reset", 2)])
def test_a_raster_that_always_fails_is_not_tried_for_ever(tmp_path, faults, asked):
    """Each place of a scene asks for it; after two whole rounds of tries nobody waits for it any more."""
    write(tmp_path / "a.tif", numbers(), compress="deflate")
    write(tmp_path / "b.tif", numbers(), compress="deflate")
    find = {"/a.tif": tmp_path / "a.tif", "/b.tif": tmp_path / "b.tif"}.get
    kind, _, rest = faults.partition(" ")
    with PixelServer(find, faults=FaultSchedule.parse(f"{kind}:/a.tif {rest}", seed=0)) as server:

        async def go():
            async with Wire(patience=QUICK, allowed=Allowed(private="allow")) as wire:
                kept, past = rasters.Rasters(wire), []
                for _ in range(6):
                    await kept.read(asset(f"{server.url}/b.tif"), window("inside"))
                    with pytest.raises(PixelFault) as caught:
                        await kept.read(asset(f"{server.url}/a.tif"), window("inside"))
                    assert caught.value.kind == (kind if kind != "reset" else caught.value.kind)
                    past.append(len(traceback.extract_tb(caught.value.__traceback__)))
                assert past[-1] == past[-2] == past[-3], "it gathers no past"
                return wire.counts

        counts = asyncio.run(go())
        assert server.stats["faults"][kind] == asked * QUICK.tries
        assert sum(counts.given_up.values()) == asked


def test_a_raster_that_fails_once_is_tried_again(tmp_path):
    write(tmp_path / "a.tif", numbers(), compress="deflate")
    faults = FaultSchedule.parse(f"500#1-{QUICK.tries}", seed=0)
    with PixelServer({"/a.tif": tmp_path / "a.tif"}.get, faults=faults) as server:

        async def go():
            async with Wire(patience=QUICK, allowed=Allowed(private="allow")) as wire:
                kept = rasters.Rasters(wire)
                with pytest.raises(PixelFault, match="500"):
                    await kept.read(asset(f"{server.url}/a.tif"), window("inside"))
                return await kept.read(asset(f"{server.url}/a.tif"), window("inside"))

        np.testing.assert_array_equal(asyncio.run(go()), wanted(tmp_path / "a.tif", window("inside")))


def test_only_so_many_headers_are_kept(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.tif", numbers(), compress="deflate")

    async def go():
        async with Wire(patience=QUICK, allowed=Allowed(files_below=tmp_path)) as wire:
            kept = rasters.Rasters(wire, max_open=2)
            work = [kept.read(asset(f"{i % 5}.tif"), window("inside")) for i in range(15)]
            for pixels in await asyncio.gather(*work):
                np.testing.assert_array_equal(pixels, wanted(tmp_path / "0.tif", window("inside")))
            assert len(kept._open) <= 2
            await kept.close()

    asyncio.run(go())


def test_clip_is_exact():
    cut = clip(PixelWindow(column=-3, row=8, width=10, height=10), (12, 5), host="h")
    assert cut.inside == PixelWindow(column=0, row=8, width=5, height=4)
    assert (cut.left, cut.top) == (3, 0)
