"""A small U-Net decoder on the feature maps of any timm encoder, for maps of classes and of change.

The skip connections follow Ronneberger et al. 2015; change is read off the absolute difference of the maps of two dates, as
in the code released with SeCo (Daudt et al. 2018 call it FC-Siam-diff).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seco.errors import ConfigError

Tuning = Literal["frozen", "tuned"]
WIDTHS = (128, 96, 64, 48, 32)
"""Channels after each step up, coarsest first; deeper pyramids repeat the last."""
NUM_GROUPS = 8


def pyramid(backbone: nn.Module) -> list[tuple[int, int, int]]:
    """Return (index, channels, reduction) of the feature maps a decoder reads: the last of each resolution, finest first.

    Raises:
        ConfigError: timm cannot give this model's feature maps.
    """
    info = getattr(backbone, "feature_info", None)
    if not hasattr(backbone, "forward_intermediates") or not info:
        raise ConfigError(
            f"{type(backbone).__name__} has no feature maps for a decoder; choose another encoder, such as resnet18"
        )
    found: dict[int, tuple[int, int, int]] = {}
    for i, level in enumerate(info):
        found[int(level["reduction"])] = (i, int(level["num_chs"]), int(level["reduction"]))
    return [found[r] for r in sorted(found)]


def feature_maps(backbone: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the maps of `pyramid`, each (batch, channels, height / reduction, width / reduction)."""
    indices = [i for i, _, _ in pyramid(backbone)]
    return backbone.forward_intermediates(x, indices=indices, intermediates_only=True, output_fmt="NCHW")  # type: ignore[operator]


class UNetDecoder(nn.Module):
    """From maps of falling resolution to one number a class and pixel."""

    def __init__(self, channels: Sequence[int], num_out: int, *, seed: int = 0) -> None:
        """Build a decoder.

        Args:
            channels: of the maps, finest first.
            num_out: numbers a pixel.
            seed: of the weights; no global generator is touched.
        """
        super().__init__()
        skips = [*reversed(channels[:-1]), 0]
        widths = [*itertools.islice(itertools.chain(WIDTHS, itertools.repeat(WIDTHS[-1])), len(skips))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inputs = [channels[-1], *widths[:-1]]
            self.steps = nn.ModuleList(
                _block(below + skip, width) for below, skip, width in zip(inputs, skips, widths, strict=True)
            )
            self.last = nn.Conv2d(widths[-1], num_out, 1)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _channels _h _w"]], *, size: tuple[int, int]
    ) -> Float[Tensor, "batch out height width"]:
        """Return logits of `size` (height, width) from the maps, finest first."""
        x = maps[-1]
        for step, skip in zip(self.steps, [*reversed(maps[:-1]), None], strict=True):
            target = size if skip is None else (int(skip.shape[-2]), int(skip.shape[-1]))
            x = functional.interpolate(x, target, mode="bilinear", align_corners=False)
            x = step(x if skip is None else torch.cat((x, skip), 1))
        return self.last(x)


def _block(num_in: int, num_out: int) -> nn.Module:
    """Two convolutions. Groups are normalised, since the statistics of small batches of tiles would not carry over."""

    def convolve(n: int) -> list[nn.Module]:
        return [
            nn.Conv2d(n, num_out, 3, padding=1, bias=False),
            nn.GroupNorm(NUM_GROUPS, num_out),
            nn.ReLU(inplace=True),
        ]

    return nn.Sequential(*convolve(num_in), *convolve(num_out))


class DenseNet(nn.Module):
    """An encoder with a decoder. It takes normalised input, as the encoder does.

    The encoder is in evaluation mode always: where it is tuned its weights move and the statistics of its batch norm do
    not, so that a frozen encoder is frozen and a tuned one does not drift to the statistics of a few tiles. (A
    `Predictor` can let them follow.)
    """

    def __init__(
        self, backbone: nn.Module, num_out: int, *, tuning: Tuning = "frozen", seed: int = 0
    ) -> None:
        """Copy a backbone and put a decoder on it.

        Raises:
            ConfigError: timm cannot give the backbone's feature maps.
        """
        super().__init__()
        levels = pyramid(backbone)
        self.tuning = tuning
        self.backbone = copy.deepcopy(backbone).requires_grad_(tuning == "tuned").eval()
        self.decoder = UNetDecoder([c for _, c, _ in levels], num_out, seed=seed)

    def train(self, mode: bool = True) -> DenseNet:  # noqa: FBT001, FBT002 - torch's own signature
        """Switch the decoder; the encoder stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Float[Tensor, "batch bands h w"]) -> Float[Tensor, "batch out h w"]:
        """Return logits of every pixel."""
        return self.decoder(self._maps(images), size=_size(images))

    def change(
        self, before: Float[Tensor, "batch bands h w"], after: Float[Tensor, "batch bands h w"]
    ) -> Float[Tensor, "batch out h w"]:
        """Return logits of change, the same for either order of the two dates."""
        maps = self._maps(torch.cat((before, after)))
        halves = [m.chunk(2) for m in maps]
        return self.decoder([(a - b).abs() for a, b in halves], size=_size(before))

    def _maps(self, images: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tuning == "tuned"):
            return feature_maps(self.backbone, images)


def _size(images: Tensor) -> tuple[int, int]:
    return int(images.shape[-2]), int(images.shape[-1])
