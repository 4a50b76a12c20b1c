"""Batched views: a view is two resampling matrices (crop, flip, blur) and one colour matrix (jitter, grey, normalise).

Everything spatial that SeCo does is separable and linear, and everything it does to colour is affine a pixel, so a view
of an image X (bands, h, w) is  A (R_y X R_x^T) + b  with small matrices of its own. Where this differs from the PIL
original: nothing is clipped to 0-255 between steps, and hue turns the chroma plane of YIQ instead of HSV's hexagon.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seco.errors import ConfigError
from seco.sensors.bands import Band
from seco.views.draws import uniforms
from seco.views.nodata import nodata_numbers

NUM_DRAWS = 24
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green, blue in grey (ITU-R BT.601), as PIL and torchvision use them."""
TINY = 1e-6
"""Widths and deviations below this share of the mean (of 1, if the mean is less) count as none: they are rounding."""
JITTER_OPS = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
    """Strengths of the augmentation; the defaults are the paper's (SeCo, released code)."""

    out_px: int
    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    grey_p: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_p: float = 0.5
    flip_p: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ConfigError(
                f"crop scale {low},{high}; give 0 < low <= high <= 1 (share of the patch's area)"
            )
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ConfigError(f"crop ratio {self.crop_ratio}; give 0 < low <= high (width over height)")
        for name in ("jitter_p", "grey_p", "blur_p", "flip_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)}; a probability lies between 0 and 1")
        if not all(0 <= j < 1 for j in self.jitter[:3]) or not 0 <= self.jitter[3] <= 0.5:
            raise ConfigError(
                f"jitter {self.jitter}; brightness, contrast, saturation in [0, 1), hue in [0, 0.5]"
            )
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ConfigError(f"blur sigma {self.blur_sigma}; give 0 < low <= high, in pixels")
        if self.out_px < 1:
            raise ConfigError(f"view size {self.out_px} px; at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """What each sample of a view really gets: one entry a sample. `describe` says it in words."""

    top: Int[np.ndarray, " batch"]
    left: Int[np.ndarray, " batch"]
    height: Int[np.ndarray, " batch"]
    width: Int[np.ndarray, " batch"]
    flip: Bool[np.ndarray, " batch"]
    sigma: Float[np.ndarray, " batch"]
    jitter: Float[np.ndarray, "batch 4"]
    jitter_order: Int[np.ndarray, "batch 4"]
    jittered: Bool[np.ndarray, " batch"]
    grey: Bool[np.ndarray, " batch"]

    def describe(self, i: int) -> dict[str, Any]:
        """Return what sample `i` gets, leaving out what it does not."""
        out: dict[str, Any] = {
            "crop": (int(self.top[i]), int(self.left[i]), int(self.height[i]), int(self.width[i]))
        }
        if self.jittered[i]:
            for op in self.jitter_order[i]:
                out[JITTER_OPS[op]] = round(float(self.jitter[i, op]), 3)
        if self.grey[i]:
            out["grey"] = True
        if self.sigma[i] > 0:
            out["blur"] = round(float(self.sigma[i]), 3)
        if self.flip[i]:
            out["flip"] = True
        return out


def draw_parameters(
    augment: Augment, *, patch_px: int, augmented: bool, seed: int, epoch: int, samples: np.ndarray, view: int
) -> Parameters:
    """Draw the parameters of one view for each sample (place numbers), as a pure function of its coordinates."""
    u = uniforms(seed=seed, epoch=epoch, samples=samples, view=view, num=NUM_DRAWS)
    num = len(samples)
    top, left, height, width = _crops(augment, patch_px, u)
    jittered = augmented & (u[:, 12] < augment.jitter_p)
    strengths = np.array(augment.jitter)
    factors = 1 + (2 * u[:, 13:17] - 1) * strengths
    factors[:, 3] -= 1  # hue is a turn around 0, the others are factors around 1
    low, high = augment.blur_sigma
    blurred = augmented & (u[:, 22] < augment.blur_p)
    return Parameters(
        top=top, left=left, height=height, width=width,
        flip=augmented & (u[:, 11] < augment.flip_p),
        sigma=np.where(blurred, low + (high - low) * u[:, 23], 0.0),
        jitter=np.where(jittered[:, None], factors, np.array([1.0, 1.0, 1.0, 0.0])),
        jitter_order=np.argsort(u[:, 17:21], axis=1, kind="stable"),
        jittered=np.broadcast_to(jittered, (num,)).copy(),
        grey=augmented & (u[:, 21] < augment.grey_p),
    )  # fmt: skip


def _crops(augment: Augment, px: int, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw random resized crops: up to four tries for a box that fits, else the whole patch."""
    num = len(u)
    height = np.full(num, px, np.int64)
    width = np.full(num, px, np.int64)
    found = np.zeros(num, bool)
    log_low, log_high = math.log(augment.crop_ratio[0]), math.log(augment.crop_ratio[1])
    for k in range(4):
        area = (
            px * px * (augment.crop_scale[0] + (augment.crop_scale[1] - augment.crop_scale[0]) * u[:, 2 * k])
        )
        ratio = np.exp(log_low + (log_high - log_low) * u[:, 2 * k + 1])
        w = np.round(np.sqrt(area * ratio)).astype(np.int64)
        h = np.round(np.sqrt(area / ratio)).astype(np.int64)
        fits = ~found & (w >= 1) & (h >= 1) & (w <= px) & (h <= px)
        width, height, found = np.where(fits, w, width), np.where(fits, h, height), found | fits
    top = np.floor(u[:, 8] * (px - height + 1)).astype(np.int64)
    left = np.floor(u[:, 9] * (px - width + 1)).astype(np.int64)
    return top, left, height, width


def resampling_matrix(
    start: Tensor, length: Tensor, *, size: int, out_px: int, flip: Tensor | None = None
) -> Float[Tensor, "batch out size"]:
    """Return matrices that crop [start, start + length) of `size` pixels and resize it to `out_px`.

    Bilinear, antialiased when shrinking, edges of the crop repeated by renormalising: PIL's definition of the filter.
    """
    scale = length.float() / out_px
    support = scale.clamp(min=1.0)
    i = torch.arange(out_px, device=start.device, dtype=torch.float32)
    centre = start.float()[:, None] + (i + 0.5) * scale[:, None]
    j = torch.arange(size, device=start.device, dtype=torch.float32) + 0.5
    weight = (1 - (j - centre[..., None]).abs() / support[:, None, None]).clamp(min=0)
    inside = (j > start[:, None]) & (j < (start + length)[:, None])
    weight = weight * inside[:, None, :]
    weight = weight / weight.sum(-1, keepdim=True)
    if flip is not None:
        weight = torch.where(flip[:, None, None], weight.flip(1), weight)
    return weight


def blur_matrix(sigma: Tensor, *, size: int) -> Float[Tensor, "batch size size"]:
    """Return matrices of a Gaussian blur along one axis, cut at three deviations; identity where sigma is 0."""
    j = torch.arange(size, device=sigma.device, dtype=torch.float32)
    distance = (j[:, None] - j[None, :]).abs()
    s = sigma.float()[:, None, None].clamp(min=1e-3)
    weight = torch.exp(-0.5 * (distance / s) ** 2) * (distance <= torch.ceil(3 * s))
    return weight / weight.sum(-1, keepdim=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColourSpace:
    """How stored numbers relate to the 0-1 range in which jitter is defined, and to what the encoder sees.

    Attributes:
        low, high: stored numbers that jitter takes for 0 and 1, (bands,).
        mean, std: the encoder sees (stored - mean) / std, (bands,).
        grey: weights of the bands in grey, sum 1, (bands,).
        chroma: positions of red, green and blue, whose hue is turned; None where the bands have no colour.
        nodata: the bands' nodata numbers (`nodata_numbers`), (bands,); None where no band has one.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor
    grey: Tensor
    chroma: tuple[int, int, int] | None
    nodata: Tensor | None

    def to(self, device: torch.device) -> ColourSpace:
        """Return it on another device."""
        tensors: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **tensors)


def deviation(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return what each band is divided by: its deviation, or 1 for a band of one value."""
    return np.where(std < TINY * np.maximum(1.0, np.abs(mean)), 1.0, std)


def colour_space(
    bands: Sequence[Band], *, low: np.ndarray, high: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> ColourSpace:
    """Describe the bands for jitter.

    Display bytes keep their own range 0-255; other units are stretched between their 2% and 98% quantiles, as the
    original stretches reflectance. RGB has the usual luma weights. With more or other bands grey is their plain mean,
    so brightness, contrast, saturation and greyscale are defined for any number of bands; hue turns red, green and blue
    where all three are there, and leaves the other bands alone.

    Where the quantiles coincide (a band that is nearly always one number) the stretch is the mean and two deviations to
    either side; a band of one value has a width and a deviation of 1, since nothing says how far its numbers may go.
    """
    tiny = TINY * np.maximum(1.0, np.abs(mean))
    same = high <= low
    low, high = np.where(same, mean - 2 * std, low), np.where(same, mean + 2 * std, high)
    high = np.where(high - low < tiny, low + 1, high)
    std = deviation(mean, std)
    display = np.array([b.units == "display" for b in bands])
    low, high = np.where(display, 0.0, low), np.where(display, 255.0, high)
    names = [(b.common_name or b.name) for b in bands]
    rgb = ("red", "green", "blue")
    chroma = (
        (names.index("red"), names.index("green"), names.index("blue")) if set(rgb) <= set(names) else None
    )
    grey = np.full(len(bands), 1 / len(bands))
    if chroma is not None and len(bands) == 3:
        grey[list(chroma)] = LUMA
    values = {"low": low, "high": high, "mean": mean, "std": std, "grey": grey}
    tensors = {k: torch.tensor(v, dtype=torch.float32) for k, v in values.items()}
    return ColourSpace(**tensors, chroma=chroma, nodata=nodata_numbers(bands))


def _hue_rotation(turns: Tensor) -> Float[Tensor, "batch 3 3"]:
    """Return RGB matrices that turn hue by a share of the circle: a rotation of the I-Q plane of YIQ."""
    luma = torch.tensor(LUMA, device=turns.device)
    to_yiq = torch.stack(
        [
            luma,
            torch.tensor([0.5959, -0.2746, -0.3213]).to(luma),
            torch.tensor([0.2115, -0.5227, 0.3112]).to(luma),
        ]
    )
    cos, sin = torch.cos(2 * math.pi * turns), torch.sin(2 * math.pi * turns)
    rotation = torch.zeros(len(turns), 3, 3, device=turns.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = cos
    rotation[:, 1, 2] = -sin
    rotation[:, 2, 1] = sin
    rotation[:, 2, 2] = cos
    return torch.linalg.inv(to_yiq) @ rotation @ to_yiq


def colour_matrix(
    space: ColourSpace, parameters: Parameters, mean: Float[Tensor, "batch bands"]
) -> tuple[Float[Tensor, "batch bands bands"], Float[Tensor, "batch bands"]]:
    """Fold stretch, jitter in its drawn order, greyscale and normalisation into one affine map a sample.

    Args:
        mean: mean of each image in stored units, which contrast turns around.
    """
    device = mean.device
    num, num_bands = mean.shape
    eye = torch.eye(num_bands, device=device)
    width = space.high - space.low
    matrix = torch.diag(1 / width).expand(num, -1, -1)
    offset = (-space.low / width).expand(num, -1)
    factors = torch.from_numpy(parameters.jitter).to(device, torch.float32)
    order = torch.from_numpy(parameters.jitter_order).to(device)
    to_grey = space.grey.expand(num_bands, -1)
    hue = eye.repeat(num, 1, 1)
    if space.chroma is not None:
        at = torch.tensor(space.chroma, device=device)
        hue[:, at[:, None], at[None, :]] = _hue_rotation(factors[:, 3])
    for slot in range(4 if parameters.jittered.any() else 0):
        op = order[:, slot]
        factor = factors.gather(1, op[:, None])[:, 0]
        scaled = factor[:, None, None] * eye
        saturated = scaled + (1 - factor)[:, None, None] * to_grey
        step = torch.where((op == 2)[:, None, None], saturated, scaled)
        step = torch.where((op == 3)[:, None, None], hue, step)
        grey_mean = ((matrix @ mean[..., None])[..., 0] + offset) @ space.grey
        add = torch.where(op == 1, (1 - factor) * grey_mean, torch.zeros_like(factor))
        matrix, offset = step @ matrix, (step @ offset[..., None])[..., 0] + add[:, None]
    grey = torch.from_numpy(parameters.grey).to(device)[:, None, None]
    to_grey = torch.where(grey, to_grey, eye)
    matrix, offset = to_grey @ matrix, (to_grey @ offset[..., None])[..., 0]
    scale = width / space.std
    return scale[:, None] * matrix, scale * offset + (space.low - space.mean) / space.std


def make_view(
    pixels: Tensor,
    parameters: Parameters,
    space: ColourSpace,
    *,
    out_px: int,
    order: Literal["augment-crop", "crop-augment"],
) -> Float[Tensor, "batch bands out out"]:
    """Make one view of each image.

    Args:
        pixels: stored numbers (batch, bands, px, px), any dtype, on the device to compute on.
        parameters: from `draw_parameters`.
        space: colours, on the same device.
        out_px: edge of the view.
        order: whether blur and contrast see the whole patch (SeCo) or the crop (MoCo v2).

    Returns:
        Normalised float32 in channels-last layout.
    """
    device = pixels.device
    px = pixels.shape[-1]

    def tensor(a: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(a)).to(device)

    rows = resampling_matrix(tensor(parameters.top), tensor(parameters.height), size=px, out_px=out_px)
    cols = resampling_matrix(
        tensor(parameters.left),
        tensor(parameters.width),
        size=px,
        out_px=out_px,
        flip=tensor(parameters.flip),
    )
    if (parameters.sigma > 0).any():
        sigma = tensor(parameters.sigma)
        if order == "augment-crop":
            blur = blur_matrix(sigma, size=px)
            rows, cols = rows @ blur, cols @ blur
        else:
            blur = blur_matrix(sigma, size=out_px)
            rows, cols = blur @ rows, blur @ cols
    x = pixels.float()
    num, num_bands = x.shape[:2]
    y = torch.bmm(x.reshape(num, num_bands * px, px), cols.mT).view(num, num_bands, px, out_px)
    y = torch.matmul(rows[:, None], y)
    mean = x.mean((2, 3)) if order == "augment-crop" else y.mean((2, 3))
    matrix, offset = colour_matrix(space, parameters, mean)
    flat = torch.baddbmm(offset[..., None], matrix, y.reshape(num, num_bands, out_px * out_px))
    return flat.view(num, num_bands, out_px, out_px).contiguous(memory_format=torch.channels_last)
