"""Whole shards of an archive as files of their own: encoded in memory, and put in their place by a rename.

Zarr writes the very same bytes into an array; but here a shard appears in one step, whatever stops the process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from seco.data import format as fmt
from seco.data.layout import array_settings
from seco.errors import DatasetError

_KEY = "c/0/0/0/0"


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
    data = _encode(group, np.stack(planes), shard=shard)
    if data is None:
        # Zarr leaves shards away that hold nothing but zeros.
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, data)


def read_shard(archive: Path, group: fmt.Group, number: int, *, num: int, shard: int) -> list[np.ndarray]:
    """Return the first `num` patches of a shard.

    Raises:
        DatasetError: it is damaged.
    """
    file = shard_file(archive, group, number)
    held: dict[str, Buffer] = {}
    array = zarr.create_array(MemoryStore(held), **array_settings(group, num=num, shard=shard))
    if file.is_file():
        held[_KEY] = default_buffer_prototype().buffer.from_bytes(file.read_bytes())
    try:
        return list(np.asarray(array[:num]))
    except (ValueError, RuntimeError, OSError) as err:
        raise DatasetError(
            f"{file} is damaged ({err}); remove the unfinished dataset and start again"
        ) from err


def _encode(group: fmt.Group, pixels: np.ndarray, *, shard: int) -> bytes | None:
    held: dict[str, Buffer] = {}
    array = zarr.create_array(MemoryStore(held), **array_settings(group, num=len(pixels), shard=shard))
    # zarr hands each batch to a thread of its own, and for patches of few kilobytes that costs more than compressing.
    with zarr.config.set({"codec_pipeline.batch_size": 64}):
        array[:] = pixels
    made = held.get(_KEY)
    return None if made is None else made.to_bytes()


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
