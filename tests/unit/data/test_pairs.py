"""Images and masks are paired by name and checked; cities of OSCD are found in every layout."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dense_data import ground, write_oscd, write_pairs, write_tif

from seco.data.areas import UNKNOWN, Area, divide, grid_blocks, groups, statistics
from seco.data.grids import Grid
from seco.data.oscd import looks_like_oscd, read_oscd
from seco.data.pairs import PairOptions, lonlat_ring, looks_like_pairs, read_pairs
from seco.errors import DatasetError


def test_masks_become_classes_by_number(tmp_path):
    found = read_pairs(write_pairs(tmp_path))
    assert looks_like_pairs(tmp_path)
    assert [c.name for c in found.classes] == ["1", "4", "7"]
    assert [b.name for b in found.bands] == ["red", "green", "blue"]
    assert len(found.areas) == 6
    classes, pixels = ground(64, 64, 0)
    assert np.array_equal(found.areas[0].images[0], pixels)
    classes[:4, :4] = UNKNOWN
    assert np.array_equal(found.areas[0].mask, classes)
    assert found.areas[0].box is not None


def test_a_class_file_names_and_colours(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "classes.txt").write_text("1 forest #00ff00\n4 winter wheat\n7 water\n9 never\n")
    found = read_pairs(tmp_path)
    assert [c.name for c in found.classes] == ["forest", "winter wheat", "water", "never"]
    assert found.classes[0].rgb == (0, 255, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 forest\n4 wheat\n", "holds 7, which is no class"),
        ("1 forest green\n4 wheat #zz\n7 water", "colour"),
        ('[{"name": "forest"}]', "cannot be read"),
    ],
)
def test_class_files_that_do_not_fit(tmp_path, text, words):
    write_pairs(tmp_path)
    (tmp_path / ("classes.json" if text.startswith("[") else "classes.txt")).write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_pairs(tmp_path)


def _lost(folder):
    (folder / "masks" / "field3.tif").unlink()


def _size(folder):
    write_tif(folder / "masks" / "field3.tif", np.zeros((32, 64), np.uint8), west=530_000.0)


def _moved(folder):
    write_tif(folder / "masks" / "field3.tif", np.zeros((64, 64), np.uint8), west=531_000.0)


def _picture(folder):
    write_tif(folder / "masks" / "field3.tif", np.zeros((3, 64, 64), np.uint8), west=530_000.0)


def _floats(folder):
    write_tif(folder / "masks" / "field3.tif", np.zeros((64, 64), np.float32), west=530_000.0)


def _cut_short(folder):
    file = folder / "images" / "field3.tif"
    file.write_bytes(file.read_bytes()[:300])


def _other_bands(folder):
    write_tif(folder / "images" / "field3.tif", np.ones((2, 64, 64), np.uint8), west=530_000.0)


def _other_order(folder):
    pixels = np.ones((3, 64, 64), np.uint8)
    write_tif(folder / "images" / "field3.tif", pixels, west=530_000.0, names=("blue", "green", "red"))


def _one_class(folder):
    for file in (folder / "masks").iterdir():
        with rasterio.open(file, "r+") as out:
            out.write(np.ones((64, 64), np.uint8), 1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lost, "1 of 6 files .* have no mask of their name, such as images/field3.tif"),
        (_size, "field3.tif has 64 x 32 px, its image 64 x 64"),
        (_moved, "its image on"),
        (_picture, "has 3 bands of uint8; a mask has one band"),
        (_floats, "1 bands of float32; a mask has one band"),
        (_cut_short, "field3.tif"),
        (_other_bands, "give images of one kind"),
        (_other_order, "has bands blue, green, red .* those before have red, green, blue"),
        (_one_class, "labels of one class only"),
    ],
)
def test_folders_that_do_not_fit_are_one_error(tmp_path, spoil, words):
    write_pairs(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=words):
        read_pairs(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="0 images and 0 masks"):
        read_pairs(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        read_pairs(tmp_path / "no")


def test_large_images_are_cut_into_blocks_and_published_parts_kept(tmp_path):
    classes, pixels = ground(128, 96, 0)
    write_tif(tmp_path / "train" / "images" / "a.tif", pixels)
    write_tif(tmp_path / "train" / "masks" / "a_mask.tif", classes.astype(np.uint8))
    classes, pixels = ground(40, 40, 1)
    write_tif(tmp_path / "test" / "images" / "a.tif", pixels, west=900_000.0)
    write_tif(tmp_path / "test" / "masks" / "a_mask.tif", classes.astype(np.uint8), west=900_000.0)
    found = read_pairs(tmp_path, PairOptions(block_px=32))
    assert [a.part for a in found.areas] == ["test", *["train"] * 12]
    assert sum(a.mask.size for a in found.areas if a.part == "train") == 128 * 96
    parts, words = divide(found.areas, shares=(0.2, 0.2), seed=0)
    assert parts.count("test") == 1
    assert parts.count("val") == 2
    assert words.startswith("published")


def area(name, box=None, part=None, ring=None):
    if box is not None:
        west, south, east, north = box
        ring = ((west, north), (east, north), (east, south), (west, south))
    return Area(
        name=name,
        images=(np.ones((1, 4, 4)),),
        mask=np.zeros((4, 4), np.int16),
        source=0,
        ring=ring,
        part=part,
    )


def test_areas_that_share_ground_stay_together():
    areas = [area(f"{i}", box=(i // 2 + 0.0, 0.0, i // 2 + 0.6, 1.0)) for i in range(20)]
    parts, _ = divide(areas, shares=(0.3, 0.2), seed=1)
    assert all(parts[i] == parts[i + 1] for i in range(0, 20, 2))
    assert (parts.count("test"), parts.count("val"), parts.count("train")) == (6, 4, 10)
    assert divide(areas, shares=(0.3, 0.2), seed=1)[0] == parts
    assert divide(areas, shares=(0.3, 0.2), seed=2)[0] != parts


def test_published_parts_that_share_ground_are_an_error():
    areas = [
        area("a", (0.0, 0.0, 1.0, 1.0), "train"),
        area("b", (0.5, 0.0, 1.5, 1.0), "test"),
        area("c", (9.0, 0.0, 9.5, 1.0), "val"),
    ]
    with pytest.raises(DatasetError, match="test and train share ground: a, b"):
        divide(areas, shares=(0.2, 0.2), seed=0)
    with pytest.raises(DatasetError, match="in no folder train"):
        divide([areas[0], area("d")], shares=(0.2, 0.2), seed=0)


@pytest.mark.parametrize("west", [180_000.0, 500_000.0, 780_000.0])
@pytest.mark.parametrize("gsd_m", [10.0, 60.0])
def test_neighbours_share_no_ground_wherever_they_lie_in_their_zone(west, gsd_m):
    """At a zone's edge a grid is turned by two degrees against the meridians, and boxes around neighbours overlap."""
    grid = Grid(crs="EPSG:32629", transform=(gsd_m, 0, west, 0, -gsd_m, 6_000_000.0), height=1024, width=1024)
    rings = [lonlat_ring(grid, r, c, 512, 512) for r in (0, 512) for c in (0, 512)]
    assert len(set(groups([area("", ring=r) for r in rings]))) == 4
    # One row of pixels shared is shared ground.
    also = lonlat_ring(grid, 1023, 0, 512, 400)
    assert groups([area("", ring=r) for r in (*rings, also)]).tolist() == [0, 1, 2, 3, 2]


def test_rings_across_the_antimeridian():
    grid = Grid(
        crs="EPSG:32660", transform=(10.0, 0, 680_000.0, 0, -10.0, 6_000_000.0), height=4096, width=4096
    )
    ring = lonlat_ring(grid, 0, 0, 4096, 4096)
    west, _, east, _ = area("", ring=ring).box
    assert 179 < west < 180 < east < 181
    other = area("b", (-179.9, 54.0, -179.8, 54.1))
    assert groups([area("a", ring=ring), other, area("c", (0.0, 54.0, 1.0, 54.1))]).tolist() == [0, 0, 1]


def test_too_few_areas():
    with pytest.raises(DatasetError, match="2 areas in 2 groups"):
        divide([area("a"), area("b")], shares=(0.2, 0.2), seed=0)


def test_statistics_leave_out_what_was_not_measured():
    from seco.sensors import sentinel2

    pixels = np.array([[[0, 100], [200, 300]]], np.uint16)
    found = Area(name="", images=(pixels,), mask=np.zeros((2, 2), np.int16), source=0)
    mean, std = statistics([found], [sentinel2.band("B02")])
    assert mean[0] == pytest.approx(200)
    assert std[0] == pytest.approx(np.std([100, 200, 300]))


def test_blocks_cover_a_raster_once():
    seen = np.zeros((70, 45), int)
    for row, col, height, width in grid_blocks(70, 45, 32):
        seen[row : row + height, col : col + width] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("layout", ["original", "torchgeo"])
@pytest.mark.parametrize("packed", ["folder", "zip", "zips"])
def test_oscd_in_its_layouts(tmp_path, layout, packed):
    folder = write_oscd(tmp_path / "a", layout)
    source = folder
    if packed != "folder":
        groups = (
            {"OSCD": list(folder.iterdir())} if packed == "zip" else {p.name: [p] for p in folder.iterdir()}
        )
        (tmp_path / "z").mkdir()
        for name, roots in groups.items():
            with zipfile.ZipFile(tmp_path / "z" / f"{name}.zip", "w") as archive:
                for file in (f for r in roots for f in r.rglob("*.*") if f.is_file()):
                    archive.write(file, file.relative_to(folder))
        source = tmp_path / "z" / "OSCD.zip" if packed == "zip" else tmp_path / "z"
    found = read_oscd(source)
    assert looks_like_oscd(source)
    assert {a.name: a.part for a in found.areas} == {"aguas": "train", "paris": "train", "dubai": "test"}
    assert len(found.bands) == 13
    for a in found.areas:
        assert a.images[0].shape == (13, 64, 64)
        assert set(np.unique(a.mask)) == {0, 1}
        moved = (a.images[1].astype(int) - a.images[0]).mean(0) > 1500
        assert np.array_equal(moved, a.mask == 1)


def test_oscd_that_is_not_whole(tmp_path):
    folder = write_oscd(tmp_path)
    next(folder.glob("*Images/paris/imgs_2_rect/B05.tif")).unlink()
    with pytest.raises(DatasetError, match="band B05 is not there at both dates"):
        read_oscd(folder)
    mask = next(folder.glob("*/aguas/cm/aguas-cm.tif"))
    write_tif(mask, np.full((64, 64), 3, np.uint8), crs=None)
    with pytest.raises(DatasetError, match=r"holds \[3\]"):
        read_oscd(folder)
    write_tif(mask, np.ones((60, 64), np.uint8), crs=None)
    with pytest.raises(DatasetError, match="city aguas: images and map differ in size"):
        read_oscd(folder)
    with pytest.raises(DatasetError, match="0 cities with images"):
        read_oscd(
            next(folder.glob("*Train Labels")).parent
            / "Onera Satellite Change Detection dataset - Images/paris/imgs_1_rect"
        )
