import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import rasterio

from seco.collect import blocks
from seco.collect.blocks import BlockError, Kind, inflate, unpack

SHAPE = (32, 48)


def kind(dtype: str = "<u2", **changed) -> Kind:
    return Kind(
        **{"shape": SHAPE, "dtype": np.dtype(dtype), "packing": "deflate", "differs": False, **changed}
    )


@pytest.fixture(params=["isal", "zlib"])
def way(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal", reason="the faster package is not installed")
    blocks._zlib.cache_clear()
    yield
    blocks._zlib.cache_clear()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("endianness", ["little", "big"])
def test_blocks_that_gdal_wrote(tmp_path, dtype, predictor, endianness):
    pixels = np.random.default_rng(0).integers(0, 250, SHAPE).astype(dtype)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=SHAPE[0], width=SHAPE[1], count=1, dtype=dtype, tiled=True,
        blockxsize=48, blockysize=32, compress="deflate", predictor=predictor, endianness=endianness,
    ) as out:  # fmt: skip
        out.write(pixels, 1)
    with rasterio.open(tmp_path / "a.tif") as source:
        at, size = (int(source.get_tag_item(f"BLOCK_{n}_0_0", "TIFF", bidx=1)) for n in ("OFFSET", "SIZE"))
    data = (tmp_path / "a.tif").read_bytes()[at : at + size]
    made = kind(
        np.dtype(dtype).newbyteorder("<" if endianness == "little" else ">").str, differs=predictor == 2
    )
    for rows, columns in (
        (slice(0, 32), slice(0, 48)),
        (slice(3, 4), slice(40, 48)),
        (slice(9, 30), slice(0, 5)),
    ):
        found = unpack(data, made, rows, columns)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, pixels[rows, columns])


@pytest.mark.usefixtures("way")
def test_damage_is_noticed():
    raw = np.random.default_rng(0).integers(0, 250, 3072, dtype=np.uint8).tobytes()
    whole = zlib.compress(raw)
    assert inflate(whole, 3072) == raw
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 16
        with pytest.raises(BlockError):
            unpack(bytes(damaged), kind(), slice(0, 32), slice(0, 48))
    for data in (b"", whole[:-1], whole[: len(whole) // 2]):
        with pytest.raises(BlockError, match=r"cut off|bytes"):
            inflate(data, 3072)


@pytest.mark.usefixtures("way")
def test_no_more_is_unfolded_than_there_may_be():
    bomb = zlib.compress(bytes(2**28), 9)
    tracemalloc.start()
    with pytest.raises(BlockError, match="more than 3072"):
        inflate(bomb, 3072)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("num", [3071, 3073, 0])
def test_plain_blocks_of_another_size(num):
    with pytest.raises(BlockError, match="3072"):
        unpack(bytes(num), kind(packing="none"), slice(0, 32), slice(0, 48))
