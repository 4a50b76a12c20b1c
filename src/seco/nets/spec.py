"""EncoderSpec: what travels with every set of weights, so that nobody feeds an encoder the wrong numbers."""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float64

from seco.errors import CheckpointError, DatasetError
from seco.sensors.bands import Band

SPEC_VERSION = 1
_TEXTS = ("arch", "method", "init", "data_fingerprint", "normalise", "source", "licence")
_COUNTS = {"patch_px": 1, "feature_dim": 1, "num_steps": 0}
"""Whole numbers, with the least of each."""
_MAX_COUNT = 2**53
MAX_BOXES = 2_000_000
"""Footprints that fit an encoder's file: the spec is in its header, which safetensors limits to 100 MB."""
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
        trained_boxes: (west, south, east, north) degrees of every place trained on, float64 (places, 4); empty where places
            have no position. They take no part in a comparison of specs.
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
    trained_boxes: Float64[np.ndarray, "places 4"] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 4)), compare=False
    )
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
        values["trained_boxes"] = boxes_to_text(self.trained_boxes)
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
            plain["bands"] = tuple(_band(b) for b in plain["bands"])
            for name in ("mean", "std", "heads"):
                plain[name] = tuple(plain[name])
            plain["trained_boxes"] = read_boxes(plain["trained_boxes"])
            if plain.get("clip") is not None:
                low, high = plain["clip"]
                plain["clip"] = (float(low), float(high))
            _check_kinds(plain)
            return cls(**plain)
        except (KeyError, TypeError, ValueError, DatasetError) as err:
            raise CheckpointError(f"encoder spec is damaged: {err}") from err


def _band(values: Any) -> Band:
    if not isinstance(values, dict):
        raise TypeError(f"band {values!r} is no object")
    return Band.from_json(values)


def _check_kinds(values: dict[str, Any]) -> None:
    """Refuse values of another kind than `to_json` writes: what is no number would be found out much later.

    Raises:
        TypeError, ValueError: name the first.
    """
    for name in _TEXTS:
        if not isinstance(values.get(name, ""), str):
            raise TypeError(f"{name} {values[name]!r} is no text")
    for name, least in _COUNTS.items():
        value = values.get(name, least)
        if type(value) is not int or not least <= value < _MAX_COUNT:
            raise ValueError(f"{name} {value!r} is no whole number from {least} up")
    if not all(isinstance(h, str) for h in values["heads"]):
        raise ValueError(f"heads {values['heads']!r} are no names")
    for name in ("mean", "std"):
        if not all(_is_number(v) and math.isfinite(v) for v in values[name]):
            raise ValueError(f"{name} {values[name]!r} are no finite numbers")


def boxes_to_text(boxes: Float64[np.ndarray, "places 4"]) -> str:
    """Return boxes as base64 of little-endian float64: half as long as their numbers in JSON, and read at once."""
    return base64.b64encode(np.ascontiguousarray(boxes, "<f8").tobytes()).decode("ascii")


def read_boxes(value: Any) -> Float64[np.ndarray, "places 4"]:
    """Read what `boxes_to_text` wrote, or a list of boxes as specs had it once.

    Raises:
        ValueError: it is neither.
    """
    try:
        if isinstance(value, str):
            boxes = np.frombuffer(base64.b64decode(value, validate=True), "<f8").astype(float).reshape(-1, 4)
        else:
            numbers = all(len(box) == 4 and all(map(_is_number, box)) for box in value)
            boxes = np.array(value if numbers else np.zeros(1), np.float64).reshape(-1, 4)
    except (TypeError, ValueError, OverflowError) as err:
        raise ValueError("trained_boxes are no boxes of four numbers") from err
    if not np.isfinite(boxes).all():
        raise ValueError("trained_boxes are not all finite")
    return boxes


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
