import dataclasses
import datetime as dt
import json
import threading

import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import rustac
from pystac.validation import JsonSchemaSTACValidator
from rio_cogeo.cogeo import cog_validate

from seco import cli
from seco.errors import CatalogError, DatasetError
from seco.planet.catalogue import geoparquet, making
from seco.planet.catalogue.archive import PIXELS_URL
from seco.planet.catalogue.making import Scenes, make_scenes


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "two.csv").write_text("lon,lat\n5.0,49.1\n-179.999,-16.8\n")
    return Scenes(
        points=tmp_path / "two.csv",
        first=dt.date(2023, 6, 1),
        last=dt.date(2023, 6, 20),
        tile_px=1098,
        jobs=1,
    )


@pytest.fixture
def planet(tmp_path, settings, coded):
    make_scenes(settings, tmp_path / "planet", read=coded)
    return tmp_path / "planet"


def items_in(folder):
    return {i["id"]: i for i in rustac.read_sync(str(folder / "items.parquet"))["features"]}


def test_the_static_catalogue_is_walked_from_disk_and_valid(planet):
    catalog = pystac.Catalog.from_file(planet / "catalog.json")
    (collection,) = catalog.get_children()
    assert "SIMULATED" in collection.description
    assert "Simulated" in collection.title
    items = list(catalog.get_items(recursive=True))
    validator = JsonSchemaSTACValidator()
    for thing, kind in [(catalog, "CATALOG"), (collection, "COLLECTION"), *((i, "ITEM") for i in items)]:
        found = json.loads(json.dumps(thing.to_dict()))
        assert validator.validate_core(found, pystac.STACObjectType[kind], found["stac_version"])
    for item in items:
        assert item.get_collection().id == collection.id
        assert item.properties["seco:simulated"] is True
    assert {i.id for i in items} == set(items_in(planet))
    assert collection.extra_fields["seco:num_items"] == len(items)
    box, times = collection.extent.spatial.bboxes[0], collection.extent.temporal.intervals[0]
    assert box[0] == -180 and box[2] == 180  # noqa: PT018
    assert times[0] == min(i.datetime for i in items)
    assert times[1] == max(i.datetime for i in items)


def test_the_parquet_holds_the_same_items(planet):
    by_id = items_in(planet)
    for path in planet.glob("tiles/*/S2*.json"):
        item, row = json.loads(path.read_text()), by_id[path.stem]
        assert list(row["bbox"]) == item["bbox"]
        for key in ("assets", "collection"):
            assert row[key] == item[key], key
        changed = {"datetime", "created", "updated"}  # the same moments, written otherwise
        assert {k: v for k, v in row["properties"].items() if k not in changed} == {
            k: v for k, v in item["properties"].items() if k not in changed
        }
        assert item["assets"]["red"]["href"].startswith(PIXELS_URL)
    geo = json.loads(pq.ParquetFile(planet / "items.parquet").metadata.metadata[b"geo"])
    assert geo["primary_column"] == "geometry"
    assert set(geo["columns"]["geometry"]["geometry_types"]) <= {"Polygon", "MultiPolygon"}


def test_items_in_many_batches_are_the_items_in_one(tmp_path, planet, settings, coded, monkeypatch):
    monkeypatch.setattr(geoparquet, "BATCH", 3)
    make_scenes(settings, tmp_path / "again", read=coded)
    assert pq.ParquetFile(tmp_path / "again" / "items.parquet").metadata.num_row_groups > 1
    assert items_in(tmp_path / "again") == items_in(planet)
    assert pq.read_table(tmp_path / "again" / "items.parquet").equals(pq.read_table(planet / "items.parquet"))
    first, second = ((p / "items.parquet") for p in (tmp_path / "again", planet))
    geo = [json.loads(pq.ParquetFile(p).metadata.metadata[b"geo"]) for p in (first, second)]
    assert geo[0]["columns"]["geometry"]["bbox"] == geo[1]["columns"]["geometry"]["bbox"]


def test_two_processes_make_the_same_catalogue(tmp_path, settings):
    out = [tmp_path / name for name in ("one", "two")]
    for folder, jobs in zip(out, (1, 2), strict=True):
        make_scenes(
            dataclasses.replace(settings, jobs=jobs, last=settings.first + dt.timedelta(days=4)), folder
        )
    # Not the files' bytes: Arrow pads its copy of the schema with whatever was in memory.
    one, two = (pq.read_table(o / "items.parquet") for o in out)
    assert one.equals(two)
    assert one.schema.metadata == two.schema.metadata


def test_no_files_where_none_are_wanted(tmp_path, settings, coded):
    make_scenes(dataclasses.replace(settings, static="no"), tmp_path / "flat", read=coded)
    assert not (tmp_path / "flat" / "tiles").exists()
    collection = pystac.Collection.from_file(tmp_path / "flat" / "collection.json")
    assert not collection.get_child_links()
    assert collection.assets["items"].href.endswith("items.parquet")


def test_a_stopped_rendering_goes_on(tmp_path, settings, coded):
    one = dataclasses.replace(settings, render=True, last=settings.first + dt.timedelta(days=6))
    calls = []

    def stopping(planet, **window):
        calls.append(window)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return coded(planet, **window)

    out = tmp_path / "rendered"
    with pytest.raises(KeyboardInterrupt):
        make_scenes(one, out, read=stopping)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}
    assert before
    assert not list(out.rglob("*.partial*"))
    made = make_scenes(one, out, read=coded)
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}
    assert made.num_files == len(files) == 13 * len(items_in(out))
    assert made.num_bytes == sum(p.stat().st_size for p in files)
    assert all(files[p] == t for p, t in before.items())
    make_scenes(one, tmp_path / "whole", read=coded)
    for path in files:
        assert path.read_bytes() == (tmp_path / "whole" / path.relative_to(out)).read_bytes()


def test_rendered_scenes_are_reached_by_relative_addresses(tmp_path, settings, coded):
    out = tmp_path / "rendered"
    make_scenes(
        dataclasses.replace(settings, render=True, last=settings.first + dt.timedelta(days=4)),
        out,
        read=coded,
    )
    for row in items_in(out).values():
        for asset in row["assets"].values():
            assert asset["href"].startswith("./tiles/")
            assert (out / asset["href"]).is_file()
    moved = out.rename(tmp_path / "elsewhere")
    for item in pystac.Catalog.from_file(moved / "catalog.json").get_items(recursive=True):
        path = item.assets["nir09"].get_absolute_href()
        assert cog_validate(path, strict=True)[0]
        with rasterio.open(path) as file:
            assert list(file.transform)[:6] == item.assets["nir09"].extra_fields["proj:transform"]
            assert file.read(1).any()


def test_places_are_those_of_a_simulated_dataset(tmp_path, coded):
    from seco.planet.places import draw_places

    scenes = Scenes(
        num_places=3, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 6), tile_px=1098, jobs=1, seed=5
    )
    make_scenes(scenes, tmp_path / "p", read=coded)
    places = np.loadtxt(tmp_path / "p" / "places.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(
        places, [(p.lon, p.lat) for p in draw_places(scenes.build(), seed=5)], atol=1e-6
    )


def test_the_same_settings_go_on_and_others_are_refused(tmp_path, settings, planet, coded):
    before = (planet / "items.parquet").stat().st_mtime_ns
    again = make_scenes(settings, planet, read=coded)
    assert again.num_items is None
    assert (planet / "items.parquet").stat().st_mtime_ns == before
    for change in ({"seed": 1}, {"tile_px": 2196}, {"render": True}, {"last": dt.date(2023, 6, 21)}):
        with pytest.raises(DatasetError, match="other settings"):
            make_scenes(dataclasses.replace(settings, **change), planet, read=coded)
    (tmp_path / "one.csv").write_text("lon,lat\n5.0,49.1\n")
    with pytest.raises(DatasetError, match="other settings or places"):
        make_scenes(dataclasses.replace(settings, points=tmp_path / "one.csv"), planet, read=coded)
    (planet / "catalog.json").unlink()
    assert make_scenes(settings, planet, read=coded).num_items == len(items_in(planet))


def test_folders_that_hold_something_else_are_left_alone(tmp_path, settings, coded):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    for out in (tmp_path / "full", tmp_path / "two.csv"):
        with pytest.raises(DatasetError, match="no planet"):
            make_scenes(settings, out, read=coded)
    with pytest.raises(DatasetError, match="cannot make"):
        make_scenes(settings, tmp_path / "two.csv" / "in", read=coded)


def test_polar_night_has_no_catalogue(tmp_path, settings, coded):
    (tmp_path / "pole.csv").write_text("lon,lat\n15.6,78.2\n")
    dark = dataclasses.replace(
        settings, points=tmp_path / "pole.csv", first=dt.date(2023, 12, 1), last=dt.date(2023, 12, 20)
    )
    with pytest.raises(CatalogError, match="no scene of"):
        make_scenes(dark, tmp_path / "dark", read=coded)
    assert not (tmp_path / "dark" / "items.parquet").exists()


def test_a_full_disk_is_one_error(tmp_path, settings, coded, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(geoparquet.pq.ParquetWriter, "write_table", full)
    with pytest.raises(DatasetError, match="free disk space"):
        make_scenes(settings, tmp_path / "full", read=coded)
    assert not list((tmp_path / "full").glob("*items*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--places N or --points FILE"), (["--places", "1", "--points", "x.csv"], "--places N or --points FILE"),
        (["--places", "0"], "at least 1"), (["--places", "1", "--tile-px", "500"], "10980, 5490, 2196, 1098"),
        (["--places", "1", "--from", "2023-02-01", "--to", "2023-01-01"], "first day comes first"),
        (["--places", "1", "--from", "2010-01-01"], "2017-07-01"), (["--places", "1", "--from", "x"], "not a valid date"),
        (["--places", "1", "--revisit-days", "7"], "multiple of 5"), (["--points", "none.csv"], "cannot read places"),
        (["--places", "1", "--jobs", "-1"], "--jobs"), (["--places", "1", "--seed", "-1"], "seed -1"),
        (["--places", "1", "--seed", str(2**63)], "below 2**63"),
        (["--places", "1", "--to", "9999-12-31"], "the planet is seen from 2017-07-01 to 2099-12-31"),
    ],
)  # fmt: skip
def test_wrong_flags_are_one_line(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["planet", "scenes", "out", *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_made(tmp_path, settings, coded, monkeypatch, capsys):
    monkeypatch.setattr("seco.planet.catalogue.scenes.renderer", lambda: coded)
    monkeypatch.setattr(making, "renderer", lambda: coded)
    words = ["planet", "scenes", str(tmp_path / "p"), "--points", str(settings.points), "--from", "2023-06-01",
             "--to", "2023-06-04", "--tile-px", "1098", "--render", "--jobs", "1"]  # fmt: skip
    before = threading.active_count()
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert f"{len(items_in(tmp_path / 'p'))} simulated scenes" in out
    assert "seco planet serve" in out
    assert threading.active_count() - before < 10


def test_a_folder_stopped_before_its_settings_goes_on(tmp_path, settings, coded, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    out = tmp_path / "planet"
    with monkeypatch.context() as patched:
        patched.setattr(making, "write_archive", stopped)
        with pytest.raises(KeyboardInterrupt):
            make_scenes(settings, out, read=coded)
    assert [p.name for p in out.iterdir()] == ["places.csv"]
    # What lies there is not overwritten by other places.
    (out / "places.csv").write_text("lon,lat\n1.0,2.0\n")
    with pytest.raises(DatasetError, match="exists and is no planet"):
        make_scenes(settings, out, read=coded)
    (out / "places.csv").write_text("lon,lat\n5.0,49.1\n-179.999,-16.8\n")
    assert make_scenes(settings, out, read=coded).num_items


def test_files_an_item_are_not_left_out_in_silence(tmp_path, settings, coded):
    out = tmp_path / "planet"
    make_scenes(dataclasses.replace(settings, static="no"), out, read=coded)
    make_scenes(settings, out, read=coded)
    with pytest.raises(DatasetError, match=r"without a file an item, and --static yes asks for the other"):
        make_scenes(dataclasses.replace(settings, static="yes"), out, read=coded)
