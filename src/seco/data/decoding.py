"""Decode many pictures of a source, in order, a bounded number at a time, in processes where there are many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from seco.data import pictures
from seco.data.arranging import Entry
from seco.data.listing import Listing
from seco.data.pictures import Colour, Picture
from seco.data.workers import in_order, num_cores
from seco.errors import DatasetError

BATCH_PX = 2**20
"""Pixels, of stored pictures, that a process decodes at a time: what bounds the memory."""
BATCH_BYTES = 2**25
"""Bytes read from an archive after which it is given no more pictures: large ones may be stored small."""
MOST_AT_ONCE = 128
PICTURE_PX = 2**15
"""Opening a picture takes as long as decoding this many pixels."""
MUCH_PX = 2**27
"""From this many pixels on, those of opening included, processes decode: for fewer, starting them takes longer."""

Source = Path | bytes
Decoded = tuple[Entry, Picture | DatasetError]


def source_of(listing: Listing, name: str) -> Source:
    """Return what to open: the file itself, or its contents where it lies in an archive."""
    return listing.read(name, pictures.MAX_FILE_BYTES) if listing.is_zip else Path(listing.path(name))


def jobs_for(edges: Mapping[int, int]) -> int:
    """Return in how many processes to decode pictures, given how many there are of each edge, in pixels."""
    to_do = sum(num * (edge**2 + PICTURE_PX) for edge, num in edges.items())
    return num_cores() if to_do > MUCH_PX else 1


def decode_all(
    listing: Listing, entries: Iterable[Entry], *, colour: Colour, size_px: int, jobs: int
) -> Iterator[Decoded]:
    """Yield each entry with its picture, in order, or with the error that it cannot be read.

    Args:
        listing: where the pictures lie.
        entries: taken as they are needed.
        colour, size_px: see `pictures.decode`.
        jobs: processes; 1 decodes in this one.

    Raises:
        DatasetError: a process was ended from outside.
    """
    decode = partial(_decode, colour=colour, size_px=size_px)
    batches = _batches(listing, entries, min(max(1, BATCH_PX // size_px**2), MOST_AT_ONCE))
    for batch in in_order(decode, batches, jobs=jobs, what="decodes pictures"):
        yield from batch


def _batches(
    listing: Listing, entries: Iterable[Entry], num: int
) -> Iterator[list[tuple[Entry, Source | DatasetError]]]:
    """Read from the archive here, once for all processes."""
    batch: list[tuple[Entry, Source | DatasetError]] = []
    size = 0
    for entry in entries:
        try:
            source = source_of(listing, entry.name)
            batch.append((entry, source))
            size += len(source) if isinstance(source, bytes) else 0
        except DatasetError as err:
            batch.append((entry, err))
        if len(batch) >= num or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decode(
    batch: Sequence[tuple[Entry, Source | DatasetError]], *, colour: Colour, size_px: int
) -> list[Decoded]:
    """Decode some pictures, maybe in a process of its own: an error is handed on, it is not for it to decide."""
    out: list[Decoded] = []
    with pictures.quiet():
        for entry, source in batch:
            try:
                if isinstance(source, DatasetError):
                    raise source
                out.append((entry, pictures.decode(source, entry.name, colour=colour, size_px=size_px)))
            except DatasetError as err:
                out.append((entry, err))
    return out
