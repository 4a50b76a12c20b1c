"""The days of seasons: spaced, by the calendar, and drawn from names alone."""

import dataclasses
import datetime as dt
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seco.collect.dates import draw, in_order, slots_of
from seco.collect.model import Place
from seco.collect.settings import Collect
from seco.errors import ConfigError


def place(name="a", lat=48.0, index=0):
    return Place(index=index, id=name, lon=4.0, lat=lat)


def collect(first, last, **values):
    return Collect(first=dt.date.fromisoformat(first), last=dt.date.fromisoformat(last), **values)


@settings(max_examples=100, deadline=None)
@given(
    name=st.text(max_size=8), seasons=st.integers(1, 6), spacing=st.integers(1, 120), slack=st.integers(0, 400),
    window=st.integers(0, 90), seed=st.integers(0, 5),
)  # fmt: skip
def test_spaced_dates(name, seasons, spacing, slack, window, seed):
    first = dt.date(2023, 1, 1)
    last = first + dt.timedelta(days=(seasons - 1) * spacing + slack)
    config = Collect(
        first=first, last=last, seasons=seasons, spacing_days=spacing, window_days=window, seed=seed
    )
    slots = slots_of(place(name), config)
    assert [s.index for s in slots] == list(range(seasons))
    assert all((b.target - a.target).days == spacing for a, b in itertools.pairwise(slots))
    for slot in slots:
        assert first <= slot.first <= slot.target <= slot.last <= last
        assert (slot.target - slot.first).days <= window
        assert (slot.last - slot.target).days <= window
    assert all(a.last < b.first for a, b in itertools.pairwise(slots))
    assert slots == slots_of(place(name, index=7), config)


def test_the_shift_uses_the_whole_range():
    config = collect("2023-01-01", "2024-12-31")
    shifts = [(slots_of(place(str(i)), config)[0].target - config.days[0]).days for i in range(3000)]
    assert min(shifts) == 0
    assert max(shifts) == 730 - 4 * 91
    assert np.std(np.histogram(shifts, bins=6)[0]) < 50  # 500 each, deviation about 20
    assert slots_of(place("0"), dataclasses.replace(config, seed=1)) != slots_of(place("0"), config)


@pytest.mark.parametrize(
    ("lat", "months"),
    [(48.0, [1, 4, 7, 10]), (0.0, [1, 4, 7, 10]), (-33.0, [7, 10, 1, 4])],
)
def test_slot_0_is_winter_everywhere(lat, months):
    config = collect("2023-01-01", "2023-12-31", rule="calendar", seasons=4, window_days=30)
    slots = slots_of(place(lat=lat), config)
    assert [s.target.month for s in slots] == months
    assert {s.target.day for s in slots} == {15}
    assert all(s.first >= dt.date(2023, 1, 1) for s in slots)


def test_a_second_winter_is_a_year_later_and_years_vary():
    config = collect("2020-01-01", "2024-12-31", rule="calendar", seasons=5)
    winters = [
        (slots_of(place(str(i)), config)[0].target, slots_of(place(str(i)), config)[4].target)
        for i in range(50)
    ]
    assert all(b.year == a.year + 1 for a, b in winters)
    assert {a.year for a, _ in winters} == {2020, 2021, 2022, 2023}


def test_windows_meet_in_the_middle():
    a, b = slots_of(place(), collect("2023-01-01", "2023-01-11", seasons=2, spacing_days=10, window_days=30))
    assert (a.target.day, b.target.day) == (1, 11)
    assert (a.last.day, b.first.day) == (6, 7)


def test_too_few_seasons_in_the_range():
    config = collect("2023-03-01", "2023-12-31", rule="calendar", seasons=4)
    with pytest.raises(ConfigError, match="middle of winter"):
        slots_of(place(), config)


def test_order_depends_on_names_alone():
    places = [place(f"p{i}", index=i) for i in range(100)]
    found = in_order(places, seed=3)
    assert found == in_order(places[::-1], seed=3)
    assert [p.id for p in found] != [p.id for p in places]
    assert found != in_order(places, seed=4)
    some = [p for p in found if p.index % 2]
    assert some == in_order([p for p in places if p.index % 2], seed=3)


def test_draws_are_even():
    values = np.array([draw(0, "x", str(i)) for i in range(4000)])
    assert 0 <= values.min() < 0.01 < 0.99 < values.max() < 1
    assert abs(values.mean() - 0.5) < 0.02
    assert draw(0, "x", "\ud800") == draw(0, "x", "\ud800")  # any name that Python can hold
