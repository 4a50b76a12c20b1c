"""Blocks of a raster from bytes to pixels: only the part that is wanted, never more bytes than the pixels need. Pure.

Deflated blocks are most of what collecting costs a processor. ISA-L (package `isal`, if it is there) unfolds them two to
three times as fast as zlib; both check what they unfold.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, Literal

import numpy as np

Packing = Literal["none", "deflate"]


class BlockError(ValueError):
    """Bytes that are no block of the kind that was expected."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """How the blocks of a raster are made, all alike.

    Attributes:
        shape: height and width, pixels.
        dtype: of a pixel, with its order of bytes.
        packing: how the bytes are packed.
        differs: whether each pixel is stored as its difference from the one to the left (TIFF predictor 2).
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    packing: Packing
    differs: bool

    @property
    def num_bytes(self) -> int:
        """Return the bytes of a block before packing."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


def unpack(data: bytes, kind: Kind, rows: slice, columns: slice) -> np.ndarray:
    """Return some rows and columns of a block, in the machine's order of bytes.

    Raises:
        BlockError: the bytes are damaged, too few or too many.
    """
    raw = inflate(data, kind.num_bytes) if kind.packing == "deflate" else data
    if len(raw) != kind.num_bytes:
        raise BlockError(f"a block of {len(raw)} bytes, not {kind.num_bytes}")
    # Differences need what is to the left; columns to the right, and other rows, are left alone.
    pixels = np.frombuffer(raw, kind.dtype).reshape(kind.shape)[rows, : columns.stop]
    native = pixels.astype(kind.dtype.newbyteorder("="), copy=False)
    if kind.differs:
        # As whole numbers, whatever the pixels are: that is how writers take differences.
        whole = native.view(np.dtype(f"u{kind.dtype.itemsize}"))
        native = np.add.accumulate(whole, axis=1, dtype=whole.dtype).view(native.dtype)
    return native[:, columns]


def inflate(data: bytes, num_bytes: int) -> bytes:
    """Unfold so many bytes, and see that they are all there are.

    Raises:
        BlockError: the bytes are damaged, or unfold to another number.
    """
    zlib = _zlib()
    unfolding = zlib.decompressobj()
    try:
        # One more than there may be: with no room to spare, neither the end nor the checksum would be looked at.
        raw: bytes = unfolding.decompress(data, num_bytes + 1)
    except zlib.error as err:
        raise BlockError(" ".join(str(err).split())[:100]) from err
    if not unfolding.eof:
        raise BlockError(f"a block that unfolds to more than {num_bytes} bytes, or is cut off")
    return raw


@cache  # looking for a package that is not there takes a while
def _zlib() -> Any:
    try:
        from isal import isal_zlib  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        import zlib

        return zlib
    return isal_zlib
