"""Tables of metadata in, plan out; and what holds for every plan."""

import dataclasses
import datetime as dt

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seco.collect import plan
from seco.collect.dates import slots_of
from seco.collect.plan import plan_places, without_duplicates
from seco.planet.catalogue.tiles import tile_from_id
from seco.planet.utm import to_lonlat, to_utm

# One season aimed at 2023-06-15, two weeks around it; scenes as (date, cloud).
ONE = {
    "first": dt.date(2023, 6, 15),
    "last": dt.date(2023, 6, 15),
    "seasons": 1,
    "spacing_days": 1,
    "window_days": 15,
}
AROUND = {**ONE, "first": dt.date(2023, 6, 1), "last": dt.date(2023, 6, 29), "seasons": 1, "spacing_days": 29}

TABLE = [
    # what, scenes (date, cloud), settings, ids in order or the reason
    ("the nearest day first", [("2023-06-05", 0), ("2023-06-14", 0), ("2023-06-20", 0)], {}, ["06-14", "06-20", "06-05"]),
    ("a tie of days goes to the earlier", [("2023-06-18", 0), ("2023-06-12", 0)], {}, ["06-12", "06-18"]),
    ("15 days weigh as much as the most cloud", [("2023-06-15", 10), ("2023-06-01", 0)], {}, ["06-01", "06-15"]),
    ("cloud decides among equal days", [("2023-06-12", 8), ("2023-06-18", 1)], {}, ["06-18", "06-12"]),
    ("too cloudy is left out", [("2023-06-15", 10.1), ("2023-06-20", 10)], {}, ["06-20"]),
    ("unknown cloud counts as the most", [("2023-06-15", None), ("2023-06-16", 5)], {}, ["06-16", "06-15"]),
    ("beyond the range of dates", [("2023-05-31", 0), ("2023-06-30", 0)], {}, plan.NO_SCENES),
    ("beyond the window", [("2023-06-03", 0), ("2023-06-20", 0)], {"window_days": 5}, ["06-20"]),
    ("only beyond the window", [("2023-06-03", 0)], {"window_days": 5}, plan.NO_DAYS),
    ("all of them, however many are tried", [("2023-06-14", 0), ("2023-06-16", 0), ("2023-06-17", 0)], {"candidates": 2},
     ["06-14", "06-16", "06-17"]),
    ("none at all", [], {}, plan.NO_SCENES),
    ("clear skies only", [("2023-06-14", 0), ("2023-06-15", 0.1)], {"max_cloud": 0}, ["06-14"]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _target(monkeypatch):
    """Aim at the middle of the month in these tables, whatever the seed would draw."""
    monkeypatch.setattr("seco.collect.dates.draw", lambda seed, what, name: 0.5)


@pytest.mark.parametrize(("scenes", "values", "expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_one_season(make, scenes, values, expected):
    (found,) = plan_places(
        [make.place()], [make.scene(d, c) for d, c in scenes], make.collect(**{**AROUND, **values})
    )
    if isinstance(expected, str):
        assert found.reason == expected
        assert not found.seasons
        assert not found.is_whole
    else:
        assert found.reason is None
        (season,) = found.seasons
        assert season.slot.target == dt.date(2023, 6, 15)
        assert [c.scene.id[-5:] for c in season.candidates] == expected
        assert [c.rank for c in season.candidates] == list(range(len(expected)))


# East of the left edge of 31UFQ, in metres; its raster is 109,800 m wide, and 31UGQ begins at 99,960 m.
TILES = [
    # what, x of the place, tiles with scenes of June and of December, settings, tile or reason
    ("in the middle", 50_000, {"31UFQ": "JD"}, {}, "31UFQ"),
    ("the tile with all seasons, not the deeper one", 103_000, {"31UFQ": "JD", "31UGQ": "J"}, {}, "31UFQ"),
    ("two with all: the one farther from the edge", 106_000, {"31UFQ": "JD", "31UGQ": "JD"}, {}, "31UGQ"),
    ("two with all, on the other side", 103_000, {"31UFQ": "JD", "31UGQ": "JD"}, {}, "31UFQ"),
    ("never a season from each", 103_000, {"31UFQ": "J", "31UGQ": "D"}, {}, plan.SEASON_MISSING),
    ("over the edge", 500, {"31UFQ": "JD"}, {}, plan.OVER_EDGE),
    ("over the edge of one, whole in the other", 109_000, {"31UFQ": "JD", "31UGQ": "JD"}, {}, "31UGQ"),
    ("padded where allowed", 500, {"31UFQ": "JD"}, {"edge": "pad", "max_nodata": 0.5}, "31UFQ"),
    ("whole before padded", 109_000, {"31UFQ": "JD", "31UGQ": "JD"}, {"edge": "pad", "max_nodata": 0.9}, "31UGQ"),
    ("not padded more than may be without data", 500, {"31UFQ": "JD"}, {"edge": "pad", "max_nodata": 0.1}, plan.NOT_SEEN),
    ("outside every raster", -5_000, {"31UFQ": "JD"}, {}, plan.NO_SCENES),
    ("a season missing", 50_000, {"31UFQ": "J"}, {}, plan.SEASON_MISSING),
    ("kept in part", 50_000, {"31UFQ": "J"}, {"incomplete": "keep"}, "31UFQ"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("x", "tiles", "values", "expected"), [t[1:] for t in TILES], ids=[t[0] for t in TILES]
)
def test_one_tile_for_all_seasons(make, x, tiles, values, expected):
    dates = {"J": "2023-06-15", "D": "2023-12-14"}
    scenes = [make.scene(dates[s], tile=tile) for tile, seasons in tiles.items() for s in seasons]
    two = {"first": dt.date(2023, 6, 1), "last": dt.date(2023, 12, 31), "seasons": 2, "spacing_days": 183}
    (found,) = plan_places([make.place(x)], scenes, make.collect(**two, **values))
    if expected in plan.REASONS:
        assert found.reason == expected
        return
    assert found.tile == expected
    chosen = [c for s in found.seasons for c in s.candidates]
    assert {c.scene.tile for c in chosen} == {expected}
    assert {c.window for c in chosen} == {found.window}
    assert found.is_whole == (values.get("incomplete") is None)


def test_windows_are_snapped_and_centred(make):
    place = make.place(50_011, 49_987)
    (found,) = plan_places([place], [make.scene("2023-06-15")], make.collect(**AROUND))
    tile = tile_from_id("31UFQ")
    assert (found.window.left_m - tile.left_m) % 60 == 0
    assert (tile.top_m - found.window.top_m) % 60 == 0
    east, north = to_utm(tile.epsg, place.lon, place.lat)
    left, bottom, right, top = found.window.bounds_m
    assert right - left == top - bottom == 2640
    assert abs((left + right) / 2 - east) <= 30
    assert abs((bottom + top) / 2 - north) <= 30


@pytest.mark.parametrize(
    ("east_m", "expected"), [(60_000, 1.0), (51_300, 1.0), (51_240, 43 / 44), (49_980, 0.5), (48_000, None)]
)
def test_coverage_is_measured_on_the_raster(make, east_m, expected):
    """What was seen ends `east_m` east of the tile's edge; the snapped patch lies from 48,660 to 51,300 m."""
    half = make.scene("2023-06-15", nodata_percent=50.0, footprint=make.outline("31UFQ", east_m=east_m))
    (found,) = plan_places([make.place(50_000)], [half], make.collect(**AROUND, max_nodata=0.6))
    if expected is None:
        assert found.reason == plan.NOT_SEEN
    else:
        (candidate,) = found.seasons[0].candidates
        assert candidate.coverage == pytest.approx(expected, abs=1e-6)


def test_straight_edges_are_straight_on_the_raster(make):
    """In longitude and latitude the outline's northern edge would cut the patch, in the raster's own CRS it does not."""
    full = make.scene("2023-06-15", nodata_percent=None)
    (found,) = plan_places([make.place(54_900, 1_400)], [full], make.collect(**AROUND))
    left, bottom, right, top = found.window.bounds_m
    corners = ((left, top), (left, bottom), (right, bottom), (right, top))
    patch = shapely.Polygon([tuple(map(float, to_lonlat(found.window.epsg, *c))) for c in corners])
    assert patch.intersection(full.footprint).area / patch.area < 0.98
    assert found.seasons[0].candidates[0].coverage == pytest.approx(1.0, abs=1e-6)


def test_a_pole_is_counted(make):
    pole = dataclasses.replace(make.place(), lat=89.0)
    (found,) = plan_places([pole], [make.scene("2023-06-15")], make.collect(**AROUND))
    assert found.reason == plan.POLAR


DUPLICATES = [
    # what, two scenes' differing fields, which stays
    ("the higher baseline", {"baseline": "05.00"}, {"baseline": "05.10"}, "b"),
    ("any baseline before none", {"baseline": "02.04"}, {"baseline": None}, "a"),
    ("then the one that saw more", {"nodata_percent": 40.0}, {"nodata_percent": 10.0}, "b"),
    ("then the last by name", {}, {}, "b"),
    ("another datatake is no duplicate", {"datatake": "x"}, {"datatake": "y"}, "ab"),
]


@pytest.mark.parametrize(("a", "b", "stays"), [t[1:] for t in DUPLICATES], ids=[t[0] for t in DUPLICATES])
def test_duplicates(make, a, b, stays):
    pair = [make.scene("2023-06-15", id="a", **a), make.scene("2023-06-15", id="b", **b)]
    for scenes in (pair, pair[::-1]):
        assert "".join(s.id for s in without_duplicates(scenes)) == stays


SCENES = st.lists(
    st.tuples(
        st.integers(0, 730), st.sampled_from(["31UFQ", "31UGQ"]), st.floats(0, 20), st.sampled_from([0.0, 30.0]),
        st.integers(10_000, 109_800), st.integers(0, 2),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scenes=SCENES, xs=st.lists(st.integers(0, 130_000), min_size=1, max_size=5), seed=st.integers(0, 9),
    keep=st.booleans(), pad=st.booleans(), rule=st.sampled_from(["spaced", "calendar"]),
    order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_what_holds_for_every_plan(make, monkeypatch, scenes, xs, seed, keep, pad, rule, order):
    monkeypatch.undo()  # here the seed draws
    first = dt.date(2023, 1, 1)
    made = [
        make.scene(
            str(first + dt.timedelta(days=d)), c, tile=t, nodata_percent=n, id=f"{t}{i}", datatake=f"{d}-{take}",
            footprint=make.outline(t, east_m=e),
        )
        for i, (d, t, c, n, e, take) in enumerate(scenes)
    ]  # fmt: skip
    places = [make.place(x, id=f"p{i}", index=i) for i, x in enumerate(xs)]
    config = make.collect(
        seed=seed, window_days=60, seasons=4, rule=rule, incomplete="keep" if keep else "replace",
        edge="pad" if pad else "whole",
    )  # fmt: skip
    plans = plan_places(places, made, config)
    shuffled = list(made)
    order.shuffle(shuffled)
    assert shown(plan_places(places, shuffled, config)) == shown(plans)
    # No place's plan depends on the others planned with it.
    assert shown(plan_places(places[::-1], made, config)[::-1]) == shown(plans, turns=False)
    for place, found in zip(places, plans, strict=True):
        assert found.place == place
        if found.reason is not None:
            assert found.reason in plan.REASONS
            assert not found.seasons
            continue
        chosen = [c for s in found.seasons for c in s.candidates]
        assert len({c.scene.key for c in chosen}) == len(chosen)
        assert len({(c.scene.grid, c.window) for c in chosen}) == 1
        assert tuple(s.slot for s in found.seasons) == slots_of(place, config)
        assert found.is_whole or keep
        for season in found.seasons:
            assert [c.rank for c in season.candidates] == list(range(len(season.candidates)))
            for c in season.candidates:
                assert season.slot.first <= c.scene.day <= season.slot.last
                assert abs((c.scene.day - season.slot.target).days) <= 60
                assert c.scene.cloud_percent <= config.max_cloud
                assert c.coverage >= 1 - config.max_nodata - plan.OUTLINE_SLACK
        left, bottom, right, top = found.window.bounds_m
        raster = chosen[0].scene.finest.bounds_m
        assert pad or (left >= raster[0] and bottom >= raster[1] and right <= raster[2] and top <= raster[3])


def shown(plans, *, turns=True):
    return [
        (
            p.place.id, p.reason, p.tile, p.window,
            [(s.slot, [(c.rank, c.scene.key, c.coverage) for c in s.candidates]) for s in p.seasons],
        )
        for p in plans
    ]  # fmt: skip


def test_many_places_at_once_are_planned_as_one_by_one(make):
    rng = np.random.default_rng(0)
    scenes = [
        make.scene(f"2023-06-{d:02d}", float(d % 12), tile=t)
        for d in range(1, 30)
        for t in ("31UFQ", "31UGQ")
    ]
    places = [
        make.place(float(x), float(y), id=f"p{i}", index=i)
        for i, (x, y) in enumerate(rng.uniform(0, 109_800, (60, 2)))
    ]
    together = plan_places(places, scenes, make.collect(**AROUND))
    assert shown(together) == [shown(plan_places([p], scenes, make.collect(**AROUND)))[0] for p in places]
    assert {p.tile for p in together} >= {"31UFQ", "31UGQ"}
