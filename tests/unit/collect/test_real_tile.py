"""A real Sentinel-2 tile, as COGs on a server: windows, classes and grid are what rasterio says of the original."""

import asyncio
import datetime as dt
import json

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as RasterioWindow

from seco.collect.clear import look
from seco.collect.faults import Patience
from seco.collect.hrefs import Allowed
from seco.collect.model import PixelWindow, Place
from seco.collect.parse import parse_item
from seco.collect.plan import plan_places
from seco.collect.rasters import Rasters
from seco.collect.wire import Wire
from seco.planet.serving.pixels import PixelServer
from seco.planet.utm import to_lonlat
from seco.sensors.sentinel2 import SCL_UNCLEAR

BANDS = ("B02", "B03", "B04", "B8A", "B11")
ID = "T29UNU_20221005T115411"


@pytest.fixture(scope="module")
def tile(seco_data, tmp_path_factory):
    """The tile's six rasters as GDAL's own COGs, and what rasterio reads of the originals."""
    folder = seco_data("sentinel2/T29UNU_20221005")
    out = tmp_path_factory.mktemp("cogs")
    whole = {}
    for name in (*BANDS, "SCL"):
        with rasterio.open(folder / f"{ID}_{name}_60m.jp2") as source:
            whole[name] = source.read(1)
            profile = {
                "driver": "COG", "width": source.width, "height": source.height, "count": 1, "dtype": source.dtypes[0],
                "crs": source.crs, "transform": source.transform, "nodata": 0, "compress": "deflate", "blocksize": 256,
            }  # fmt: skip
            about = source.crs.to_epsg(), source.transform, source.shape
        with rasterio.open(out / f"{name}.tif", "w", **profile) as made:
            made.write(whole[name], 1)
    return out, whole, about


def item_of(tile, url):
    _, _, (epsg, transform, shape) = tile
    left, top = transform.c, transform.f
    corners = ((left, top), (left, top - 109_800), (left + 109_800, top - 109_800), (left + 109_800, top))
    ring = [list(map(float, to_lonlat(epsg, *c))) for c in (*corners, corners[0])]
    grid = {"proj:shape": list(shape), "proj:transform": list(transform)[:6]}
    return {
        "type": "Feature", "id": ID, "collection": "real", "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": "2022-10-05T11:54:11Z", "proj:epsg": epsg, "grid:code": "MGRS-29UNU", "eo:cloud_cover": 60.0,
            "s2:processing_baseline": "04.00", "platform": "sentinel-2b",
        },
        "assets": {n: {"href": f"{url}/{n}.tif", "type": "image/tiff", **grid} for n in (*BANDS, "SCL")},
    }  # fmt: skip


def read(jobs):
    async def go():
        async with Wire(patience=Patience(), allowed=Allowed(private="allow")) as wire:
            rasters = Rasters(wire)
            return await asyncio.gather(*[rasters.read(a, w) for a, w in jobs])

    return asyncio.run(go())


def test_every_window_is_rasterios(tile):
    folder, whole, (epsg, _, _) = tile
    rng = np.random.default_rng(0)
    with PixelServer(lambda path: folder / path.lstrip("/")) as server:
        scene = parse_item(item_of(tile, server.url), catalog="k", bands=BANDS)
        assert (scene.epsg, scene.tile, scene.assets["B04"].offset) == (epsg, "29UNU", -0.1)
        assert scene.epsg == 32629
        windows = [
            PixelWindow(column=int(c), row=int(r), width=44, height=44)
            for c, r in rng.integers(-30, 1820, (60, 2))
        ]
        jobs = [(scene.assets[b], w) for w in windows for b in (*BANDS, "SCL")]
        found = read(jobs)
    for (asset, w), pixels in zip(jobs, found, strict=True):
        with rasterio.open(folder / f"{asset.band}.tif") as source:
            wanted = source.read(
                1, window=RasterioWindow(w.column, w.row, w.width, w.height), boundless=True, fill_value=0
            )
        np.testing.assert_array_equal(pixels, wanted)
        inside = whole[asset.band][max(w.row, 0) : w.row + 44, max(w.column, 0) : w.column + 44]
        assert pixels.sum() == inside.sum(), "and of the original JPEG 2000"


def test_clear_fractions_and_places_are_right(tile):
    folder, whole, (epsg, transform, _) = tile
    clear = ~np.isin(whole["SCL"], SCL_UNCLEAR)
    # A clear place, a cloudy one, and one without data, found by looking at the whole tile.
    shares = {
        (r, c): clear[r : r + 44, c : c + 44].mean() for r in range(0, 1780, 44) for c in range(0, 1780, 44)
    }
    empty = next(k for k in shares if not whole["SCL"][k[0] : k[0] + 44, k[1] : k[1] + 44].any())
    chosen = [max(shares, key=shares.__getitem__), min(shares, key=lambda k: abs(shares[k] - 0.5)), empty]
    places = []
    for i, (row, column) in enumerate(chosen):
        lon, lat = to_lonlat(epsg, transform.c + (column + 22) * 60, transform.f - (row + 22) * 60)
        places.append(Place(index=i, id=str(i), lon=float(lon), lat=float(lat)))
    from seco.collect.settings import Collect

    day = dt.date(2022, 10, 5)
    settings = Collect(first=day, last=day, seasons=1, max_cloud=100, bands=BANDS, size=264)
    with PixelServer(lambda path: folder / path.lstrip("/")) as server:
        scene = parse_item(item_of(tile, server.url), catalog="k", bands=BANDS)
        plans = plan_places(places, [scene], settings)
        candidates = [p.seasons[0].candidates[0] for p in plans]
        found = read([(scene.assets["SCL"], c.window.pixels(scene.assets["SCL"])) for c in candidates])
    for (row, column), classes, candidate in zip(chosen, found, candidates, strict=True):
        assert (candidate.window.left_m, candidate.window.top_m) == (
            transform.c + column * 60,
            transform.f - row * 60,
        )
        np.testing.assert_array_equal(classes, whole["SCL"][row : row + 44, column : column + 44])
        seen = look(classes)
        assert seen.clear == pytest.approx(shares[row, column], abs=1e-9)
        assert seen.nodata == pytest.approx((classes <= 1).mean(), abs=1e-9)
    reasons = [look(c).reason(min_clear=0.9, max_nodata=0.01) for c in found]
    assert reasons[0] is None
    assert reasons[1] is not None
    assert reasons[2] == "nodata"
    assert json.dumps(scene.assets["SCL"].to_json())
