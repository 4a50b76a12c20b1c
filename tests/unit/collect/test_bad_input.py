"""Bad places, catalogues and scenes: one clear error or a counted rejection, and nothing lost."""

import errno
import json
import socket
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from seco import cli
from seco.collect import store
from seco.collect.collecting import collect
from seco.errors import CatalogError, DatasetError, SecoError
from seco.sensors.sentinel2 import SCL_CLASSES, SCL_UNCLEAR

sys.path.insert(0, str(Path(__file__).parent))
import collect_child as child
from collect_child import contents, take

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture
def catalog_with(planet, tmp_path):
    """A copy of the planet on disk with changed items, whose files are its own."""

    def make(change) -> Path:
        import shutil

        folder = tmp_path / "changed"
        folder.mkdir()
        shutil.copytree(
            planet / "planet" / "tiles", folder / "tiles", copy_function=lambda a, b: Path(b).hardlink_to(a)
        )
        import rustac

        items = rustac.read_sync(str(planet / "planet" / "items.parquet"))["features"]
        made = [c for c in (change(i, item) for i, item in enumerate(items)) if c is not None]
        file = folder / "items.json"
        file.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
        return file

    return make


def test_a_place_at_sea_is_counted_and_one_at_the_pole_is_named(planet, tmp_path, clean):
    sea = tmp_path / "places.csv"
    sea.write_text(child.POINTS + "-30.0,0.0\n")
    catalog = planet / "planet" / "items.parquet"
    done = take(planet, catalog, tmp_path / "d.seco", places=sea)
    assert done.tally.missed["no scenes there"] == 1 + clean[1].tally.missed.get("no scenes there", 0)
    missed = [json.loads(m) for m in (tmp_path / "d.seco/collection/missed.jsonl").open()]
    assert {"lon": -30.0, "lat": 0.0}.items() <= next(m for m in missed if m["lon"] == -30.0).items()
    sea.write_text(child.POINTS + "10.0,89.0\n")
    with pytest.raises(DatasetError, match=r"place 13 is 10, 89; .*latitude"):
        take(planet, catalog, tmp_path / "e.seco", places=sea)


def test_a_catalogue_without_classes(planet, catalog_with, tmp_path):
    def no_scl(_, item):
        return {**item, "assets": {k: a for k, a in item["assets"].items() if k != "scl"}}

    done = take(planet, catalog_with(no_scl), tmp_path / "d.seco")
    assert done.tally.num_unjudged == done.num_patches > 0
    assert any("without SCL" in n for n in done.notes)
    index = pq.read_table(tmp_path / "d.seco/index.parquet")
    assert index["clear_fraction"].null_count == len(index)


CLASSES = [{"value": i, "name": n} for i, n in enumerate(SCL_CLASSES)]


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"classification:classes": CLASSES}, {}),
        ({"raster:bands": [{"data_type": "uint8", "nodata": 0, "classification:classes": CLASSES}]}, {"mask": "qa"}),
        ({}, {"mask": "qa", "mask_hidden": SCL_UNCLEAR}),
    ],
)  # fmt: skip
def test_a_mask_of_another_name_does_what_scl_does(planet, catalog_with, tmp_path, clean, fields, changed):
    def renamed(_, item):
        scl = item["assets"]["scl"]
        plain = {
            k: v for k, v in scl.items() if k in ("href", "type", "proj:shape", "proj:transform", "roles")
        }
        return {
            **item,
            "assets": {**{k: a for k, a in item["assets"].items() if k != "scl"}, "qa": plain | fields},
        }

    done = take(planet, catalog_with(renamed), tmp_path / "d.seco", **changed)
    assert done.tally.num_unjudged == 0
    assert contents(tmp_path / "d.seco")["rows"] == contents(clean[0])["rows"]


def test_a_mask_that_is_not_there(planet, catalog_with, tmp_path):
    catalog = catalog_with(
        lambda i, item: item if i % 3 else {**item, "assets": {**item["assets"], "scl": {}}}
    )
    done = take(planet, catalog, tmp_path / "d.seco", mask="scl")
    assert done.dropped["mask missing"] > 0
    assert done.tally.num_unjudged == 0
    with pytest.raises(DatasetError, match=r"items left out: .*mask missing"):
        take(planet, catalog, tmp_path / "e.seco", mask="qa")
    unjudged = take(planet, catalog, tmp_path / "f.seco", mask="none")
    assert unjudged.tally.num_unjudged == unjudged.num_patches


def test_items_that_lack_a_band_are_as_if_they_were_not_there(planet, catalog_with, tmp_path):
    def some_lack(i, item):
        return (
            {**item, "assets": {k: a for k, a in item["assets"].items() if k != "red"}}
            if i % 3 == 0
            else item
        )

    done = take(planet, catalog_with(some_lack), tmp_path / "d.seco")
    assert done.dropped["bands missing"] > 0
    import shutil

    shutil.rmtree(tmp_path / "changed")
    take(planet, catalog_with(lambda i, item: None if i % 3 == 0 else item), tmp_path / "less.seco")
    assert contents(tmp_path / "d.seco")["rows"] == contents(tmp_path / "less.seco")["rows"]


def test_nodata_everywhere(planet, catalog_with, tmp_path):
    catalog = catalog_with(lambda _, item: item)
    for file in catalog.parent.rglob("*.tif"):
        with rasterio.open(file) as source:
            profile, empty = source.profile, np.zeros_like(source.read())
        file.unlink()  # the planet's own file has this name too
        with rasterio.open(file, "w", **profile) as out:
            out.write(empty)
    with pytest.raises(DatasetError, match=r"no place gave a patch .* scenes turned down: \d+ nodata"):
        take(planet, catalog, tmp_path / "d.seco")
    assert list((tmp_path / "d.seco.partial/.ledger/search").rglob("*.gz")), "searches are kept"


def test_bands_of_zeros_are_nodata_whatever_the_classes_say(planet, catalog_with, tmp_path):
    catalog = catalog_with(lambda _, item: item)
    for file in catalog.parent.rglob("B04.tif"):
        with rasterio.open(file) as source:
            profile, empty = source.profile, np.zeros_like(source.read())
        file.unlink()
        with rasterio.open(file, "w", **profile) as out:
            out.write(empty)
    with pytest.raises(DatasetError, match="nodata"):
        take(planet, catalog, tmp_path / "d.seco")


def test_unknown_collections_and_reversed_dates(planet, tmp_path, capsys):
    catalog = planet / "planet" / "items.parquet"
    with pytest.raises(DatasetError, match="of another collection"):
        take(planet, catalog, tmp_path / "d.seco", collection="sentinel-9")
    words = [
        "collect",
        "--places",
        str(planet / "places.csv"),
        "--catalog",
        str(catalog),
        "--out",
        str(tmp_path / "e"),
    ]
    assert cli.main([*words, "--from", "2024-01-01", "--to", "2023-01-01"]) == 2
    assert "the first day comes first" in capsys.readouterr().err
    with pytest.raises(CatalogError, match="no such name or file"):
        take(planet, tmp_path / "nowhere.parquet", tmp_path / "f.seco")


def test_a_disk_that_is_full_while_searching_loses_nothing(planet, tmp_path, clean, monkeypatch):
    catalog, real, left = planet / "planet" / "items.parquet", store.write_atomic, [2]

    def full(path, data):
        left[0] -= 1
        if left[0] < 0:
            raise SecoError(f"cannot write {path}: {OSError(errno.ENOSPC, 'No space left on device')}")
        real(path, data)

    monkeypatch.setattr(store, "write_atomic", full)
    with pytest.raises(SecoError, match="No space left"):
        take(planet, catalog, tmp_path / "d.seco")
    monkeypatch.setattr(store, "write_atomic", real)
    take(planet, catalog, tmp_path / "d.seco")
    assert contents(tmp_path / "d.seco") == contents(clean[0])


def test_plan_and_collect_are_a_pair(planet, served, tmp_path, capsys, clean):
    """`collect plan` on a folder, `--estimate`, then `collect` on the same: no search is made twice, nothing is refused."""
    catalog, server = served()
    words = [
        "--places", str(planet / "places.csv"), "--catalog", str(catalog), "--from", str(child.FIRST), "--to",
        str(child.LAST),
        "--seasons", "2", "--spacing-days", "80", "--window-days", "40", "--max-cloud", "100", "--bands",
        ",".join(child.BANDS), "--size", str(child.SIZE), "--min-clear", "0.8", "--out", str(tmp_path / "d.seco"),
        "--hosts", "private",
    ]  # fmt: skip
    assert cli.main(["collect", "plan", *words]) == 0
    assert "assumed" in capsys.readouterr().out
    searches = {p: p.stat().st_mtime_ns for p in (tmp_path / "d.seco.partial/.ledger/search").rglob("*.gz")}
    assert searches
    table = tmp_path / "costs.json"
    assert cli.main(["collect", *words, "--estimate", "--rate", "50", "--json", str(table)]) == 0
    told = capsys.readouterr().out
    assert [r["places"] for r in json.loads(table.read_text())["rows"]][1:] == [
        1_000,
        10_000,
        200_000,
        1_000_000,
    ]
    for what in ("1,000,000", "search_hours", "gb_disk", "50 windows a second (as told)"):
        assert what in told
    assert server.stats["requests"] == 0, "no pixels for a plan"
    assert cli.main(["collect", *words, "--pictures", "no"]) == 0
    assert contents(tmp_path / "d.seco")["rows"] == contents(clean[0])["rows"]
    assert cli.main(["collect", "plan", *words]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (tmp_path / "d.seco.partial").exists()


def test_a_catalogue_that_takes_no_connection_is_told_soon_and_may_be_mended(planet, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waited.append)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            CatalogError, match=r"cannot be searched: .*Connection refused; see to its address"
        ):
            take(planet, url, tmp_path / "d.seco")
    assert sum(waited) <= 10
    assert take(planet, planet / "planet" / "items.parquet", tmp_path / "d.seco").num_places > 0


def test_a_plan_waits_for_nobody(planet, tmp_path):
    """While another process is at a folder, planning there is refused, not mixed up with it."""
    from seco.collect.collecting import forecast
    from seco.data.ledger import held, ledger_of

    out = tmp_path / "d.seco"
    ledger_of(out).mkdir(parents=True)
    settings = child.settings(planet / "places.csv", planet / "planet" / "items.parquet")
    with held(out), pytest.raises(DatasetError, match="another process"):
        forecast(settings, out)
    assert forecast(settings, out).survey.num_whole > 0
    with held(out), pytest.raises(DatasetError, match="another process"):
        collect(settings, out)


def test_estimates_grow_as_they_should(planet, tmp_path):
    from seco.collect.collecting import forecast

    settings = child.settings(planet / "places.csv", planet / "planet" / "items.parquet")
    found = forecast(settings, tmp_path / "d.seco", windows_a_second=10.0)
    own, *others = found.rows
    assert own["patches"] == found.survey.num_patches
    assert [r["places"] for r in others] == [1_000, 10_000, 200_000, 1_000_000]
    for row in found.rows:
        assert row["patches"] == 2 * row["places"]
        assert row["hours"] == pytest.approx(row["patches"] * 4 / 10 / 3600, abs=0.01)
        assert row["searches"] == 0, "a file is read, not searched"
        assert 4 * row["patches"] <= row["requests"] <= 8 * row["patches"]
