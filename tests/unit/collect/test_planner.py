"""Waves, replacements, counts; and the command."""

import dataclasses
import datetime as dt
import hashlib
import json
import os
from pathlib import Path

import pytest
import shapely

from seco import cli
from seco.collect.catalogs import catalog_of
from seco.collect.estimate import Rate, estimate
from seco.collect.model import Place
from seco.collect.plan import POLAR, REASONS
from seco.collect.planner import Planner, read_places
from seco.collect.search import group_places
from seco.errors import DatasetError
from seco.planet.catalogue.points import write_points

FIRST, LAST = dt.date(2023, 1, 1), dt.date(2023, 4, 30)


@pytest.fixture(scope="module")
def catalog(make, tmp_path_factory):
    """Two tiles; the eastern one is cloudy in its second half, so that its places lack a season."""
    clear = make.items("31UFQ", last="2023-04-30")
    num = len(make.items("31UGQ", last="2023-04-30"))
    gone = make.items("31UGQ", last="2023-04-30", cloud=lambda i: 90.0 if i > num // 3 else 0.0)
    return make.write_catalog(tmp_path_factory.mktemp("catalog"), clear + gone)


@pytest.fixture(scope="module")
def places(make):
    """Every second place in the tile that lacks a season."""
    xs = [(30_000 if i % 2 else 150_000) + 1000 * i for i in range(30)]
    return [make.place(x, 40_000, id=f"p{i}", index=i) for i, x in enumerate(xs)]


def collect(make, **values):
    return make.collect(**{"first": FIRST, "last": LAST, "seasons": 2, "spacing_days": 80, **values})


def planner(make, catalog, places, folder, **values):
    return Planner(places, catalog_of(str(catalog)), settings=collect(make, **values), folder=folder)


def test_places_that_lack_a_season_are_replaced(make, catalog, places, tmp_path):
    one = planner(make, catalog, places, tmp_path, num_places=8)
    taken = [p for wave in one.waves() for p in sorted(one.plans(wave), key=lambda p: p.order)]
    assert [p.order for p in taken] == list(range(30))
    good = [p.place.id for p in taken if p.is_whole]
    assert good
    assert {int(i[1:]) % 2 for i in good} == {1}
    survey = one.survey()
    assert survey.num_whole == survey.num_planned == 8
    assert survey.num_patches == 16
    # No more are looked at than are needed to find eight.
    assert survey.num_places == taken.index(next(p for p in taken if p.place.id == good[7])) + 1
    assert sum(survey.reasons.values()) == survey.num_places - 8
    assert set(survey.reasons) <= set(REASONS)
    again = planner(make, catalog, places[::-1], tmp_path / "again", num_places=8)
    assert dataclasses.replace(again.survey(), dropped=survey.dropped) == survey


def test_places_that_are_needed_anyway_come_tile_by_tile(make, catalog, places, tmp_path):
    one = planner(make, catalog, places, tmp_path, num_places=12, incomplete="keep")
    (wave, *_) = one.waves()
    plans = list(one.in_turn(wave))
    core = plans[:12]
    assert sorted(p.order for p in core) == list(range(12))
    tiles = [p.tile for p in core if p.tile]
    assert tiles == sorted(tiles)
    assert len(set(tiles)) == 2
    assert [p.order for p in core] != sorted(p.order for p in core)
    assert [p.order for p in plans[12:]] == list(range(12, len(wave)))


def test_plans_made_again_in_their_turn_are_the_plans(make, catalog, places, tmp_path):
    one = planner(make, catalog, places, tmp_path, num_places=12, incomplete="keep")

    def told(plan):
        found = [[(c.rank, c.scene.id, c.coverage) for c in s.candidates] for s in plan.seasons]
        return plan.place.id, plan.order, plan.tile, plan.window, plan.reason, found

    (wave, *_) = one.waves()
    at_once = {p.order: told(p) for p in one.plans(wave)}
    assert {p.order: told(p) for p in one.in_turn(wave)} == at_once
    assert any(t[-1] for t in at_once.values())


def test_a_plan_stays_what_it_was(make, catalog, places, tmp_path):
    """Datasets can only be made again if plans stay: a change of this digest has to be meant, and told in the changelog.

    What goes into it is whole numbers and shares of exactly 1; corners lie at least 10 m from where they would be rounded
    the other way. So it is the same on every platform.
    """
    told = []
    for rule in ({"rule": "spaced"}, {"rule": "calendar", "incomplete": "keep", "edge": "pad", "seed": 3}):
        one = planner(make, catalog, places, tmp_path, num_places=12, window_days=30, **rule)
        for plan in (p for wave in one.waves() for p in one.in_turn(wave)):
            seasons = [[(c.scene.id, round(c.coverage, 3)) for c in s.candidates] for s in plan.seasons]
            corner = (plan.window.left_m, plan.window.top_m) if plan.window else None
            told.append((plan.place.id, plan.tile, corner, plan.reason, seasons))
    assert len(told) == 60
    assert sum(bool(t[-1]) for t in told) > 30
    assert {share for t in told for season in t[-1] for _, share in season} == {1.0}
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] == "4bc066f8abef8599"


def test_later_waves_search_nothing_again(make, catalog, places, tmp_path, fake_api):
    fake_api.items, fake_api.page = json.loads(catalog.read_text())["features"], 1000
    one = Planner(
        places, catalog_of(fake_api.url), settings=collect(make, num_places=2), folder=tmp_path
    )  # waves of ten
    waves = list(one.waves())
    assert [len(w) for w in waves] == [10, 10, 10]
    plans = [p for wave in waves for p in one.plans(wave)]
    assert len(fake_api.searches) == len(group_places(places, size_px=264)[0])
    local = planner(make, catalog, places, tmp_path / "local")
    assert {p.place.id: p.window for p in plans} == {p.place.id: p.window for p in local.plans(local.places)}


def test_no_more_searches_are_reckoned_with_than_there_is_land(make, catalog, places, tmp_path, fake_api):
    fake_api.items, fake_api.page = json.loads(catalog.read_text())["features"], 1000
    one = Planner(places, catalog_of(fake_api.url), settings=collect(make), folder=tmp_path)
    survey = one.survey()
    own, more, most = estimate(
        one, survey, Rate(windows_a_second=100.0, source="as told"), sizes=(200, 10**9)
    )
    assert own["searches"] < more["searches"] < most["searches"]
    pages = -(-survey.num_found // survey.num_searched // one.catalog.limits.page_items)
    assert most["searches"] == 19_001 * max(pages, 1)


def test_kept_in_part(make, catalog, places, tmp_path):
    survey = planner(make, catalog, places, tmp_path, incomplete="keep").survey()
    assert survey.num_places == survey.num_planned == 30
    assert survey.num_whole == 15
    assert 30 < survey.num_patches < 60


def test_all_places_are_planned_next_to_their_neighbours(make, catalog, places, tmp_path):
    pole = Place(index=30, id="pole", lon=0.0, lat=89.0)
    one = planner(make, catalog, [*places, pole], tmp_path)
    (wave,) = one.waves()
    plans = list(one.plans(wave))
    assert sorted(p.order for p in plans) == list(range(31))
    assert [p.place.id for p in plans if p.reason == POLAR] == ["pole"]
    assert {p.tile for p in plans if p.is_whole} == {"31UFQ"}


def test_estimates_are_of_the_right_size(make, catalog, places, tmp_path):
    one = planner(make, catalog, places[1:2], tmp_path)
    survey = one.survey()
    # Two patches of one 10 m band and SCL of 20 m.
    assert survey.pixel_bytes == 2 * (264 * 264 * 2 + 132 * 132)
    assert survey.pixel_bytes < survey.fetched_bytes < 40 * survey.pixel_bytes
    assert survey.num_scenes == 2


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".geojson"])
def test_places_and_their_names(tmp_path, suffix):
    path = tmp_path / f"places{suffix}"
    if suffix == ".csv":
        path.write_text("id,lon,lat\na,1.5,2\nb,3,-4\n")
    elif suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"place": ["a", "b"], "lon": [1.5, 3.0], "lat": [2.0, -4.0]}), path)
    else:
        points = [
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": c}} for c in ([1.5, 2], [3, -4])
        ]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": points}))
    found = read_places(path)
    assert [(p.index, p.lon, p.lat) for p in found] == [(0, 1.5, 2.0), (1, 3.0, -4.0)]
    assert [p.id for p in found] == (["0", "1"] if suffix == ".geojson" else ["a", "b"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,lon,lat\na,1,2\na,3,4\n", "two places are named 'a'"),
        ("id,lon,lat\n,1,2\nb,3,4\n", "is named ''"),
        (f"id,lon,lat\n{'x' * 200},1,2\n", "1 to 120"),
        ("id,lon,lat\n", "there are none"),
        ("x\n", "no columns"),
        ("id,lon,lat\na,1,89\n", "latitude"),
    ],
)
def test_places_that_cannot_be_used(tmp_path, text, words):
    path = tmp_path / "places.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_places(path)


def run(capsys, *args):
    code = cli.main(["collect", "plan", *args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_command(make, catalog, places, tmp_path, capsys):
    import numpy as np

    write_points(np.array([(p.lon, p.lat) for p in places]), tmp_path / "places.csv")
    usual = (
        "--places", str(tmp_path / "places.csv"), "--catalog", str(catalog), "--from", str(FIRST), "--to", str(LAST),
        "--seasons", "2", "--spacing-days", "80", "--bands", "B04", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    code, out, err = run(capsys, *usual)
    assert (code, err) == (0, "")
    assert "30 places: 15 with a plan, 15 with all seasons" in out
    assert "a season without a scene" in out
    assert "too cloudy" in out
    code, out, _ = run(capsys, *usual, "--json")
    told = json.loads(out)
    assert told["num_whole"] == 15
    assert told["settings"]["first"] == "2023-01-01"
    for missing in ("--places", "--from"):
        at = usual.index(missing)
        code, _, err = run(capsys, *usual[:at], *usual[at + 2 :])
        assert code == 2
        assert len(err.splitlines()) == 1
        assert missing in err


DATA = Path(os.environ.get("SECO_DATA", "../shared/data")) / "stac_items"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real items in {DATA}")
@pytest.mark.parametrize(
    ("name", "tile", "day", "cloud", "item"),
    [
        ("earth-search_sentinel-2-l2a", "13TDE", dt.date(2023, 10, 8), 1.0, "S2A_13TDE_20231008_0_L2A"),
        ("planetary-computer_sentinel-2-l2a", "59VMC", dt.date(2019, 1, 1), 40.0,
         "S2A_MSIL2A_20190101T000001_R116_T59VMC_20201007T214703"),
        ("earth-search_sentinel-2-l1c", "24MXV", dt.date(2025, 7, 31), 20.0, "S2B_24MXV_20250731_0_L1C"),
    ],
)  # fmt: skip
def test_real_catalogues_are_planned(make, tmp_path, name, tile, day, cloud, item):
    collection = name.partition("_")[2]
    config = make.collect(first=day, last=day, seasons=1, max_cloud=cloud, bands=("all",))
    items = json.loads((DATA / f"{name}.json").read_bytes())["features"]
    outline = shapely.geometry.shape(next(i["geometry"] for i in items if i["id"] == item))
    middle = shapely.maximum_inscribed_circle(outline).coords[0]
    places = [
        dataclasses.replace(make.place(), id="middle", lon=middle[0], lat=middle[1]),
        make.place(54_000, 1_000, tile=tile, id="edge", index=1),
    ]
    catalog = catalog_of(str(DATA / f"{name}.json"), collection=collection)
    one = Planner(places, catalog, settings=config, folder=tmp_path)
    chosen = {p.place.id: [c.scene.id for s in p.seasons for c in s.candidates] for p in one.plans(places)}
    assert chosen["middle"] == [item]
    assert item not in chosen["edge"]  # a patch over that tile's edge is not cut from it
