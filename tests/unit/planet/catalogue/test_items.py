"""Items against the real ones of Earth Search, field by field."""

import datetime as dt
import json
import re

import numpy as np
import pystac
import pytest
from pystac.validation import JsonSchemaSTACValidator

from seco.errors import ConfigError
from seco.planet.catalogue.items import BAND_ASSETS, CONTENTS, contents_of, make_item
from seco.planet.catalogue.manifest import link
from seco.planet.catalogue.orbits import acquisition_on, acquisitions
from seco.planet.catalogue.tiles import tile_from_id
from seco.planet.earth.surfaces import PIXEL_M

CONTENT = contents_of(np.arange(12))

NOT_OURS = {
    "earthsearch:s3_path": "where their files are",
    "earthsearch:payload_id": "a run of their pipeline",
    "s2:granule_id": "old items only; says what s2:tile_id says",
}
"""Properties of the real items that a simulation has nothing to say for."""
ONLY_OURS = {"seco:simulated", "seco:planet_seed", "seco:tile_px"}
ASSETS_NOT_OURS = {
    "aot",
    "cloud",
    "snow",
    "thumbnail",
    "visual",
    "wvp",
    "granule_metadata",
    "product_metadata",
    "tileinfo_metadata",
}
"""Besides the JPEG 2000 copies (`*-jp2`)."""

_TILE, _TIME, _BASELINE = r"T\d\d[A-Z]{3}(\d\d)?", r"\d{8}T\d{6}", r"\d\d\.\d\d"
_STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
TEXTS = {
    "created": rf"{_STAMP}\.\d{{3}}Z", "updated": rf"{_STAMP}\.\d{{3}}Z", "datetime": rf"{_STAMP}\.\d{{6}}Z",
    "platform": "sentinel-2[ab]", "constellation": "sentinel-2", "mgrs:latitude_band": "[C-HJ-NP-X]",
    "mgrs:grid_square": "[A-HJ-NP-Z][A-HJ-NP-V]", "grid:code": r"MGRS-\d\d[A-Z]{3}(\d\d)?",
    "s2:tile_id": rf"S2[AB]_OPER_MSI_L2A_TL_[A-Z0-9]{{4}}_{_TIME}_A\d{{6}}_{_TILE}_N{_BASELINE}",
    "s2:product_type": "S2MSI2A", "s2:processing_baseline": _BASELINE,
    "s2:product_uri": rf"S2[AB]_MSIL2A_{_TIME}_N\d{{4}}_R\d{{3}}_{_TILE}_{_TIME}\.SAFE",
    "s2:generation_time": rf"{_STAMP}\.000000Z", "s2:datatake_id": rf"GS2[AB]_{_TIME}_\d{{6}}_N{_BASELINE}",
    "s2:datatake_type": "INS-NOBS", "s2:sequence": "0",
    "s2:datastrip_id": rf"S2[AB]_OPER_MSI_L2A_DS_[A-Z0-9]{{4}}_{_TIME}_S{_TIME}_N{_BASELINE}",
}  # fmt: skip
RANGES = {
    "proj:epsg": (32601, 32760), "mgrs:utm_zone": (1, 60), "view:azimuth": (0, 360), "view:incidence_angle": (0, 15),
    "view:sun_azimuth": (0, 360), "view:sun_elevation": (3, 90), "s2:reflectance_conversion_factor": (0.96, 1.04),
    "eo:cloud_cover": (0, 100),
}  # fmt: skip


def kind(value):
    return "number" if type(value) in (int, float) else type(value).__name__


def ours_like(real):
    """Our item of a real item's tile and day."""
    p = real["properties"]
    tile = tile_from_id(p["grid:code"][-5:])
    day = dt.date.fromisoformat(p["s2:datatake_id"][5:13])
    taken = acquisition_on(tile, day)
    return make_item(
        tile, taken, contents=CONTENT, href=lambda f: f"http://127.0.0.1:1/{tile.id}/{day}/{f}", seed=3
    )


@pytest.fixture(scope="module")
def pairs(real_items):
    return [(real, ours_like(real)) for real in real_items["earth-search_sentinel-2-l2a"]]


def test_every_property_is_there_with_its_type_and_no_other(pairs):
    for real, ours in pairs:
        for key, value in real["properties"].items():
            if key not in NOT_OURS:
                assert key in ours["properties"], key
                assert kind(ours["properties"][key]) == kind(value), key
    known = set().union(*(real["properties"] for real, _ in pairs))
    for _, ours in pairs:
        assert set(ours["properties"]) - known == ONLY_OURS
    assert set(NOT_OURS) <= known


def test_numbers_and_texts_have_the_ranges_and_forms_of_the_real_ones(pairs):
    for item in (i for pair in pairs for i in pair):
        for key, value in item["properties"].items():
            if key in NOT_OURS or key in ONLY_OURS:
                continue
            if kind(value) == "str":
                assert re.fullmatch(TEXTS[key], value), (key, value)
            elif kind(value) == "number":
                low, high = (0, 100) if key.endswith("_percentage") else RANGES[key]
                assert low <= value <= high, (key, value)
            else:
                assert key in (
                    "proj:centroid",
                    "instruments",
                    "earthsearch:boa_offset_applied",
                    "processing:software",
                )


def test_what_follows_from_tile_and_day_is_equal(pairs):
    fields = "proj:epsg mgrs:utm_zone mgrs:latitude_band mgrs:grid_square grid:code s2:product_type s2:processing_baseline"
    same = [*fields.split(), "constellation", "instruments", "platform", "s2:datatake_type", "s2:sequence"]
    for real, ours in pairs:
        for key in same:
            assert ours["properties"][key] == real["properties"][key], key
        assert ours["id"] == real["id"]
        assert set(ours["properties"]["proj:centroid"]) == {"lat", "lon"}


def test_every_asset_is_the_real_one_but_for_its_address(pairs):
    for real, ours in pairs:
        missing = {k for k in real["assets"] if not k.endswith("-jp2")} - set(ours["assets"])
        assert missing <= ASSETS_NOT_OURS
        for key, asset in ours["assets"].items():
            theirs = real["assets"][key]
            assert asset["href"].rsplit("/", 1)[1] == theirs["href"].rsplit("/", 1)[1]
            assert list(map(type, asset["proj:transform"])) == list(map(type, theirs["proj:transform"]))
            if real["properties"]["datetime"] >= "2025":
                assert {k: v for k, v in asset.items() if k != "href"} == {
                    k: v for k, v in theirs.items() if k != "href"
                }
                continue
            # Older items are of an older form: bands have the assets' names, more is said of them, SCL is "reflectance".
            for field in ("type", "gsd", "proj:shape", "proj:transform"):
                assert asset.get(field) == theirs.get(field, asset.get(field)), (key, field)
            for field in ("eo:bands", "raster:bands"):
                for mine, other in zip(asset.get(field, ()), theirs.get(field, ()), strict=True):
                    assert {k: v for k, v in mine.items() if k != "name"}.items() <= other.items(), (
                        key,
                        field,
                    )


OTHER_CATALOGUES = {
    "storage:platform", "storage:region", "storage:requester_pays",
    "sat:orbit_state", "sat:relative_orbit", "s2:mgrs_tile", "s2:granule_id", "s2:mean_solar_zenith",
    "s2:mean_solar_azimuth", "earthsearch:s3_path", "earthsearch:payload_id",
}  # fmt: skip
"""What the 51 items of the three Earth Search collections and Planetary Computer say of an item, and ours do not."""


def test_no_field_of_any_catalogue_is_missing_unless_stated(pairs, real_items):
    assert sum(map(len, real_items.values())) == 51
    theirs = {k for items in real_items.values() for i in items for k in i["properties"]}
    ours = {k for _, item in pairs for k in item["properties"]}
    assert theirs - ours == OTHER_CATALOGUES


def test_every_extension_is_declared_in_the_real_version(pairs):
    real, ours = pairs[1]
    assert set(ours["stac_extensions"]) == set(real["stac_extensions"])
    assert ours["stac_version"] == real["stac_version"]
    assert set(ours) == set(real)


def test_footprints_and_boxes_have_the_real_form(pairs):
    for real, ours in pairs:
        assert ours["geometry"]["type"] == real["geometry"]["type"]
        west, south, east, north = ours["bbox"]
        points = np.array(ours["geometry"]["coordinates"][0])
        assert [west, south, east, north] == [*points.min(axis=0), *points.max(axis=0)]
        # Real datatakes may begin within a tile, ours do not; but none sees what the real one did not come near.
        assert west <= real["bbox"][0] + 0.05
        assert east >= real["bbox"][2] - 0.15


def test_the_items_core_is_valid_without_a_network():
    for name in ("31UFQ", "01KAB", "60KZG"):
        tile = tile_from_id(name)
        for taken in acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 12)):
            item = make_item(tile, taken, contents=CONTENT, href=lambda f: f"https://example.com/{f}", seed=0)
            item["links"] = [link("collection", "./collection.json")]
            migrated = json.loads(json.dumps(pystac.Item.from_dict(item).to_dict(include_self_link=False)))
            validator = JsonSchemaSTACValidator()
            assert validator.validate_core(migrated, pystac.STACObjectType.ITEM, migrated["stac_version"])
            with pytest.raises(pystac.STACValidationError):
                validator.validate_core(
                    migrated | {"geometry": 3}, pystac.STACObjectType.ITEM, migrated["stac_version"]
                )


def test_before_baseline_four_there_is_no_offset():
    tile = tile_from_id("31UFQ")
    for year, offset, baseline in ((2019, 0.0, "02.14"), (2021, 0.0, "03.00"), (2023, -0.1, "05.09")):
        taken = next(acquisitions(tile, first=dt.date(year, 6, 1), last=dt.date(year, 6, 9)))
        item = make_item(tile, taken, contents=CONTENT, href=str, seed=0)
        assert item["properties"]["s2:processing_baseline"] == baseline
        assert item["properties"]["earthsearch:boa_offset_applied"] is False
        assert {a["raster:bands"][0]["offset"] for k, a in item["assets"].items() if k != "scl"} == {offset}


def test_items_say_that_they_are_simulated_and_are_always_the_same():
    tile = tile_from_id("31UFQ")
    taken = next(acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 9)))
    items = [make_item(tile, taken, contents=CONTENT, href=str, seed=5) for _ in range(2)]
    assert items[0] == items[1] == json.loads(json.dumps(items[0]))
    assert items[0]["properties"]["seco:simulated"] is True
    assert items[0]["properties"]["seco:planet_seed"] == 5
    assert items[0]["collection"] == "seco-planet-sentinel-2-l2a"


def test_small_tiles_have_small_grids():
    tile = tile_from_id("31UFQ34", tile_px=1098)
    taken = next(acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 9)))
    item = make_item(tile, taken, contents=CONTENT, href=str, seed=0)
    assert item["id"].split("_")[1] == "31UFQ34"
    assert re.fullmatch(TEXTS["s2:product_uri"], item["properties"]["s2:product_uri"])
    for asset in item["assets"].values():
        assert asset["proj:shape"] == [10_980 // asset["gsd"]] * 2
    assert set(PIXEL_M) == {b.name for b in BAND_ASSETS} | {"SCL"}


def test_contents_are_shares_of_what_was_seen():
    classes = np.array([0, 0, 4, 4, 4, 8, 9, 10], np.uint8)
    found = contents_of(classes)
    assert found["s2:vegetation_percentage"] == 50
    assert found["s2:thin_cirrus_percentage"] == pytest.approx(100 / 6)
    assert sum(found.values()) == pytest.approx(100)
    assert set(contents_of(np.zeros(4, np.uint8)).values()) == {0.0}
    tile = tile_from_id("31UFQ")
    taken = next(acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 9)))
    item = make_item(tile, taken, contents=found, href=str, seed=0)
    assert item["properties"]["eo:cloud_cover"] == pytest.approx(50)
    with pytest.raises(ConfigError, match="classes are 0 to 11"):
        contents_of(np.array([12]))


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({}, "without"),
        (CONTENT | {CONTENTS[0]: 101.0}, "0 to 100"),
        (CONTENT | {CONTENTS[3]: float("nan")}, "0 to 100"),
    ],
)
def test_contents_that_are_none(contents, words):
    tile = tile_from_id("31UFQ")
    taken = next(acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 9)))
    with pytest.raises(ConfigError, match=words):
        make_item(tile, taken, contents=contents, href=str, seed=0)
