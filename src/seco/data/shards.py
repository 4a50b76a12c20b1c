"""Whole shards of an archive as files of their own: patches are compressed one by one, and joined when a shard is full.

Zarr writes the very same bytes into an array, and reads the same pixels, in twice the time or more; and here a shard
appears in one step, whatever stops the process.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from jaxtyping import Shaped
from numcodecs import blosc  # type: ignore[import-untyped]
from zarr.storage import MemoryStore

from seco.data import format as fmt
from seco.data.layout import COMPRESSION_LEVEL, array_settings

_NOWHERE = 2**64 - 1


def shard_file(archive: Path, group: fmt.Group, number: int) -> Path:
    """Return the file of a shard."""
    return archive / group.name / "c" / str(number) / "0" / "0" / "0"


def write_shard(
    archive: Path, group: fmt.Group, number: int, planes: Sequence[np.ndarray], *, shard: int
) -> None:
    """Write one shard, whole or the last few patches of a dataset, in one step.

    Args:
        archive: folder of the archive.
        number: position of the shard, from 0.
        planes: patches, each (bands, height, width).
        shard: patches of a whole shard.
    """
    file = shard_file(archive, group, number)
    data = join_chunks([encode_chunk(p) for p in planes], shard=shard)
    if data is None:
        # Zarr leaves shards away that hold nothing but zeros.
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, data)


def read_patches(
    archive: Path, group: fmt.Group, start: int, stop: int, *, shard: int
) -> Shaped[np.ndarray, "patches bands h w"]:
    """Return patches `start` to `stop` of a group: what Zarr reads, in a fraction of the time where they are many.

    Raises:
        ValueError, RuntimeError, OSError: a shard is damaged.
    """
    stored = np.dtype(group.dtype).newbyteorder("<")
    out = np.zeros((stop - start, len(group.bands), group.height_px, group.width_px), stored)
    for number in range(start // shard, -(-stop // shard)):
        first = number * shard
        own = slice(max(start - first, 0), min(stop - first, shard))
        file = shard_file(archive, group, number)
        if file.is_file():  # Zarr leaves shards away that hold nothing but zeros
            _fill(out[first + own.start - start : first + own.stop - start], file, own, shard)
    return out.astype(group.dtype, copy=False)


def _fill(out: np.ndarray, file: Path, own: slice, shard: int) -> None:
    """Decode some patches of a shard's file into `out`."""
    with file.open("rb") as opened:
        end = opened.seek(-16 * shard - 4, os.SEEK_END)  # of the chunks: the list of them comes last
        index, crc = opened.read(16 * shard), opened.read(4)
        if struct.pack("<I", crc32c(index)) != crc:
            raise ValueError(f"the list of chunks of {file} is damaged")
        places = np.frombuffer(index, "<u8").reshape(shard, 2)[own].tolist()
        for plane, (begins, length) in zip(out, places, strict=True):
            if begins == _NOWHERE:
                continue
            if not 16 <= length <= end - begins:
                raise ValueError(f"a chunk of {file} would lie outside of it")
            opened.seek(begins)
            chunk = opened.read(length)
            # Blosc's header: sizes of the contents, of a block, and of the chunk itself.
            if struct.unpack_from("<4xI4xI", chunk) != (plane.nbytes, length):
                raise ValueError(f"a chunk of {file} is damaged")
            blosc.decompress(chunk, plane)


def shard_of(array: zarr.Array, group: fmt.Group) -> int | None:
    """Return how many patches a shard of an archive array holds; None where it is not laid out as is written here."""
    if not array.shards:
        return None
    shard = array.shards[0]
    ours = zarr.create_array(MemoryStore(), **array_settings(group, num=array.shape[0], shard=shard)).metadata
    return (
        shard if dataclasses.replace(ours, attributes=array.metadata.attributes) == array.metadata else None
    )


def encode_chunk(plane: np.ndarray) -> bytes:
    """Compress one patch of a group as `array_settings` says; nothing of one that holds but zeros."""
    stored = np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder("<"), copy=False).reshape(-1)
    raw = stored.view(np.uint8)
    # Most patches say in their first bytes that they are not empty.
    if not raw[:4096].any() and not raw.any():
        return b""
    made: bytes = blosc.compress(stored, b"zstd", COMPRESSION_LEVEL, blosc.BITSHUFFLE)
    return made


def join_chunks(chunks: Sequence[bytes], *, shard: int) -> bytes | None:
    """Return a shard of compressed patches, the first ones of `shard`; None where all are empty, as Zarr leaves such away.

    The layout is that of Zarr's codec `sharding_indexed`: the chunks, then where each begins and how long it is, all ones
    for an empty one, then CRC-32C of that.
    """
    if not any(chunks):
        return None
    places: list[int] = []
    begins = 0
    for chunk in chunks:
        places += (begins, len(chunk)) if chunk else (_NOWHERE, _NOWHERE)
        begins += len(chunk)
    places += [_NOWHERE] * (2 * (shard - len(chunks)))
    index = struct.pack(f"<{2 * shard}Q", *places)
    return b"".join((*chunks, index, struct.pack("<I", crc32c(index))))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some kilobytes."""
    table, state = _crc_table(), 0xFFFFFFFF
    for byte in data:
        state = table[(state ^ byte) & 255] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[int, ...]:
    def step(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        return value

    return tuple(step(value) for value in range(256))


def drop_shards(archive: Path, group: fmt.Group, *, num: int) -> None:
    """Remove all shards of a group but the first `num`."""
    for folder in (archive / group.name / "c").glob("*"):
        if folder.name.isdigit() and int(folder.name) >= num:
            shutil.rmtree(folder)


def replace_file(file: Path, data: bytes) -> None:
    """Write a file that, after a crash of the machine too, is either the old or the new one."""
    temporary = file.with_name(f".{file.name}.partial")
    with temporary.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
