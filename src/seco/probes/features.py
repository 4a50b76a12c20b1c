"""Features of a dataset's patches, made once and kept under a fingerprint of all that decides them.

The store is a folder of segments, each a few thousand patches written whole: a task reads the patches it needs and encodes
only those that no task before it needed; an interrupted run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32, Integer

from seco.data.dataset import Dataset
from seco.data.tier import TrainingTier
from seco.errors import TaskError
from seco.nets.encoder import Encoder, FeatureExtractor
from seco.nets.feed import Normalise
from seco.nets.small_maps import multiply_small_maps
from seco.probes.options import PAPER, STRICT, EvaluationOptions
from seco.runs import cache_folder, progress, write_atomic
from seco.sensors.bands import match

STORE_VERSION = 2
SEGMENT_ROWS = 4096
SEGMENT_BYTES = 2**28
"""Most stored pixels read at a time."""
BATCH_BYTES = 2**26
"""Most input of an encoder at a time, as floats."""
MOST_IMAGES, MOST_ON_CPU = 256, 64
"""Most images at a time: on a CPU 256 take a tenth longer each (ResNet-18, 64 px), since less of them fits into caches."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Altered:
    """A change of patches before they are encoded.

    Attributes:
        name: what it is, settings and version included: features are kept under it.
        alter: from rows and their stored pixels (n, bands, px, px) to other stored numbers of the same shape.
    """

    name: str
    alter: Callable[[np.ndarray, np.ndarray], np.ndarray]


class FeatureStore:
    """Features of one dataset by one encoder with one way to feed it."""

    def __init__(
        self,
        encoder: FeatureExtractor,
        dataset: Dataset,
        options: EvaluationOptions,
        *,
        altered: Altered | None = None,
    ) -> None:
        """Open the store.

        Args:
            altered: what is done to patches first; they are encoded as they are where not given.

        Raises:
            DatasetError: the dataset lacks a band that the encoder needs.
        """
        self.encoder = encoder
        self.dataset = dataset
        usual = PAPER if getattr(options, "protocol", STRICT) == PAPER else encoder.spec.normalise
        self.normalise = cast(Normalise, options.normalise or usual)
        self.size = options.size_px
        self.encoder_fingerprint = encoder.fingerprint()
        picked = match(dataset.meta.bands, encoder.spec.bands)
        self.tier: TrainingTier = dataset.training([dataset.meta.bands[i].name for i in picked])
        self.altered = altered
        if isinstance(encoder, Encoder):
            multiply_small_maps(encoder.net["backbone"])  # the same sums in another order
        made_of = [STORE_VERSION, self.encoder_fingerprint, self.tier.fingerprint, self.normalise, self.size]
        if altered is not None:
            made_of.append(altered.name)
        key = hashlib.blake2b(json.dumps(made_of).encode(), digest_size=8).hexdigest()
        self.folder: Path | None = cache_folder() / "features" / key if options.cache == "keep" else None

    @property
    def device(self) -> torch.device:
        """Where probes compute: with the encoder on CUDA, else on the CPU (other devices lack 64 bits or eigenvectors)."""
        device: torch.device = getattr(self.encoder, "device", torch.device("cpu"))
        return device if device.type == "cuda" else torch.device("cpu")

    def get(
        self, rows: Integer[np.ndarray, " n"], outputs: Sequence[str]
    ) -> dict[str, Float32[np.ndarray, "n _"]]:
        """Return the outputs asked for of these patches, in their order, encoding what is not there yet.

        Raises:
            TaskError: a feature is not finite, or the store is damaged.
            DatasetError: the imagery's units cannot be converted to the encoder's.
        """
        wanted = np.unique(rows)
        found: dict[str, Float32[np.ndarray, "n _"]] = {}
        done = np.zeros(len(wanted), bool)

        def take(there: np.ndarray, values: dict[str, np.ndarray]) -> None:
            source = np.isin(there, wanted)
            target = np.searchsorted(wanted, there[source])
            done[target] = True
            for name in outputs:
                if name not in found:
                    found[name] = np.empty((len(wanted), values[name].shape[1]), np.float32)
                found[name][target] = values[name][source]

        for there, values in self._stored(wanted, outputs):
            take(there, values)
        missing = wanted[~done]
        for segment in progress(self._segments(missing), f"features of {self.encoder.name}"):
            take(segment, self._encode(segment))
        order = np.searchsorted(wanted, rows)
        return {o: found[o][order] for o in outputs}

    def _segments(self, rows: np.ndarray) -> list[np.ndarray]:
        """Divide rows so that a segment's pixels stay within bounds."""
        num = int(np.clip(SEGMENT_BYTES // self.tier.pixels[0].nbytes, 1, SEGMENT_ROWS))
        return [rows[i : i + num] for i in range(0, len(rows), num)]

    def _stored(
        self, wanted: np.ndarray, outputs: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Read the segments that hold a wanted row."""
        if self.folder is None:
            return
        for file in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    rows = arrays["rows"]
                    values = {o: arrays[o] for o in outputs} if np.isin(rows, wanted).any() else None
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as err:
                raise TaskError(
                    f"stored features {file} are damaged ({err}); remove it, it is made again"
                ) from err
            if values is not None:
                yield rows, values

    def _encode(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Encode one segment: every output, since heads cost next to nothing beside the features."""
        px = self.size or self.tier.patch_px
        pixels = self.tier.pixels[rows]
        if self.altered is not None:
            pixels = self.altered.alter(rows, pixels)
        most = MOST_ON_CPU if self.device.type == "cpu" else MOST_IMAGES
        values = self.encoder.encode(
            pixels, bands=self.tier.bands, normalise=self.normalise, stats=(self.tier.mean, self.tier.std),
            size=self.size, outputs=self.encoder.outputs,
            batch_size=int(np.clip(BATCH_BYTES // (4 * len(self.tier.bands) * px * px), 1, most)),
        )  # fmt: skip
        for name, value in values.items():
            bad = ~np.isfinite(value).all(1)
            if bad.any():
                raise TaskError(
                    f"encoder {self.encoder.name}: {name} of {int(bad.sum())} of {len(rows)} patches are not finite "
                    f"(the first is row {int(rows[bad.argmax()])} of {self.dataset.source}); its weights are broken, or "
                    "the input is normalised by statistics of other data (--normalise)"
                )
        if self.folder is not None:
            buffer = io.BytesIO()
            np.savez(buffer, rows=rows, **cast(dict[str, Any], values))
            name = hashlib.blake2b(rows.tobytes(), digest_size=8).hexdigest()
            write_atomic(self.folder / f"{name}.npz", buffer.getvalue())
        return values
