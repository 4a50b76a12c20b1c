"""Cloud-optimised GeoTIFFs by async-tiff: only the blocks that a window touches, many windows at once in one thread."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np
from async_tiff import TIFF, ImageFileDirectory
from async_tiff.enums import Compression, PlanarConfiguration, Predictor, SampleFormat

from seco.collect.blocks import BlockError, Kind, Packing, unpack
from seco.collect.faults import PixelFault
from seco.collect.model import Asset, PixelWindow
from seco.collect.readers.base import check_header, clip
from seco.collect.tiff_header import excess
from seco.collect.wire import Wire
from seco.errors import FetchError

HELP = "tiled GeoTIFFs of one band, uncompressed, deflated, LZW or Zstandard, by async-tiff"
PREFERENCE = 10

HEADER_BYTES = 32 * 1024
GAP_BYTES = 16 * 1024
"""Ranges with no more than this between them are asked for as one."""
MAX_BLOCKS = 4096
"""Most blocks of one window."""
MAX_BLOCKS_PX = 2**27
"""Most pixels in all blocks of one window."""
_SLACK_BYTES = 64 * 1024
"""A compressed block may be so much larger than its pixels."""
_PACKINGS: dict[Compression, Packing] = {
    Compression.Uncompressed: "none", Compression.Deflate: "deflate", Compression.OldDeflate: "deflate"
}  # fmt: skip
"""What is unpacked here; the rest async-tiff decodes."""
_COMPRESSIONS = (*_PACKINGS, Compression.LZW, Compression.ZSTD)
_KINDS = {
    (SampleFormat.Uint, 8): "uint8", (SampleFormat.Uint, 16): "uint16", (SampleFormat.Uint, 32): "uint32",
    (SampleFormat.Int, 8): "int8", (SampleFormat.Int, 16): "int16", (SampleFormat.Int, 32): "int32",
    (SampleFormat.Float, 32): "float32", (SampleFormat.Float, 64): "float64",
}  # fmt: skip


def suits(asset: Asset) -> bool:
    """Whether a raster is one for this reader: neither JPEG 2000 nor to be resampled; its header may say otherwise."""
    return not asset.is_jpeg2000 and asset.warp is None


async def open(asset: Asset, wire: Wire) -> Cog:  # noqa: A001 - the name of the contract
    """Read the header of a GeoTIFF; see `seco.collect.readers.base.Reader.open`."""
    host = wire.host_of(asset.href)
    store = _Store(wire, asset.href)
    try:
        tiff = await TIFF.open("raster.tif", store=store, prefetch=HEADER_BYTES)
        first = tiff.ifds[0]
    except asyncio.CancelledError:
        raise
    except Exception as err:
        # What async-tiff raises has no class of its own; what the wire raised through it is kept by the store.
        raise store.fault or PixelFault("corrupt", host, f"no TIFF header ({_short(err)})") from err
    _require(first, host)
    scale, tie = first.model_pixel_scale, first.model_tiepoint
    check_header(
        asset,
        host=host,
        shape=(first.image_height, first.image_width),
        dtype=_KINDS[first.sample_format[0], first.bits_per_sample[0]],
        corner=(tie[3], tie[4]) if tie and len(tie) >= 6 and tie[0] == tie[1] == 0 else None,
        pixel=(scale[0], scale[1]) if scale and len(scale) >= 2 else None,
    )
    return Cog(asset, first, store, host)


def _require(ifd: ImageFileDirectory, host: str) -> None:
    def unsupported(what: str) -> PixelFault:
        return PixelFault("unsupported", host, what)

    if not (ifd.tile_width and ifd.tile_height and ifd.tile_offsets and ifd.tile_byte_counts):
        raise unsupported("a TIFF in strips")
    if ifd.compression not in _COMPRESSIONS:
        raise unsupported(f"compression {ifd.compression}")
    if ifd.samples_per_pixel != 1 or ifd.planar_configuration != PlanarConfiguration.Chunky:
        raise unsupported(f"{ifd.samples_per_pixel} bands in one file")
    # Number 1, no predictor, has the name `Unknown` there.
    if ifd.predictor not in (None, Predictor.Unknown, Predictor.Horizontal):
        raise unsupported(f"predictor {ifd.predictor}")
    kind = (ifd.sample_format[0], ifd.bits_per_sample[0]) if ifd.sample_format else None
    if kind not in _KINDS:
        raise unsupported(f"pixels of kind {kind}")
    if not (0 < ifd.tile_width <= 8192 and 0 < ifd.tile_height <= 8192):
        raise unsupported(f"blocks of {ifd.tile_width} x {ifd.tile_height} px")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Piece:
    """Where a block lies in a raster, what of it is wanted, and where that belongs."""

    column: int
    row: int
    rows: slice
    columns: slice
    to: tuple[slice, slice]


class Cog:
    """A GeoTIFF whose header was read."""

    def __init__(self, asset: Asset, ifd: ImageFileDirectory, store: _Store, host: str) -> None:
        assert ifd.tile_width
        assert ifd.tile_height
        self._asset, self._store, self._host = asset, store, host
        self._block = ifd.tile_height, ifd.tile_width
        self._across = -(-ifd.image_width // ifd.tile_width)
        # Asked once, and as numbers side by side: lists are made anew each time, and many headers are kept.
        self._sizes = np.array(ifd.tile_byte_counts or (), np.uint64)
        self._starts = np.array(ifd.tile_offsets or (), np.uint64)
        packing = _PACKINGS.get(Compression(ifd.compression))
        self._ifd = ifd if packing is None else None
        self._kind = Kind(
            shape=self._block, dtype=np.dtype(asset.dtype).newbyteorder(">" if store.is_big_endian else "<"),
            packing=packing or "none", differs=ifd.predictor == Predictor.Horizontal,
        )  # fmt: skip

    async def read(self, window: PixelWindow) -> np.ndarray:
        """Return a window; see `seco.collect.readers.base.Raster.read`."""
        cut = clip(window, self._asset.shape, host=self._host)
        fill = self._asset.nodata or 0
        if cut.inside is None:
            return cut.pad(None, fill=fill, dtype=self._asset.dtype)
        inside = cut.inside
        pieces = self._pieces(inside)
        out = np.full((inside.height, inside.width), fill, self._asset.dtype)
        if pieces:
            self._store.fault = None
            try:
                await (self._decode if self._ifd is not None else self._unpack)(pieces, out)
            except (asyncio.CancelledError, PixelFault, FetchError):
                raise
            except Exception as err:
                raise self._store.fault or PixelFault("corrupt", self._host, _short(err)) from err
        return cut.pad(out, fill=fill, dtype=self._asset.dtype)

    def _pieces(self, inside: PixelWindow) -> list[_Piece]:
        """Return the blocks that a window touches; those of no bytes are left out of sparse files: nodata."""
        height, width = self._block
        rows = range(inside.row // height, (inside.row + inside.height - 1) // height + 1)
        columns = range(inside.column // width, (inside.column + inside.width - 1) // width + 1)
        num = len(rows) * len(columns)
        if num > MAX_BLOCKS or num * height * width > MAX_BLOCKS_PX:
            raise PixelFault("too-large", self._host, f"a window of {num} blocks of {width} x {height} px")
        most = height * width * np.dtype(self._asset.dtype).itemsize * 9 // 8 + _SLACK_BYTES
        pieces = []
        for row in rows:
            for column in columns:
                size = int(self._sizes[row * self._across + column])
                if size > most:
                    raise PixelFault(
                        "too-large", self._host, f"a block of more bytes than the {most} that its pixels need"
                    )
                if size:
                    up, down = _overlap(row * height, height, inside.row, inside.height)
                    over, along = _overlap(column * width, width, inside.column, inside.width)
                    pieces.append(_Piece(column=column, row=row, rows=up, columns=over, to=(down, along)))
        return pieces

    async def _unpack(self, pieces: list[_Piece], out: np.ndarray) -> None:
        """Fetch blocks and unpack them here, in a thread: the event loop has other windows to see to."""
        at = [p.row * self._across + p.column for p in pieces]
        starts = [int(self._starts[i]) for i in at]
        ends = [s + int(self._sizes[i]) for s, i in zip(starts, at, strict=True)]
        parts = await self._store.get_ranges_async("", starts=starts, ends=ends)

        def fill() -> None:
            for piece, data in zip(pieces, parts, strict=True):
                out[piece.to] = unpack(data, self._kind, piece.rows, piece.columns)

        await asyncio.to_thread(fill)

    async def _decode(self, pieces: list[_Piece], out: np.ndarray) -> None:
        """Let async-tiff fetch and decode blocks."""
        assert self._ifd is not None
        tiles = await self._ifd.fetch_tiles([(p.column, p.row) for p in pieces])
        blocks = [np.asarray(d) for d in await asyncio.gather(*[t.decode() for t in tiles])]
        for piece, block in zip(pieces, blocks, strict=True):
            if block.shape != (*self._block, 1) or block.dtype != self._asset.dtype:
                raise BlockError(f"a block of {block.shape}, {block.dtype}")
            out[piece.to] = block[piece.rows, piece.columns, 0]


def _overlap(start: int, length: int, first: int, num: int) -> tuple[slice, slice]:
    """Return which part of a block a window covers, along one axis: in the block, and in the window."""
    low, high = max(start, first), min(start + length, first + num)
    return slice(low - start, high - start), slice(low - first, high - first)


class _Store:
    """What async-tiff reads from: one file over the wire, whose tag must stay the same."""

    def __init__(self, wire: Wire, href: str) -> None:
        self._wire, self._href = wire, href
        self._etag: str | None = None
        self.fault: PixelFault | FetchError | None = None
        self.is_big_endian = False

    async def _get(self, start: int, length: int) -> bytes:
        try:
            part = await self._wire.get(self._href, start, length, etag=self._etag)
        except (PixelFault, FetchError) as err:
            self.fault = err
            raise
        self._etag = self._etag or part.etag
        if start == 0:
            self.is_big_endian = part.data[:2] == b"MM"
        if start == 0 and (much := excess(part.data)):
            self.fault = PixelFault("corrupt", self._wire.host_of(self._href), f"a TIFF header with {much}")
            raise self.fault
        return part.data

    async def get_range_async(
        self, path: str, *, start: int, end: int | None = None, length: int | None = None
    ) -> bytes:
        """Get one range."""
        return await self._get(start, length if length is not None else (end or 0) - start)

    async def get_ranges_async(
        self, path: str, *, starts: Sequence[int], ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[bytes]:  # fmt: skip
        """Get several ranges; neighbours are asked for as one."""
        stops = ends if ends is not None else [s + n for s, n in zip(starts, lengths or (), strict=True)]
        spans: list[list[int]] = []
        for start, stop in sorted(zip(starts, stops, strict=True)):
            if spans and start - spans[-1][1] <= GAP_BYTES:
                spans[-1][1] = max(spans[-1][1], stop)
            else:
                spans.append([start, stop])
        parts = await asyncio.gather(*[self._get(a, b - a) for a, b in spans])
        out = []
        for start, stop in zip(starts, stops, strict=True):
            at = next(i for i, (a, b) in enumerate(spans) if a <= start and stop <= b)
            piece = parts[at][start - spans[at][0] : stop - spans[at][0]]
            if len(piece) != stop - start:
                self.fault = PixelFault(
                    "mismatch", self._wire.host_of(self._href), "the file ends within a block"
                )
                raise self.fault
            out.append(piece)
        return out


def _short(err: Exception) -> str:
    return " ".join(str(err).split())[:160]
