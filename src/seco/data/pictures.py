"""Pictures: the header and the pixels of one image file, bounded in size. Pillow, and rasterio for TIFF."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from seco.data.grids import Grid
from seco.data.rasters import grid_of
from seco.errors import DatasetError

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", *RASTER_SUFFIXES)
MAX_PIXELS = 2**26
"""Largest picture that is decoded (8192 x 8192): a file of few bytes can ask for any amount of memory."""
MAX_FILE_BYTES = 2**30
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")

Colour = Literal["rgb", "grey", "bands"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What a picture's header says.

    Attributes:
        mode: Pillow's mode (`RGB`, `L`, `RGBA`, `P`, ...), or `bands` for a raster of other bands or types.
        names: a raster's own names of its bands.
    """

    height: int
    width: int
    mode: str
    dtype: str = "uint8"
    num_bands: int = 3
    names: tuple[str | None, ...] = ()

    @property
    def colour(self) -> Colour:
        """Which kind of picture it is."""
        return "bands" if self.mode == "bands" else "grey" if self.mode in GREY_MODES else "rgb"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded picture, cropped to a square and resized.

    Attributes:
        pixels: (bands, size, size).
        grid: its grid on the ground, where it has one and was neither cropped nor resized.
    """

    pixels: np.ndarray
    header: Header
    grid: Grid | None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries say of pictures without a position and of large ones (ours is the lower limit).

    Filters of warnings belong to the whole process, so this goes around an import, not around each of its threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def read_header(source: Path | bytes, name: str) -> Header:
    """Read a picture's header.

    Raises:
        DatasetError: it is no picture of a known kind, or has too many pixels.
    """
    with _opened(source, name) as opened:
        found = _raster_header(opened) if _is_raster(name) else _image_header(opened, name)
    if found.height * found.width > MAX_PIXELS:
        raise DatasetError(
            f"{name} has {found.width} x {found.height} px; the limit is {MAX_PIXELS} px in all"
        )
    return found


def decode(source: Path | bytes, name: str, *, colour: Colour, size_px: int) -> Picture:
    """Decode a picture: the square in its middle, resized by area mean (or bicubic where it grows).

    Args:
        source: the file, or its contents.
        name: its name, for the format and for messages.
        colour: what to make of it; `rgb` repeats grey, `grey` weighs colours (ITU-R 601), alpha is dropped.
        size_px: edge of the result.

    Raises:
        DatasetError: it cannot be decoded to the end, or is not of that kind.
    """
    with _opened(source, name) as opened:
        found = _raster_header(opened) if _is_raster(name) else _image_header(opened, name)
        if found.height * found.width > MAX_PIXELS:
            raise DatasetError(
                f"{name} has {found.width} x {found.height} px; the limit is {MAX_PIXELS} px in all"
            )
        if _is_raster(name):
            pixels = _raster_pixels(opened, found, colour, size_px, name)
            whole = (found.height, found.width) == (size_px, size_px)
            return Picture(pixels=pixels, header=found, grid=grid_of(opened) if whole else None)
        return Picture(pixels=_image_pixels(opened, colour, size_px), header=found, grid=None)


def _is_raster(name: str) -> bool:
    return name.lower().endswith(RASTER_SUFFIXES)


@contextlib.contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[Any]:
    """Open a picture with the library for its format; anything that goes wrong inside is an error of the file."""
    try:
        with contextlib.ExitStack() as stack:
            if not _is_raster(name):
                yield stack.enter_context(
                    Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
                )
            elif isinstance(source, bytes):
                yield stack.enter_context(stack.enter_context(MemoryFile(source)).open())
            else:
                yield stack.enter_context(rasterio.open(source))
    except (RasterioError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as err:
        text = " ".join(str(err.__cause__ or err).split())
        reason = "its format is not known" if "cannot identify" in text else text
        raise DatasetError(f"{name} cannot be read as a picture: {reason}") from err


def _image_header(image: Image.Image, name: str) -> Header:
    if image.mode not in (*GREY_MODES, *COLOUR_MODES):
        raise DatasetError(
            f"{name} has pixels of mode {image.mode}; known: 8-bit grey and colour, or any GeoTIFF"
        )
    return Header(
        height=image.height,
        width=image.width,
        mode=image.mode,
        num_bands=1 if image.mode in GREY_MODES else 3,
    )


def _raster_header(source: Any) -> Header:
    kinds = source.colorinterp
    modes = {1: "P" if kinds[0] == ColorInterp.palette else "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    has_alpha = kinds[-1] == ColorInterp.alpha
    mode = modes.get(source.count, "bands")
    if set(source.dtypes) != {"uint8"} or (source.count in (2, 4) and not has_alpha) or mode == "P":
        mode = "bands"
    return Header(
        height=source.height, width=source.width, mode=mode, dtype=source.dtypes[0], names=tuple(source.descriptions),
        num_bands=source.count if mode == "bands" else 1 if mode in GREY_MODES else 3,
    )  # fmt: skip


def _square(height: int, width: int) -> tuple[int, int, int]:
    """Return row, column and edge of the square in the middle."""
    edge = min(height, width)
    return (height - edge) // 2, (width - edge) // 2, edge


def _image_pixels(image: Image.Image, colour: Colour, size_px: int) -> np.ndarray:
    converted = image.convert("L" if colour == "grey" else "RGB")
    row, col, edge = _square(image.height, image.width)
    if (image.height, image.width) != (size_px, size_px):
        way = Image.Resampling.BOX if edge >= size_px else Image.Resampling.BICUBIC
        converted = converted.resize((size_px, size_px), way, box=(col, row, col + edge, row + edge))
    pixels = np.asarray(converted)
    return pixels[None] if colour == "grey" else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _raster_pixels(source: Any, found: Header, colour: Colour, size_px: int, name: str) -> np.ndarray:
    row, col, edge = _square(found.height, found.width)
    bands = list(range(1, found.num_bands + 1))
    pixels = source.read(
        bands, window=Window(col, row, edge, edge), out_shape=(len(bands), size_px, size_px),
        resampling=Resampling.average if edge >= size_px else Resampling.cubic,
    )  # fmt: skip
    if colour == found.colour:
        return pixels
    if colour == "rgb" and found.colour == "grey":
        return np.repeat(pixels, 3, axis=0)
    if colour == "grey" and found.colour == "rgb":
        return np.asarray(Image.fromarray(pixels.transpose(1, 2, 0)).convert("L"))[None]
    raise DatasetError(
        f"{name} has {found.num_bands} bands of {found.dtype}; other pictures are {colour}: import it apart"
    )
