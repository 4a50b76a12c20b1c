"""Batched views: a view is two resamplings (crop, flip, blur) and one colour matrix (jitter, grey, normalise).

Everything spatial that SeCo does is separable and linear, and everything it does to colour is affine a pixel, so a view
of an image X (bands, h, w) is  A (R_y X R_x^T) + b  with small maps of its own. Where this differs from the PIL
original: nothing is clipped to 0-255 between steps, and hue turns the chroma plane of YIQ instead of HSV's hexagon.
"""

from __future__ import annotations

import dataclasses
import functools
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
from seco.views.nodata import filled, nodata_numbers
from seco.views.resample import Taps, banded_columns, resampling_taps, weighted_rows

NUM_DRAWS = 24
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green, blue in grey (ITU-R BT.601), as PIL and torchvision use them."""
TINY = 1e-6
"""Widths and deviations below this share of the mean (of 1, if the mean is less) count as none: they are rounding."""
CHUNK = 1_000_000
"""Stored numbers of small samples that a CPU takes through a whole view together, so that they share the calls."""
ALONE = 100_000
"""Stored numbers from which on a sample goes alone: it fills the cache, and crops apart make it read what none sees."""
MAX_SIGMA_PX = 1000.0
"""A blur of more leaves one colour, and its window of six deviations takes gigabytes."""
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
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1] <= MAX_SIGMA_PX:
            raise ConfigError(
                f"blur sigma {self.blur_sigma}; give 0 < low <= high <= {MAX_SIGMA_PX}, in pixels"
            )
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

    @functools.cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """All but nodata as float64 on the host, fetched from the device once."""
        names = ("low", "high", "mean", "std", "grey")
        return {k: getattr(self, k).cpu().numpy().astype(np.float64) for k in names}

    def to(self, device: torch.device) -> ColourSpace:
        """Return it on another device."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        tensors: dict[str, Any] = {k: v.to(device) for k, v in fields.items() if isinstance(v, Tensor)}
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


YIQ = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
"""Luma and the two axes of colour (NTSC 1953) of red, green, blue."""


def _hue_rotation(turns: Float[np.ndarray, " batch"]) -> Float[np.ndarray, "batch 3 3"]:
    """Return RGB matrices that turn hue by a share of the circle: a rotation of the I-Q plane of YIQ."""
    cos, sin = np.cos(2 * math.pi * turns), np.sin(2 * math.pi * turns)
    rotation = np.zeros((len(turns), 3, 3))
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1], rotation[:, 1, 2] = cos, -sin
    rotation[:, 2, 1], rotation[:, 2, 2] = sin, cos
    return np.linalg.inv(YIQ) @ rotation @ YIQ


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColourMap:
    """What becomes of the colours of a sample: matrix @ x + of_mean @ (mean of the image) + offset."""

    matrix: Float[Tensor, "batch bands bands"]
    of_mean: Float[Tensor, "batch bands bands"]
    offset: Float[Tensor, "batch bands"]

    def __getitem__(self, part: slice) -> ColourMap:
        """Return the maps of some of the samples."""
        return ColourMap(**{k: v[part] for k, v in vars(self).items()})

    def offset_for(self, mean: Float[Tensor, "batch bands"]) -> Float[Tensor, "batch bands"]:
        """Return what is added to images of this mean."""
        return self.offset + (self.of_mean @ mean[..., None])[..., 0]


def colour_map(space: ColourSpace, parameters: Parameters) -> ColourMap:
    """Fold stretch, jitter in its drawn order, greyscale and normalisation into one affine map a sample.

    The mean of the image, which contrast turns around, is left open: what becomes of it is linear too.
    """
    low, high, mean, std, grey = space.numbers.values()
    num, num_bands = len(parameters.top), len(low)
    eye, width = np.eye(num_bands), high - low
    # Columns: of the pixel, of the image's mean, of 1.
    start = np.concatenate([eye / width, np.zeros_like(eye), (-low / width)[:, None]], 1)
    whole = np.broadcast_to(start, (num, *start.shape))
    to_grey = np.broadcast_to(grey, (num_bands, num_bands))
    if parameters.jittered.any():
        factors = parameters.jitter[:, :, None, None]
        scaled = factors[:, :2] * eye
        saturated = factors[:, 2] * eye + (1 - factors[:, 2]) * to_grey
        turned = np.broadcast_to(eye, (num, *eye.shape)).copy()
        if space.chroma is not None:
            turned[:, np.array(space.chroma)[:, None], space.chroma] = _hue_rotation(parameters.jitter[:, 3])
        steps = np.concatenate([scaled, saturated[:, None], turned[:, None]], 1)
        for slot in range(4):
            op = parameters.jitter_order[:, slot]
            # Contrast adds a share of the grey of the image's mean so far: what the pixel's columns make of it.
            seen = grey @ whole
            seen[:, num_bands:-1] += seen[:, :num_bands]
            seen[:, :num_bands] = 0
            fade = np.where(op == JITTER_OPS.index("contrast"), 1 - parameters.jitter[:, 1], 0.0)
            whole = steps[np.arange(num), op] @ whole + (fade[:, None] * seen)[:, None]
    whole = np.where(parameters.grey[:, None, None], to_grey @ whole, whole)
    whole = (width / std)[:, None] * whole
    whole[..., -1] += (low - mean) / std
    found = torch.from_numpy(whole).to(space.low.device, torch.float32)
    matrix, of_mean, offset = found.split([num_bands, num_bands, 1], 2)
    return ColourMap(matrix=matrix.contiguous(), of_mean=of_mean, offset=offset[..., 0])


def make_view(
    pixels: Tensor,
    parameters: Parameters,
    space: ColourSpace,
    *,
    out_px: int,
    order: Literal["augment-crop", "crop-augment"],
) -> Float[Tensor, "batch bands out out"]:
    """Make one view of each image. Pixels where nothing was measured take their band's mean, before anything else.

    Args:
        pixels: stored numbers (batch, bands, px, px), any dtype, on the device to compute on.
        parameters: from `draw_parameters`.
        space: colours, on the same device.
        out_px: edge of the view.
        order: whether blur and contrast see the whole patch (SeCo) or the crop (MoCo v2).

    Returns:
        Normalised float32 in channels-last layout.
    """
    num, num_bands, px = pixels.shape[:3]
    sigma = np.tile(parameters.sigma, 2)
    before, after = (sigma, None) if order == "augment-crop" else (None, sigma)
    both = resampling_taps(
        np.concatenate([parameters.top, parameters.left]), np.concatenate([parameters.height, parameters.width]),
        size=px, out_px=out_px, device=pixels.device, flip=np.concatenate([np.zeros(num, bool), parameters.flip]),
        blur_before=before, blur_after=after,
    )  # fmt: skip
    rows, cols = both.halves()
    colours = colour_map(space, parameters)
    made = torch.empty(
        num, num_bands, out_px, out_px, device=pixels.device, memory_format=torch.channels_last
    )
    around: Contrast = "patch" if order == "augment-crop" else "crop"
    if not _in_cache(pixels.device):
        _by_matrices(filled(pixels, space.nodata, space.mean), rows, cols, colours, made, contrast=around)
        return made
    size = num_bands * px * px
    some = 1 if size >= ALONE else max(1, CHUNK // size)
    planes = torch.ones(min(some, num), num_bands + 1, out_px, out_px)
    for at in range(0, num, some):
        part = slice(at, at + some)
        contrast: Contrast = around if parameters.jittered[part].any() else "none"
        _by_bands(
            pixels[part], rows[part], cols[part], colours[part], made[part], space=space, contrast=contrast,
            planes=planes[: num - at],
        )  # fmt: skip
    return made


Contrast = Literal["patch", "crop", "none"]
"""Whose mean contrast turns around; none where nothing is jittered."""


def _in_cache(device: torch.device) -> bool:
    """Say whether a device is quickest with a few samples at a time, in its cache; others are with all of them."""
    return device.type == "cpu"


def _by_matrices(
    x: Tensor, rows: Taps, cols: Taps, colours: ColourMap, into: Tensor, *, contrast: Contrast
) -> None:
    """Make views by dense products, which accelerators are made for."""
    px = x.shape[-1]
    y = torch.matmul(torch.matmul(rows.dense(px)[:, None], x), cols.dense(px)[:, None].mT)
    offset = colours.offset_for((x if contrast == "patch" else y).mean((2, 3)))
    into.copy_(torch.baddbmm(offset[..., None], colours.matrix, y.flatten(2)).view_as(y))


def _by_bands(
    pixels: Tensor, rows: Taps, cols: Taps, colours: ColourMap, into: Tensor,
    *, space: ColourSpace, contrast: Contrast, planes: Tensor,
) -> None:  # fmt: skip
    """Make views by sums of the few pixels that are seen; what no crop sees is not read unless contrast asks for it.

    Bands stay planes until the product with the colour matrix, which lays them side by side.

    Args:
        planes: memory for the bands, and a last plane of ones, which brings in the offset.
    """
    px = pixels.shape[-1]
    top, bottom = (0, px) if contrast == "patch" else rows.span
    left, right = (0, px) if contrast == "patch" else cols.span
    x = filled(pixels[:, :, top:bottom, left:right], space.nodata, space.mean)
    seen = planes[:, :-1]
    y = weighted_rows(x, rows, first=top)
    banded_columns(y.flatten(1, 2), cols, seen.flatten(1, 2), first=left)
    offset = colours.offset
    if contrast != "none":
        offset = colours.offset_for((x if contrast == "patch" else seen).mean((2, 3)))
    affine = torch.cat([colours.matrix, offset[..., None]], 2)
    torch.bmm(planes.flatten(2).mT, affine.mT, out=into.permute(0, 2, 3, 1).flatten(1, 2))
