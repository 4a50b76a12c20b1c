"""Items of four real APIs and of the planet, as they are and with anything wrong with them."""

import copy
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seco.collect.masks import SCL
from seco.collect.parse import UnusableItemError, parse_item
from seco.planet.catalogue.tiles import tile_from_id
from seco.sensors.sentinel2 import BANDS

DATA = Path(os.environ.get("SECO_DATA", "../shared/data")) / "stac_items"
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real items in {DATA}")
L1C = tuple(b.name for b in BANDS)
L2A = tuple(b for b in L1C if b != "B10")
PIXEL_M = {b.name: b.gsd_m for b in BANDS} | {SCL: 20.0}

# What must come out: file, number, collection, bands asked, tiles (some), offset, removed, host, media, SCL, baselines
REAL = [
    ("earth-search_sentinel-2-l2a", 7, "sentinel-2-l2a", L2A, "20EPT 13TDE", 0.0, True,
     "https://sentinel-cogs.s3.us-west-2.amazonaws.com/", "tif", True, {"05.09": 1, "05.11": 6}),
    ("earth-search_sentinel-2-c1-l2a", 6, "sentinel-2-c1-l2a", L2A, "20EPT 24MUV", -0.1, False,
     "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/", "tif", True, {"05.11": 6}),
    ("earth-search_sentinel-2-l1c", 5, "sentinel-2-l1c", L1C, "20EPT 24MXV", -0.1, False,
     "s3://sentinel-s2-l1c/", "jp2", False, {"05.11": 5}),
    ("planetary-computer_sentinel-2-l2a", 33, "sentinel-2-l2a", L2A, "60VUK 58UFE 59VMC", 0.0, False,
     "https://sentinel2l2a01.blob.core.windows.net/", "tif", True, {"02.12": 33}),
]  # fmt: skip


def load(name):
    return json.loads((DATA / f"{name}.json").read_bytes())["features"]


@real
@pytest.mark.parametrize(
    ("name", "num", "collection", "bands", "tiles", "offset", "removed", "host", "suffix", "scl", "baselines"), REAL,
    ids=[r[0] for r in REAL],
)  # fmt: skip
def test_real_items(name, num, collection, bands, tiles, offset, removed, host, suffix, scl, baselines):
    scenes = [parse_item(i, catalog="k", bands=bands) for i in load(name)]
    assert len(scenes) == num
    assert set(tiles.split()) <= {s.tile for s in scenes}
    assert Counter(s.baseline for s in scenes) == baselines
    for scene in scenes:
        assert scene.collection == collection
        assert scene.is_offset_removed == removed
        assert tuple(scene.assets) == ((*bands, SCL) if scl else bands)
        tile = tile_from_id(scene.tile)
        assert scene.epsg == tile.epsg
        assert scene.datatake.startswith(("GS2A_", "GS2B_"))
        assert "_N0" not in scene.datatake
        assert scene.platform in ("sentinel-2a", "sentinel-2b")
        assert scene.cloud_percent is not None
        for band, asset in scene.assets.items():
            pixel = PIXEL_M[band]
            assert asset.band == band
            assert asset.pixel_m == pixel
            assert asset.shape == (109_800 / pixel, 109_800 / pixel)
            assert asset.transform == (pixel, 0, tile.left_m, 0, -pixel, tile.top_m)
            assert asset.nodata == 0
            assert asset.href.startswith(host)
            assert asset.href.endswith(f"{suffix}")
            assert asset.is_jpeg2000 == (suffix == "jp2")
            assert f"{band}" in asset.href.rpartition("/")[2]
            if band == SCL:
                assert (asset.dtype, asset.scale, asset.offset) == ("uint8", 1.0, 0.0)
            else:
                assert (asset.dtype, asset.scale, asset.offset) == ("uint16", 1e-4, offset)


@real
@pytest.mark.parametrize(
    ("name", "baseline", "applied", "offset"),
    [
        ("planetary-computer_sentinel-2-l2a", "04.00", None, -0.1),
        ("planetary-computer_sentinel-2-l2a", "03.01", None, 0.0),
        ("earth-search_sentinel-2-l2a", "05.11", True, 0.0),  # whatever its raster:bands say: -0.1
        ("earth-search_sentinel-2-l2a", "05.11", False, -0.1),
        ("earth-search_sentinel-2-l2a", "05.11", None, -0.1),
        ("earth-search_sentinel-2-l2a", "02.14", False, 0.0),
        ("earth-search_sentinel-2-l2a", "02.14", True, 0.0),
        ("earth-search_sentinel-2-c1-l2a", "05.00", None, -0.1),
        ("earth-search_sentinel-2-c1-l2a", "02.05", None, 0.0),
        ("earth-search_sentinel-2-l1c", "04.00", None, -0.1),
        ("earth-search_sentinel-2-l1c", "03.00", None, 0.0),
        ("earth-search_sentinel-2-l1c", None, None, -0.1),  # nothing but the catalogue's own word
    ],
)
def test_offset_by_baseline(name, baseline, applied, offset):
    item = load(name)[0]
    item["properties"]["s2:processing_baseline"] = baseline
    item["properties"].pop("earthsearch:boa_offset_applied", None)
    if applied is not None:
        item["properties"]["earthsearch:boa_offset_applied"] = applied
    assert {a.offset for a in parse_item(item, catalog="k", bands=L2A).assets.values()} - {0.0} == (
        {offset} - {0.0}
    )


TEXT = []


def planet_item(make):
    if not TEXT:
        TEXT.append(json.dumps(make.items("31UFQ", last="2023-01-12")[0]))
    return json.loads(TEXT[0])


def test_the_planets_own_items(make):
    scene = parse_item(planet_item(make), catalog="planet", bands=L2A)
    assert (scene.tile, scene.epsg, scene.collection) == ("31UFQ", 32631, "seco-planet-sentinel-2-l2a")
    assert set(scene.assets) == {*L2A, SCL}
    assert scene.assets["B04"].offset == -0.1


def newer(item):
    """The same item in STAC 1.1's words, with the names of assets of the Copernicus Data Space."""
    item = copy.deepcopy(item)
    properties = item["properties"]
    properties["proj:code"] = f"EPSG:{properties.pop('proj:epsg')}"
    properties["processing:version"] = properties.pop("s2:processing_baseline")
    assets = {}
    for asset in item["assets"].values():
        asset.pop("raster:bands")
        bands = asset.pop("eo:bands", None)
        name = bands[0]["name"] if bands else "SCL"
        asset |= {
            "data_type": "uint16" if bands else "uint8",
            "nodata": 0,
            "raster:scale": 1e-4,
            "raster:offset": -0.1,
        }
        if bands:
            asset["bands"] = [{"name": name}]
        assets[f"{name}_{asset['gsd']}m"] = asset
    coarse = copy.deepcopy(assets["B04_10m"])
    coarse["proj:shape"], coarse["proj:transform"][0], coarse["proj:transform"][4] = [5490, 5490], 20, -20
    return item | {"assets": {"B04_20m": coarse, **assets}}


def test_newer_words_give_the_same_scene(make):
    item = planet_item(make)
    old, new = (parse_item(i, catalog="k", bands=L2A) for i in (item, newer(item)))
    assert new.assets == old.assets
    assert (new.epsg, new.baseline, new.datatake) == (old.epsg, old.baseline, old.datatake)


def test_a_tile_gives_the_grid_where_nothing_else_does(make):
    item = planet_item(make)
    old = parse_item(item, catalog="k", bands=L2A)
    for asset in item["assets"].values():
        del asset["proj:shape"], asset["proj:transform"]
    assert parse_item(item, catalog="k", bands=L2A).assets == old.assets
    del item["properties"]["proj:epsg"]
    assert parse_item(item, catalog="k", bands=L2A).epsg == 32631


def test_relative_hrefs_start_at_the_item(make):
    item = planet_item(make)
    item["assets"]["red"]["href"] = "./px/B04.tif"
    found = parse_item(item, catalog="k", bands=("B04",), base="/data/tiles/item.json")
    assert found.assets["B04"].href == "/data/tiles/px/B04.tif"
    item["links"] = [{"rel": "self", "href": "https://e.org/a/b.json"}]
    assert parse_item(item, catalog="k", bands=("B04",)).assets["B04"].href == "https://e.org/a/px/B04.tif"


def put(*path):
    """Return what sets a value at a path of keys; without a value it deletes."""

    def change(item, value=...):
        for key in path[:-1]:
            item = item[key]
        if value is ...:
            del item[path[-1]]
        else:
            item[path[-1]] = value

    return change


P = "properties"
BAD = [
    # change, value (... deletes), reason
    (put("id"), ..., "no id"),
    (put("id"), 7, "no id"),
    (put(P), None, "no STAC item"),
    (put(P, "datetime"), ..., "no datetime"),
    (put(P, "datetime"), "yesterday", "datetime cannot be read"),
    (put(P, "datetime"), 2023, "no datetime"),
    (put(P, "proj:epsg"), 99999, "CRS is not known"),
    (put(P, "proj:epsg"), "x", "CRS is not known"),
    (put(P, "proj:epsg"), "32631x", "CRS is not known"),
    (put(P, "eo:cloud_cover"), "clear", "eo:cloud_cover is no percentage"),
    (put(P, "eo:cloud_cover"), -1, "eo:cloud_cover is no percentage"),
    (put(P, "eo:cloud_cover"), float("nan"), "eo:cloud_cover is no percentage"),
    (put(P, "s2:nodata_pixel_percentage"), 101, "s2:nodata_pixel_percentage is no percentage"),
    (put(P, "s2:processing_baseline"), "latest", "processing baseline is not NN.NN"),
    (put("geometry"), ..., "no footprint"),
    (put("geometry"), {"type": "Point", "coordinates": [0, 0]}, "no footprint"),
    (put("geometry", "coordinates"), [], "footprint is no area on the globe"),
    (put("geometry", "coordinates"), [[[0, 0], [1, 1], [2, 2], [0, 0]]], "footprint is no area on the globe"),
    (put("geometry", "coordinates"), [[[0, 0], [900, 1], [2, 2], [0, 0]]], "footprint is no area on the globe"),
    (put("geometry", "coordinates"), "here", "malformed"),
    (put("assets"), ..., "no assets"),
    (put("assets"), [], "no assets"),
    (put("assets"), {}, "bands missing"),
    (put("assets", "red"), ..., "bands missing"),
    (put("assets", "red", "href"), None, "bands missing"),
    (put("assets", "red", "href"), "", "href cannot be used"),
    (put("assets", "red", "href"), "https://a b", "href cannot be used"),
    (put("assets", "red", "href"), "x" * 5000, "href cannot be used"),
    (put("assets", "red", "proj:shape"), [1, 2, 3], "grid cannot be read"),
    (put("assets", "red", "proj:shape"), [0, 10980], "size of a raster is out of range"),
    (put("assets", "red", "proj:shape"), [10**9, 10**9], "size of a raster is out of range"),
    (put("assets", "red", "proj:shape"), 7, "malformed"),
    (put("assets", "red", "proj:shape"), [5490, 5490], "rasters of different extent"),
    (put("assets", "red", "proj:transform"), [10, 0, 0, 0, 10, 0], "raster is not north up with square pixels"),
    (put("assets", "red", "proj:transform"), [10, 1, 0, 1, -10, 0], "raster is not north up with square pixels"),
    (put("assets", "red", "proj:transform"), [7, 0, 0, 0, -7, 0], "pixels are not of 10, 20, 30 or 60 m"),
    (put("assets", "red", "proj:transform"), [40, 0, 0, 0, -40, 0], "pixels are not of 10, 20, 30 or 60 m"),
    (put("assets", "red", "proj:transform"), ["a"] * 6, "grid cannot be read"),
    (put("assets", "red", "raster:bands"), [{"scale": "small"}], "scale is no number"),
    (put("assets", "red", "raster:bands"), [{"scale": 0}], "scale is not above 0"),
    (put("assets", "red", "raster:bands"), [{"data_type": "complex64"}], "data type is not known"),
    (put("assets", "red", "raster:bands"), [{"nodata": "none"}], "nodata is no number"),
    (put("links"), [7], "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "value", "reason"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_a_bad_item_has_one_reason(make, change, value, reason):
    item = planet_item(make)
    change(item, value)
    with pytest.raises(UnusableItemError) as caught:
        parse_item(item, catalog="k", bands=L2A)
    assert caught.value.reason == reason
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_no_baseline_and_no_offset(make):
    item = planet_item(make)
    del item["properties"]["s2:processing_baseline"], item["assets"]["red"]["raster:bands"]
    with pytest.raises(UnusableItemError, match="neither processing baseline nor offset"):
        parse_item(item, catalog="k", bands=("B04",))


@pytest.mark.parametrize(
    "item", [None, [], "x", 7, {}, {"properties": []}, {"id": "a" * 10**6, "properties": {}}]
)
def test_what_is_no_item(item):
    with pytest.raises(UnusableItemError) as caught:
        parse_item(item, catalog="k", bands=L2A)
    assert len(str(caught.value)) < 600


def places_in(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(inner, (*path, key))


JUNK = st.sampled_from(
    [None, True, -1, 0, 1e300, float("nan"), float("inf"), "", "x", "\ud800", [], [None], {}, {"a": 1}, [[]], 10**30]
).map(copy.deepcopy)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_anything_may_be_anything(make, data):
    """Whatever stands wherever: a scene that makes sense, or one reason."""
    item = planet_item(make)
    item["assets"] = {k: item["assets"][k] for k in ("red", "scl")}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places_in(item))[1:]))
        put(*path)(item, data.draw(JUNK))
    try:
        scene = parse_item(item, catalog="k", bands=("B04",))
    except UnusableItemError:
        return
    asset = scene.assets["B04"]
    assert asset.href
    assert asset.pixel_m >= 10
    assert asset.offset in (0.0, -0.1)
    assert scene.footprint.area > 0
    assert scene.day.year == 2023
