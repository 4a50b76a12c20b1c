"""Seasons of surfaces: green when the real climate is."""

import datetime

import numpy as np
import pytest

from seco.places.rasters import climate
from seco.planet.earth.ground import VARIANTS
from seco.planet.earth.season import reflectance, year
from seco.planet.earth.surfaces import BANDS, Surface


def _ndvi(name: str, lat: float, month: int, surface: Surface) -> float:
    zones = np.array([[climate().classes.index(name), lat]], np.float32)
    table = reflectance(zones, datetime.date(2023, month, 15))
    assert table.shape == (12, len(Surface) * VARIANTS)
    assert (table > 0).all()
    assert (table < 1).all()
    red, nir = (table[BANDS.index(b)][surface * VARIANTS :][:VARIANTS] for b in ("B04", "B08"))
    return float(((nir - red) / (nir + red)).mean())


@pytest.mark.parametrize("surface", [Surface.BROADLEAF, Surface.GRASS, Surface.SUMMER_CROP, Surface.SHRUB])
def test_summer_is_green_on_either_half_of_the_globe(surface: Surface) -> None:
    assert _ndvi("Cfb", 50, 7, surface) > _ndvi("Cfb", 50, 1, surface) + 0.1
    assert _ndvi("Cwa", -20, 2, surface) > _ndvi("Cwa", -20, 8, surface) + 0.1


def test_conifers_and_jungles_stay_green() -> None:
    for month in range(1, 13):
        assert _ndvi("Dfc", 62, month, Surface.CONIFER) > 0.5
        assert _ndvi("Af", 0, month, Surface.EVERGREEN_BROADLEAF) > 0.7


def test_winter_crops_are_ripe_when_summer_crops_stand() -> None:
    assert _ndvi("Cfb", 50, 5, Surface.WINTER_CROP) > _ndvi("Cfb", 50, 5, Surface.SUMMER_CROP) + 0.15
    assert _ndvi("Cfb", 50, 8, Surface.SUMMER_CROP) > _ndvi("Cfb", 50, 8, Surface.WINTER_CROP) + 0.15


def test_dry_summers_brown_the_grass_and_spare_what_is_irrigated() -> None:
    assert _ndvi("Csa", 38, 3, Surface.GRASS) > _ndvi("Csa", 38, 8, Surface.GRASS) + 0.03
    assert _ndvi("Csa", 38, 8, Surface.SUMMER_CROP) > _ndvi("Csa", 38, 8, Surface.GRASS) + 0.15
    assert _ndvi("BWh", 25, 7, Surface.GRASS) < 0.4


def test_the_monsoon_greens_the_savanna() -> None:
    # North of the equator the rains come from June to September.
    assert _ndvi("Aw", 12, 9, Surface.GRASS) > _ndvi("Aw", 12, 3, Surface.GRASS) + 0.1
    assert _ndvi("Aw", -15, 2, Surface.GRASS) > _ndvi("Aw", -15, 9, Surface.GRASS) + 0.1


def test_snow_lies_where_and_when_it_really_does() -> None:
    names = climate().classes
    assert year(names.index("Dfc"), 62.0).snow[15] > 0.6
    assert year(names.index("Dfc"), 62.0).snow[196] < 0.1
    assert year(names.index("Aw"), 10.0).snow.max() < 0.02
