import datetime as dt
import itertools

import numpy as np
import pytest
import shapely

from seco.errors import ConfigError
from seco.planet.catalogue.orbits import (
    acquisition_on,
    acquisitions,
    baseline_on,
    boa_offset_on,
    footprint_m,
    seen,
)
from seco.planet.catalogue.passes import FIRST_DAY, ORBITS_PER_CYCLE, abeam, incidence_deg, passes_on
from seco.planet.catalogue.tiles import tile_from_id
from seco.planet.utm import to_lonlat
from seco.sensors.sentinel2 import reflectance_offset

DAY = dt.timedelta(days=1)


def grid(tile, step):
    left, bottom, right, top = tile.bounds_m
    return np.arange(left + step / 2, right, step)[None, :], np.arange(top - step / 2, bottom, -step)[:, None]


def test_orbits_repeat_after_ten_days_and_the_platforms_take_turns():
    first = dt.date(2023, 3, 1)
    cycle = [p for n in range(10) for p in passes_on(first + n * DAY)]
    assert len(cycle) == 2 * ORBITS_PER_CYCLE
    for platform in ("sentinel-2a", "sentinel-2b"):
        assert {p.relative_orbit for p in cycle if p.platform == platform} == set(range(1, 144))
    again = passes_on(first + 10 * DAY)
    for a, b in zip(passes_on(first), again, strict=True):
        assert (a.platform, a.relative_orbit, a.node + 10 * DAY) == (b.platform, b.relative_orbit, b.node)
        assert b.absolute_orbit == a.absolute_orbit + ORBITS_PER_CYCLE
    five = {(p.relative_orbit, p.platform) for p in passes_on(first + 5 * DAY)}
    other = {"sentinel-2a": "sentinel-2b", "sentinel-2b": "sentinel-2a"}
    assert {(p.relative_orbit, other[p.platform]) for p in passes_on(first)} == five


def test_the_equator_is_crossed_at_half_past_ten():
    for p in passes_on(dt.date(2023, 3, 1)):
        hours = p.node.hour + p.node.minute / 60 + p.node.second / 3600
        assert (hours + p.node_lon / 15) % 24 == pytest.approx(10.5, abs=0.001)
        across, seconds = abeam(p.node_lon, np.array(p.node_lon), np.array(0.0))
        assert abs(float(across)) < 1
        assert abs(float(seconds)) < 0.01


def test_distance_from_a_track_agrees_with_walking_along_it():
    inclination, node = np.radians(98.62), np.radians(20.0)
    seconds = np.linspace(-1000, 1000, 40_001)
    angle = seconds / (10 * 86400 / 143) * 2 * np.pi
    # Where the satellite is, in a frame that turns with the Earth, from the rotation matrices one by one.
    x, y, z = np.cos(angle), np.sin(angle) * np.cos(inclination), -np.sin(angle) * np.sin(inclination)
    lon = np.arctan2(y, x) + node - 2 * np.pi * seconds / 86400
    track = np.stack([np.cos(np.arcsin(z)) * np.cos(lon), np.cos(np.arcsin(z)) * np.sin(lon), z])
    for where in ((21.0, 3.0), (17.5, -20.0), (28.0, 40.0)):
        a, b = np.radians(where)
        point = np.array([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)])
        nearest = np.arccos(np.clip(track.T @ point, -1, 1)).min() * 6_371_008.8
        across, _ = abeam(20.0, np.array(where[0]), np.array(where[1]))
        # The ground track is nearest a little off abeam, since the Earth turns meanwhile: by 0.3% of the distance.
        assert abs(float(across)) == pytest.approx(nearest, rel=0.005, abs=50)


def test_real_tiles_are_seen_when_and_as_the_real_satellites_saw_them(real_items):
    for item in real_items["earth-search_sentinel-2-l2a"]:
        p = item["properties"]
        when = dt.datetime.fromisoformat(p["datetime"])
        taken = acquisition_on(tile_from_id(p["grid:code"][-5:]), when.date())
        assert taken is not None, item["id"]
        assert taken.platform == p["platform"]
        assert f"R{taken.relative_orbit:03d}" in p["s2:product_uri"]
        assert f"{taken.absolute_orbit:06d}" in p["s2:datatake_id"]
        assert abs((taken.datetime - when).total_seconds()) < 15
        assert taken.sun_elevation_deg == pytest.approx(p["view:sun_elevation"], abs=0.05)
        assert taken.sun_azimuth_deg == pytest.approx(p["view:sun_azimuth"], abs=0.2)
        assert taken.baseline == p["s2:processing_baseline"]
        if "view:incidence_angle" in p and p["s2:nodata_pixel_percentage"] < 70:
            # Theirs is the mean over the pixels seen, ours that of the tile's centre.
            assert taken.view_incidence_deg == pytest.approx(p["view:incidence_angle"], abs=3)


def test_the_swaths_edge_is_where_the_real_one_was(real_items):
    (item,) = [i for i in real_items["earth-search_sentinel-2-l2a"] if i["id"] == "S2B_24MUA_20250731_0_L2A"]
    tile, day = tile_from_id("24MUA"), dt.date(2025, 7, 31)
    real = item["properties"]["s2:nodata_pixel_percentage"]
    ours = 100 * (1 - footprint_m(tile, day).area / tile.edge_m**2)
    assert ours == pytest.approx(real, abs=3)


@pytest.mark.parametrize("name", ["31UFQ", "24MUV", "01KAB", "56HLH"])
def test_seen_every_five_days_somewhere_in_every_tile(name):
    tile = tile_from_id(name)
    days = [a.day for a in acquisitions(tile, first=dt.date(2023, 3, 1), last=dt.date(2023, 3, 30))]
    assert 6 <= len(days) <= 13
    assert all((b - a).days <= 5 for a, b in itertools.pairwise(days))
    for start in (0, 3):
        east, north = grid(tile, 5000)
        shown = np.zeros(np.broadcast_shapes(east.shape, north.shape), bool)
        for n in range(5):
            shown |= seen(
                epsg=tile.epsg, easting_m=east, northing_m=north, day=dt.date(2023, 3, 1) + (start + n) * DAY
            )
        assert shown.all()


def test_a_window_sees_what_the_whole_tile_sees():
    tile, day = tile_from_id("31UFQ"), dt.date(2023, 7, 4)
    east, north = grid(tile, 60)
    whole = seen(epsg=tile.epsg, easting_m=east, northing_m=north, day=day)
    assert 0.2 < whole.mean() < 0.9
    for row, col in ((0, 0), (700, 400), (1500, 300), (900, 601)):
        part = seen(
            epsg=tile.epsg, easting_m=east[:, col : col + 97], northing_m=north[row : row + 131], day=day
        )
        np.testing.assert_array_equal(part, whole[row : row + 131, col : col + 97])


def test_edges_are_slanted_and_two_zones_agree_on_them():
    tile, day = tile_from_id("31UFQ"), dt.date(2023, 7, 4)
    east, north = grid(tile, 60)
    whole = seen(epsg=tile.epsg, easting_m=east, northing_m=north, day=day)
    first = np.argmax(~whole, axis=1) if whole[:, 0].all() else np.argmax(whole, axis=1)
    slope = np.diff(first.astype(float))
    assert abs(slope.sum()) > 200  # the edge moves by more than 12 km from top to bottom
    lon, lat = to_lonlat(tile.epsg, *np.broadcast_arrays(east[:, ::30], north[::30]))
    from seco.planet.utm import to_utm

    other = seen(
        epsg=32632, easting_m=to_utm(32632, lon, lat)[0], northing_m=to_utm(32632, lon, lat)[1], day=day
    )
    assert (other != whole[::30, ::30]).mean() < 0.002


@pytest.mark.parametrize("name", ["31UFQ", "24MUV", "35XLG", "01KAB"])
def test_footprints_are_what_is_seen(name):
    tile = tile_from_id(name)
    east, north = grid(tile, 300)
    partial = 0
    for taken in acquisitions(tile, first=dt.date(2023, 7, 1), last=dt.date(2023, 7, 10)):
        shape = footprint_m(tile, taken.day)
        assert shape.is_valid
        inside = shapely.contains_xy(shape, *np.broadcast_arrays(east, north))
        shown = seen(epsg=tile.epsg, easting_m=east, northing_m=north, day=taken.day)
        assert (inside != shown).mean() < 0.001
        partial += 0 < shown.mean() < 1
    assert partial or name in ("01KAB", "35XLG")


def test_no_scenes_in_polar_night():
    tile = tile_from_id("33XWG")
    assert not list(acquisitions(tile, first=dt.date(2023, 12, 1), last=dt.date(2023, 12, 31)))
    assert list(acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 5)))


def test_days_of_an_acquisition_are_those_of_its_datatake():
    tile = tile_from_id("59VME")  # at 170 degrees east a pass goes on over midnight, UTC
    taken = next(acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 9)))
    assert taken.day == taken.datatake_start.date()
    assert taken.datatake_start < taken.datetime
    assert (
        taken.datatake_id
        == f"G{taken.spacecraft}_{taken.datatake_start:%Y%m%dT%H%M%S}_{taken.absolute_orbit:06d}_N05.09"
    )


def test_baselines_and_offsets_go_with_the_days_of_the_real_archive():
    assert [baseline_on(dt.date(2018, 1, 1)), baseline_on(dt.date(2021, 6, 1))] == ["02.14", "03.00"]
    assert baseline_on(dt.date(2022, 1, 24)) == "03.00"
    assert baseline_on(dt.date(2022, 1, 25)) == "04.00"
    for day, offset in (
        (dt.date(2022, 1, 24), 0),
        (dt.date(2022, 1, 25), -1000),
        (dt.date(2024, 8, 1), -1000),
    ):
        assert boa_offset_on(day) == offset == round(10_000 * reflectance_offset(baseline_on(day)))


def test_incidence_is_that_of_the_instruments_field_of_view():
    # 20.6 degrees of view at 786 km, by ESA; the Earth's curve adds to it.
    assert incidence_deg(0.0) == 0.0
    assert incidence_deg(145_000) == pytest.approx(11.7, abs=0.3)


@pytest.mark.parametrize("day", [FIRST_DAY - DAY, dt.date(2100, 1, 1)])
def test_days_without_satellites(day):
    with pytest.raises(ConfigError, match="2017-07-01 to 2099-12-31"):
        seen(epsg=32631, easting_m=np.zeros(1), northing_m=np.zeros(1), day=day)
    with pytest.raises(ConfigError, match="2017-07-01"):
        list(acquisitions(tile_from_id("31UFQ"), first=min(day, FIRST_DAY), last=max(day, FIRST_DAY)))


def test_no_positions_give_no_answers():
    assert seen(epsg=32631, easting_m=np.zeros((0, 1)), northing_m=np.zeros((1, 3)), day=FIRST_DAY).shape == (
        0,
        3,
    )
