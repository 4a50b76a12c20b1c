"""The bytes in front of a cloud-optimised GeoTIFF's pixels: TIFF header, ghost area, directories, GeoKeys.

Pure: values in, bytes out. Sources: TIFF 6.0 (Adobe, 1992); BigTIFF as libtiff writes it; OGC GeoTIFF 1.1 (19-008r4);
the ghost area and the metadata tags as GDAL's GTiff and COG driver pages describe them.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import Literal

import numpy as np

SHORT, LONG, DOUBLE, LONG8, ASCII = 3, 4, 12, 16, 2
_SIZES = {ASCII: 1, SHORT: 2, LONG: 4, DOUBLE: 8, LONG8: 8}
_CODES = {SHORT: "H", LONG: "I", DOUBLE: "d", LONG8: "Q"}

NEW_SUBFILE_TYPE = 254
IMAGE_WIDTH = 256
IMAGE_LENGTH = 257
BITS_PER_SAMPLE = 258
COMPRESSION = 259
PHOTOMETRIC = 262
IMAGE_DESCRIPTION = 270
SAMPLES_PER_PIXEL = 277
PLANAR_CONFIG = 284
PREDICTOR = 317
TILE_WIDTH = 322
TILE_LENGTH = 323
TILE_OFFSETS = 324
TILE_BYTE_COUNTS = 325
SAMPLE_FORMAT = 339
MODEL_PIXEL_SCALE = 33550
MODEL_TIEPOINT = 33922
GEO_KEY_DIRECTORY = 34735
GEO_ASCII_PARAMS = 34737
GDAL_METADATA = 42112
GDAL_NODATA = 42113

LEADER_BYTES = 4
"""In front of every block: the number of its bytes, uint32 (BLOCK_LEADER)."""
TRAILER_BYTES = 4
"""Behind every block: its last bytes again, by which a reader sees that nobody rewrote it (BLOCK_TRAILER)."""
_STRUCTURE = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
GHOST = f"GDAL_STRUCTURAL_METADATA_SIZE={len(_STRUCTURE):06d} bytes\n{_STRUCTURE}".encode("ascii")
"""What GDAL reads right behind the TIFF header; all of it holds for what `seco.planet.serving.cog` makes."""

_ARRAYS = (TILE_OFFSETS, TILE_BYTE_COUNTS)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a directory: a tag, the TIFF type of its values, how many there are, and their bytes."""

    tag: int
    kind: int
    count: int
    data: bytes


def entry(tag: int, kind: int, *values: float) -> Entry:
    """Make an entry of numbers."""
    return Entry(tag, kind, len(values), struct.pack(f"<{len(values)}{_CODES[kind]}", *values))


def text(tag: int, value: str) -> Entry:
    """Make an entry of text, closed by the zero byte that TIFF asks for."""
    data = value.encode("utf-8") + b"\0"
    return Entry(tag, ASCII, len(data), data)


def array(tag: int, kind: int, values: np.ndarray) -> Entry:
    """Make an entry of one number a block."""
    return Entry(tag, kind, len(values), values.astype(f"<u{_SIZES[kind]}").tobytes())


def utm_entries(*, epsg: int, left_m: float, top_m: float, pixel_m: float) -> list[Entry]:
    """Return where a north-up picture on a UTM grid lies; its pixels are areas, its corner is the tie point."""
    zone, side = epsg % 100, "N" if epsg // 100 == 326 else "S"
    citation = f"WGS 84 / UTM zone {zone}{side}|"
    keys = (
        (1024, 0, 1, 1),  # GTModelType: projected
        (1025, 0, 1, 1),  # GTRasterType: PixelIsArea
        (1026, GEO_ASCII_PARAMS, len(citation), 0),  # GTCitation
        (3072, 0, 1, epsg),  # ProjectedCRS
        (3076, 0, 1, 9001),  # ProjLinearUnits: metre
    )
    directory = (1, 1, 0, len(keys), *(v for key in keys for v in key))
    return [
        entry(MODEL_PIXEL_SCALE, DOUBLE, pixel_m, pixel_m, 0.0),
        entry(MODEL_TIEPOINT, DOUBLE, 0.0, 0.0, 0.0, left_m, top_m, 0.0),
        entry(GEO_KEY_DIRECTORY, SHORT, *directory),
        text(GEO_ASCII_PARAMS, citation),
    ]


def gdal_metadata(*, scale: float, offset: float, description: str) -> Entry | None:
    """Return GDAL's own tag for a band's scale, offset and name; None where it would say nothing."""
    items = []
    if (scale, offset) != (1.0, 0.0):
        items.append(f'<Item name="OFFSET" sample="0" role="offset">{offset!r}</Item>')
        items.append(f'<Item name="SCALE" sample="0" role="scale">{scale!r}</Item>')
    if description:
        items.append(f'<Item name="DESCRIPTION" sample="0" role="description">{description}</Item>')
    if not items:
        return None
    return text(GDAL_METADATA, "<GDALMetadata>\n  " + "\n  ".join(items) + "\n</GDALMetadata>\n")


def pack(directories: Sequence[Sequence[Entry]], *, form: Literal["classic", "big"]) -> bytes:
    """Lay out everything in front of the pixels; the length depends on the entries' sizes alone.

    TIFF header, ghost area, each directory with its values behind it, then the arrays of one number a block, in the
    directories' order. Every part starts at a multiple of 8 bytes.

    Args:
        directories: entries of the full picture, then of each overview; sorted by tag here, as TIFF asks.
        form: `classic` addresses 4 GiB, `big` (BigTIFF) any size.
    """
    big = form == "big"
    pointer, head, item = ("Q", "Q", 20) if big else ("I", "H", 12)
    room = struct.calcsize("<" + pointer)
    start = _aligned((16 if big else 8) + len(GHOST))
    places: list[int] = []
    values: dict[tuple[int, int], int] = {}
    position = start
    for i, entries in enumerate(directories):
        places.append(position)
        position = _aligned(position + struct.calcsize("<" + head) + len(entries) * item + room)
        for e in entries:
            if len(e.data) > room and e.tag not in _ARRAYS:
                values[i, e.tag] = position
                position = _aligned(position + len(e.data))
    for i, entries in enumerate(directories):
        for e in entries:
            if len(e.data) > room and e.tag in _ARRAYS:
                values[i, e.tag] = position
                position = _aligned(position + len(e.data))
    out = bytearray(position)
    first = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else struct.pack("<2sHI", b"II", 42, start)
    out[: len(first) + len(GHOST)] = first + GHOST
    for i, entries in enumerate(directories):
        following = places[i + 1] if i + 1 < len(places) else 0
        body = [struct.pack("<" + head, len(entries))]
        for e in sorted(entries, key=lambda e: e.tag):
            at = values.get((i, e.tag))
            where = e.data.ljust(room, b"\0") if at is None else struct.pack("<" + pointer, at)
            body.append(struct.pack(f"<HH{pointer}", e.tag, e.kind, e.count) + where)
            if at is not None:
                out[at : at + len(e.data)] = e.data
        packed = b"".join(body) + struct.pack("<" + pointer, following)
        out[places[i] : places[i] + len(packed)] = packed
    return bytes(out)


def _aligned(position: int) -> int:
    return -(-position // 8) * 8
