import numpy as np
import pytest

from seco.places import balance
from seco.places.balance import UNKNOWN, class_names, joint_codes, measure, target_shares


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_targets_are_powers_of_natural_shares(power):
    natural = np.array([0.5, 0.3, 0.15, 0.05])
    target = target_shares(natural, natural * 1000, power=power)
    assert target == pytest.approx(natural**power / (natural**power).sum())


def test_no_class_is_raised_above_its_limit():
    natural = np.array([0.9, 0.0999, 0.0001])
    target = target_shares(natural, natural * 10, power=0.0)
    assert target.sum() == pytest.approx(1)
    assert target[2] == pytest.approx(0.001)
    assert target[0] == pytest.approx(target[1])
    assert target_shares(natural, natural, power=0.0) == pytest.approx(
        natural
    )  # nothing may be raised at all
    assert target_shares(np.array([1.0]), np.array([20.0]), power=0.0).tolist() == [1.0]


@pytest.fixture
def two_kinds(monkeypatch):
    """Classes by the whole degrees of longitude and latitude; -1 is unknown."""
    monkeypatch.setattr(balance, "names_of", lambda kind: ("a", "b", "c"))
    of = {"country": 0, "climate": 1}
    monkeypatch.setattr(balance, "classes_of", lambda kind, lonlat: lonlat[:, of[kind]].astype(np.int64))


def test_combinations_have_names(two_kinds):
    lonlat = np.array([[0.0, 0], [2, 1], [-1, 2], [1, -1]])
    codes = joint_codes(("country", "climate"), lonlat)
    assert len(set(codes.tolist())) == 4
    assert class_names(("country", "climate"), codes) == [
        "a / a",
        "c / b",
        f"{UNKNOWN} / c",
        f"b / {UNKNOWN}",
    ]
    assert class_names(("climate",), joint_codes(("climate",), lonlat)) == ["a", "b", "c", UNKNOWN]


def test_candidates_are_kept_in_proportion(two_kinds):
    rng = np.random.default_rng(0)
    lonlat = np.zeros((20_000, 2))
    lonlat[:, 0] = rng.choice([0, 1, -1], p=[0.9, 0.08, 0.02], size=len(lonlat))
    found = measure(("country",), lonlat, power=0.0, boost=20.0, seed=1)
    names = class_names(found.kinds, found.code)
    assert names == [UNKNOWN, "a", "b"]
    assert found.target[0] == pytest.approx(found.natural[0])  # what is unknown is not raised
    assert found.target[1] == pytest.approx(found.target[2])
    kept = lonlat[found.keep(lonlat, found.draws(0, len(lonlat)))][:, 0]
    shares = [(kept == v).mean() for v in (-1, 0, 1)]
    assert shares == pytest.approx(found.target.tolist(), abs=0.03)
    assert (kept == 1).sum() == (lonlat[:, 0] == 1).sum()  # the rarest is always taken
    unseen = np.array([[2.0, 0.0]] * 10)
    assert found.keep(unseen, np.full(10, 0.999)).all()
    assert (found.draws(0, 5) != found.draws(1, 5)).all()


def test_nothing_to_measure(two_kinds):
    found = measure(("country",), np.empty((0, 2)), power=0.0, boost=20.0, seed=1)
    assert found.keep(np.zeros((3, 2)), np.full(3, 0.9)).all()
