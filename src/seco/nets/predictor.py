"""An encoder with a head: a class of an image, a class of each pixel, or where two dates differ."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from seco.errors import ConfigError
from seco.nets.backbones import feature_dim
from seco.nets.decoders import DenseNet, Tuning

Kind = Literal["classify", "segment", "change"]
Norm = Literal["kept", "batch"]


class RawBands(nn.Module):
    """No encoder: its only feature map is the normalised image itself. The baseline of maps."""

    def __init__(self, num_bands: int) -> None:
        """Pass `num_bands` bands through."""
        super().__init__()
        self.feature_info = [{"num_chs": num_bands, "reduction": 1}]
        self.num_features = num_bands

    def forward(self, x: Float[Tensor, "n bands h w"]) -> Float[Tensor, "n bands"]:
        """Return the mean of each band."""
        return x.mean((2, 3))

    def forward_intermediates(
        self, x: Tensor, *, indices: list[int], intermediates_only: bool = True, output_fmt: str = "NCHW"
    ) -> list[Tensor]:
        """Return the image for every index."""
        return [x for _ in indices]


class Predictor(nn.Module):
    """Logits of normalised images. The encoder is in evaluation mode, frozen or tuned (see `DenseNet`), but for `norm`."""

    def __init__(
        self, backbone: nn.Module, *, kind: Kind, num_classes: int, tuning: Tuning = "frozen", size: int | None = None,
        seed: int = 0, norm: Norm = "kept",
    ) -> None:  # fmt: skip
        """Copy a backbone and put a head on it.

        Args:
            backbone: a timm model, or `RawBands`.
            kind: what is predicted; `change` takes two dates and has two classes.
            num_classes: how many.
            tuning: whether the encoder's weights may move.
            size: edge in pixels to which images are resized before encoding; logits come back in the image's own size.
            seed: of the head's weights.
            norm: of a tuned encoder: its batch norm keeps the statistics it has, or takes those of each batch while
                training, and follows them.

        Raises:
            ConfigError: no such kind, or timm cannot give the backbone's feature maps.
        """
        super().__init__()
        if kind not in get_args(Kind):
            raise ConfigError(f"kind {kind!r}; known: {', '.join(get_args(Kind))}")
        self.kind, self.size, self.tuning, self.num_classes = kind, size, tuning, num_classes
        self.moves_norm = norm == "batch" and tuning == "tuned"
        self.dense: DenseNet | None = None
        if kind == "classify":
            self.backbone = copy.deepcopy(backbone).requires_grad_(tuning == "tuned").eval()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.head: nn.Module = nn.Linear(feature_dim(backbone), num_classes)
        else:
            self.dense = DenseNet(backbone, num_classes, tuning=tuning, seed=seed)

    @property
    def parts(self) -> tuple[nn.Module, nn.Module]:
        """The encoder's network and the head."""
        return (self.backbone, self.head) if self.dense is None else (self.dense.backbone, self.dense.decoder)

    def train(self, mode: bool = True) -> Predictor:  # noqa: FBT001, FBT002 - torch's own signature
        """Switch the head; the encoder stays in evaluation mode, but for batch norm where that is to follow the batches."""
        super().train(mode)
        self.parts[0].eval()
        for module in self.norms:
            module.train(mode)
        return self

    @property
    def norms(self) -> list[nn.Module]:
        """The encoder's layers that keep statistics, where training moves these."""
        modules = self.parts[0].modules() if self.moves_norm else ()
        return [m for m in modules if isinstance(m, _BatchNorm)]

    def forward(
        self, images: Float[Tensor, "n bands h w"], after: Float[Tensor, "n bands h w"] | None = None
    ) -> Tensor:
        """Return logits: (n, classes) of images, (n, classes, h, w) of pixels."""
        height, width = int(images.shape[-2]), int(images.shape[-1])
        x = self._resized(images)
        if self.dense is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.tuning == "tuned"):
                features = self.backbone(x)
            return self.head(features)
        if self.kind == "change":
            if after is None:
                raise ConfigError("change needs the images of two dates; one was given")
            logits = self.dense.change(x, self._resized(after))
        else:
            logits = self.dense(x)
        if logits.shape[-2:] != (height, width):
            logits = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return logits

    def _resized(self, x: Tensor) -> Tensor:
        if self.size is None or x.shape[-2:] == (self.size, self.size):
            return x
        return functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)

    def probabilities(self, *images: Float[Tensor, "n bands h w"]) -> Float[Tensor, "n classes h w"]:
        """Return the probability of each class a pixel; that of an image holds for all its pixels."""
        logits = self(*images)
        chances = logits.float().softmax(1)
        if chances.ndim == 2:
            chances = chances[:, :, None, None].expand(-1, -1, *images[0].shape[-2:])
        return chances
