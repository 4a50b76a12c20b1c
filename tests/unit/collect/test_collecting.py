"""Collecting from a planet whose every pixel is known: through faults, kills and stops, always the same dataset."""

import dataclasses
import datetime as dt
import json
import multiprocessing
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from seco.collect import collecting
from seco.collect.catalogs import Signer
from seco.collect.collecting import InterruptedCollectionError, collect
from seco.collect.settings import Collect
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.errors import CatalogError, ConfigError, DatasetError, FetchError, SecoError
from seco.planet.catalogue.making import Scenes, make_scenes
from seco.planet.serving.pixels import PixelServer
from seco.planet.serving.serve import PlanetServer

sys.path.insert(0, str(Path(__file__).parent))
import collect_child as child
from collect_child import contents, take

pytestmark = pytest.mark.usefixtures("small_shards")


def test_every_pixel_is_the_planets(clean):
    out, done = clean
    dataset = open_dataset(out)
    assert check(dataset) == []
    assert done.num_places >= 5
    assert len(dataset) == 2 * done.num_places
    rows = pq.read_table(out / "index.parquet").to_pylist()
    import zarr

    for row in rows:
        day, epsg = row["date"], int(row["crs"].removeprefix("EPSG:"))
        left, top = int(row["transform"][2]), int(row["transform"][5])
        for group in dataset.meta.groups:
            stored = zarr.open_array(out / "archive" / group.name, mode="r")[row["row"]]
            for plane, name in zip(stored, group.bands, strict=True):
                size = child.SIZE * 10 // child.PIXEL_M[name]
                wanted = child.read(
                    None, epsg=epsg, band=name, acquisition_day=day, left_m=left, top_m=top, width_px=size, height_px=size
                )  # fmt: skip
                np.testing.assert_array_equal(plane, wanted)
        classes = child.read(
            None,
            epsg=epsg,
            band="SCL",
            acquisition_day=day,
            left_m=left,
            top_m=top,
            width_px=30,
            height_px=30,
        )
        assert row["clear_fraction"] == pytest.approx((classes == 4).mean(), abs=1e-6)
        assert row["clear_fraction"] >= 0.8
    assert sum(done.tally.rejected.values()) > 0, "no scene was turned down: the test shows nothing"
    assert set(done.tally.rejected) <= {"cloud", "shadow"}


def test_the_report_says_what_was_done(clean):
    out, done = clean
    report = json.loads((out / "collection" / "report.json").read_text())
    assert report["num_places"] == done.num_places
    assert report["counts"]["rejected"] == done.tally.rejected
    assert report["settings"]["max_cloud"] == 100.0
    missed = [json.loads(m) for m in (out / "collection" / "missed.jsonl").open()]
    assert len(missed) == sum(done.tally.missed.values()) == done.tally.looked_at - done.num_places
    assert all(b.offset == -0.1 for b in open_dataset(out).meta.bands)


FAULTS = {
    "429": "429@0.2 retry-after=0",
    "500": "500@0.2",
    "503": "503@0.1 retry-after=0",
    "reset": "reset@0.2",
    "truncate": "truncate@0.2",
    "corrupt": "corrupt@0.1",
    "slow": "delay=0.02@0.3; trickle=400000@0.1",
    "all": "429@0.04 retry-after=0; 500@0.04; 502@0.02; reset@0.04; truncate@0.04; corrupt@0.04; 408@0.02",
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_that_pass_change_nothing(planet, served, tmp_path, clean, name):
    catalog, server = served(FAULTS[name])
    done = take(planet, catalog, tmp_path / "d.seco")
    assert sum(server.stats["faults"].values()) > 3
    if name != "slow":
        assert sum(done.counts.faults.values()) > 3
        assert done.counts.retries > 3
    assert contents(tmp_path / "d.seco") == contents(clean[0])


def test_faults_for_good_cost_the_scene_only(planet, served, tmp_path, clean, monkeypatch):
    """Assets that are gone, refused, broken or always fail: as if the catalogue did not have these scenes."""
    days = sorted({r["date"] for r in pq.read_table(clean[0] / "index.parquet").to_pylist()})
    bad = days[::2]
    kinds = ("404:/*/{}/B04.tif", "500:/*/{}/B8A.tif", "truncate:/*/{}/B04.tif", "403:/*/{}/SCL.tif")
    text = "; ".join(kinds[i % 4].format(d) for i, d in enumerate(bad))
    catalog, _ = served(text)
    patience = dataclasses.replace(child.PATIENT, tries=2)
    done = collect(child.settings(planet / "places.csv", catalog), tmp_path / "d.seco", patience=patience)
    unreadable = {k: n for k, n in done.tally.rejected.items() if k.startswith("unreadable")}
    assert "unreadable: missing" in unreadable
    assert len(unreadable) >= 2

    # The same plans without those scenes.
    real = collecting._plans

    def without(planner, skip):
        for plan in real(planner, skip):
            seasons = tuple(
                dataclasses.replace(s, candidates=tuple(c for c in s.candidates if c.scene.day not in bad))
                for s in plan.seasons
            )
            yield dataclasses.replace(plan, seasons=seasons)

    monkeypatch.setattr(collecting, "_plans", without)
    less, _ = served()
    take(planet, less, tmp_path / "less.seco")
    assert contents(tmp_path / "d.seco")["rows"] == contents(tmp_path / "less.seco")["rows"]
    assert contents(tmp_path / "d.seco")["rows"] != contents(clean[0])["rows"]


def test_timing_does_not_matter(planet, served, tmp_path, clean):
    catalog, _ = served("delay=0.15@0.15", seed=3)
    take(planet, catalog, tmp_path / "d.seco", concurrency=40)
    assert contents(tmp_path / "d.seco") == contents(clean[0])


def test_killed_over_and_over(planet, served, tmp_path, clean):
    """`kill -9` at random moments, under faults, the same call again, until it is whole."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seco.collect.collecting", "collect_child"])
    catalog, server = served("500@0.05; reset@0.03; delay=0.05@0.5")
    out, rng = tmp_path / "d.seco", random.Random(1)
    args = (str(planet / "places.csv"), str(catalog), str(out), {})
    num_killed = 0
    while not out.exists():
        process = context.Process(target=child.run, args=args)
        process.start()
        # By requests, not by the clock: as many on a machine that is busy.
        until = server.stats["requests"] + rng.randrange(5, 60 + 30 * num_killed)
        while process.is_alive() and server.stats["requests"] < until:
            process.join(0.01)
        if process.is_alive():
            num_killed += 1
            process.kill()
        process.join()
        assert num_killed < 20, "no progress"
    assert num_killed >= 2
    take(planet, catalog, out)  # sees to what a kill at the very end left
    assert contents(out) == contents(clean[0])


def test_sigterm_keeps_what_is_whole(planet, served, tmp_path, clean):
    catalog, _ = served()
    out = tmp_path / "d.seco"
    context = multiprocessing.get_context("forkserver")
    process = context.Process(
        target=child.run_and_stop, args=(str(planet / "places.csv"), str(catalog), str(out), {}, 3)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 1, "the child raised InterruptedCollectionError"
    ledger = json.loads((tmp_path / "d.seco.partial/.ledger/ledger.json").read_text())
    assert ledger["mark"]["num_places"] >= 3
    done = take(planet, catalog, out)
    assert done.num_new == done.num_patches - ledger["mark"]["num_patches"]
    assert contents(out) == contents(clean[0])


def test_interrupted_says_how_to_go_on(planet, served, tmp_path):
    catalog, _ = served("delay=0.02")

    show = child.signal_once(signal.SIGINT, num_places=1)
    with pytest.raises(InterruptedCollectionError, match="same command to go on") as caught:
        collect(
            child.settings(planet / "places.csv", catalog, concurrency=4), tmp_path / "d.seco", show=show,
            patience=child.PATIENT,
        )  # fmt: skip
    assert caught.value.interrupted


def test_a_number_of_places_is_reached_by_replacing(planet, served, tmp_path):
    catalog, _ = served()
    done = take(planet, catalog, tmp_path / "d.seco", num_places=4)
    assert done.num_places == 4
    again = take(planet, catalog, tmp_path / "d.seco", num_places=4)
    assert again.was_whole
    assert (again.num_places, again.num_patches, again.num_new) == (4, 8, 0)


def test_places_can_be_kept_in_part(planet, served, tmp_path, clean):
    catalog, _ = served()
    done = take(planet, catalog, tmp_path / "d.seco", incomplete="keep", min_clear=0.97)
    strict = take(planet, catalog, tmp_path / "strict.seco", min_clear=0.97)
    assert done.tally.num_incomplete > 0
    assert done.num_places > strict.num_places
    assert any("lack a season" in n for n in done.notes)


def test_an_outage_ends_the_run_and_loses_nothing(planet, served, tmp_path, clean):
    catalog, server = served()
    out = tmp_path / "d.seco"
    patience = dataclasses.replace(child.PATIENT, tries=2)
    url = server.url

    def show(view):
        if view.standing.num_places == 2:
            server.stop()

    with pytest.raises(FetchError, match="cannot be reached"):
        collect(
            child.settings(planet / "places.csv", catalog, concurrency=4), out, patience=patience, show=show
        )
    root = planet / "planet" / "tiles"
    back = PixelServer(lambda path: root / path.lstrip("/"), port=int(url.rpartition(":")[2]))
    with back:
        take(planet, catalog, out)
    assert contents(out) == contents(clean[0])


def test_other_settings_are_one_clear_error(planet, served, tmp_path):
    catalog, _ = served("delay=0.01")

    stop = child.signal_once(signal.SIGINT, num_places=0)
    with pytest.raises(InterruptedCollectionError):
        collect(
            child.settings(planet / "places.csv", catalog, concurrency=4), tmp_path / "d.seco", show=stop,
            patience=child.PATIENT,
        )  # fmt: skip
    with pytest.raises(DatasetError, match=r"other settings \(min_clear"):
        take(planet, catalog, tmp_path / "d.seco", min_clear=0.5)
    # How it is fetched may change.
    assert take(planet, catalog, tmp_path / "d.seco", concurrency=3, retries=9).num_places > 0
    with pytest.raises(DatasetError, match="exists already"):
        take(planet, catalog, tmp_path / "d.seco", min_clear=0.5)


def test_expired_signatures_are_asked_anew(planet, served, tmp_path, clean, monkeypatch):
    catalog, server = served("expire=1:/*")
    kept: dict[str, str] = {}
    renewed = []

    def renew():
        renewed.append(len(kept))
        kept.clear()

    signer = Signer(sign=lambda href: kept.setdefault(href, server.sign(href)), renew=renew)
    real = collecting.catalog_of
    monkeypatch.setattr(
        collecting,
        "catalog_of",
        lambda *a, **k: dataclasses.replace(real(*a, **k), signing="planetary-computer"),
    )
    monkeypatch.setattr("seco.collect.fetching.signer_of", lambda catalog: signer)
    done = take(planet, catalog, tmp_path / "d.seco", concurrency=2)
    assert contents(tmp_path / "d.seco") == contents(clean[0])
    assert done.counts.signed == len(renewed)
    text = (tmp_path / "d.seco" / "collection" / "report.json").read_text()
    assert "sig=" not in text + (tmp_path / "d.seco" / "dataset.json").read_text()


def test_private_addresses_are_refused_unless_allowed(planet, served, tmp_path):
    catalog, server = served()
    with pytest.raises(DatasetError, match=r"unreadable: refused.*--hosts private"):
        take(planet, catalog, tmp_path / "d.seco", hosts="public")
    assert server.stats["requests"] == 0
    # What was wrong is mended on the same folder.
    assert take(planet, catalog, tmp_path / "d.seco").num_places > 0


def test_nothing_found_is_one_clear_error(planet, served, tmp_path):
    catalog, _ = served()
    with pytest.raises(DatasetError, match="no place gave a patch"):
        take(planet, catalog, tmp_path / "d.seco", max_cloud=0.0)
    assert take(planet, catalog, tmp_path / "d.seco").num_places > 0, "other settings begin anew"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"places": None}, ConfigError),
        ({"places": Path("/nowhere/places.csv")}, DatasetError),
        ({"catalog": "no-such-catalogue"}, CatalogError),
    ],
)
def test_bad_input_is_one_clear_error(planet, tmp_path, changed, error):
    good = child.settings(planet / "places.csv", planet / "planet" / "items.parquet")
    with pytest.raises(error):
        collect(dataclasses.replace(good, **changed), tmp_path / "d.seco")
    assert not (tmp_path / "d.seco.partial").exists()


def test_no_permission_is_one_clear_error(planet, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SecoError, match="choose another folder"):
        take(planet, planet / "planet" / "items.parquet", tmp_path / "file" / "d.seco")


def test_the_command(planet, tmp_path, capsys, clean):
    from seco.cli import main

    words = [
        "collect", "--places", str(planet / "places.csv"), "--catalog", str(planet / "planet"), "--from", str(child.FIRST),
        "--to", str(child.LAST), "--seasons", "2", "--spacing-days", "80", "--window-days", "40", "--max-cloud", "100",
        "--bands", ",".join(child.BANDS), "--size", str(child.SIZE), "--min-clear", "0.8", "--out", str(tmp_path / "d.seco"),
        "--json", str(tmp_path / "d.json"),
    ]  # fmt: skip
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "map.png" in told
    assert "sheet.png" in told
    found = {
        (r["what"], r["which"]): r["number"] for r in json.loads((tmp_path / "d.json").read_text())["rows"]
    }
    assert found["patches", "taken"] == clean[1].num_patches
    assert found["places", "taken"] == clean[1].num_places
    assert contents(tmp_path / "d.seco") == contents(clean[0])
    assert main([*words, "--pictures", "no"]) == 0
    assert "is whole already; nothing was fetched" in capsys.readouterr().out
    assert main([*words, "--min-clear", "0.5"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["collect", "--out", str(tmp_path / "e.seco")]) == 2
    assert "no range of dates" in capsys.readouterr().err


def test_a_simulated_scene_through_the_real_catalogue_server(tmp_path):
    """The planet's own renderer behind its STAC API: pixels are those of `picture`, on the one scale."""
    from seco.planet.catalogue.archive import read_archive
    from seco.planet.earth.render import picture, window_ground

    places = tmp_path / "places.csv"
    places.write_text("lon,lat\n4.1,48.9\n")
    first, last = dt.date(2021, 6, 1), dt.date(2021, 7, 10)  # before baseline 04.00: numbers without +1000
    make_scenes(
        Scenes(points=places, first=first, last=last, tile_px=1098, jobs=1, static="no"), tmp_path / "planet"
    )
    with PlanetServer(tmp_path / "planet", port=0, stac_port=0) as server:
        settings = Collect(
            places=places, catalog=server.stac_url, first=first, last=last, seasons=1, window_days=30, max_cloud=60,
            bands=("B04", "B8A"), size=66, hosts="private", min_clear=0.5,
        )  # fmt: skip
        collect(settings, tmp_path / "d.seco", patience=child.PATIENT)
    dataset = open_dataset(tmp_path / "d.seco")
    (row,) = pq.read_table(tmp_path / "d.seco" / "index.parquet").to_pylist()
    where = {"epsg": int(row["crs"][5:])}
    left, top = int(row["transform"][2]), int(row["transform"][5])
    planet = read_archive(tmp_path / "planet").planet
    ground = window_ground(planet, **where, left_m=left, top_m=top, size_px=66)
    wanted = picture(planet, ground, **where, day=row["date"], bands=("B04", "B8A"), offset_dn=1000)
    import zarr

    for group in dataset.meta.groups:
        stored = zarr.open_array(tmp_path / "d.seco" / "archive" / group.name, mode="r")[0]
        np.testing.assert_array_equal(stored[0], wanted.pixels[group.bands[0]])
