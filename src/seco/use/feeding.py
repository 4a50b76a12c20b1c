"""What an encoder is fed: as its authors did, overridden by what the user says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from seco.config import setting
from seco.errors import CheckpointError, ConfigError, DatasetError
from seco.sensors import sentinel2
from seco.sensors.bands import Band, Units, as_units, select
from seco.sensors.rgb import display_bands
from seco.use.layouts import _feeds
from seco.use.layouts._contract import count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a conversion. What is not said is as the layout's authors fed it."""

    layout: Literal["auto", "seco", "torchgeo", "moco", "ssl4eo", "torchvision", "timm"] = setting(
        "auto", "whose names the file has; auto tells from the names where it can"
    )
    arch: str | None = setting(
        None, "timm model name, such as resnet50; told from the weights where it can be"
    )
    input: Literal["auto", "seco", "sentinel2", "imagenet"] = setting(
        "auto",
        "what the encoder was fed: seco (RGB bytes in SeCo's stretch), sentinel2 (numbers / 10,000), imagenet (RGB bytes)",
    )
    bands: tuple[str, ...] = setting((), "input bands in order, such as B04,B03,B02 or red,green,blue")
    units: Literal["auto", "display", "dn", "reflectance"] = setting(
        "auto", "units of mean, std and the input"
    )
    mean: tuple[float, ...] = setting((), "mean of each band in those units")
    std: tuple[float, ...] = setting((), "deviation of each band in those units")
    patch_px: int | None = setting(None, "edge of the images it was trained on, in pixels")
    heads: Literal["keep", "drop"] = setting("keep", "projection heads as outputs z0, z1, ...")
    half: Literal["refuse", "widen"] = setting(
        "refuse", "weights of 16 bits: refuse, or widen to 32 bits (exact)"
    )
    licence: str | None = setting(None, "licence of the weights, kept")
    origin: str | None = setting(None, "where the weights come from, kept")

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.patch_px is not None and not 1 <= self.patch_px <= 4096:
            raise ConfigError(f"patch px {self.patch_px}; it must be from 1 to 4096")


def feed_of(path: Path, told: str | None, arch: str, num_bands: int, options: Options) -> _feeds.Feed:
    """Return bands, statistics and size for the spec; `told` is the feed that the layout tells.

    Raises:
        CheckpointError: what is said does not fit the weights, or too little is said.
    """
    if options.bands and len(options.bands) != num_bands:
        raise CheckpointError(
            f"{path} takes {num_bands} bands, --bands names {len(options.bands)} ({', '.join(options.bands)})"
        )
    said_all = bool(options.bands and options.mean and options.std)
    if said_all and options.input == "auto":
        size = _feeds.imagenet(arch).patch_px
        base = _feeds.Feed(bands=_bands(options.bands), mean=options.mean, std=options.std, patch_px=size)
    else:
        name = told if options.input == "auto" else options.input
        if name is None:
            raise CheckpointError(
                f"{path.name} does not say what its weights were fed; TorchGeo's files do (such as "
                "resnet18_sentinel2_rgb_seco-cefca942.pth): say it with --input seco, sentinel2 or imagenet"
            )
        base = _feeds.feed(name, arch, num_bands)
    bands = base.bands
    if options.bands:
        try:
            bands = tuple(base.bands[i] for i in select(base.bands, options.bands))
        except DatasetError:
            bands = _bands(options.bands)
    if options.units != "auto":
        bands = tuple(_in_units(b, options.units) for b in bands)
    for word, values in (("mean", options.mean), ("std", options.std)):
        if values and len(values) != num_bands:
            raise CheckpointError(f"--{word} has {count(values, 'number')} for {num_bands} bands")
    changed = bands != base.bands and {b.name for b in bands} != {b.name for b in base.bands}
    other = changed or bands[0].units != base.bands[0].units
    if other and not (options.mean and options.std):
        raise CheckpointError(
            f"other bands or units than the encoder was fed ({', '.join(b.name for b in base.bands)}, "
            f"{base.bands[0].units}) need --mean and --std in the units of these"
        )
    order = [base.bands.index(b) for b in bands] if set(bands) == set(base.bands) else range(num_bands)
    return _feeds.Feed(
        bands=bands,
        mean=options.mean or tuple(base.mean[i] for i in order),
        std=options.std or tuple(base.std[i] for i in order),
        patch_px=base.patch_px,
        # Limits belong to the feed's own units and scaling.
        clip=None if options.mean or options.std else base.clip,
    )


def _bands(wanted: tuple[str, ...]) -> tuple[Band, ...]:
    rgb = {b.name: b for b in display_bands()}
    return tuple(rgb.get(n.lower()) or sentinel2.band(n) for n in wanted)


def _in_units(band: Band, units: Units) -> Band:
    """Return a band in other units; DN of Sentinel-2 have a usual scale."""
    if units == "dn" and band.units != "dn":
        usual = {b.common_name: b for b in sentinel2.BANDS}
        return usual.get(band.common_name) or sentinel2.band(band.name)
    return as_units((band,), units)[0]
