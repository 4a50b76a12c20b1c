import datetime as dt

import numpy as np
import pytest

from seco.planet.catalogue.tiles import tile_from_id
from seco.planet.earth.sun import reflectance_conversion_factor, sun_angles, sun_direction
from seco.planet.utm import to_lonlat


def at(*when):
    return dt.datetime(*when, tzinfo=dt.UTC)


def test_zenith_over_the_equator_at_equinox_noon():
    # Equinox of March 2023: the 20th, 21:24 UTC (US Naval Observatory); the sun then stands over the equator.
    _, lat = sun_direction(at(2023, 3, 20, 21, 24))
    assert lat == pytest.approx(0, abs=0.01)
    lon, lat = sun_direction(at(2023, 3, 20, 12))
    elevation, _ = sun_angles(lon, 0.0, at(2023, 3, 20, 12))
    assert elevation == pytest.approx(90, abs=0.2)
    # Noon by the sun is 7.5 minutes after noon by the clock that day (equation of time).
    assert lon == pytest.approx(7.5 / 4, abs=0.1)


def test_solstice_and_polar_night():
    _, lat = sun_direction(at(2023, 6, 21, 14, 58))
    assert lat == pytest.approx(23.436, abs=0.01)
    elevation, _ = sun_angles(np.array([0.0, 120.0]), 80.0, at(2023, 12, 21, 12))
    assert (elevation < 0).all()


@pytest.mark.parametrize(("lat", "azimuth"), [(50.0, 180.0), (-50.0, 0.0)])
def test_noon_is_due_south_or_north(lat, azimuth):
    lon, _ = sun_direction(at(2023, 9, 1, 10))
    _, found = sun_angles(lon, lat, at(2023, 9, 1, 10))
    assert abs((found - azimuth + 180) % 360 - 180) < 0.01


def test_mornings_are_in_the_east():
    elevation, azimuth = sun_angles(0.0, 45.0, at(2023, 6, 1, 7))
    assert 0 < elevation < 60
    assert 45 < azimuth < 135


def test_real_items_had_their_sun_where_we_say(real_items):
    for item in real_items["earth-search_sentinel-2-l2a"]:
        p = item["properties"]
        when = dt.datetime.fromisoformat(p["datetime"])
        tile = tile_from_id(p["grid:code"][-5:])
        elevation, azimuth = sun_angles(*to_lonlat(tile.epsg, *tile.centre_m), when)
        assert elevation == pytest.approx(p["view:sun_elevation"], abs=0.03)
        assert azimuth == pytest.approx(p["view:sun_azimuth"], abs=0.05)
        assert reflectance_conversion_factor(when) == pytest.approx(
            p["s2:reflectance_conversion_factor"], abs=4e-4
        )
