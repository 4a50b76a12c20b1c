"""What an encoder is fed: stored numbers of some imagery as its own bands, in its units, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seco.errors import ConfigError, TaskError
from seco.nets.spec import EncoderSpec
from seco.sensors.bands import Band, conversion, match
from seco.views.augment import deviation
from seco.views.nodata import nodata_numbers, unmeasured

Normalise = Literal["spec", "dataset", "paper"]
Stats = tuple[np.ndarray, np.ndarray]


class Feed:
    """Turns stored pixels into input of an encoder; what was not measured is 0 there."""

    def __init__(
        self,
        spec: EncoderSpec,
        bands: Sequence[Band],
        *,
        normalise: Normalise | None = None,
        stats: Stats | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Fold band order, unit conversion and normalisation into one scale and shift a band.

        Args:
            spec: the encoder's.
            bands: of the imagery.
            normalise: `spec` (the statistics trained with), `dataset` (those given in `stats`) or `paper` (stored bytes
                divided by 255; other numbers from mean - 2 deviations to mean + 2 as 0 to 1, clipped); None takes the
                spec's own default.
            stats: mean and deviation per band of `bands`, stored units, for `dataset` and `paper`.
            device: where the input goes.

        Raises:
            TaskError: `dataset`, or `paper` for other than bytes, without statistics.
            ConfigError: no such way.
            DatasetError: a band is missing or its units cannot be converted to the encoder's.
        """
        how = normalise or spec.normalise
        self.order = match(bands, spec.bands)
        picked = [bands[i] for i in self.order]
        if how == "dataset":
            if stats is None:
                raise TaskError("normalise 'dataset' needs the statistics of the data; none were given")
            mean = stats[0][self.order]
            std = deviation(mean, stats[1][self.order])
            scale, shift = 1 / std, -mean / std
        elif how == "paper" and all(b.units == "display" for b in picked):
            scale, shift = np.full(len(picked), 1 / 255), np.zeros(len(picked))
        elif how == "paper":
            if stats is None:
                raise TaskError(
                    "normalise 'paper' of other numbers than display bytes needs their statistics"
                )
            mean, std = stats[0][self.order], stats[1][self.order]
            span = 4 * deviation(mean, std)
            scale, shift = 1 / span, -(mean - 2 * std) / span
        elif how == "spec":
            pairs = [conversion(b, s) for b, s in zip(picked, spec.bands, strict=True)]
            slope, intercept = np.array(pairs, np.float64).T
            scale = slope / np.array(spec.std)
            shift = (intercept - np.array(spec.mean)) / np.array(spec.std)
        else:
            raise ConfigError(f"normalise {how!r}; known: spec, dataset, paper")
        self.device = torch.device(device)
        self.scale, self.shift = self._column(scale), self._column(shift)
        self.limits: tuple[Tensor, Tensor] | None = None
        if how == "spec" and spec.clip is not None:
            low, high = ((c - np.array(spec.mean)) / np.array(spec.std) for c in spec.clip)
            self.limits = self._column(low), self._column(high)
        if how == "paper":
            self.limits = torch.tensor(0.0, device=self.device), torch.tensor(1.0, device=self.device)
        nodata = nodata_numbers(picked)
        self.nodata = None if nodata is None else nodata.to(self.device)

    def __call__(self, pixels: np.ndarray) -> Float[Tensor, "n bands h w"]:
        """Return normalised input of stored pixels (n, bands of the imagery, height, width)."""
        batch = np.ascontiguousarray(pixels[:, self.order])
        batch = batch if batch.dtype in (np.uint8, np.float32) else batch.astype(np.float32)
        stored = torch.from_numpy(batch).to(self.device).float()
        x = torch.addcmul(self.shift, stored, self.scale)
        x = x if self.limits is None else torch.clamp(x, *self.limits)
        if self.nodata is not None or pixels.dtype.kind == "f":
            x = x.masked_fill(unmeasured(stored, self.nodata), 0.0)
        return x.contiguous(memory_format=torch.channels_last)

    def _column(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
