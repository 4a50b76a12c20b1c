"""Encoders that learned nothing from seasons: random weights, ImageNet weights, and colour statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import nn

from seco.nets.backbones import build_backbone, feature_dim, imagenet_statistics
from seco.nets.encoder import Encoder
from seco.nets.feed import Normalise, Stats
from seco.nets.spec import EncoderSpec
from seco.sensors.bands import Band
from seco.sensors.rgb import display_bands

NUM_BINS = 16


def untrained(
    arch: str, *, init: str, bands: Sequence[Band] | None = None, seed: int = 0, device: str = "auto"
) -> Encoder:
    """Build an encoder with random or ImageNet weights.

    ImageNet weights want RGB scaled by the statistics that they were trained with. Random weights have none, so data are
    standardised by their own, which favours this baseline.
    """
    bands = tuple(bands or display_bands())
    backbone = build_backbone(arch, len(bands), init=init, seed=seed)
    mean, std = imagenet_statistics(arch)
    if len(bands) != 3:
        mean, std = ((float(np.mean(v)),) * len(bands) for v in (mean, std))
    spec = EncoderSpec(
        arch=arch, bands=bands, mean=mean, std=std, patch_px=224 if init == "imagenet" else 64,
        feature_dim=feature_dim(backbone), init=init, normalise="spec" if init == "imagenet" else "dataset",
    )  # fmt: skip
    suffix = f"@{seed}" if init == "random" and seed else ""
    return Encoder(
        spec=spec, backbone=backbone, heads=nn.ModuleDict(), name=f"{init}:{arch}{suffix}", device=device
    )


class ColourEncoder:
    """Per-band mean, deviation and histogram of an image: the baseline that embarrasses.

    Histogram bins divide the stored range of the data at hand (bytes 0-255, or mean +- 2.5 deviations for other numbers).
    """

    name = "colour"
    outputs: tuple[str, ...] = ("features",)

    def __init__(self, bands: Sequence[Band] | None = None) -> None:
        """Describe `bands` (RGB by default)."""
        bands = tuple(bands or display_bands())
        dim = len(bands) * (2 + NUM_BINS)
        ones = (1.0,) * len(bands)
        self.spec = EncoderSpec(
            arch="colour",
            bands=bands,
            mean=ones,
            std=ones,
            patch_px=1,
            feature_dim=dim,
            init="none",
            normalise="dataset",
        )

    def fingerprint(self) -> str:
        """Return a hash of the definition."""
        return hashlib.blake2b(
            f"colour-{NUM_BINS}-{len(self.spec.bands)}".encode(), digest_size=8
        ).hexdigest()

    def encode(
        self,
        pixels: np.ndarray,
        *,
        bands: Sequence[Band],
        normalise: Normalise | None = None,
        stats: Stats | None = None,
        size: int | None = None,
        outputs: Sequence[str] = ("features",),
        batch_size: int = 256,
    ) -> dict[str, np.ndarray]:
        """Return (n, bands * 18) colour statistics of what was measured; `size` and `normalise` do not matter to them.

        A band of an image in which nothing was measured counts as one of its mean over the data.
        """
        out = []
        seen = _measured(pixels, bands)
        if stats is None and len(pixels) and (seen is not True or pixels.dtype != np.uint8):
            # Over all images at hand: bins must not depend on the batch.
            mean, std = (f((0, 2, 3), dtype=np.float64, where=seen) for f in (pixels.mean, pixels.std))
            stats = (mean, std)
        for start in range(0, len(pixels), batch_size):
            block = np.asarray(pixels[start : start + batch_size])
            flat = block.reshape(*block.shape[:2], -1)
            where: np.ndarray | bool = True
            if isinstance(seen, np.ndarray):
                assert stats is not None
                where = seen[start : start + batch_size].reshape(flat.shape)
                flat = np.where(where, flat, stats[0][:, None])
                where = where | ~where.any(-1, keepdims=True)
            if block.dtype == np.uint8:
                bins = flat // (256 // NUM_BINS)
            else:
                assert stats is not None
                mean, std = stats
                low, width = mean - 2.5 * std, np.maximum(5 * std, 1e-9)
                bins = np.clip((flat - low[:, None]) / width[:, None] * NUM_BINS, 0, NUM_BINS - 1).astype(
                    np.int64
                )
            histogram = np.stack([(bins == i).mean(-1, where=where) for i in range(NUM_BINS)], -1)
            # Sums under a mask are plain ones, which float32 is too coarse for.
            values = flat.astype(np.float32 if where is True else np.float64)
            centre, spread = values.mean(-1, where=where), values.std(-1, where=where)
            parts = (centre, spread, histogram.reshape(len(block), -1))
            out.append(np.concatenate(parts, axis=1).astype(np.float32))
        return {"features": np.concatenate(out) if out else np.zeros((0, self.spec.feature_dim), np.float32)}


def _measured(pixels: np.ndarray, bands: Sequence[Band]) -> np.ndarray | Literal[True]:
    """Return where something was measured; True where the data cannot say otherwise."""
    floats = pixels.dtype.kind == "f"
    if not floats and all(b.nodata is None for b in bands):
        return True
    numbers = [np.nan if b.nodata is None else b.nodata for b in bands]
    seen = pixels != np.array(numbers, pixels.dtype if floats else np.float64)[:, None, None]
    return seen & np.isfinite(pixels) if floats else seen
