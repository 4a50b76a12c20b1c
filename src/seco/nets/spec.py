"""EncoderSpec: what travels with every set of weights, so that nobody feeds an encoder the wrong numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

from seco.errors import CheckpointError, DatasetError
from seco.sensors.bands import Band

SPEC_VERSION = 1
_LATER = {"clip": None, "source": "", "licence": ""}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything needed to feed an encoder and to tell where it comes from.

    Attributes:
        arch: timm model name.
        bands: input bands in order, with the units that `mean` and `std` are in.
        mean, std: per band, in stored units of `bands`; the encoder sees (stored - mean) / std.
        patch_px: edge of the patches it was trained on.
        feature_dim: length of `features`.
        heads: names of the projection heads (`z0`, ...).
        method: what trained it (`seco`, `moco`, ..., `none`).
        init: what its weights started from.
        data_fingerprint: of the training tier.
        num_steps: steps trained.
        trained_boxes: (west, south, east, north) degrees of every place trained on; empty where places have no position.
        normalise: how a task should normalise by default: `spec`, or `dataset` where the weights have no statistics.
        clip: the least and greatest stored number that the encoder was fed: others are limited to them before `mean` and
            `std`. None limits nothing.
        source: where foreign weights come from, in words.
        licence: of the weights, in words.
    """

    arch: str
    bands: tuple[Band, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_px: int
    feature_dim: int
    heads: tuple[str, ...] = ()
    method: str = "none"
    init: str = "random"
    data_fingerprint: str = ""
    num_steps: int = 0
    trained_boxes: tuple[tuple[float, float, float, float], ...] = ()
    normalise: str = "spec"
    clip: tuple[float, float] | None = None
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise CheckpointError(
                f"{len(self.bands)} bands, {len(self.mean)} means, {len(self.std)} deviations"
            )
        if any(s <= 0 for s in self.std):
            raise CheckpointError(f"band deviations {self.std}; each must be above 0")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise CheckpointError(f"clip {self.clip}; the first must be below the second")

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON-ready values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # What came later is left out where it says nothing, so that encoders keep their fingerprints.
        values = {k: v for k, v in values.items() if k not in _LATER or v != _LATER[k]}
        values["bands"] = [b.to_json() for b in self.bands]
        return {"format": "seco-encoder", "version": SPEC_VERSION, **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EncoderSpec:
        """Build a spec from `to_json`'s answer.

        Raises:
            CheckpointError: not a spec, damaged, or of a newer version.
        """
        if values.get("format") != "seco-encoder":
            raise CheckpointError(f"not an encoder spec (format {values.get('format')!r})")
        if not isinstance(values.get("version"), int) or values["version"] > SPEC_VERSION:
            raise CheckpointError(
                f"encoder spec version {values.get('version')!r}; this seco reads up to {SPEC_VERSION}: upgrade seco"
            )
        try:
            plain = {k: v for k, v in values.items() if k not in ("format", "version")}
            plain["bands"] = tuple(Band.from_json(b) for b in plain["bands"])
            for name in ("mean", "std", "heads"):
                plain[name] = tuple(plain[name])
            plain["trained_boxes"] = tuple(tuple(b) for b in plain["trained_boxes"])
            if plain.get("clip") is not None:
                low, high = plain["clip"]
                plain["clip"] = (float(low), float(high))
            return cls(**plain)
        except (KeyError, TypeError, ValueError, DatasetError) as err:
            raise CheckpointError(f"encoder spec is damaged: {err}") from err
