import pytest

from seco.errors import ConfigError
from seco.places.cities import City, largest_cities


def test_largest_first_and_a_prefix_of_more():
    cities = largest_cities(10_000)
    populations = [city.population for city in cities]
    assert populations == sorted(populations, reverse=True)
    assert populations[0] > 20_000_000
    assert 50_000 < populations[-1] < 80_000
    assert largest_cities(10) == cities[:10]
    assert len({(c.name, c.lon, c.lat) for c in cities}) == 10_000


def test_coordinates_are_longitude_then_latitude():
    tokyo = next(city for city in largest_cities(100) if city.name == "Tokyo")
    expected = City(name="Tokyo", country="JP", lon=tokyo.lon, lat=tokyo.lat, population=tokyo.population)
    assert tokyo == expected
    assert tokyo.lon == pytest.approx(139.7, abs=0.2)
    assert tokyo.lat == pytest.approx(35.7, abs=0.2)


@pytest.mark.parametrize("num", [0, -1, 1_000_000])
def test_numbers_out_of_range(num):
    with pytest.raises(ConfigError, match=rf"{num} cities asked, \d+ are known"):
        largest_cities(num)
