import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seco.errors import ConfigError
from seco.planet.catalogue.tiles import STEPS_M, tile_from_id, tiles_covering
from seco.planet.utm import latitude_band, to_lonlat, to_utm, utm_epsg, utm_zone


def test_every_real_item_lies_where_its_tile_does(real_items):
    num = 0
    for items in real_items.values():
        for item in items:
            p = item["properties"]
            asset = item["assets"].get("blue") or item["assets"]["B02"]
            tile = tile_from_id((p.get("grid:code") or p["s2:mgrs_tile"])[-5:])
            transform = asset["proj:transform"]
            assert (tile.epsg, tile.left_m, tile.top_m) == (p["proj:epsg"], transform[2], transform[5])
            assert [tile.tile_px, tile.tile_px] == asset["proj:shape"]
            num += 1
    assert num == 51


@pytest.mark.parametrize(
    ("lon", "lat", "name"),
    [
        (2.35, 48.85, "31UDQ"),  # Paris
        (11.57, 48.14, "32UPU"),  # Munich
        (-104.99, 39.74, "13TEE"),  # Denver: 13TDE is west of it
        (151.21, -33.87, "56HLH"),  # Sydney
        (5.73, 58.97, "32VLL"),  # Stavanger: zone 32 reaches west to 3 degrees there
        (15.63, 78.22, "33XWG"),  # Longyearbyen
    ],
)
def test_known_cities(lon, lat, name):
    assert name in {t.id for t in tiles_covering(lon, lat)}


@pytest.mark.parametrize(
    ("lon", "lat", "zone"),
    [(2.9, 60, 31), (3, 60, 32), (3, 64, 31), (3, 55.9, 31), (8.9, 75, 31), (9, 75, 33), (20.9, 75, 33), (21, 75, 35),
     (32.9, 75, 35), (33, 75, 37), (41.9, 75, 37), (42, 75, 38), (9, 71.9, 32), (180, 0, 1), (-180, 0, 1), (179.9, 0, 60)],
)  # fmt: skip
def test_zones_and_their_exceptions(lon, lat, zone):
    assert utm_zone(lon, lat) == zone


def test_south_of_the_equator_has_its_own_zones():
    assert utm_epsg(-47.9, -15.8) == 32723
    assert utm_epsg(36.8, 0.0) == 32637
    assert to_utm(32723, -47.9, -15.8)[1] > 8_000_000


@pytest.mark.parametrize(
    ("lat", "band"), [(-80, "C"), (-0.01, "M"), (0, "N"), (63.9, "V"), (72, "X"), (84, "X")]
)
def test_latitude_bands(lat, band):
    assert latitude_band(lat) == band


@settings(max_examples=60, deadline=None)
@given(lon=st.floats(-180, 179.99), lat=st.floats(-79.9, 83.9), px=st.sampled_from(sorted(STEPS_M)))
def test_any_position_is_in_its_tiles_whose_names_lead_back(lon, lat, px):
    found = tiles_covering(lon, lat, tile_px=px)
    assert found
    for tile in found:
        east, north = to_utm(tile.epsg, lon, lat)
        left, bottom, right, top = tile.bounds_m
        assert left <= east < right
        assert bottom < north <= top
        assert tile_from_id(tile.id, tile_px=px) == tile


@pytest.mark.parametrize("px", sorted(STEPS_M))
def test_grids_of_all_bands_fit(px):
    for tile in tiles_covering(13.4, 52.5, tile_px=px):
        assert tile.edge_m % 60 == 0
        assert tile.edge_m == round(STEPS_M[px] * 1.098)
        assert tile.left_m % 60 == tile.top_m % 60 == 0
    for tile in tiles_covering(-47.9, -15.8, tile_px=px):
        assert (tile.top_m - 10_000_000) % 60 == 0


def test_tiles_overlap_to_the_south_and_east():
    tile = tile_from_id("31UDQ")
    left, bottom, right, _ = tile.bounds_m
    inside = to_lonlat(tile.epsg, right - 100, bottom + 100)
    names = {t.id for t in tiles_covering(*map(float, inside))}
    assert names >= {"31UDQ", "31UEQ", "31UDP", "31UEP"}
    assert left == 399960


def test_small_tiles_have_digits():
    tile = tiles_covering(2.35, 48.85, tile_px=1098)[0]
    assert tile.id == "31UDQ51"
    assert (tile.left_m, tile.top_m) == (450_000, 5_420_040)
    assert (tile.zone, tile.latitude_band, tile.square) == (31, "U", "DQ")


def test_the_antimeridian_and_the_equator_are_no_edges():
    assert {t.id for t in tiles_covering(-179.99, -16.5)} >= {"01KAB", "60KZG"}
    north_and_south = {t.id[2] for t in tiles_covering(30.0, -0.01)}
    assert north_and_south == {"N", "M"}


def test_many_positions_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 40), rng.uniform(-75, 80, 40)
    each = {t.id for a, b in zip(lon, lat, strict=True) for t in tiles_covering(a, b, tile_px=2196)}
    together = tiles_covering(lon, lat, tile_px=2196)
    assert [t.id for t in together] == sorted(each)


@pytest.mark.parametrize(
    ("name", "px", "words"),
    [
        ("31UFQ", 512, "10980, 5490, 2196, 1098"), ("31UFQ34", 10980, "like 31UFQ"), ("31UFQ", 1098, "31UFQ34"),
        ("61UFQ", 10980, "01 to 60"), ("31IFQ", 10980, "31UFQ"), ("31UFQ35", 2196, "multiples of 2"),
        ("31TFQ", 10980, "no such square"), ("31UZQ", 10980, "no such square"), ("", 10980, "31UFQ"),
        ("31UFQ\n", 10980, "31UFQ"), ("٣١UFQ", 10980, "31UFQ"),
    ],
)  # fmt: skip
def test_names_that_are_none(name, px, words):
    with pytest.raises(ConfigError, match=words):
        tile_from_id(name, tile_px=px)


@pytest.mark.parametrize(
    ("lon", "lat"), [(0, 85), (0, -80.1), (float("nan"), 0), (0, float("nan")), (float("inf"), 0)]
)
def test_positions_where_no_tile_is(lon, lat):
    with pytest.raises(ConfigError, match="UTM"):
        tiles_covering(lon, lat)
