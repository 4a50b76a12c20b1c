"""Shards joined here are, byte for byte, those that Zarr writes."""

import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, TransposeCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from seco.data import format as fmt
from seco.data.dataset import MANY, Dataset, open_dataset
from seco.data.layout import array_settings
from seco.data.shards import crc32c, encode_chunk, join_chunks, read_patches, shard_of
from seco.errors import DatasetError


def by_zarr(group, planes, *, shard):
    held: dict[str, Buffer] = {}
    array = zarr.create_array(MemoryStore(held), **array_settings(group, num=len(planes), shard=shard))
    array[:] = np.stack(planes)
    made = held.get("c/0/0/0/0")
    return None if made is None else made.to_bytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize(("num", "shard"), [(5, 5), (3, 8), (1, 1)])
@pytest.mark.parametrize("empty", ["none", "the second", "all"])
def test_equals_zarr_byte_for_byte(dtype, num, shard, empty):
    group = fmt.Group(name="g0", bands=("a", "b"), height_px=132, width_px=130, dtype=dtype)
    rng = np.random.default_rng(0)
    planes = [(rng.standard_normal((2, 132, 130)) * 20 + 100).astype(dtype) for _ in range(num)]
    for i, plane in enumerate(planes):
        if empty == "all" or (empty == "the second" and i == 1):
            plane[:] = 0
    joined = join_chunks([encode_chunk(p) for p in planes], shard=shard)
    assert joined == by_zarr(group, planes, shard=shard)
    assert (joined is None) == (empty == "all")


def test_planes_of_any_memory_order_are_stored_alike():
    plane = np.random.default_rng(1).integers(0, 9, (2, 40, 30)).astype(np.uint16)
    assert encode_chunk(np.asfortranarray(plane)) == encode_chunk(plane)
    assert encode_chunk(plane.astype(">u2")) == encode_chunk(plane)


def test_checksum_of_the_index_is_crc32c():
    # The check value of CRC-32C (RFC 3720, B.4, and the catalogue of Williams).
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def archive(folder, dtype="uint16", num=11, shard=4, **changes):
    """An archive of one group whose second shard and tenth patch hold but zeros; its array and its group."""
    group = fmt.Group(name="g0", bands=("a", "b"), height_px=24, width_px=20, dtype=dtype)
    planes = (np.random.default_rng(2).standard_normal((num, 2, 24, 20)) * 20 + 100).astype(dtype)
    planes[[4, 5, 6, 7, 9]] = 0
    root = zarr.open_group(folder, mode="w", zarr_format=3)
    array = root.create_array("g0", **(array_settings(group, num=num, shard=shard) | changes))
    array[:] = planes
    return array, group


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize(("start", "stop"), [(0, 11), (1, 3), (3, 10), (5, 7), (10, 11)])
def test_reads_what_zarr_reads(tmp_path, dtype, start, stop):
    array, group = archive(tmp_path, dtype)
    assert shard_of(array, group) == 4
    found = read_patches(tmp_path, group, start, stop, shard=4)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array[start:stop])


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": None},
        {"chunks": (2, 2, 24, 20)},
        {"compressors": None},
        {"compressors": BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")},
        {"fill_value": 7},
        {"serializer": BytesCodec(endian="big")},
        {"filters": [TransposeCodec(order=(0, 1, 3, 2))]},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"shards": {"shape": (4, 2, 24, 20), "index_location": "start"}},
    ],
)
def test_other_layouts_are_left_to_zarr(tmp_path, changes):
    array, group = archive(tmp_path, **changes)
    assert shard_of(array, group) is None


def relist(file, shard, change):
    """Change the list of chunks of a shard's file, with the checksum that makes it look sound."""
    data = bytearray(file.read_bytes())
    places = np.frombuffer(bytes(data[-16 * shard - 4 : -4]), "<u8").reshape(shard, 2).copy()
    change(places)
    data[-16 * shard - 4 : -4] = places.tobytes()
    data[-4:] = struct.pack("<I", crc32c(places.tobytes()))
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("begins", "length"),
    [(0, 2**40), (0, 2**63), (2**63, 16), (2**64 - 2, 16), (10**6, 100), (0, 0), (0, 2**64 - 1), (0, 15)],
)
def test_hostile_lists_ask_for_nothing_outside_of_the_file(tmp_path, begins, length):
    _, group = archive(tmp_path)
    relist(tmp_path / "g0/c/0/0/0/0", 4, lambda places: places.__setitem__(1, (begins, length)))
    with pytest.raises(ValueError, match="would lie outside"):
        read_patches(tmp_path, group, 0, 4, shard=4)


@pytest.mark.parametrize("field", [4, 12])
@pytest.mark.parametrize("value", [0, 2**31, 2**32 - 1])
def test_hostile_chunks_ask_for_no_more_than_a_patch(tmp_path, field, value):
    _, group = archive(tmp_path)
    file = tmp_path / "g0/c/0/0/0/0"
    data = bytearray(file.read_bytes())
    data[field : field + 4] = struct.pack("<I", value)
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"a chunk of .* is damaged"):
        read_patches(tmp_path, group, 0, 4, shard=4)


def test_chunks_of_noise_are_an_error_or_pixels(tmp_path):
    """Bytes inside of a chunk have no checksum of their own: `seco dataset check` compares the pixels with the index."""
    _, group = archive(tmp_path)
    file = tmp_path / "g0/c/0/0/0/0"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data) - 68, 3):
            data[at] = rng.integers(256)
        file.write_bytes(data)
        with suppress(ValueError, RuntimeError):
            assert read_patches(tmp_path, group, 0, 4, shard=4).shape == (4, 2, 24, 20)


def test_threads_read_the_same(tmp_path):
    array, group = archive(tmp_path, num=64, shard=16)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: read_patches(tmp_path, group, i, i + 32, shard=16), range(32)))
    wanted = array[:]
    for i, planes in enumerate(found):
        np.testing.assert_array_equal(planes, wanted[i : i + 32])


@pytest.mark.parametrize("damage", ["cut", "index", "chunk", "empty file"])
def test_a_damaged_shard_is_an_error(tmp_path, damage):
    _, group = archive(tmp_path)
    file = tmp_path / "g0/c/0/0/0/0"
    data = bytearray(file.read_bytes())
    at = {"cut": slice(30, None), "index": slice(-60, -50), "chunk": slice(0, 16), "empty file": slice(None)}[
        damage
    ]
    data[at] = b"" if damage in ("cut", "empty file") else b"?" * (at.stop - at.start)
    file.write_bytes(data)
    with pytest.raises((ValueError, RuntimeError, OSError)):
        read_patches(tmp_path, group, 0, 4, shard=4)


def test_a_dataset_gives_the_same_planes_either_way(make_dataset, monkeypatch):
    data = open_dataset(make_dataset())
    spans = [
        (0, len(data)),
        (0, 64),
        (3, 40),
        (5, 5),
        (9, 4),
        (-40, -1),
        (40, 10**6),
        (len(data), len(data) + 50),
    ]
    found = [data.planes(*span) for span in spans]
    assert len(found[0][0]) == len(data) > MANY
    monkeypatch.setattr(Dataset, "_shards", [None] * len(data.arrays))
    for span, planes in zip(spans, found, strict=True):
        for mine, array in zip(planes, open_dataset(data.path).planes(*span), strict=True):
            np.testing.assert_array_equal(mine, array)
            assert (mine.dtype, mine.flags.writeable) == (array.dtype, True)


def test_a_dataset_of_damaged_shards_says_what_to_run(make_dataset):
    path = make_dataset()
    (path / "archive/g0/c/0/0/0/0").write_bytes(b"?" * 40000)
    with pytest.raises(DatasetError, match=r"cannot decode patches 0 to 63 .* run `seco dataset check`"):
        open_dataset(path).planes(0, 64)
