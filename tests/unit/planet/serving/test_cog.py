"""Virtual COGs and their twins on disk, held against GDAL and a plain function of the coordinates."""

import resource
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from seco.errors import ConfigError, DatasetError
from seco.planet.serving.cog import CLASSIC_LIMIT_BYTES, HEADER_UNIT_BYTES, VirtualCog, write_cog
from seco.planet.serving.tiff import GHOST


def oracle(
    decimation: int, col: int, row: int, width: int, height: int, *, dtype: str = "uint16"
) -> np.ndarray:
    """Nearest decimation of value(row, col) = (row * 7919 + col * 104729) % 65521."""
    rows = (row + np.arange(height, dtype=np.int64)[:, None]) * decimation
    cols = (col + np.arange(width, dtype=np.int64)[None]) * decimation
    return ((rows * 7919 + cols * 104729) % 65521 % (np.iinfo(dtype).max + 1)).astype(dtype)


def make(width: int, height: int, **more: Any) -> VirtualCog:
    dtype = more.get("dtype", "uint16")
    settings: dict[str, Any] = {
        "width_px": width, "height_px": height, "epsg": 32631, "left_m": 399960.0, "top_m": 4900020.0, "pixel_m": 10.0,
        "description": "B04", "about": "simulated", "scale": 0.0001, "offset": -0.1,
        "read": lambda *window: oracle(*window, dtype=dtype),
    }  # fmt: skip
    return VirtualCog(**(settings | more))


def save(cog: VirtualCog, path: Path) -> Path:
    path.write_bytes(cog.read_bytes(0, cog.size_bytes))
    return path


CASES = {
    "not a multiple of the block": {"width": 300, "height": 217, "block_px": 64},
    "a multiple of the block": {"width": 256, "height": 128, "block_px": 64},
    "smaller than a block": {"width": 60, "height": 35},
    "one pixel": {"width": 1, "height": 1, "block_px": 16},
    "a strip": {"width": 700, "height": 3, "block_px": 32},
    "bytes": {"width": 130, "height": 200, "block_px": 16, "dtype": "uint8", "nodata": 255, "epsg": 32719},
    "no nodata, no overviews": {
        "width": 200,
        "height": 100,
        "block_px": 64,
        "nodata": None,
        "num_overviews": 0,
    },
    "more overviews than needed": {
        "width": 100,
        "height": 100,
        "num_overviews": 4,
        "scale": 1.0,
        "offset": 0.0,
    },
    "only an offset": {
        "width": 90,
        "height": 40,
        "block_px": 32,
        "scale": 1.0,
        "offset": -1000.0,
        "description": "",
        "about": "",
    },
}


@pytest.mark.parametrize("form", ["virtual", "none", "deflate"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gdal_sees_what_was_meant(tmp_path: Path, case: dict[str, Any], form: Any) -> None:
    cog = make(**case)
    path = tmp_path / "a.tif"
    if form == "virtual":
        save(cog, path)
    else:
        assert write_cog(cog, path, compress=form) == path.stat().st_size
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as d:
        assert (d.width, d.height, d.count, d.dtypes) == (cog.width_px, cog.height_px, 1, (cog.dtype,))
        assert d.crs == rasterio.CRS.from_epsg(cog.epsg)
        assert d.transform == rasterio.Affine(10, 0, 399960, 0, -10, 4900020)
        assert d.nodata == cog.nodata
        assert (d.scales, d.offsets) == ((cog.scale,), (cog.offset,))
        assert d.descriptions == (cog.description or None,)
        assert d.tags().get("TIFFTAG_IMAGEDESCRIPTION", "") == cog.about
        assert d.tags()["AREA_OR_POINT"] == "Area"
        assert d.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert d.block_shapes == [(cog.block_px, cog.block_px)]
        # rasterio rounds the ratio of the widths, which were rounded up before.
        assert d.overviews(1) == [round(cog.width_px / level.width_px) for level in cog.levels[1:]]
        np.testing.assert_array_equal(d.read(1), cog.read(1, 0, 0, cog.width_px, cog.height_px))
    for i, level in enumerate(cog.levels[1:]):
        with rasterio.open(path, overview_level=i) as d:
            wanted = cog.read(level.decimation, 0, 0, level.width_px, level.height_px)
            np.testing.assert_array_equal(d.read(1), wanted)


def test_the_uncompressed_file_is_the_virtual_one(tmp_path: Path) -> None:
    cog = make(300, 217, block_px=64)
    write_cog(cog, tmp_path / "a.tif", compress="none")
    assert (tmp_path / "a.tif").read_bytes() == cog.read_bytes(0, cog.size_bytes)


def test_overviews_end_when_one_fits_into_a_block() -> None:
    assert [v.decimation for v in make(10980, 10980).levels] == [1, 2, 4, 8, 16, 32]
    assert [v.decimation for v in make(512, 512).levels] == [1]
    assert [v.decimation for v in make(513, 10).levels] == [1, 2]


def test_blocks_are_laid_out_as_the_ghost_area_promises() -> None:
    cog = make(300, 217, block_px=64)
    data = cog.read_bytes(0, cog.size_bytes)
    assert data[8 : 8 + len(GHOST)] == GHOST
    assert int(GHOST[30:36]) == len(GHOST) - GHOST.index(b"\n") - 1
    start = len(cog.header())
    for number in range(cog.num_blocks):
        slot = data[start + number * cog.slot_bytes :][: cog.slot_bytes]
        assert struct.unpack("<I", slot[:4]) == (64 * 64 * 2,)
        assert slot[-4:] == slot[-8:-4]


def test_any_range_is_a_part_of_the_whole() -> None:
    cog = make(150, 100, block_px=32)
    whole = cog.read_bytes(0, cog.size_bytes)
    assert len(whole) == cog.size_bytes
    rng = np.random.default_rng(3)
    for start, stop in np.sort(rng.integers(0, cog.size_bytes + 1, (400, 2)), axis=1).tolist():
        assert cog.read_bytes(start, stop) == whole[start:stop]
    assert cog.read_bytes(cog.size_bytes - 3, cog.size_bytes + 100) == whole[-3:]
    assert cog.read_bytes(cog.size_bytes + 5, cog.size_bytes + 9) == b""
    for start, stop in ((-1, 4), (5, 4)):
        with pytest.raises(ConfigError, match="no range"):
            cog.read_bytes(start, stop)


def test_only_what_is_touched_is_made_and_never_beyond_the_edge() -> None:
    asked: list[tuple[int, ...]] = []

    def read(decimation: int, col: int, row: int, width: int, height: int) -> np.ndarray:
        asked.append((decimation, col, row, width, height))
        return oracle(decimation, col, row, width, height)

    cog = make(150, 100, block_px=64, num_overviews=2, read=read)
    cog.header()
    start = len(cog.header())
    assert (cog.size_bytes, asked) == (start + (6 + 2 + 1) * cog.slot_bytes, [])
    cog.read_bytes(0, start)
    assert asked == []
    cog.read_bytes(start + cog.slot_bytes - 1, start + cog.slot_bytes + 1)
    assert asked == [(4, 0, 0, 38, 25), (2, 0, 0, 64, 50)]
    asked.clear()
    cog.read_bytes(cog.size_bytes - 1, cog.size_bytes)
    assert asked == [(1, 128, 64, 22, 36)]


def test_blocks_beyond_the_edge_hold_nodata() -> None:
    cog = make(20, 10, block_px=32, nodata=7)
    np.testing.assert_array_equal(cog.pixels(0)[:10, :20], oracle(1, 0, 0, 20, 10))
    assert (cog.pixels(0)[10:] == 7).all()
    assert (cog.pixels(0)[:, 20:] == 7).all()


def test_a_sentinel2_band_is_a_classic_tiff() -> None:
    cog = make(10980, 10980)
    assert cog.header()[:4] == b"II*\0"
    assert 241e6 < cog.size_bytes < CLASSIC_LIMIT_BYTES
    assert len(cog.header().rstrip(b"\0")) < 16384  # GDAL's first request brings all of it, and no pixel
    assert len(cog.header()) == HEADER_UNIT_BYTES


def test_bigtiff_in_windows(tmp_path: Path) -> None:
    """A sparse file with the header and the blocks of two windows: GDAL reads those, at full size and in an overview."""
    cog = make(60000, 60000)
    assert cog.header()[:4] == b"II+\0"
    path = tmp_path / "big.tif"
    with path.open("wb") as file:
        file.write(cog.header())
        file.truncate(cog.size_bytes)
        fine, coarse = cog.levels[0], cog.levels[3]
        for number in (
            fine.first + 100 * fine.columns + 50,
            fine.first + 100 * fine.columns + 51,
            coarse.first,
        ):
            file.seek(len(cog.header()) + number * cog.slot_bytes)
            file.write(cog.slot(number))
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as d:
        assert d.overviews(1) == [2, 4, 8, 16, 32, 64, 128]
        got = d.read(1, window=Window(50 * 512 + 500, 100 * 512 + 10, 100, 80))
        np.testing.assert_array_equal(got, oracle(1, 50 * 512 + 500, 100 * 512 + 10, 100, 80))
    with rasterio.open(path, overview_level=2) as d:
        np.testing.assert_array_equal(d.read(1, window=Window(3, 4, 50, 60)), oracle(8, 3, 4, 50, 60))


@pytest.mark.parametrize("wrong", [np.zeros((3, 4), np.uint16), np.zeros((10, 20), np.int16)])
def test_a_renderer_that_gives_something_else_is_named(tmp_path: Path, wrong: np.ndarray) -> None:
    cog = make(20, 10, read=lambda *window: wrong)
    with pytest.raises(DatasetError, match=r"must be uint16 \(10, 20\)"):
        cog.slot(0)
    with pytest.raises(DatasetError, match="must be uint16"):
        write_cog(cog, tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"width_px": 0}, "width_px 0"),
        ({"height_px": 2**31}, "height_px"),
        ({"width_px": 10**8, "height_px": 10**8}, "limit is 1000000"),
        ({"epsg": 4326}, "EPSG:4326"),
        ({"epsg": 32661}, "EPSG:32661"),
        ({"left_m": float("nan")}, "left_m nan"),
        ({"pixel_m": 0.0}, "pixel_m 0"),
        ({"pixel_m": float("inf")}, "pixel_m inf"),
        ({"nodata": -1}, "nodata -1"),
        ({"nodata": 65536}, "nodata 65536"),
        ({"block_px": 100}, "block_px 100"),
        ({"block_px": 0}, "block_px 0"),
        ({"num_overviews": 7}, "at most 6"),
        ({"num_overviews": -1}, "-1 overviews"),
        ({"description": "<x>"}, "description"),
        ({"about": "Mañas"}, "about"),
        ({"about": "two\nlines"}, "about"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(100, 80, **setting)


@pytest.mark.parametrize("limit", [100, 5000, 40_000])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    old = tmp_path / "a.tif"
    old.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # the system itself refuses to write more
    try:
        with pytest.raises(DatasetError, match=r"cannot write .*a\.tif: .*too large.*free disk space"):
            write_cog(make(100, 100, block_px=64), old, compress="none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]
    with pytest.raises(DatasetError, match="cannot write"):
        write_cog(make(20, 10), tmp_path / "absent" / "a.tif")
    with pytest.raises(ConfigError, match="deflate level 0"):
        write_cog(make(20, 10), old, level=0)


def test_an_error_of_the_renderer_is_not_taken_for_the_disk(tmp_path: Path) -> None:
    def read(*window: int) -> np.ndarray:
        raise FileNotFoundError("landcover.tif")

    with pytest.raises(DatasetError, match=r"cannot make the pixels.*landcover"):
        write_cog(make(20, 10, read=read), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_writing_keeps_a_few_blocks_in_memory(tmp_path: Path) -> None:
    """A band of 8 MB and its overviews, uncompressible, written with less than 2 MB."""
    rng = np.random.default_rng(0)

    def read(decimation: int, col: int, row: int, width: int, height: int) -> np.ndarray:
        return rng.integers(0, 65536, (height, width), dtype=np.uint16)

    cog = make(2048, 2048, block_px=256, read=read)
    cog.header()
    tracemalloc.start()
    size = write_cog(cog, tmp_path / "a.tif", level=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 10e6
    assert peak < 2e6
    with rasterio.open(tmp_path / "a.tif") as d:  # blocks that deflate made larger are read as well
        assert d.read(1).std() > 10000
