import json
import math

import numpy as np
import pytest
import shapely

from seco.errors import ConfigError, DatasetError
from seco.places import drawing
from seco.places.about import classes_of, land_around, names_of
from seco.places.balance import PILOT
from seco.places.cities import largest_cities
from seco.places.drawing import draw, land_inside
from seco.places.settings import Places
from seco.places.sphere import EARTH_RADIUS_KM, unit_vectors

SWISS = shapely.box(5.9, 45.8, 10.5, 47.8)


@pytest.fixture
def area(tmp_path):
    def write(shape, name="area.geojson"):
        path = tmp_path / name
        path.write_text(shapely.to_geojson(shape))
        return path

    return write


@pytest.fixture
def table(tmp_path):
    def write(lonlat, name="points.csv"):
        path = tmp_path / name
        path.write_text("id,lon,lat\n" + "".join(f"p{i},{a},{b}\n" for i, (a, b) in enumerate(lonlat)))
        return path

    return write


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sampler": "land"},
        {"metric": "paper"},
        {"overlap": False, "num_cities": 3},
        {"min_distance_km": 100.0},
        {"balance": ("climate",)},
    ],
)
def test_the_first_places_do_not_depend_on_how_many_are_asked(settings):
    many = draw(Places(num_places=1500, seed=4, **settings))
    few = draw(Places(num_places=150, spare=0.2, seed=4, **settings))
    assert (few.num, len(few.lonlat)) == (150, 180)
    assert (many.lonlat[:180] == few.lonlat).all()
    other = draw(Places(num_places=150, seed=5, **settings))
    assert (other.lonlat != few.lonlat[:150]).any(axis=1).mean() > 0.9


def test_places_around_cities_are_on_land_and_within_the_limits():
    drawn = draw(
        Places(num_places=3000, num_cities=500, sigma_km=50.0, lat_min=-20, lat_max=35, min_land=0.95)
    )
    lat = drawn.lonlat[:, 1]
    assert -20 <= lat.min() < 0 < lat.max() <= 35
    assert (land_around(drawn.lonlat, edge_m=2640) >= 0.95).all()
    assert (np.round(drawn.lonlat, 6) == drawn.lonlat).all()
    cities = np.array([(c.lon, c.lat) for c in largest_cities(500)])
    cosine = (unit_vectors(drawn.lonlat) @ unit_vectors(cities).T).max(axis=1)
    km = np.arccos(np.clip(cosine, -1, 1)) * EARTH_RADIUS_KM
    assert km.max() < 5 * 50
    # To the nearest city it is no farther than to the one drawn around, whose distance has median 1.177 sigma.
    assert 25 < np.median(km) < 59
    assert (
        drawn.tried
        == 3000 + sum(drawn.turned_down.values()) + (-3000 - sum(drawn.turned_down.values())) % 1024
    )
    assert set(drawn.turned_down) == {"--lat-min/--lat-max", "--min-land"}


def test_land_inside_a_polygon_is_drawn_evenly(area):
    drawn = draw(Places(num_places=4000, sampler="land", within=area(SWISS), seed=1))
    assert shapely.contains_xy(SWISS, drawn.lonlat).all()
    # Two thirds of a box of latitudes hold two thirds of its area, but for the cosine.
    south, mid, north = (math.sin(math.radians(v)) for v in (45.8, 47.0, 47.8))
    assert (drawn.lonlat[:, 1] < 47.0).mean() == pytest.approx((mid - south) / (north - south), abs=0.03)
    assert (drawn.lonlat[:, 0] < 8.2).mean() == pytest.approx(0.5, abs=0.03)
    # Only cells that the polygon touches are candidates, so that a small polygon takes no longer than a large one.
    assert drawn.tried <= 5 * 1024


def test_polygons_with_holes_and_across_the_antimeridian(area):
    ring = SWISS.difference(shapely.box(7, 46, 9, 47.5))
    drawn = draw(Places(num_places=500, sampler="land", within=area(ring)))
    assert shapely.contains_xy(ring, drawn.lonlat).all()
    fiji = shapely.multipolygons([shapely.box(177, -19, 180, -16), shapely.box(-180, -19, -179, -16)])
    drawn = draw(Places(num_places=300, sampler="land", within=area(fiji), min_land=0.5))
    assert {bool(v) for v in drawn.lonlat[:, 0] > 0} == {True, False}
    drawn = draw(Places(num_places=300, num_cities=34_000, within=area(fiji), min_land=0.3))
    assert shapely.contains_xy(fiji, drawn.lonlat).all()


def test_cities_in_a_polygon_are_those_that_reach_it(area):
    settings = Places(num_places=300, within=area(SWISS), seed=2, sigma_km=30.0)
    drawn = draw(settings)
    assert shapely.contains_xy(SWISS, drawn.lonlat).all()
    assert drawn.tried < 20_000  # of all 10,000 cities, one candidate in 300 would fall there
    near = drawing._cities_near(largest_cities(10_000), shapely.multipolygons([SWISS]), reach_km=150.0)
    lon, lat = np.array([(c.lon, c.lat) for c in largest_cities(10_000)]).T
    # Nobody within 150 km is left out: a degree of longitude has 111.2 km times the cosine of the latitude.
    inside = (np.abs(lat - 46.8) < 1 + 150 / 111.2) & (
        np.abs(lon - 8.2) < 2.3 + 150 / (111.2 * np.cos(np.radians(lat)))
    )
    assert {c for c, i in zip(largest_cities(10_000), inside, strict=True) if i} <= set(near)
    assert len(near) < 2 * inside.sum()


def test_land_inside_keeps_the_cells_that_the_area_touches():
    land = land_inside(shapely.multipolygons([shapely.box(8.01, 46.01, 8.14, 46.04)]))
    rows, columns = np.nonzero(land.percent)
    assert set(rows) == {int((90 - 46.02) / 0.05)}
    assert sorted(set(columns)) == [3760, 3761, 3762]


def test_a_file_shuffled_and_in_order(table):
    rng = np.random.default_rng(0)
    lonlat = np.round(np.stack([rng.uniform(6, 30, 2500), rng.uniform(46, 50, 2500)], axis=1), 6)
    path = table(lonlat)
    whole = draw(Places(points=path, min_land=0.0))
    assert (whole.num, whole.tried, whole.turned_down) == (2500, 2500, {})
    assert sorted(map(tuple, whole.lonlat.tolist())) == sorted(map(tuple, lonlat.tolist()))
    assert (whole.lonlat != lonlat).any()
    names = [int(n[1:]) for n in whole.names]
    assert (lonlat[names] == whole.lonlat).all()
    some = draw(Places(points=path, min_land=0.0, num_places=100, spare=0.1))
    assert (some.lonlat == whole.lonlat[:110]).all()
    kept = draw(Places(points=path, min_land=0.0, order="file", num_places=1100))
    assert (kept.lonlat == lonlat[:1100]).all()
    assert kept.names == tuple(f"p{i}" for i in range(1100))


def test_rules_hold_for_files_too(table):
    path = table([(8.0, 47.0), (8.001, 47.0), (-30.0, 40.0), (9.0, 80.0), (10.0, 48.0)])
    drawn = draw(Places(points=path, order="file", overlap=False))
    assert drawn.lonlat.tolist() == [[8.0, 47.0], [10.0, 48.0]]
    assert drawn.names == ("p0", "p4")
    assert drawn.num == 2
    assert drawn.turned_down == {"--lat-min/--lat-max": 1, "--min-land": 1, "--no-overlap": 1}


def test_fewer_spare_places_than_asked_are_a_note(table):
    drawn = draw(Places(points=table([(8.0, 47.0), (9.0, 47.0), (-30.0, 40.0)]), num_places=1, spare=2.0))
    assert (drawn.num, len(drawn.lonlat)) == (1, 2)
    assert drawn.notes == ("only 1 of 2 spare places were found (turned down: 1 by --min-land)",)


def test_balance_reaches_its_target_shares():
    settings = Places(num_places=20_000, balance=("continent",), balance_power=0.0, max_boost=20.0)
    drawn = draw(settings)
    found = np.bincount(classes_of("continent", drawn.lonlat), minlength=7) / 20_000
    balance = drawn.balance
    assert balance.kinds == ("continent",)
    assert found[balance.code - 1] == pytest.approx(balance.target, abs=0.015)
    oceania = names_of("continent").index("Oceania")
    limited = balance.code == oceania + 1
    assert balance.target[limited] == pytest.approx(balance.natural[limited] * 20)
    assert np.ptp(balance.target[~limited]) < 1e-9  # all others are equal
    plain = draw(Places(num_places=20_000))
    natural = np.bincount(classes_of("continent", plain.lonlat), minlength=7) / 20_000
    assert natural[balance.code - 1] == pytest.approx(balance.natural, abs=0.015)
    same = draw(Places(num_places=20_000, balance=("continent",), balance_power=1.0))
    assert (same.lonlat == plain.lonlat).all()
    assert PILOT > 100_000


@pytest.mark.parametrize(
    ("shape", "settings", "said"),
    [
        (shapely.box(-40, 20, -30, 30), {}, "no land inside its polygons; give other ones, or --min-land 0"),
        (SWISS, {"sampler": "land", "lat_min": -10, "lat_max": 10}, "no land between latitudes -10 and 10"),
        (SWISS, {"num_cities": 100, "sigma_km": 10.0}, "none of the 100 cities is within 50 km of its polygons; take more"),
        (SWISS, {"sampler": "land", "min_distance_km": 50.0},
         r"found \d\d of the 3000 places asked among \d+ candidates \(turned down: \d+ by --min-distance-km.*\): ask for"),
        (SWISS, {"sampler": "land", "overlap": False, "patch_px": 2000}, r"found \d\d of the 3000 .*by --no-overlap"),
        (shapely.box(8.0, 46.0, 8.0001, 46.0001), {"sampler": "land"}, r"found \d of the 3000 .*by --within"),
    ],
)  # fmt: skip
def test_what_cannot_be_had(area, monkeypatch, shape, settings, said):
    monkeypatch.setattr(drawing, "WINDOW", 20_000)
    with pytest.raises(DatasetError, match=said) as caught:
        draw(Places(num_places=3000, within=area(shape), **settings))
    assert "\n" not in str(caught.value)


def test_a_file_with_too_few_places(table):
    path = table([(8.0, 47.0), (-30.0, 40.0)])
    with pytest.raises(
        DatasetError, match=r"found 1 of the 2 places asked among 2 candidates .*1 by --min-land"
    ):
        draw(Places(points=path, num_places=2))
    with pytest.raises(DatasetError, match=r"found 0 of the 1 places"):
        draw(Places(points=table([(-30.0, 40.0)])))


def test_a_slow_pace_goes_on_where_few_are_missing(monkeypatch):
    monkeypatch.setattr(drawing, "WINDOW", 8192)
    drawn = draw(Places(num_places=20, num_cities=34_000, lat_min=66.0, lat_max=68.0))
    assert len(drawn.lonlat) == 20
    assert drawn.tried > 2 * 8192


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_places": 0}, r"0 places asked; .*\(--num\)"),
        ({"num_places": 10**9}, r"1000000000 places asked; ask for 1 to 10000000 \(--num\)"),
        ({"seed": -1}, r"seed -1"),
        ({"spare": -0.1}, r"--spare -0.1; between 0 and 10"),
        ({"sigma_km": 0.0}, r"--sigma-km 0; between"),
        ({"patch_px": 5}, r"patch of 5 px; 12 to 10980"),
        ({"min_land": 1.5}, r"--min-land 1.5; between 0 and 1"),
        ({"lat_min": 10.0, "lat_max": 5.0}, r"latitudes 10 to 5"),
        ({"lat_max": 91.0}, r"latitudes -60 to 91; .*<= 84, where Sentinel-2 has tiles"),
        ({"min_distance_km": -1.0}, r"--min-distance-km -1"),
        (
            {"balance": ("climate", "moon")},
            r"balance by climate,moon; choose from country,continent,climate,landcover",
        ),
        ({"balance": ("climate", "climate")}, r"each once"),
        ({"balance_power": 2.0}, r"--balance-power 2; between 0 and 1"),
        ({"max_boost": 0.5}, r"--max-boost 0.5; between 1 and 100"),
    ],
)
def test_settings_out_of_range(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Places(**wrong)


def test_more_cities_than_are_known():
    with pytest.raises(ConfigError, match=r"50000 cities asked, \d+ are known"):
        draw(Places(num_places=1, num_cities=50_000))


def test_provenance_names_files_by_their_hash(table, area, tmp_path):
    settings = Places(points=table([(8, 47)]), within=area(SWISS))
    values = settings.provenance()
    assert values["points"]["file"] == "points.csv"
    assert len(values["within"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(values)
    with pytest.raises(DatasetError, match=r"cannot read .*gone.csv"):
        Places(points=tmp_path / "gone.csv").provenance()
