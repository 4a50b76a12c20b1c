import dataclasses
import datetime as dt
import json
import tracemalloc

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from seco.errors import ConfigError, DatasetError
from seco.planet.catalogue.archive import NAME, Archive, read_archive, write_archive
from seco.planet.catalogue.orbits import acquisitions, footprint_m, seen
from seco.planet.catalogue.scenes import describer, finder, path_of, read_window, scene_cog
from seco.planet.catalogue.tiles import tile_from_id, tiles_covering
from seco.planet.earth.render import read_band
from seco.planet.earth.surfaces import PIXEL_M
from seco.planet.serving.cog import write_cog
from seco.planet.settings import Planet

ARCHIVE = Archive(planet=Planet(seed=1), tile_px=1098, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 30))


@pytest.fixture(scope="module")
def partial():
    """A small tile and an acquisition whose swath covers a part of it."""
    for lat in np.arange(48.8, 49.5, 0.05):
        for tile in tiles_covering(5.34, lat, tile_px=1098):
            for taken in ARCHIVE.scenes(tile):
                if 0.2 < footprint_m(tile, taken.day).area / tile.edge_m**2 < 0.8:
                    return tile, taken
    raise AssertionError("no tile at the edge of a swath")


def test_windows_of_all_levels_are_the_renderers_pixels_and_nodata_beyond_the_swath(partial, coded):
    tile, taken = partial
    for band, decimation in (("B04", 1), ("B04", 4), ("B11", 2), ("B01", 1), ("SCL", 1)):
        pixel, size = PIXEL_M[band], tile.edge_m // PIXEL_M[band] // decimation
        got = read_window(
            ARCHIVE,
            tile,
            taken.day,
            band,
            read=coded,
            decimation=decimation,
            col=0,
            row=0,
            width=size,
            height=size,
        )
        east = tile.left_m + (np.arange(size) * decimation + 0.5) * pixel
        north = tile.top_m - (np.arange(size) * decimation + 0.5) * pixel
        inside = seen(epsg=tile.epsg, easting_m=east[None], northing_m=north[:, None], day=taken.day)
        want = coded(
            None,
            epsg=tile.epsg,
            band=band,
            acquisition_day=taken.day,
            left_m=tile.left_m,
            top_m=tile.top_m,
            width_px=size,
            height_px=size,
            decimation=decimation,
        )
        np.testing.assert_array_equal(got, np.where(inside, want, 0))
        assert got.dtype == want.dtype
        assert 0 < (got == 0).mean() < 1
        part = read_window(
            ARCHIVE,
            tile,
            taken.day,
            band,
            read=coded,
            decimation=decimation,
            col=11,
            row=5,
            width=30,
            height=20,
        )
        np.testing.assert_array_equal(part, got[5:25, 11:41])


def test_identical_ground_has_identical_pixels_in_two_tiles():
    tile, neighbour = (tile_from_id(name, tile_px=1098) for name in ("31UFQ64", "31UFQ74"))
    left = tile.left_m
    assert left < neighbour.left_m < left + tile.edge_m
    taken = next(ARCHIVE.scenes(tile))
    shift = neighbour.left_m - left
    for band in ("B04", "B11", "SCL"):
        pixel = PIXEL_M[band]
        a = read_window(
            ARCHIVE,
            tile,
            taken.day,
            band,
            read=read_band,
            decimation=1,
            col=shift // pixel,
            row=40,
            width=30,
            height=30,
        )
        b = read_window(
            ARCHIVE,
            neighbour,
            taken.day,
            band,
            read=read_band,
            decimation=1,
            col=0,
            row=40,
            width=30,
            height=30,
        )
        np.testing.assert_array_equal(a, b)
        assert len(np.unique(a)) > 1 or band == "SCL"


def test_files_on_disk_are_cogs_on_the_tiles_grid(tmp_path, partial, coded):
    tile, taken = partial
    for band in ("B02", "B05", "B09", "SCL"):
        cog = scene_cog(ARCHIVE, tile, taken, band, read=coded)
        write_cog(cog, tmp_path / f"{band}.tif")
        valid, errors, warnings = cog_validate(tmp_path / f"{band}.tif", strict=True)
        assert valid, (errors, warnings)
        with rasterio.open(tmp_path / f"{band}.tif") as file:
            pixel = PIXEL_M[band]
            assert file.crs.to_epsg() == tile.epsg
            assert file.transform[:6] == (pixel, 0, tile.left_m, 0, -pixel, tile.top_m)
            assert (file.width, file.nodata, file.descriptions) == (tile.edge_m // pixel, 0, (band,))
            assert file.dtypes == ("uint8" if band == "SCL" else "uint16",)
            assert "Simulated" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
            size = tile.edge_m // pixel
            whole = read_window(
                ARCHIVE,
                tile,
                taken.day,
                band,
                read=coded,
                decimation=1,
                col=0,
                row=0,
                width=size,
                height=size,
            )
            np.testing.assert_array_equal(file.read(1), whole)


def test_what_a_scene_shows_is_what_its_classification_says(partial):
    tile, taken = partial
    said = describer(ARCHIVE)(tile, taken)
    size = tile.edge_m // 20
    scl = read_window(
        ARCHIVE, tile, taken.day, "SCL", read=read_band, decimation=1, col=0, row=0, width=size, height=size
    )
    counts = np.bincount(scl.ravel(), minlength=12)[1:]
    real = 100 * counts / counts.sum()
    assert np.abs(np.array(list(said.values())) - real).max() < 8
    assert sum(said.values()) == pytest.approx(100, abs=0.001)


def test_paths_find_scenes_and_nothing_else(coded):
    find = finder(ARCHIVE, read=coded)
    tile = tiles_covering(5.0, 49.1, tile_px=1098)[0]
    taken = next(ARCHIVE.scenes(tile))
    path = f"/{path_of(tile, taken)}/B04.tif"
    cog = find(path)
    assert (cog.width_px, cog.pixel_m, cog.epsg, cog.left_m) == (1098, 10, tile.epsg, tile.left_m)
    assert find(path) is cog
    assert find(path.replace("B04", "SCL")).dtype == "uint8"
    day = str(taken.day)
    days = {a.day for a in acquisitions(tile, first=ARCHIVE.first, last=ARCHIVE.last)}
    unseen = str(next(d for n in range(1, 5) if (d := taken.day + dt.timedelta(days=n)) not in days))
    for wrong in (
        path.replace("B04", "B10"),
        path.replace(day, unseen),
        path.replace(day, "2023-02-30"),
        path.replace(day, "2024-06-01"),
        path.replace(tile.id, "31UFQ"),
        path.replace(tile.id, "99UFQ11"),
        path + "x",
        "/" + path,
        "/",
        "",
        path.replace(day, "0001-01-01"),
        path.lower(),
        path.replace(".tif", ".tif\n"),
    ):
        assert find(wrong) is None, wrong


def test_paths_that_are_no_scenes_are_not_remembered(coded):
    find = finder(ARCHIVE, read=coded)
    tracemalloc.start()
    try:
        for n in range(100):
            assert find(f"/{n}{'x' * 50_000}") is None
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_settings_are_kept(tmp_path):
    changed = dataclasses.replace(
        ARCHIVE,
        planet=Planet(seed=4, change_share=0.5, change_from=dt.date(2020, 3, 4)),
        revisit_days=15,
        rendered=True,
    )
    for archive in (ARCHIVE, changed):
        write_archive(archive, tmp_path)
        assert read_archive(tmp_path) == archive


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "use a newer one"),
        ({"version": None}, "no version"),
        ({"version": True}, "no version"),
        ({"tile_px": "1098"}, "damaged"),
        ({"tile_px": 7}, "tiles of 7 px"),
        ({"first": "June"}, "damaged"),
        ({"first": 3}, "damaged"),
        ({"planet": []}, "damaged"),
        ({"planet": {"seed": -1}}, "seed -1"),
        ({"planet": {"sed": 1}}, "unknown setting sed"),
        ({"last": "2023-01-01"}, "first day comes first"),
        ({"revisit_days": 7}, "multiple of 5"),
        ({"rendered": 1}, "damaged"),
        ({"last": "2200-01-01"}, "2099-12-31"),
    ],
)
def test_settings_that_cannot_be(tmp_path, change, words):
    write_archive(ARCHIVE, tmp_path)
    values = json.loads((tmp_path / NAME).read_text()) | change
    (tmp_path / NAME).write_text(json.dumps(values))
    with pytest.raises((DatasetError, ConfigError), match=words):
        read_archive(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_damaged_settings(tmp_path, data):
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        read_archive(tmp_path)
    with pytest.raises(DatasetError, match="is no planet"):
        read_archive(tmp_path / "elsewhere")


def test_thinned_revisits_keep_whole_cycles():
    tile = tile_from_id("31UFQ34", tile_px=1098)
    thin = dataclasses.replace(ARCHIVE, revisit_days=15)
    days = {a.day for a in ARCHIVE.scenes(tile)}
    kept = {a.day for a in thin.scenes(tile)}
    assert kept == {d for d in days if d.toordinal() // 5 % 3 == 0}
    assert 0 < len(kept) < len(days) / 2
