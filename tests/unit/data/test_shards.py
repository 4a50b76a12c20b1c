"""Shards joined here are, byte for byte, those that Zarr writes."""

import numpy as np
import pytest
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from seco.data import format as fmt
from seco.data.layout import array_settings
from seco.data.shards import crc32c, encode_chunk, join_chunks


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
