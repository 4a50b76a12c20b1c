"""The laid-out ground: one and the same from every window, in proportions of the real land cover."""

import datetime
from collections.abc import Callable

import numpy as np
import pytest

from seco.planet.earth.ground import VARIANTS, Ground, lay_out
from seco.planet.earth.surfaces import COVERS, GROUPS, MIXTURES, SPECTRA, Surface
from seco.planet.settings import Planet

At = Callable[[str], tuple[int, int, int]]
PLANET = Planet(seed=3)


def _ground(at: At, spot: str, size: int = 200, planet: Planet = PLANET, shift: int = 0) -> Ground:
    epsg, left, top = at(spot)
    reach = np.arange(size)
    return lay_out(planet, epsg=epsg, cols=left // 10 + shift + reach, rows=-top // 10 + shift + reach)


def _named(ground: Ground) -> np.ndarray:
    """Return codes with their season zone spelt out, since two windows number the zones differently."""
    zone = ground.code // (VARIANTS * len(Surface))
    return np.stack([*ground.zones[zone].transpose(2, 0, 1), ground.code % (VARIANTS * len(Surface))])


@pytest.mark.parametrize("spot", ["brie", "pampas", "cairo"])
def test_two_windows_agree_where_they_overlap(at: At, spot: str) -> None:
    one, two = _ground(at, spot), _ground(at, spot, shift=60)
    same = _named(one)[:, 60:, 60:] == _named(two)[:, :140, :140]
    # Single precision decides a pixel on a border otherwise once in ten thousand.
    assert same.all(axis=0).mean() > 0.9995
    np.testing.assert_allclose(one.east[60:, 60:], two.east[:140, :140], atol=1e-4)


def test_a_planet_is_its_seed(at: At) -> None:
    again = _ground(at, "brie")
    assert np.array_equal(_ground(at, "brie").code, again.code)
    assert (_ground(at, "brie", planet=Planet(seed=4)).code != again.code).mean() > 0.5


def _share(at: At, spot: str, *names: str) -> float:
    wanted = np.concatenate([GROUPS[n] for n in names])
    parts = [
        _ground(at, spot, size=120, shift=k * 300).surface_on(datetime.date(2020, 1, 1)) for k in range(8)
    ]
    return float(np.mean([np.isin(p, wanted).mean() for p in parts]))


def test_the_land_is_what_the_real_land_is(at: At) -> None:
    assert _share(at, "brie", "crop") > 0.4
    assert _share(at, "amazon", "broadleaf forest") > 0.3
    assert _share(at, "sahara", "bare") > 0.8
    assert _share(at, "taiga", "conifer forest") > 0.3
    assert _share(at, "cairo", "built") > 0.3
    assert _share(at, "sahara", "crop", "broadleaf forest", "conifer forest") < 0.1


def test_changes_happen_on_their_day_and_only_where_they_should(at: At) -> None:
    first, last = datetime.date(2021, 3, 1), datetime.date(2021, 9, 1)
    planet = Planet(seed=3, change_share=1.0, change_from=first, change_to=last)
    kinds = set()
    for spot in ("brie", "taiga", "pampas"):
        ground = _ground(at, spot, size=600, planet=planet)
        assert ground.changes
        before = ground.surface_on(first - datetime.timedelta(days=1))
        assert np.array_equal(ground.code_on(first - datetime.timedelta(days=1)), ground.code)
        # Without changes the planet of that seed is the same one.
        assert np.array_equal(_ground(at, spot, size=600).code, ground.code)
        for change in ground.changes:
            assert first <= change.day <= last
            kinds.add(change.kind)
            after = ground.surface_on(change.day)
            turned = after[change.where]
            if change.kind == "forest cut":
                assert (turned == Surface.CUT_FOREST).mean() > 0.9
                assert set(np.unique(before[change.where])) <= {
                    Surface.CONIFER, Surface.BROADLEAF, Surface.EVERGREEN_BROADLEAF, Surface.CUT_FOREST,
                }  # fmt: skip
            else:
                assert not np.isin(turned, [Surface.WATER, Surface.GARDEN]).any()
    assert kinds == {"forest cut", "district built"}


def test_tables_are_whole() -> None:
    np.testing.assert_allclose(MIXTURES.sum(axis=1), 1, atol=1e-6)
    assert set(COVERS) == set(Surface)
    assert sorted(s for group in GROUPS.values() for s in group) == sorted(Surface)
    for cover in COVERS.values():
        assert {cover.green, cover.dry} <= set(SPECTRA)
        assert cover.soil == "mixed" or cover.soil in SPECTRA
    for name, values in SPECTRA.items():
        assert values.shape == (12,), name
        assert (values > 0).all(), name
        assert (values < 1).all(), name
