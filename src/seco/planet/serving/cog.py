"""Cloud-optimised GeoTIFFs whose pixels are made when they are read, and the same scenes as compressed files.

A `VirtualCog` is one band on a UTM grid. All its blocks, of all levels, have one size, so that the place of every byte
is known before a pixel is (docs/planet-serving.md shows the layout):

    header | block 0 | block 1 | ...      block k starts at header + k * slot

Blocks run from the smallest overview to the full picture, row by row within a level.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from seco.errors import ConfigError, DatasetError
from seco.planet.serving import tiff

CLASSIC_LIMIT_BYTES = 4_000_000_000
"""Larger pictures become BigTIFF. Under the 2**32 that classic TIFF can address by more than deflate can add."""
HEADER_UNIT_BYTES = 65_536
"""The header of a virtual picture is filled up to a multiple of this. Readers ask for the first 16 or 32 KiB of a file,
and would have a block of pixels made with every header."""
MAX_BLOCKS = 1_000_000
"""The header holds 12 or 16 bytes a block, and every reader fetches it first."""

Pixels = Callable[[int, int, int, int, int], np.ndarray]
"""Gives pixels (height, width) for decimation, column, row, width and height, in that level's own pixels."""


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution of a picture: full size at decimation 1, or an overview.

    Attributes:
        decimation: how many full pixels a pixel spans in each direction.
        width_px, height_px: size, rounded up.
        columns, rows: number of blocks in each direction.
        first: number of its first block within the file.
    """

    decimation: int
    width_px: int
    height_px: int
    columns: int
    rows: int
    first: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class VirtualCog:
    """One band as a cloud-optimised GeoTIFF that exists only where it is read.

    Attributes:
        width_px, height_px: size of the full picture.
        read: gives the pixels of a window of one level, as `dtype`; never asked beyond the level's edge.
        dtype: of the stored numbers.
        epsg: a UTM zone on WGS 84, 32601-32660 or 32701-32760.
        left_m, top_m: UTM coordinates of the outer corner of the upper left pixel.
        pixel_m: edge of a full pixel on the ground.
        nodata: the stored number that means that nothing was measured; fills blocks beyond the edge.
        block_px: edge of a block, a multiple of 16.
        num_overviews: levels of decimation 2, 4, 8 and so on; None goes on until one fits into a block.
        description: name of the band, printable ASCII.
        about: free text on the picture; whatever decides the pixels belongs here, since caches tell pictures
            apart by their headers.
        scale, offset: what was measured = stored * scale + offset.

    Raises:
        ConfigError: a setting is out of range.
    """

    width_px: int
    height_px: int
    read: Pixels
    dtype: Literal["uint8", "uint16"] = "uint16"
    epsg: int
    left_m: float
    top_m: float
    pixel_m: float
    nodata: int | None = 0
    block_px: int = 512
    num_overviews: int | None = None
    description: str = ""
    about: str = ""
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    @functools.cached_property
    def levels(self) -> tuple[Level, ...]:
        """All resolutions, the finest first."""
        longer, decimations = max(self.width_px, self.height_px), [1]
        if self.num_overviews is None:
            while -(-longer // decimations[-1]) > self.block_px:
                decimations.append(decimations[-1] * 2)
        else:
            decimations += [2 ** (i + 1) for i in range(self.num_overviews)]
        out: list[Level] = []
        first = 0
        for decimation in reversed(decimations):
            width, height = -(-self.width_px // decimation), -(-self.height_px // decimation)
            columns, rows = -(-width // self.block_px), -(-height // self.block_px)
            out.append(Level(decimation, width, height, columns, rows, first))
            first += columns * rows
        return tuple(reversed(out))

    @property
    def num_blocks(self) -> int:
        """Number of blocks of all levels."""
        finest = self.levels[0]
        return finest.first + finest.columns * finest.rows

    @property
    def block_bytes(self) -> int:
        """Size of a block's pixels."""
        return self.block_px**2 * np.dtype(self.dtype).itemsize

    @property
    def slot_bytes(self) -> int:
        """Size of a block with its leader and trailer."""
        return tiff.LEADER_BYTES + self.block_bytes + tiff.TRAILER_BYTES

    @property
    def is_big(self) -> bool:
        """Whether it has to be a BigTIFF."""
        return self.num_blocks * self.slot_bytes > CLASSIC_LIMIT_BYTES

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return len(self.header()) + self.num_blocks * self.slot_bytes

    @functools.cached_property
    def _header(self) -> bytes:
        counts = np.full(self.num_blocks, self.block_bytes, np.int64)
        start = len(pack_header(self, offsets=np.zeros_like(counts), counts=counts, compress="none"))
        offsets = start + tiff.LEADER_BYTES + self.slot_bytes * np.arange(self.num_blocks, dtype=np.int64)
        return pack_header(self, offsets=offsets, counts=counts, compress="none")

    def header(self) -> bytes:
        """Return everything in front of the first block; no pixel is made."""
        return self._header

    def pixels(self, number: int) -> np.ndarray:
        """Make one block, filled up with nodata beyond the picture's edge.

        Args:
            number: position among the file's blocks, 0 to `num_blocks` - 1.

        Raises:
            DatasetError: `read` gives another shape or type than it was asked for.
        """
        assert 0 <= number < self.num_blocks, number
        level = next(v for v in self.levels if v.first <= number)
        row, col = divmod(number - level.first, level.columns)
        row, col = row * self.block_px, col * self.block_px
        height, width = min(self.block_px, level.height_px - row), min(self.block_px, level.width_px - col)
        got = self.read(level.decimation, col, row, width, height)
        if got.shape != (height, width) or got.dtype != np.dtype(self.dtype):
            raise DatasetError(
                f"pixels of column {col}, row {row} at decimation {level.decimation} came as {got.dtype} {got.shape}; "
                f"they must be {self.dtype} {(height, width)}: mend the function that makes them"
            )
        if got.shape == (self.block_px, self.block_px):
            return got
        out = np.full((self.block_px, self.block_px), self.nodata or 0, self.dtype)
        out[:height, :width] = got
        return out

    def slot(self, number: int) -> bytes:
        """Make one block as it stands in the file, with leader and trailer."""
        return _framed(self.pixels(number).astype(f"<{np.dtype(self.dtype).str[1:]}", copy=False).tobytes())

    def chunks(
        self, start: int, stop: int, slot: Callable[[int], bytes] | None = None
    ) -> Iterator[memoryview]:
        """Give the bytes from `start` up to, not including, `stop` in pieces of at most a block.

        Args:
            start: first byte.
            stop: byte behind the last; what lies beyond the end of the file is left out.
            slot: gives a block as it stands in the file, for whoever keeps blocks; None makes each anew.
        """
        slot = slot or self.slot
        head, stop = self.header(), min(stop, self.size_bytes)
        if start < len(head) and start < stop:
            yield memoryview(head)[start:stop]
        position = max(start, len(head))
        while position < stop:
            number, skip = divmod(position - len(head), self.slot_bytes)
            piece = memoryview(slot(number))[skip : skip + stop - position]
            yield piece
            position += len(piece)

    def read_bytes(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, not including, `stop`; only blocks that they touch are made."""
        if not 0 <= start <= stop:
            raise ConfigError(f"bytes {start} to {stop} are no range; give 0 <= start <= stop")
        return b"".join(self.chunks(start, stop))


def write_cog(
    cog: VirtualCog, path: Path, *, compress: Literal["deflate", "none"] = "deflate", level: int = 1
) -> int:
    """Write a picture to disk, block by block, all levels with the very pixels that the virtual one serves.

    Args:
        cog: the picture.
        path: where to; a file that is there is replaced once the new one is complete.
        compress: `deflate` with horizontal differences (predictor 2), or `none` for the bytes of the virtual picture.
        level: effort of deflate, 1 (fast) to 9 (small); on noise like a sensor's, 6 takes four times as long as 1 and saves
            half a per cent.

    Returns:
        Size of the file in bytes.

    Raises:
        DatasetError: the disk is full or the folder cannot be written.
    """
    if not 1 <= level <= 9:
        raise ConfigError(f"deflate level {level}; it must be 1 (fast) to 9 (small)")
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    counts = np.zeros(cog.num_blocks, np.int64)
    # The header's length does not depend on the sizes of blocks, which are known only at the end.
    length = len(pack_header(cog, offsets=counts, counts=counts, compress=compress))
    try:
        with temporary.open("wb") as file:
            file.seek(length)
            for number in range(cog.num_blocks):
                data = _encoded(_made(cog, number, path), compress=compress, level=level)
                file.write(_framed(data))
                counts[number] = len(data)
            ends = length + np.cumsum(counts + tiff.LEADER_BYTES + tiff.TRAILER_BYTES)
            offsets = ends - counts - tiff.TRAILER_BYTES
            file.seek(0)
            file.write(pack_header(cog, offsets=offsets, counts=counts, compress=compress))
        temporary.replace(path)
    except OSError as err:
        raise DatasetError(f"cannot write {path}: {err}; free disk space or choose another folder") from err
    finally:
        with contextlib.suppress(OSError):  # where the folder cannot be written, nothing was left in it
            temporary.unlink(missing_ok=True)
    return int(ends[-1])


def _made(cog: VirtualCog, number: int, path: Path) -> np.ndarray:
    try:
        return cog.pixels(number)
    except OSError as err:  # not to be taken for the disk that is written to
        raise DatasetError(f"cannot make the pixels of {path}: {err}") from err


def pack_header(
    cog: VirtualCog, *, offsets: np.ndarray, counts: np.ndarray, compress: Literal["deflate", "none"]
) -> bytes:
    """Return everything in front of the blocks.

    Args:
        cog: the picture.
        offsets: where each block's pixels start, in the order of blocks.
        counts: how many bytes each has.
        compress: how they are stored.
    """
    size = tiff.LONG8 if cog.is_big else tiff.LONG
    directories = []
    for level in cog.levels:
        mine = slice(level.first, level.first + level.columns * level.rows)
        entries = [
            tiff.entry(tiff.IMAGE_WIDTH, tiff.LONG, level.width_px),
            tiff.entry(tiff.IMAGE_LENGTH, tiff.LONG, level.height_px),
            tiff.entry(tiff.BITS_PER_SAMPLE, tiff.SHORT, np.dtype(cog.dtype).itemsize * 8),
            tiff.entry(tiff.COMPRESSION, tiff.SHORT, 8 if compress == "deflate" else 1),
            tiff.entry(tiff.PHOTOMETRIC, tiff.SHORT, 1),  # black is zero
            tiff.entry(tiff.SAMPLES_PER_PIXEL, tiff.SHORT, 1),
            tiff.entry(tiff.PLANAR_CONFIG, tiff.SHORT, 1),
            tiff.entry(tiff.TILE_WIDTH, tiff.SHORT, cog.block_px),
            tiff.entry(tiff.TILE_LENGTH, tiff.SHORT, cog.block_px),
            tiff.array(tiff.TILE_OFFSETS, size, offsets[mine]),
            tiff.array(tiff.TILE_BYTE_COUNTS, tiff.LONG, counts[mine]),
            tiff.entry(tiff.SAMPLE_FORMAT, tiff.SHORT, 1),  # unsigned
        ]
        if compress == "deflate":
            entries.append(tiff.entry(tiff.PREDICTOR, tiff.SHORT, 2))
        if cog.nodata is not None:
            entries.append(tiff.text(tiff.GDAL_NODATA, str(cog.nodata)))
        entries += _of_the_whole(cog) if level.decimation == 1 else _of_an_overview()
        directories.append(entries)
    head = tiff.pack(directories, form="big" if cog.is_big else "classic")
    return (
        head
        if compress == "deflate"
        else head.ljust(-(-len(head) // HEADER_UNIT_BYTES) * HEADER_UNIT_BYTES, b"\0")
    )


def _of_the_whole(cog: VirtualCog) -> list[tiff.Entry]:
    entries = tiff.utm_entries(epsg=cog.epsg, left_m=cog.left_m, top_m=cog.top_m, pixel_m=cog.pixel_m)
    metadata = tiff.gdal_metadata(scale=cog.scale, offset=cog.offset, description=cog.description)
    if metadata is not None:
        entries.append(metadata)
    if cog.about:
        entries.append(tiff.text(tiff.IMAGE_DESCRIPTION, cog.about))
    return entries


def _of_an_overview() -> list[tiff.Entry]:
    return [tiff.entry(tiff.NEW_SUBFILE_TYPE, tiff.LONG, 1)]  # a smaller version of another picture


def _check(cog: VirtualCog) -> None:
    for name, value in (("width_px", cog.width_px), ("height_px", cog.height_px)):
        if not 1 <= value < 2**31:
            raise ConfigError(f"{name} {value}; it must be 1 to {2**31 - 1}")
    if cog.dtype not in ("uint8", "uint16"):
        raise ConfigError(f"dtype {cog.dtype!r}; it must be uint8 or uint16")
    if cog.epsg // 100 not in (326, 327) or not 1 <= cog.epsg % 100 <= 60:
        raise ConfigError(f"EPSG:{cog.epsg} is no UTM zone on WGS 84; known: 32601-32660 and 32701-32760")
    numbers = {n: getattr(cog, n) for n in ("left_m", "top_m", "pixel_m", "scale", "offset")}
    wrong = next((n for n, v in numbers.items() if not math.isfinite(v)), None)
    if wrong or cog.pixel_m <= 0:
        wrong = wrong or "pixel_m"
        raise ConfigError(f"{wrong} {numbers[wrong]}; it must be a finite number, and pixel_m above 0")
    top = np.iinfo(cog.dtype).max
    if cog.nodata is not None and not 0 <= cog.nodata <= top:
        raise ConfigError(f"nodata {cog.nodata} cannot be stored as {cog.dtype}; it must be 0 to {top}")
    if cog.block_px % 16 or not 16 <= cog.block_px <= 4096:
        raise ConfigError(f"block_px {cog.block_px}; it must be a multiple of 16, 16 to 4096")
    most = max(cog.width_px, cog.height_px).bit_length() - 1
    if cog.num_overviews is not None and not 0 <= cog.num_overviews <= most:
        raise ConfigError(
            f"{cog.num_overviews} overviews of {cog.width_px} x {cog.height_px} px; at most {most}, until a pixel is left"
        )
    for name, words in (("description", cog.description), ("about", cog.about)):
        if not (words.isascii() and words.isprintable()) or set("<>&") & set(words):
            raise ConfigError(f"{name} {words!r}; it must be printable ASCII without <, > and &")
    if cog.num_blocks > MAX_BLOCKS:
        raise ConfigError(
            f"{cog.width_px} x {cog.height_px} px make {cog.num_blocks} blocks; the limit is {MAX_BLOCKS}: raise block_px "
            f"({cog.block_px}) or make several pictures"
        )


def _framed(data: bytes) -> bytes:
    # A trailer needs four bytes to repeat; no deflated block, and no block of 16 px, is shorter.
    return b"".join((struct.pack("<I", len(data)), data, data[-tiff.TRAILER_BYTES :]))


def _encoded(pixels: np.ndarray, *, compress: Literal["deflate", "none"], level: int) -> bytes:
    pixels = pixels.astype(f"<{pixels.dtype.str[1:]}", copy=False)
    if compress == "none":
        return pixels.tobytes()
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]  # unsigned, so that it wraps as TIFF's predictor 2 does
    return zlib.compress(differences.tobytes(), level)
