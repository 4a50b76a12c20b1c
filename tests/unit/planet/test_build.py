"""Simulated datasets: whole, repeatable, with the truth beside them, and clear about what cannot be."""

import dataclasses
import datetime
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.errors import ConfigError, DatasetError
from seco.planet import build as building
from seco.planet.build import build_dataset
from seco.planet.catalogue.archive import Archive
from seco.planet.catalogue.orbits import MIN_SUN_DEG, boa_offset_on
from seco.planet.catalogue.scenes import read_window
from seco.planet.catalogue.tiles import tiles_covering
from seco.planet.earth.render import picture, read_band, window_ground
from seco.planet.earth.sun import sun_angles
from seco.planet.earth.surfaces import BANDS, CLASSES, PIXEL_M
from seco.planet.places import Place, choose_days, draw_places, sees
from seco.planet.settings import Build
from seco.planet.utm import to_utm

SMALL = {"num_places": 6, "num_dates": 3, "patch_px": 60, "seed": 1, "jobs": 1}


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planet") / "small.seco"
    build_dataset(Build(**SMALL, change_share=1.0, min_clear=0.8), out)
    return out


def test_it_is_a_dataset_like_any_other(planet: Path) -> None:
    data = open_dataset(planet)
    assert check(data) == []
    assert (data.meta.num_places, len(data)) == (6, 18)
    assert [b.name for b in data.meta.bands] == list(BANDS)
    assert {(g.height_px, len(g.bands)) for g in data.meta.groups} == {(60, 4), (30, 6), (10, 2)}
    assert all(b.offset == -0.1 and b.scale == 1e-4 for b in data.meta.bands)
    assert "Simulated" in data.meta.licence
    assert data.meta.provenance["simulated"] is True
    assert set(data.labels) <= set(CLASSES)
    tier = data.training(["B04", "B08", "B11"])
    assert tier.pixels.shape == (18, 3, 60, 60)
    reflectance = tier.mean * 1e-4 - 0.1
    assert ((reflectance > 0.01) & (reflectance < 0.6)).all()


def test_the_truth_fits_the_pixels(planet: Path) -> None:
    data = open_dataset(planet)
    truth = pq.read_table(planet / "truth" / "patches.parquet").to_pydict()
    assert truth["row"] == list(range(18))
    assert truth["place"] == [data.place_ids[p] for p in data.place]
    np.testing.assert_allclose(truth["clear_fraction"], data.index["clear_fraction"].to_numpy(), atol=1e-6)
    shares = np.array([truth[c] for c in CLASSES]).T
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    assert [CLASSES[i] for i in shares.argmax(1)] == list(data.labels)
    surface = np.load(planet / "truth" / "surface.npy", mmap_mode="r")
    assert surface.shape == (6, 60, 60)
    first = np.bincount(surface[0].ravel(), minlength=len(CLASSES)) / 3600
    np.testing.assert_allclose(first, shares[0], atol=1e-9)
    assert np.load(planet / "truth" / "scl.npy", mmap_mode="r").shape == (18, 30, 30)
    changed = np.array(truth["changed_fraction"]).reshape(6, 3)
    # What has changed stays changed, and a place without an event never changes.
    assert (np.diff(changed, axis=1) >= 0).all()
    # Nothing is said to happen where nothing happens, but for what happens after the last date.
    for place, words in enumerate(truth["change"][::3]):
        assert words or changed[place].max() == 0
    assert changed.any()


def test_the_same_settings_make_the_same_pixels(
    planet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_ENOUGH_FOR_PROCESSES", 1)
    monkeypatch.setattr(building, "_TRUTH_ROWS", 4)  # the table of the truth comes in several pieces
    again = tmp_path / "again.seco"
    build_dataset(Build(**(SMALL | {"jobs": 2}), change_share=1.0, min_clear=0.8), again)
    first, second = open_dataset(planet), open_dataset(again)
    assert first.index["checksum"].equals(second.index["checksum"])
    assert first.fingerprint == second.fingerprint
    assert (planet / "truth" / "scl.npy").read_bytes() == (again / "truth" / "scl.npy").read_bytes()
    tables = [pq.ParquetFile(p / "truth" / "patches.parquet") for p in (planet, again)]
    assert [t.num_row_groups for t in tables] == [1, 3]
    assert tables[0].read().equals(tables[1].read())


def test_the_first_places_do_not_depend_on_how_many_are_asked() -> None:
    few = list(draw_places(Build(num_places=5), seed=2))
    many = list(draw_places(Build(num_places=40), seed=2))
    assert many[:5] == few


def test_patches_share_the_grid_of_scenes_in_both_hemispheres(tmp_path: Path) -> None:
    hemispheres = set()
    for place in draw_places(Build(num_places=40), seed=2):
        hemispheres.add(place.epsg // 100)
        tiles = [t for t in tiles_covering(place.lon, place.lat, tile_px=10980) if t.epsg == place.epsg]
        assert tiles
        assert {((place.left_m - t.left_m) % 60, (place.top_m - t.top_m) % 60) for t in tiles} == {(0, 0)}
    assert hemispheres == {326, 327}


@pytest.mark.parametrize("band", ["B01", "B11", "B04", "SCL"])
def test_a_southern_patch_is_what_its_scenes_show(band: str) -> None:
    build = Build(num_places=1, num_dates=1, patch_px=60, lat_min=-40, lat_max=-30)
    place = next(draw_places(build, seed=5))
    assert place.epsg > 32700
    day = choose_days(build.planet(), place, build)[0]
    ground = window_ground(
        build.planet(), epsg=place.epsg, left_m=place.left_m, top_m=place.top_m, size_px=60
    )
    offset = -boa_offset_on(day)
    patch = picture(build.planet(), ground, epsg=place.epsg, day=day, bands=(band,), offset_dn=offset).pixels[
        band
    ]
    tile = next(t for t in tiles_covering(place.lon, place.lat, tile_px=10980) if t.epsg == place.epsg)
    pixel = PIXEL_M[band]
    at = {"col": (place.left_m - tile.left_m) // pixel - 7, "row": (tile.top_m - place.top_m) // pixel - 5}
    edge = 600 // pixel
    archive = Archive(planet=build.planet(), first=day, last=day)
    wide = read_window(
        archive, tile, day, band, read=read_band, decimation=1, **at, width=edge + 20, height=edge + 20
    )
    np.testing.assert_allclose(wide[5 : 5 + edge, 7 : 7 + edge].astype(int), patch, atol=1)


def test_dates_are_spread_and_really_seen() -> None:
    build = Build(num_places=8, num_dates=4, min_clear=0.9)
    for place in draw_places(build, seed=0):
        days = choose_days(build.planet(), place, build)
        assert len(days) == 4
        assert all(sees(place, build.patch_px, d) for d in days)
        parts = [(d - build.first).days // 91.25 for d in days]
        assert parts == [0, 1, 2, 3]


def test_no_date_is_in_polar_night() -> None:
    east, north = to_utm(32633, 20.0, 75.0)
    place = Place(
        id="000000", lon=20.0, lat=75.0, epsg=32633, left_m=int(east // 60) * 60, top_m=int(north // 60) * 60
    )
    year = Build(num_dates=12, min_clear=0.0)
    days = choose_days(year.planet(), place, year)
    assert len(set(days)) == 12
    assert days == sorted(days)
    for day in days:
        at = datetime.datetime(day.year, day.month, day.day, 10, 30, tzinfo=datetime.UTC)
        assert sun_angles(0.0, 75.0, at)[0] >= MIN_SUN_DEG
        assert sees(place, year.patch_px, day)
    december = Build(num_dates=1, first=datetime.date(2023, 12, 1), last=datetime.date(2023, 12, 31))
    with pytest.raises(
        DatasetError, match=r"place at 20.00, 75.00: 0 days .* 3 degrees high, dates asked: 1"
    ):
        choose_days(december.planet(), place, december)
    # No place is drawn that could not be photographed.
    north = dataclasses.replace(december, num_places=5, sampler="land", lat_min=55, lat_max=75)
    assert all(p.lat < 62 for p in draw_places(north, seed=1))


def test_no_overlap_keeps_places_apart(tmp_path: Path) -> None:
    area = tmp_path / "area.geojson"
    area.write_text(shapely.to_geojson(shapely.box(2.3, 48.6, 2.6, 48.8)))
    settings = {
        "num_places": 12,
        "patch_px": 264,
        "within": area,
        "sampler": "land",
        "lat_min": 48,
        "lat_max": 49,
    }
    places = list(draw_places(Build(**settings, overlap=False), seed=0))
    for i, a in enumerate(places):
        assert all(max(abs(a.left_m - b.left_m), abs(a.top_m - b.top_m)) >= 2640 for b in places[:i])
    with pytest.raises(DatasetError, match=r"found \d+ of the 5000 places"):
        list(draw_places(Build(**(settings | {"num_places": 5000}), overlap=False), seed=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_dates": 0}, r"0 dates a place; .*--dates"),
        ({"num_places": 0}, r"0 places asked; .*--places"),
        ({"num_places": 10_000_001}, r"10000001 places asked; ask for 1 to 10,000,000 \(--places\)"),
        ({"patch_px": 100}, r"patch of 100 px; a multiple of 6"),
        ({"patch_px": 64}, r"such as 60 or 66 \(--patch\)"),
        (
            {"first": datetime.date(2023, 5, 1), "last": datetime.date(2023, 4, 1)},
            r"2023-05-01 to 2023-04-01: the first day",
        ),
        ({"bands": ("B02", "red")}, r"red is B04"),
        ({"patch_px": 6}, r"patch of 6 px; a multiple of 6 from 12"),
        ({"num_dates": 500}, r"500 dates from 2023-01-01 to 2024-01-01; at most one a day"),
        ({"first": datetime.date(1999, 1, 1)}, r"day 1999-01-01: the planet is seen from"),
        ({"bands": ("B02", "B10")}, r"bands B02,B10; choose from"),
        ({"bands": ()}, r"bands none; choose from"),
        ({"bands": ("B05", "B01")}, r"bands B05,B01; at least one of 10 m"),
        ({"change_share": 1.5}, r"--change-share 1.5; between 0 and 1"),
        ({"lat_min": 50, "lat_max": 40}, r"latitudes 50 to 40"),
        ({"lat_max": 89}, r"latitudes -60.0 to 89"),
        ({"jobs": -1}, r"-1 processes"),
        ({"min_clear": float("nan")}, r"--min-clear nan"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Build(**settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            shapely.to_geojson(shapely.box(-40, 30, -35, 35)),
            r"none of 200,\d+ positions drawn on land lies in .*another polygon",
        ),
        ("{", r"cannot read the polygon in .*give GeoJSON"),
        ("[1, 2]", r"cannot read the polygon"),
        (json.dumps({"type": "Point", "coordinates": [1, 2]}), r"holds no area"),
        (json.dumps({"type": "FeatureCollection", "features": []}), r"holds no area"),
        (shapely.to_geojson(shapely.box(400, 30, 500, 35)), r"holds no area within"),
    ],
)
def test_polygons_without_land_or_sense(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "area.geojson"
    file.write_text(text)
    out = tmp_path / "x.seco"
    with pytest.raises(DatasetError, match=message):
        build_dataset(Build(num_places=3, within=file, sampler="land", jobs=1), out)
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_disk_that_is_full_before_the_first_place(tmp_path: Path) -> None:
    """The truth is written through memory maps: their space is taken at once, else a full disk is a bus error."""
    script = (
        "import resource, signal, sys; from seco.cli import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["planet", "build", str(tmp_path / "x.seco"), "--places", "40", "--patch", "132", "--jobs", "1"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_half_written_is_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.seco"
    real = building.simulate

    def full_disk(*args: object) -> object:
        if full_disk.calls:  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        full_disk.calls += 1  # type: ignore[attr-defined]
        return real(*args)  # type: ignore[arg-type]

    full_disk.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(building, "simulate", full_disk)
    with pytest.raises(DatasetError, match="No space left"):
        build_dataset(Build(**SMALL), out)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(building, "simulate", real)
    build_dataset(Build(**(SMALL | {"num_places": 1})), out)
    with pytest.raises(DatasetError, match="exists already"):
        build_dataset(Build(**SMALL), out)


def test_a_big_build_says_what_it_takes() -> None:
    words = building.estimate(Build(num_places=10_000, num_dates=5, jobs=2))
    assert words == "50000 patches: about 17 minutes on 2 processes, at most 40.3 GB"
