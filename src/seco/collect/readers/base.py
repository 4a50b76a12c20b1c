"""What readers of pixels have in common: their contract, and windows that reach over an edge."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np

from seco.collect.faults import PixelFault
from seco.collect.model import Asset, PixelWindow
from seco.collect.wire import Wire

MAX_WINDOW_PX = 4096 * 4096
MAX_RASTER_PX = 2**32


@runtime_checkable
class Raster(Protocol):
    """A raster whose header was read."""

    async def read(self, window: PixelWindow) -> np.ndarray:
        """Return `(height, width)` of stored numbers; pixels beyond the raster's edges are nodata.

        Raises:
            PixelFault: `corrupt` where a block cannot be decoded; whatever the wire raises.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """The contract of a module in `seco.collect.readers`."""

    HELP: str
    PREFERENCE: int
    """The reader of the lowest number that suits a raster reads it."""

    def suits(self, asset: Asset) -> bool:
        """Tell by what the catalogue says whether this reader can be tried."""
        ...

    async def open(self, asset: Asset, wire: Wire) -> Raster:
        """Read a raster's header and see that it is what the catalogue speaks of.

        Raises:
            PixelFault: `unsupported` where another reader may do better, `mismatch`, `corrupt`, or the wire's own.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """The part of a window that lies in the raster.

    Attributes:
        inside: that part; None where nothing of the window does.
        top, left: where it begins in the window.
        full: the whole window.
    """

    inside: PixelWindow | None
    top: int
    left: int
    full: PixelWindow

    def pad(self, pixels: np.ndarray | None, *, fill: float, dtype: str) -> np.ndarray:
        """Return the whole window, with `fill` where the raster is not."""
        if pixels is not None and pixels.shape == (self.full.height, self.full.width):
            return pixels
        out = np.full((self.full.height, self.full.width), fill, dtype)
        if pixels is not None:
            out[self.top : self.top + pixels.shape[0], self.left : self.left + pixels.shape[1]] = pixels
        return out


def clip(window: PixelWindow, shape: tuple[int, int], *, host: str) -> Clip:
    """Return which part of a window lies in a raster of a shape (height, width).

    Raises:
        PixelFault: the window is empty or too large.
    """
    if not (window.width > 0 and window.height > 0 and window.width * window.height <= MAX_WINDOW_PX):
        raise PixelFault(
            "too-large", host, f"a window of {window.width} x {window.height} px; at most {MAX_WINDOW_PX}"
        )
    height, width = shape
    left, top = max(window.column, 0), max(window.row, 0)
    right = min(window.column + window.width, width)
    bottom = min(window.row + window.height, height)
    inside = None
    if left < right and top < bottom:
        inside = PixelWindow(column=left, row=top, width=right - left, height=bottom - top)
    return Clip(inside=inside, top=top - window.row, left=left - window.column, full=window)


def check_header(asset: Asset, *, host: str, **found: Any) -> None:
    """See that a raster's header agrees with the catalogue.

    Args:
        asset: what the catalogue says.
        host: for the message.
        found: `shape`, `dtype`, `corner` (left and top) and `pixel` (width and height) as in the file; None is not compared.

    Raises:
        PixelFault: `mismatch`.
    """
    a, _, left, _, e, top = asset.transform
    said: dict[str, Any] = {
        "shape": tuple(asset.shape), "dtype": asset.dtype, "corner": (left, top), "pixel": (a, -e)
    }  # fmt: skip
    for name, value in found.items():
        if value is None:
            continue
        if name in ("shape", "dtype"):
            agrees = value == said[name]
        else:
            agrees = bool(np.allclose(value, said[name], rtol=0, atol=0.01 * abs(a)))
        if not agrees:
            raise PixelFault(
                "mismatch", host, f"{name} is {value}, and the catalogue says {said[name]} ({asset.band})"
            )
    if asset.shape[0] * asset.shape[1] > MAX_RASTER_PX:
        raise PixelFault("too-large", host, f"a raster of {asset.shape[1]} x {asset.shape[0]} px")
