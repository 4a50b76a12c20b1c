"""How authors fed their encoders: bands, units, statistics, and the size of their crops."""

from __future__ import annotations

import dataclasses

from seco.errors import CheckpointError
from seco.nets.backbones import IMAGENET_MEAN, IMAGENET_STD, imagenet_statistics
from seco.sensors import sentinel2
from seco.sensors.bands import Band
from seco.sensors.rgb import display_bands

IMAGENET_BYTES = (tuple(255 * m for m in IMAGENET_MEAN), tuple(255 * s for s in IMAGENET_STD))
SECO_QUANTILES = {"B04": (0.0, 129.0), "B03": (2.0, 103.0), "B02": (3.0, 88.0)}
"""2% and 98% quantiles of SeCo's files (bytes of reflectance 0-1), which its release stretches to 0-255."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feed:
    """The input side of an EncoderSpec."""

    bands: tuple[Band, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_px: int = 224
    clip: tuple[float, float] | None = None


def seco() -> Feed:
    """Bytes stretched by SeCo's quantiles, cut to 0-255, then ImageNet's statistics."""
    bands = tuple(
        dataclasses.replace(
            sentinel2.band(name), units="display", scale=None, offset=None, nodata=None,
            stretch=f"SeCo: reflectance {low / 255:.4f} to {high / 255:.4f} as 0 to 255, cut off",
            stretch_range=(low / 255, high / 255),
        )
        for name, (low, high) in SECO_QUANTILES.items()
    )  # fmt: skip
    return Feed(bands=bands, mean=IMAGENET_BYTES[0], std=IMAGENET_BYTES[1], clip=(0.0, 255.0))


def sentinel2_numbers(num_bands: int) -> Feed:
    """Sentinel-2 numbers divided by 10,000 and cut to 0-1, as SSL4EO-S12 fed them.

    Raises:
        CheckpointError: SSL4EO-S12 has no order of that many bands.
    """
    every = [b.name for b in sentinel2.BANDS]
    orders = {13: every, 12: [n for n in every if n != "B10"], 3: ["B04", "B03", "B02"]}
    if num_bands not in orders:
        raise CheckpointError(
            f"the weights take {num_bands} bands; Sentinel-2 weights of this layout take 13, 12 (no B10) or 3 (B04, B03, "
            "B02): name yours with --bands, and how they were scaled with --mean and --std"
        )
    n = float(sentinel2.QUANTIFICATION)
    return Feed(
        bands=tuple(sentinel2.band(b) for b in orders[num_bands]),
        mean=(0.0,) * num_bands,
        std=(n,) * num_bands,
        clip=(0.0, n),
    )


def imagenet(arch: str) -> Feed:
    """RGB bytes with the statistics and size that timm publishes for an architecture (ImageNet's for most)."""
    import timm

    config = timm.get_pretrained_cfg(arch)
    mean, std = imagenet_statistics(arch)
    size = config.input_size[-1] if config is not None else 224
    return Feed(bands=display_bands(), mean=mean, std=std, patch_px=int(size))


def feed(name: str, arch: str, num_bands: int) -> Feed:
    """Return a feed by name: `seco`, `sentinel2`, `imagenet`.

    Raises:
        CheckpointError: the weights take another number of bands.
    """
    found = {
        "seco": seco,
        "sentinel2": lambda: sentinel2_numbers(num_bands),
        "imagenet": lambda: imagenet(arch),
    }[name]()
    if len(found.bands) != num_bands:
        raise CheckpointError(
            f"the weights take {num_bands} bands, the input {name!r} has {len(found.bands)} "
            f"({', '.join(b.name for b in found.bands)}); name yours with --bands, --units, --mean and --std"
        )
    return found
