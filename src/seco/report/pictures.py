"""Small pictures inside the page: single patches, and sprite sheets of many."""

from __future__ import annotations

import base64
import io
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from seco.data.sheet import as_rgb
from seco.data.tier import TrainingTier

QUALITY = 82


def patch_picture(pixels: np.ndarray, tier: TrainingTier, *, px: int) -> UInt8[np.ndarray, "px px 3"]:
    """Return a patch (bands, height, width) of stored numbers as bytes for the eye, `px` on an edge.

    Pixels where nothing was measured (floats that are not finite) are black.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        shown = np.nan_to_num(as_rgb(np.asarray(pixels), tier), nan=0.0)
    image = Image.fromarray((shown * 255 + 0.5).astype(np.uint8))
    if image.size != (px, px):
        way = Image.Resampling.BOX if image.width >= px else Image.Resampling.BICUBIC
        image = image.resize((px, px), way)
    return np.asarray(image)


def data_uri(image: Image.Image, *, kind: str = "WEBP", quality: int = QUALITY) -> str:
    """Return a picture as the text of a `data:` address."""
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, kind, quality=quality, method=4)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"


def picture_uri(pixels: np.ndarray, tier: TrainingTier, *, px: int) -> str:
    """Return one patch as a `data:` address."""
    return data_uri(Image.fromarray(patch_picture(pixels, tier, px=px)))


def sprite(rows: np.ndarray, tier: TrainingTier, *, px: int) -> dict[str, object]:
    """Put patches side by side into one picture.

    Returns:
        `uri`, `px` (edge of one patch), `columns`, and `num`.
    """
    columns = max(1, min(40, int(np.ceil(np.sqrt(len(rows))))))
    lines = -(-len(rows) // columns)
    sheet = np.zeros((lines * px, columns * px, 3), np.uint8)
    for i, row in enumerate(rows):
        y, x = divmod(i, columns)
        sheet[y * px : (y + 1) * px, x * px : (x + 1) * px] = patch_picture(tier.pixels[row], tier, px=px)
    return {
        "uri": data_uri(Image.fromarray(sheet), quality=74),
        "px": px,
        "columns": columns,
        "num": len(rows),
    }
