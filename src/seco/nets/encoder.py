"""The encoder as everybody else sees it: stored numbers in, named outputs out; always in eval mode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from seco.errors import CheckpointError, ConfigError, DatasetError, TaskError
from seco.nets.backbones import build_backbone, check_input, read_tensors, weights_file
from seco.nets.devices import pick_device
from seco.nets.feed import Feed, Normalise, Stats
from seco.nets.heads import projection_head
from seco.nets.spec import EncoderSpec
from seco.sensors.bands import Band, Units, as_units, select

USUAL_DN_SCALE = 1e-4
"""Of Sentinel-2 and most products of reflectance: what DN means where nobody says more."""
MOST_REFLECTANCE = 10.0
"""Clouds and glint reach 2; a number above this is a DN or a byte."""
WEIGHTS_NAME = "encoder.safetensors"
SPEC_NAME = "spec.json"
SPEC_KEY = "spec"
"""Name of the spec, JSON as text, in the metadata of the weights file."""


@runtime_checkable
class FeatureExtractor(Protocol):
    """What tasks need of an encoder; the colour baseline offers it too."""

    name: str
    outputs: tuple[str, ...]
    spec: EncoderSpec

    def fingerprint(self) -> str:
        """Return a hash of all that decides the features."""

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
        """Return features of stored pixels."""


class Encoder:
    """A frozen encoder with its spec."""

    def __init__(
        self,
        *,
        spec: EncoderSpec,
        backbone: nn.Module,
        heads: nn.ModuleDict,
        name: str,
        device: torch.device | str = "auto",
    ) -> None:
        """Wrap networks as an encoder in eval mode on `device`."""
        self.spec = spec
        self.name = name
        self.outputs: tuple[str, ...] = ("features", *spec.heads)
        self._sizes_taken: set[int] = set()
        self.device = pick_device(str(device))
        self.net = nn.ModuleDict({"backbone": backbone, "heads": heads})
        self.net.requires_grad_(False).eval().to(self.device)
        self.net.to(memory_format=torch.channels_last)

    def __call__(
        self, array: np.ndarray | Tensor, *, bands: Sequence[str] | Sequence[Band], units: Units | None = None
    ) -> Tensor:
        """Encode an array of imagery.

        Args:
            array: (bands, height, width) or (n, bands, height, width).
            bands: what its channels are: names known to the encoder's sensor, or Band objects.
            units: `display` (bytes 0-255), `reflectance` (0-1) or `dn`; with Band objects it may be left out.

        Returns:
            Features, float32 (n, feature_dim), n = 1 for a single image.

        Raises:
            DatasetError: a band is missing or its units cannot be converted to the encoder's.
        """
        pixels = np.asarray(array)
        pixels = pixels[None] if pixels.ndim == 3 else pixels
        if pixels.ndim != 4 or pixels.shape[1] != len(bands):
            raise DatasetError(
                f"array of shape {tuple(np.shape(array))} with {len(bands)} bands named; give ({len(bands)}, height, width)"
            )
        if all(isinstance(b, Band) for b in bands):
            declared = tuple(b for b in bands if isinstance(b, Band))
        else:
            names = [str(b) for b in bands]
            # The caller may hand over more bands than the encoder takes; the others are left out.
            known = {x.lower() for b in self.spec.bands for x in (b.name, b.common_name or b.name)}
            keep = [i for i, n in enumerate(names) if n.lower() in known]
            pixels = pixels[:, keep]
            declared = tuple(self.spec.bands[i] for i in select(self.spec.bands, [names[i] for i in keep]))
            if units is None:
                raise ConfigError("units must be said for bands given by name: display, reflectance or dn")
            odd = [b for b in declared if units == b.units == "dn" and b.scale != USUAL_DN_SCALE]
            if odd:
                raise DatasetError(
                    f"units dn of band {odd[0].name} given by name: the encoder was trained on a scale of {odd[0].scale:g}, "
                    f"not the usual {USUAL_DN_SCALE:g}; pass Band objects that say yours (encoder.spec.bands say its own)"
                )
            above = pixels[pixels > MOST_REFLECTANCE] if units == "reflectance" else pixels[:0]
            if above.size:
                raise DatasetError(
                    f"reflectance of {above.max():g}; it lies between 0 and little above 1: divide it by its scale, "
                    "or say display"
                )
        if units is not None:
            declared = as_units(declared, units)
        # One image has no statistics of its own to standardise by, so it is always the encoder's.
        return torch.from_numpy(self.encode(pixels, bands=declared, normalise="spec")["features"])

    def fingerprint(self) -> str:
        """Return a hash of weights and spec."""
        digest = hashlib.blake2b(json.dumps(self.spec.to_json(), default=str).encode(), digest_size=8)
        for key, value in self.net.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

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
        """Encode stored pixels in batches.

        Pixels where nothing was measured (a band's `nodata`, or floats that are not finite) are 0 after normalisation.

        Args:
            pixels: (n, bands, height, width), stored numbers.
            bands: what they are; matched to the encoder's bands, converted to its units.
            normalise: `spec` (the statistics trained with), `dataset` (those given in `stats`) or `paper` (stored bytes
                divided by 255, as the original's EuroSAT evaluation; other numbers from mean - 2 deviations to mean + 2
                as 0 to 1, clipped, as its BigEarthNet evaluation); None takes the spec's own default.
            stats: mean and deviation per band of `bands`, stored units, for `dataset` and `paper`.
            size: edge in pixels to resize to (bilinear, antialiased); None leaves it.
            outputs: any of `self.outputs`.
            batch_size: images at a time.

        Returns:
            For each output a float32 array (n, dim); projections have unit length.

        Raises:
            TaskError: an output or the shape is none of the encoder's.
            ConfigError: the encoder cannot take images of this size.
            DatasetError: a band is missing or its units cannot be converted to the encoder's.
        """
        unknown = [o for o in outputs if o not in self.outputs]
        if unknown:
            raise TaskError(
                f"encoder {self.name} has no output {', '.join(unknown)}; it has {', '.join(self.outputs)}"
            )
        if pixels.ndim != 4 or pixels.shape[1] != len(bands):
            raise TaskError(f"pixels of shape {pixels.shape}; give (images, {len(bands)}, height, width)")
        px = size or int(pixels.shape[-1])
        if px not in self._sizes_taken:
            check_input(self.net["backbone"], len(self.spec.bands), px=px)
            self._sizes_taken.add(px)
        feed = Feed(self.spec, bands, normalise=normalise, stats=stats, device=self.device)
        out: dict[str, list[np.ndarray]] = {o: [] for o in outputs}
        with torch.inference_mode():
            for start in range(0, len(pixels), batch_size):
                x = feed(pixels[start : start + batch_size])
                if size is not None and x.shape[-2:] != (size, size):
                    x = functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
                for key, value in self.forward(x, outputs).items():
                    out[key].append(value.float().cpu().numpy())
        dims = {o: self.spec.feature_dim if o == "features" else 128 for o in outputs}
        return {o: np.concatenate(v) if v else np.zeros((0, dims[o]), np.float32) for o, v in out.items()}

    def forward(self, x: Tensor, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named outputs of normalised input (n, bands, h, w)."""
        features = self.net["backbone"](x)
        named = {"features": features}
        for head in self.spec.heads:
            if head in outputs:
                named[head] = functional.normalize(self.net["heads"][head](features), dim=1)  # type: ignore[index]
        return {o: named[o] for o in outputs}

    def save(self, folder: Path) -> None:
        """Write one file of weights with the spec in its metadata into `folder` (which is made), atomically.

        `spec.json` beside it is a copy for people, and is never read.

        Raises:
            SecoError: they cannot be written (the disk is full, the folder is read-only).
        """
        from seco.runs import write_json

        temporary = folder / f".{WEIGHTS_NAME}.partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {k: v.contiguous().cpu() for k, v in self.net.state_dict().items()}
            save_file(tensors, temporary, metadata={SPEC_KEY: json.dumps(self.spec.to_json())})
            temporary.replace(folder / WEIGHTS_NAME)
        except (OSError, SafetensorError) as err:
            temporary.unlink(missing_ok=True)
            raise CheckpointError(
                f"cannot write {folder / WEIGHTS_NAME}: {err}; free disk space or choose another folder"
            ) from err
        write_json(folder / SPEC_NAME, self.spec.to_json())


def read_spec(file: Path) -> EncoderSpec:
    """Read the spec in the metadata of a weights file.

    Raises:
        CheckpointError: the file is missing or damaged, or the spec is missing, damaged or of a newer version.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(SPEC_KEY)
    except (OSError, SafetensorError) as err:
        raise CheckpointError(
            f"cannot read {file}: {err}; it is missing, cut short or not safetensors"
        ) from err
    if text is None:
        raise CheckpointError(
            f"{file} says nothing of the encoder it belongs to (no {SPEC_KEY!r} in its metadata): another program or an "
            "older seco wrote it; train or export it again"
        )
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise CheckpointError(
            f"encoder spec in {file} is damaged: {err}; restore or export it again"
        ) from err
    if not isinstance(values, dict):
        raise CheckpointError(f"encoder spec in {file} is no object but a {type(values).__name__}")
    return EncoderSpec.from_json(values)


def starting_spec(init: str, bands: Sequence[Band]) -> EncoderSpec | None:
    """Return the spec of the encoder that training starts from, None for `random` and `imagenet`.

    Raises:
        CheckpointError: it takes other bands, or the same in another order or other units.
    """
    if init in ("random", "imagenet"):
        return None
    spec = read_spec(weights_file(Path(init)))
    theirs, ours = ([(b.name, b.units) for b in some] for some in (spec.bands, bands))
    if theirs != ours:
        raise CheckpointError(
            f"{init} takes {_words(theirs)}, the data are {_words(ours)}; choose the bands with --bands, in its order"
        )
    return spec


def _words(bands: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({units})" for name, units in bands)


def load_folder(folder: Path, *, name: str, device: str = "auto") -> Encoder:
    """Load an encoder that `Encoder.save` wrote.

    Raises:
        CheckpointError: something is missing, damaged or does not fit.
    """
    spec = read_spec(folder / WEIGHTS_NAME)
    state = read_tensors(folder / WEIGHTS_NAME)
    backbone = build_backbone(spec.arch, len(spec.bands))
    heads = nn.ModuleDict()
    for head in spec.heads:
        weight = state.get(f"heads.{head}.2.weight")
        heads[head] = projection_head(spec.feature_dim, weight.shape[0] if weight is not None else 128)
    try:
        nn.ModuleDict({"backbone": backbone, "heads": heads}).load_state_dict(state)
    except RuntimeError as err:
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME} does not fit its spec: {' '.join(str(err).split())[:300]}"
        ) from err
    return Encoder(spec=spec, backbone=backbone, heads=heads, name=name, device=device)
