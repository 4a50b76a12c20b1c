import itertools

import numpy as np
import pytest

from seco.errors import ConfigError, DatasetError
from seco.places.cities import City
from seco.places.land import LandMask
from seco.places.samplers import around_cities, select_places, uniform_on_land
from seco.places.sphere import wrap_longitude

KM_PER_DEGREE = np.pi / 180 * 6371.0088


def city(lon, lat):
    return City(name="x", country="XX", lon=lon, lat=lat, population=1)


def draw(stream, num):
    return np.concatenate(list(itertools.islice(stream, -(-num // 1024))))[:num]


def distance_km(lonlat, lon, lat):
    a, b = np.radians(lonlat).T, np.radians((lon, lat))
    half = np.sin((a[1] - b[1]) / 2) ** 2 + np.cos(a[1]) * np.cos(b[1]) * np.sin((a[0] - b[0]) / 2) ** 2
    return 2 * 6371.0088 * np.arcsin(np.sqrt(half))


class TestAroundCities:
    def test_a_function_of_the_seed(self):
        cities = [city(10, 50), city(-70, -30)]
        first = draw(around_cities(cities, sigma_km=50, seed=3), 3000)
        assert (first == draw(around_cities(cities, sigma_km=50, seed=3), 3000)).all()
        assert (first[:100] == draw(around_cities(cities, sigma_km=50, seed=3), 100)).all()
        other = draw(around_cities(cities, sigma_km=50, seed=4), 3000)
        assert not np.isclose(first, other).all(axis=1).any()
        assert len(np.unique(first, axis=0)) == 3000  # no batch repeats another

    def test_global_state_is_not_used(self):
        np.random.seed(0)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        next(around_cities([city(0, 0)], sigma_km=1, seed=0))
        assert (np.random.get_state()[1] == before).all()  # noqa: NPY002

    def test_cities_are_equally_likely(self):
        places = draw(around_cities([city(0, 0), city(90, 0), city(-90, 0)], sigma_km=10, seed=0), 9000)
        assert np.unique(np.round(places[:, 0] / 90), return_counts=True)[1] == pytest.approx(
            [3000] * 3, rel=0.06
        )

    @pytest.mark.parametrize(("metric", "east_km"), [("ground", 50.0), ("paper", 25.0)])
    def test_spread_at_60_degrees(self, metric, east_km):
        places = draw(around_cities([city(20, 60)], sigma_km=50, seed=0, metric=metric), 20_000)
        east = (places[:, 0] - 20) * KM_PER_DEGREE * np.cos(np.radians(places[:, 1]))
        north = (places[:, 1] - 60) * KM_PER_DEGREE
        assert east.std() == pytest.approx(east_km, rel=0.03)
        assert north.std() == pytest.approx(50, rel=0.03)
        assert abs(east.mean()) < 1.5
        assert abs(north.mean()) < 1.5
        assert abs(np.corrcoef(east, north)[0, 1]) < 0.03

    @pytest.mark.parametrize("metric", ["ground", "paper"])
    @pytest.mark.parametrize(("lon", "lat"), [(179.9, 10), (-179.95, -20), (30, 89.8), (30, -89.8)])
    def test_over_the_antimeridian_and_the_poles(self, metric, lon, lat):
        places = draw(around_cities([city(lon, lat)], sigma_km=50, seed=0, metric=metric), 5000)
        assert (np.abs(places[:, 1]) <= 90).all()
        assert (places[:, 0] >= -180).all()
        assert (places[:, 0] < 180).all()
        assert distance_km(places, lon, lat).max() < 50 * 6
        crossed = np.abs(wrap_longitude(places[:, 0] - lon)) > 90 if abs(lat) > 80 else places[:, 0] * lon < 0
        assert crossed.any()

    def test_ground_distance_at_the_pole(self):
        places = draw(around_cities([city(30, 90)], sigma_km=50, seed=0), 20_000)
        rayleigh_mean = 50 * np.sqrt(np.pi / 2)
        assert distance_km(places, 30, 90).mean() == pytest.approx(rayleigh_mean, rel=0.02)
        assert np.histogram(places[:, 0], 4, (-180, 180))[0] == pytest.approx([5000] * 4, rel=0.06)

    @pytest.mark.parametrize(
        ("cities", "sigma_km", "seed", "message"),
        [
            ([], 50.0, 0, "no city"),
            ([city(0, 0)], 0.0, 0, "0.0 km: it must be above 0"),
            ([city(0, 0)], float("nan"), 0, "nan km"),
            ([city(0, 0)], 50.0, -1, "seed -1"),
        ],
    )
    def test_bad_input_is_told_before_drawing(self, cities, sigma_km, seed, message):
        with pytest.raises(ConfigError, match=message):
            around_cities(cities, sigma_km=sigma_km, seed=seed)


def land_of(percent):
    return LandMask.from_percent(np.asarray(percent, dtype=np.uint8))


class TestUniformOnLand:
    def test_even_by_area_on_the_sphere(self):
        places = draw(uniform_on_land(land_of(np.full((18, 36), 100)), seed=0), 20_000)
        assert np.sin(np.radians(places[:, 1])).mean() == pytest.approx(0, abs=0.02)
        # The caps beyond 60 degrees hold 1 - sin 60 of the sphere, not the third that even latitudes would put there.
        assert (np.abs(places[:, 1]) > 60).mean() == pytest.approx(1 - np.sin(np.radians(60)), abs=0.01)
        assert np.histogram(places[:, 0], 4, (-180, 180))[0] == pytest.approx([5000] * 4, rel=0.06)

    def test_in_proportion_to_land(self):
        percent = np.zeros((18, 36))
        percent[8, 3], percent[9, 30] = 75, 25  # mirrored at the equator: equal areas
        places = draw(uniform_on_land(land_of(percent), seed=0), 8000)
        west = (places >= [-150, 0]).all(axis=1) & (places <= [-140, 10]).all(axis=1)
        east = (places >= [120, -10]).all(axis=1) & (places <= [130, 0]).all(axis=1)
        assert (west | east).all()
        assert west.mean() == pytest.approx(0.75, abs=0.02)
        assert places[west].std(axis=0) == pytest.approx([10 / np.sqrt(12)] * 2, rel=0.03)  # fills the cell

    def test_latitude_limits_cut_rows(self):
        full = land_of(np.full((18, 36), 100))
        places = draw(uniform_on_land(full, seed=0, lat_min=-3.0, lat_max=14.5), 5000)
        assert places[:, 1].min() == pytest.approx(-3, abs=0.05)
        assert places[:, 1].max() == pytest.approx(14.5, abs=0.05)
        assert places[:, 1].min() >= -3
        assert places[:, 1].max() <= 14.5

    def test_a_function_of_the_seed_apart_from_the_other_sampler(self):
        full = land_of(np.full((18, 36), 100))
        first = draw(uniform_on_land(full, seed=1), 2000)
        assert (first == draw(uniform_on_land(full, seed=1), 2000)).all()
        assert not (first == draw(uniform_on_land(full, seed=2), 2000)).any()

    @pytest.mark.parametrize(
        "limits", [(10.0, -10.0), (5.0, 5.0), (-91.0, 0.0), (0.0, 90.5), (float("nan"), 1.0)]
    )
    def test_bad_limits(self, limits):
        with pytest.raises(ConfigError, match="the first must be below the second, both within -90 to 90"):
            uniform_on_land(land_of(np.full((18, 36), 100)), seed=0, lat_min=limits[0], lat_max=limits[1])

    def test_no_land_between_the_limits(self):
        percent = np.zeros((18, 36))
        percent[0] = 100
        with pytest.raises(DatasetError, match="no land between latitudes -60 and 60: widen the limits"):
            uniform_on_land(land_of(percent), seed=0, lat_min=-60, lat_max=60)

    def test_negative_seed(self):
        with pytest.raises(ConfigError, match="seed -1"):
            uniform_on_land(land_of(np.full((18, 36), 100)), seed=-1)


class TestSelectPlaces:
    def batches(self):
        for start in itertools.count(step=10):
            yield np.stack([np.arange(start, start + 10.0), np.zeros(10)], axis=1)

    def test_takes_the_first_accepted_in_order(self):
        places = select_places(self.batches(), num=7, accept=lambda c: c[:, 0] % 3 == 1, max_tries=100)
        assert places[:, 0].tolist() == [1, 4, 7, 10, 13, 16, 19]

    def test_accept_may_remember(self):
        taken = []

        def apart(candidates):
            answers = []
            for lon in candidates[:, 0]:
                answers.append(all(abs(lon - other) >= 4 for other in taken))
                if answers[-1]:
                    taken.append(lon)
            return np.array(answers)

        assert select_places(self.batches(), num=4, accept=apart, max_tries=100)[:, 0].tolist() == [
            0,
            4,
            8,
            12,
        ]

    def test_the_bound_on_tries_holds_to_the_candidate(self):
        def accept(candidates):
            return candidates[:, 0] == 14

        assert select_places(self.batches(), num=1, accept=accept, max_tries=15)[0, 0] == 14
        with pytest.raises(
            DatasetError, match=r"found 0 of the 1 places asked in 14 tries: .*relax the land fraction"
        ):
            select_places(self.batches(), num=1, accept=accept, max_tries=14)

    def test_candidates_that_end(self):
        few = [np.zeros((3, 2)), np.ones((2, 2))]
        with pytest.raises(DatasetError, match=r"found 5 of the 6 places asked in 5 tries: .*relax the list"):
            select_places(few, num=6, accept=lambda c: np.ones(len(c), bool), max_tries=99, relax="the list")

    @pytest.mark.parametrize(
        ("num", "max_tries", "message"), [(0, 5, "0 places asked"), (1, 0, "at most 0 tries")]
    )
    def test_bad_numbers(self, num, max_tries, message):
        with pytest.raises(ConfigError, match=message):
            select_places(
                self.batches(), num=num, accept=lambda c: np.ones(len(c), bool), max_tries=max_tries
            )


def test_wrap_longitude():
    lon = np.array([0.0, 180.0, -180.0, 190.0, -541.0, 359.0, np.nextafter(-180.0, -200.0)])
    assert wrap_longitude(lon).tolist() == [0, -180, -180, -170, 179, -1, -180]
