"""Searching: three kinds of catalogue give the same scenes; servers that misbehave give one line or nothing wrong."""

import dataclasses
import datetime as dt
import json
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from seco.collect import plan, sources
from seco.collect.catalogs import Limits, catalog_of
from seco.collect.local import COLLECTION
from seco.collect.search import Search, group_places, touching
from seco.errors import CatalogError, DatasetError
from seco.planet.catalogue.geoparquet import write_items

TILES = ("31UFQ", "31UGQ")
HURRIED = Limits(requests_a_second=1000.0, backoff_s=0.01, most_backoff_s=3.0, retries=3, timeout_s=5.0)


@pytest.fixture(scope="module")
def made(make):
    """Items of two tiles over a season, every third of them cloudy."""
    return [
        i
        for t in TILES
        for i in make.items(t, last="2023-04-15", cloud=lambda n: 80.0 if n % 3 == 0 else n % 3)
    ]


@pytest.fixture
def settings(make):
    return make.collect(first=dt.date(2023, 1, 1), last=dt.date(2023, 4, 15), seasons=2)


@pytest.fixture
def groups(make):
    places = [make.place(x, 40_000, id=f"p{x}", index=i) for i, x in enumerate((30_000, 60_000, 104_000))]
    return group_places(places, size_px=264)[0]


def hurried(url, **values):
    return dataclasses.replace(catalog_of(url), limits=HURRIED, name="k", **values)


def found(search, groups):
    search.prepare(groups)
    return {g.key: sorted(s.id for s in search.scenes(g)) for g in groups}


def test_all_kinds_of_catalogue_find_the_same(tmp_path, make, made, settings, groups, fake_api):
    fake_api.items = made
    assert write_items(iter(made), tmp_path / "items.parquet") == len(made)
    file = make.write_catalog(tmp_path, made)
    link = {"rel": "child", "href": "./items.json"}
    (tmp_path / "catalog.json").write_text(
        json.dumps({"type": "Catalog", "links": [link, link, {"rel": "x"}]})
    )
    catalogs = [
        hurried(str(tmp_path / "items.parquet")),
        hurried(str(file)),
        hurried(str(tmp_path / "catalog.json")),
        hurried(fake_api.url),
        hurried(fake_api.url, server_filters="query"),
        hurried(fake_api.url, tile_field="grid:code", tile_prefix="MGRS-"),
    ]
    answers = []
    for i, catalog in enumerate(catalogs):
        search = Search(catalog, settings, tmp_path / f"run{i}")
        scenes = found(search, groups)
        answers.append(scenes)
        assert all(scenes.values()), catalog
        if catalog.server_filters == "none":
            assert search.dropped[plan.CLOUDY] > 0, catalog
    assert answers[0] == answers[1] == answers[2] == answers[3] == answers[4]
    for key, ids in answers[5].items():
        assert set(answers[0][key]) <= set(ids)
    wet = {i["id"] for i in made if i["properties"]["eo:cloud_cover"] > settings.max_cloud}
    assert wet
    assert not wet & {i for a in answers for ids in a.values() for i in ids}


def test_parquet_and_json_give_the_same_scenes(tmp_path, make, made, settings, groups):
    write_items(iter(made), tmp_path / "items.parquet")
    both = [
        Search(hurried(str(f)), settings, tmp_path / str(i))
        for i, f in enumerate((tmp_path / "items.parquet", make.write_catalog(tmp_path, made)))
    ]
    for search in both:
        search.prepare(groups)
    a, b = ({s.id: s for g in groups for s in search.scenes(g)} for search in both)
    assert a.keys() == b.keys()
    for name, scene in a.items():
        other = b[name]
        assert shapely.equals_exact(scene.footprint, other.footprint, 1e-9)
        assert {k: v for k, v in vars(scene).items() if k != "footprint"} == {
            k: v for k, v in vars(other).items() if k != "footprint"
        }
    assert both[0].dropped == both[1].dropped


def test_one_search_a_tile_or_a_group_never_a_place(make, made, settings, fake_api, tmp_path):
    fake_api.items, fake_api.page = made, 1000
    places = [make.place(40_000 + 100 * i, 40_000, id=str(i), index=i) for i in range(200)]
    groups, _ = group_places(places, size_px=264)
    search = Search(hurried(fake_api.url), settings, tmp_path / "box")
    found(search, groups)
    assert len(fake_api.searches) == len(groups) <= 2
    assert search.num_requests >= len(groups) + 2  # what it is and has is asked first
    for body in fake_api.searches:
        assert body["datetime"] == "2023-01-01T00:00:00Z/2023-04-15T23:59:59.999Z"
        assert body["collections"] == ["seco-planet-sentinel-2-l2a"]
        assert "query" not in body  # servers that cannot filter would answer nothing
    fake_api.searches.clear()
    by_tile = hurried(fake_api.url, tile_field="grid:code", tile_prefix="MGRS-", server_filters="query")
    found(Search(by_tile, settings, tmp_path / "tile"), groups)
    assert [b["query"]["grid:code"]["eq"] for b in fake_api.searches] == [
        "MGRS-31UFQ", "MGRS-32UKV"  # tiles of two zones hold these places
    ]  # fmt: skip
    assert fake_api.searches[0]["query"]["eo:cloud_cover"] == {"lte": 10.0}


def test_a_run_that_goes_on_searches_no_more(tmp_path, made, settings, groups, fake_api):
    fake_api.items = made
    first = found(Search(hurried(fake_api.url), settings, tmp_path), groups)
    num = len(fake_api.searches)
    fake_api.behaviour = lambda n, body: (500, {}, {})
    again = Search(hurried(fake_api.url), settings, tmp_path)
    assert found(again, groups) == first
    assert len(fake_api.searches) == num
    assert again.num_requests == 0
    assert again.dropped[plan.CLOUDY] > 0  # what was left out is known still
    other = Search(hurried(fake_api.url), dataclasses.replace(settings, max_cloud=20.0), tmp_path)
    with pytest.raises(CatalogError):
        found(other, groups)  # another question


def test_damaged_results_are_told(tmp_path, make, made, settings, groups):
    search = Search(hurried(str(make.write_catalog(tmp_path, made))), settings, tmp_path / "run")
    search.prepare(groups)
    for file in (tmp_path / "run").rglob("*.jsonl.gz"):
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="damaged"):
        search.scenes(groups[0])


def test_servers_that_ignore_filters_are_filtered_again(tmp_path, make, made, settings, groups, fake_api):
    late = make.items("31UFQ", first="2024-01-01", last="2024-01-31")
    alien = [{**copy_of(i), "collection": "sentinel-1-grd", "id": f"alien-{i['id']}"} for i in made[:5]]
    blind = copy_of(made[1])
    blind["geometry"] = make.items("31UDQ", last="2023-01-12")[0]["geometry"]
    blind["properties"]["s2:nodata_pixel_percentage"] = 50.0
    blind["id"] = "blind"
    fake_api.items = made + late + alien + [{"id": "junk"}]
    fake_api.behaviour = lambda n, body: (
        200, {}, {"type": "FeatureCollection", "features": [*made, *late, *alien, blind, {"id": "junk"}], "links": []}
    )  # fmt: skip
    search = Search(
        dataclasses.replace(hurried(fake_api.url), collection="seco-planet-sentinel-2-l2a"),
        settings,
        tmp_path,
    )
    ids = {i for some in found(search, groups).values() for i in some}
    assert ids <= {i["id"] for i in made}
    num = len(groups)
    assert search.dropped[plan.OTHER_DAYS] == num * len(late)
    assert search.dropped[COLLECTION] == num * len(alien)
    assert search.dropped["no STAC item"] == num
    assert search.dropped["footprint outside its own raster"] == num
    assert search.dropped[plan.CLOUDY] > 0


def copy_of(item):
    return json.loads(json.dumps(item))


FAULTS = {
    "429 with Retry-After": lambda n, body: (429, {"Retry-After": "1"}, {}) if n == 0 else None,
    "429 without": lambda n, body: (429, {}, {}) if n in (0, 2) else None,
    "500 and 503": lambda n, body: ({0: 500, 1: 503}[n], {}, {}) if n < 2 else None,
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_that_pass(name, tmp_path, made, settings, groups, fake_api):
    fake_api.items = made
    right = found(Search(hurried(fake_api.url), settings, tmp_path / "a"), groups)
    fake_api.searches.clear()
    fake_api.behaviour = FAULTS[name]
    start = time.monotonic()
    assert found(Search(hurried(fake_api.url), settings, tmp_path / "b"), groups) == right
    if "Retry" in name:
        assert time.monotonic() - start >= 1.0


def page_again(api):
    """The first page for ever, each with a link to the next."""
    link = {"rel": "next", "href": f"{api.url}/search", "method": "POST", "body": {}}
    return lambda n, body: (
        200,
        {},
        {"type": "FeatureCollection", "features": api.items[:5], "links": [link]},
    )


def page_elsewhere(api):
    link = {"rel": "next", "href": "http://localhost:1/search", "method": "GET"}
    return lambda n, body: (
        200,
        {},
        {"type": "FeatureCollection", "features": api.items[:5], "links": [link]},
    )


BROKEN = {
    "500 for good": (lambda api: lambda n, body: (500, {}, {}), "cannot be searched"),
    "404": (lambda api: lambda n, body: (404, {}, {"code": "x"}), "cannot be searched"),
    "pages that loop": (page_again, "pages never end"),
    "pages on another host": (page_elsewhere, "another host"),
    "no JSON": (lambda api: lambda n, body: (200, {}, b"<html>"), "cannot be searched"),
    "a list": (lambda api: lambda n, body: (200, {}, []), "cannot be searched"),
    "features that are none": (lambda api: lambda n, body: (200, {}, {"features": 7}), "cannot be searched"),
    "redirect to another host": (
        lambda api: lambda n, body: (307, {"Location": "http://localhost:1/search"}, {}),
        "another host",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_faults_for_good_are_one_line(name, tmp_path, made, settings, groups, fake_api):
    behaviour, words = BROKEN[name]
    fake_api.items, fake_api.behaviour = made, behaviour(fake_api)
    search = Search(hurried(fake_api.url), settings, tmp_path)
    with pytest.raises(CatalogError, match=words) as caught:
        found(search, groups)
    assert len(str(caught.value)) < 600
    assert len(fake_api.searches) <= 8  # bounded
    assert not list(tmp_path.rglob("*.jsonl.gz"))  # nothing half-found is kept


def test_a_page_that_repeats_once_does_no_harm(tmp_path, made, settings, groups, fake_api):
    fake_api.items = made
    right = found(Search(hurried(fake_api.url), settings, tmp_path / "a"), groups)

    def repeat(number, body):
        if number != 1:
            return None
        body = {**body, "token": 0}
        fake_api.searches.pop()
        fake_api.behaviour = lambda n, b: None
        return fake_api.search(body)

    fake_api.searches.clear()
    fake_api.behaviour, fake_api.page = repeat, 10
    search = Search(hurried(fake_api.url), settings, tmp_path / "b")
    assert found(search, groups) == right


def test_collections_that_are_not_there(tmp_path, made, settings, groups, fake_api):
    catalog = dataclasses.replace(hurried(fake_api.url), collection="landsat")
    with pytest.raises(CatalogError, match=r"no collection 'landsat'.*seco-planet-sentinel-2-l2a"):
        found(Search(catalog, settings, tmp_path), groups)
    fake_api.collections = ("a", "sentinel-2-l2a", "b")
    with pytest.raises(CatalogError, match=r"several collections.*sentinel-2-l2a"):
        found(Search(hurried(fake_api.url), settings, tmp_path), groups)


def test_a_server_that_hangs(tmp_path, settings, groups, fake_api):
    def hang(number, body):
        time.sleep(0.6)
        return 200, {}, {}

    fake_api.behaviour = hang
    catalog = hurried(fake_api.url)
    catalog = dataclasses.replace(
        catalog, limits=dataclasses.replace(catalog.limits, timeout_s=0.2, retries=1)
    )
    start = time.monotonic()
    with pytest.raises(CatalogError, match="timed out"):
        found(Search(catalog, settings, tmp_path), groups)
    assert time.monotonic() - start < 5


def test_requests_keep_the_catalogues_pace(tmp_path, made, settings, groups, fake_api):
    fake_api.items, fake_api.page = made, 10
    catalog = hurried(fake_api.url)
    catalog = dataclasses.replace(catalog, limits=dataclasses.replace(catalog.limits, requests_a_second=20.0))
    search = Search(catalog, settings, tmp_path)
    start = time.monotonic()
    found(search, groups)
    assert search.num_requests > 8
    assert time.monotonic() - start >= (search.num_requests - 1) / 20


def test_no_server(tmp_path, settings, groups):
    with pytest.raises(CatalogError, match="cannot be searched"):
        found(Search(hurried("http://127.0.0.1:1"), settings, tmp_path), groups)


def test_by_tile_only_where_it_works(tmp_path, settings, fake_api):
    with pytest.raises(CatalogError, match="--search box"):
        Search(hurried(fake_api.url), dataclasses.replace(settings, search="tile"), tmp_path)


LINKS = {
    "out of the folder": ("../secret.json", "outside its own folder"),
    "to the network": ("https://example.org/items.json", "links to local files"),
    "to nothing": ("./gone.json", "cannot read"),
    "of no type": (7, "links to"),
}


@pytest.mark.parametrize("name", LINKS)
def test_local_catalogues_stay_in_their_folder(name, tmp_path, settings, groups):
    href, words = LINKS[name]
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "catalog.json").write_text(json.dumps({"links": [{"rel": "item", "href": href}]}))
    with pytest.raises(CatalogError, match=words):
        found(Search(hurried(str(folder)), settings, tmp_path / "run"), groups)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a":' * 5000])
def test_local_files_that_are_no_catalogue(text, tmp_path, settings, groups):
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(CatalogError, match="catalogue"):
        found(Search(hurried(str(tmp_path / "catalog.json")), settings, tmp_path / "run"), groups)


def test_parquet_that_is_none(tmp_path, settings, groups):
    (tmp_path / "items.parquet").write_bytes(b"PAR1" * 100)
    with pytest.raises(CatalogError, match="stac-geoparquet"):
        found(Search(hurried(str(tmp_path / "items.parquet")), settings, tmp_path / "run"), groups)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "items.parquet")
    with pytest.raises(CatalogError, match="no column"):
        found(Search(hurried(str(tmp_path / "items.parquet")), settings, tmp_path / "run2"), groups)


def test_groups_hold_each_place_once_and_none_crosses_the_date_line(make):
    rng = np.random.default_rng(0)
    lons = np.concatenate([rng.uniform(-180, 180, 400), [180.0, -180.0, 179.9999, -179.9999]])
    lats = np.concatenate([rng.uniform(-90, 90, 400), [10.0, 10.0, 10.0, 10.0]])
    base = make.place()
    places = [
        dataclasses.replace(base, id=str(i), index=i, lon=float(a), lat=float(b))
        for i, (a, b) in enumerate(zip(lons, lats, strict=True))
    ]
    groups, polar = group_places(places, size_px=264)
    assert Counter(p.id for g in groups for p in g.places) + Counter(p.id for p in polar) == Counter(
        p.id for p in places
    )
    assert polar
    assert all(not -80 <= p.lat <= 84 for p in polar)
    for group in groups:
        west, south, east, north = group.box
        assert -180 <= west < east <= 180
        assert east - west < 2
        assert north - south < 2
        assert all(west <= p.lon <= east and south <= p.lat <= north for p in group.places)


def test_touching():
    boxes = np.array([[0, 0, 1, 1], [179, 0, 180, 1], [-180, 0, -179, 1], [5, 5, 6, 6.0]])
    assert touching(boxes, (0.5, 0.5, 5.5, 5.5)).tolist() == [0, 3]
    assert touching(boxes, (178.5, 0, 179.9, 1)).tolist() == [1]
    # Beyond the date line, as some catalogues write it.
    assert touching(boxes, (178.5, 0, 180.5, 1)).tolist() == [1, 2]
    assert touching(boxes, (-180.5, 0, -179.5, 1)).tolist() == [1, 2]
    assert touching(boxes, (-179.5, 0, 179.5, 1)).tolist() == [
        1,
        2,
    ]  # as some write a scene across the date line


def test_assets_that_are_alike_are_read_as_those_that_are_not():
    """Whatever columns have in common, rows are what pyarrow makes of them, but for fields of nothing."""
    rows = [
        {"id": f"i{i}", "assets": {
            "red": {"href": f"r{i}", "title": "Red", "roles": ["data"], "proj:shape": [5, 5 + i], "nodata": None},
            "blue": {"href": f"b{i}", "title": f"Blue {i % 2}", "roles": ["data"], "proj:shape": [5, 5 + i], "nodata": 0},
            "scl": None if i % 3 else {"href": f"s{i}", "title": "SCL", "roles": None, "proj:shape": [3, i], "nodata": 0},
        }}
        for i in range(7)
    ]  # fmt: skip
    (batch,) = pa.Table.from_pylist(rows).to_batches()
    plain = [
        {
            "id": r["id"],
            "assets": {k: {n: v for n, v in a.items() if v is not None} for k, a in r["assets"].items() if a},
        }
        for r in rows
    ]
    for some, wanted in ((batch, plain), (batch.slice(2, 4), plain[2:6]), (batch.slice(1, 0), [])):
        found = sources._rows(some)
        assert [{"id": r["id"], "assets": r["assets"]} for r in found] == wanted
    red, blue = (sources._rows(batch)[0]["assets"][n] for n in ("red", "blue"))
    assert red.mark is not None
    assert blue.mark is None
