import json

import numpy as np
import pytest

from seco.errors import ConfigError
from seco.places.rasters import climate
from seco.planet.earth import curves
from seco.planet.earth.curves import about, climates, seasonal

JANUARY, JULY = 15.5, 196.5
MIDDLES = [15.5, 45, 74.5, 105, 135.5, 166, 196.5, 227.5, 258, 288.5, 319, 349.5]
LATITUDES = np.arange(-90, 91, 2.5)


def test_the_year_has_no_seam():
    days = np.linspace(-400, 800, 97)
    for code in ("Cfb", "Dfc", "Aw"):
        here = seasonal(code, 52.0, days)
        assert np.allclose(here.green, seasonal(code, 52.0, days + 365).green)
        assert np.allclose(here.snow, seasonal(code, 52.0, days - 730).snow)
    # December turns into January without a jump, and not by standing still.
    turn = seasonal("Dfb", 55.0, np.array([349.5 + 0.5, 365.0, 366.0, 380.0, 381.0]))
    assert np.abs(np.diff(turn.snow[1:3])).max() < 0.01
    assert turn.snow[0] != turn.snow[-1]
    assert seasonal("Dfb", 55.0, 366.0).snow == pytest.approx(seasonal("Dfb", 55.0, 1.0).snow)


def test_mid_months_at_mid_bands_give_the_table():
    table = json.loads(curves.files("seco.planet.earth").joinpath("curves.json").read_text(encoding="utf-8"))[
        "climates"
    ]
    for code, south in (("Cfb", 50), ("Aw", -20), ("ET", 70), ("BSk", 40)):
        row = table[code][str(south)]
        found = seasonal(code, south + 5.0, np.array(MIDDLES) + 0.5)
        assert np.allclose(found.green, np.array(row["green"]) / 100)
        assert np.allclose(found.snow, np.array(row["snow"]) / 100)


def test_between_bands_and_months_is_halfway():
    at = [seasonal("Cfb", lat, JANUARY + 0.5).green for lat in (45.0, 50.0, 55.0)]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2)
    july, august = (seasonal("Cfb", 55.0, d + 0.5).green for d in (196.5, 227.5))
    assert seasonal("Cfb", 55.0, 212.5).green == pytest.approx((july + august) / 2)


def test_seasons_of_real_geography():
    north = seasonal("Cfb", 50.0, np.array([JANUARY, JULY]))
    assert north.green[1] > north.green[0] + 0.15
    steppe = seasonal("Dfb", 55.0, np.array([JANUARY, JULY]))
    assert steppe.snow[0] > 0.7
    assert steppe.snow[1] == 0
    rains_north, rains_south = (seasonal("Aw", lat, np.array([JANUARY + 30, JULY + 45])) for lat in (12, -15))
    assert rains_north.green[1] > rains_north.green[0] + 0.3
    assert rains_south.green[0] > rains_south.green[1] + 0.3
    mediterranean = seasonal("Csa", 35.0, np.array([JANUARY, JULY + 30]))
    assert mediterranean.green[0] > mediterranean.green[1]
    assert seasonal("BWh", 25.0, np.array(MIDDLES)).green.max() < 0.05
    assert seasonal("Af", 0.0, np.array(MIDDLES)).green.min() > 0.7
    assert seasonal("EF", 72.0, np.array(MIDDLES)).snow.min() > 0.95


def test_tropics_have_no_snow():
    tropical = [c for c in climates() if c.startswith("A")]
    assert len(tropical) >= 3
    for code in tropical:
        assert seasonal(code, LATITUDES[:, None], np.array(MIDDLES)).snow.max() == 0


def test_every_climate_on_land_has_a_season_everywhere():
    zones = climate()
    known = {z for i, z in enumerate(zones.classes) if z and i not in zones.water}
    assert set(climates()) == known
    for code in climates():
        season = seasonal(code, LATITUDES[:, None], np.linspace(1, 366, 25))
        for values in season:
            assert values.shape == (len(LATITUDES), 25)
            assert np.isfinite(values).all()
            assert values.min() >= 0
            assert values.max() <= 1


def test_the_absent_hemisphere_is_six_months_later():
    """There is no Dfc in the south: it is the north's, turned."""
    days = np.array(MIDDLES) + 0.5
    north, south = seasonal("Dfc", 65.0, days), seasonal("Dfc", -65.0, days)
    assert np.allclose(np.roll(north.snow, 6), south.snow)
    assert not np.allclose(north.snow, south.snow)


def test_gaps_are_filled_from_the_nearest_band_then_the_letter():
    own = np.full((18, 2, 12), np.nan)
    own[12], own[15] = 0.2, 0.5
    letter = np.full((18, 2, 12), np.nan)
    letter[3], letter[13] = 0.7, 0.9
    filled = curves._fill(own, letter)[:, 0, 0]
    assert filled[9:].tolist() == [0.2] * 5 + [0.5] * 4  # the letter is not asked where the class is near
    assert filled[:9].tolist() == [0.7] * 9  # the south has the letter only


@pytest.mark.parametrize(
    ("code", "lat", "day", "message"),
    [
        ("Xyz", 0.0, 1.0, "climate 'Xyz'"),
        ("", 0.0, 1.0, "climate ''"),
        ("Cfb", 91.0, 1.0, "latitude 91"),
        ("Cfb", [0.0, float("nan")], 1.0, "latitude nan"),
        ("Cfb", 0.0, [1.0, float("inf")], "day of the year inf"),
    ],
)
def test_bad_input(code, lat, day, message):
    with pytest.raises(ConfigError, match=message):
        seasonal(code, lat, day)


def test_the_table_says_where_it_comes_from():
    said = about()
    assert "Blue Marble" in said["provenance"]
    assert "public domain" in said["provenance"]
    assert len(said["rules"]) == 4
    assert len(curves.files("seco.planet.earth").joinpath("curves.json").read_bytes()) < 60_000
