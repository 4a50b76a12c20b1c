"""Crop, resize, flip and blur of a batch as one linear map an axis, held as the few pixels that each output pixel sees.

A bilinear crop sees two pixels an axis (more when shrinking), and a Gaussian blur adds its radius to either side: a
dozen numbers where the matrix of the same map has hundreds, nearly all of them 0. On CPUs the map is applied as what it
is: down, weighted sums of whole rows of pixels; across, small products of the few columns that neighbouring outputs see.
Accelerators multiply matrices so much faster than they gather that there it is made a dense matrix first.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

BAND = 48
"""Output columns that are made together: fewer are too short a product, more see columns that most of them do not need."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taps:
    """A linear map of one axis, a map a sample: output i is the sum over k of weight[i, k] * input[index[i, k]].

    Attributes:
        index: input pixels in ascending order; those outside the image are moved to its edge, with a weight of 0.
        weight: their weights, which sum to 1.
    """

    index: Int[Tensor, "batch out taps"]
    weight: Float[Tensor, "batch out taps"]

    def __getitem__(self, part: slice) -> Taps:
        """Return the maps of some of the samples, without the taps that weigh nothing in any of them."""
        used = np.flatnonzero(self.used[part].any(0))
        taps = slice(used[0], used[-1] + 1)
        return Taps(index=self.index[part, :, taps], weight=self.weight[part, :, taps])

    @functools.cached_property
    def used(self) -> Bool[np.ndarray, "batch taps"]:
        """Which taps weigh anything in each map."""
        return (self.weight.amax(1) > 0).cpu().numpy()

    def halves(self) -> tuple[Taps, Taps]:
        """Return the maps of the first half of the samples and those of the second."""
        (a, b), (c, d) = self.index.chunk(2), self.weight.chunk(2)
        return Taps(index=a, weight=c), Taps(index=b, weight=d)

    @property
    def span(self) -> tuple[int, int]:
        """The first input pixel that is seen, and the one after the last."""
        index = self.index.cpu().numpy()
        return int(index[..., 0].min()), int(index[..., -1].max()) + 1

    def dense(self, size: int) -> Float[Tensor, "batch out size"]:
        """Return the same map of `size` input pixels as matrices."""
        zeros = self.weight.new_zeros(*self.weight.shape[:2], size)
        return zeros.scatter_add_(2, self.index.long(), self.weight)


def resampling_taps(
    start: Int[np.ndarray, " batch"],
    length: Int[np.ndarray, " batch"],
    *,
    size: int,
    out_px: int,
    device: torch.device,
    flip: Bool[np.ndarray, " batch"] | None = None,
    blur_before: Float[np.ndarray, " batch"] | None = None,
    blur_after: Float[np.ndarray, " batch"] | None = None,
) -> Taps:
    """Return the map that crops [start, start + length) of `size` pixels, resizes it to `out_px`, blurs and flips it.

    Bilinear, antialiased when shrinking, edges of the crop repeated by renormalising: PIL's definition of the filter.

    Args:
        blur_before: deviations of a Gaussian blur of the whole image before the crop, input pixels; 0 is none.
        blur_after: of one after the resize, output pixels.
    """
    first, weight = _bilinear(start, length, flip, out_px=out_px, device=device)
    if blur_before is not None and (blur_before > 0).any():
        first, weight = _blurred_before(first, weight, blur_before, size=size)
    if blur_after is not None and (blur_after > 0).any():
        first, weight = _blurred_after(first, weight, blur_after, scale=float(length.max()) / out_px)
    at = first[:, None] + torch.arange(weight.shape[1], dtype=torch.int32, device=device)[:, None]
    index = at.clamp(0, size - 1)
    return Taps(index=index.mT, weight=weight.mul_(at == index).mT)


def _bilinear(
    start: np.ndarray, length: np.ndarray, flip: np.ndarray | None, *, out_px: int, device: torch.device
) -> tuple[Int[Tensor, "batch out"], Float[Tensor, "batch taps out"]]:
    """Return the first pixel that each output sees, and the weights from there on.

    Outputs lie in a row here and below, since what is computed in rows of two or three taps is slow.
    """
    num_taps = math.ceil(2 * max(1.0, float(length.max()) / out_px))
    begin = torch.from_numpy(start).to(device, torch.float32)[:, None]
    span = torch.from_numpy(length).to(device, torch.float32)[:, None]
    scale = span / out_px
    support = scale.clamp(min=1.0)
    i = torch.arange(out_px, device=device, dtype=torch.float32)
    if flip is not None:
        i = torch.where(torch.from_numpy(flip).to(device)[:, None], out_px - 1 - i, i)
    centre = begin + (i + 0.5) * scale
    # The tent of the filter is above 0 strictly between centre - support and centre + support.
    first = (centre - support - 0.5).floor() + 1
    middle = first[:, None] + torch.arange(num_taps, device=device)[:, None] + 0.5
    weight = (1 - (middle - centre[:, None]).abs() / support[..., None]).clamp_(min=0)
    weight *= (middle > begin[..., None]) & (middle < (begin + span)[..., None])
    return first.to(torch.int32), weight / weight.sum(1, keepdim=True)


def _gaussian(sigma: np.ndarray, device: torch.device) -> Float[Tensor, "batch window"]:
    """Return Gaussians cut at three deviations, not normalised, from -radius to radius; a peak alone where sigma is 0."""
    radius = math.ceil(3 * float(sigma.max()))
    s = torch.from_numpy(sigma).to(device, torch.float32)[:, None].clamp(min=1e-3)
    distance = torch.arange(-radius, radius + 1, device=device).abs()
    return torch.exp(-0.5 * (distance / s) ** 2) * (distance <= torch.ceil(3 * s))


def _edge_sums(window: Float[Tensor, "batch window"], size: int) -> Float[Tensor, "batch size"]:
    """Return what the window sums to around each of `size` pixels, counting only pixels that are there."""
    radius = window.shape[1] // 2
    near = torch.arange(size, device=window.device)[:, None] + torch.arange(
        -radius, radius + 1, device=window.device
    )
    return window @ ((near >= 0) & (near < size)).to(window.dtype).T


def _blurred_before(
    first: Int[Tensor, "batch out"],
    weight: Float[Tensor, "batch taps out"],
    sigma: np.ndarray,
    *,
    size: int,
) -> tuple[Int[Tensor, "batch out"], Float[Tensor, "batch wider out"]]:
    """Return a map that blurs its input first, the blur renormalised at the edges of the image."""
    num, num_taps, out_px = weight.shape
    window = _gaussian(sigma, weight.device)
    sums = _edge_sums(window, size)
    index = (first[:, None] + torch.arange(num_taps, device=weight.device)[:, None]).clamp_(0, size - 1)
    weight = weight / sums.gather(1, index.flatten(1)).view_as(weight)
    wide = weight.new_zeros(num, num_taps + window.shape[1] - 1, out_px)
    for k in range(num_taps):
        wide[:, k : k + window.shape[1]].addcmul_(weight[:, k, None], window[..., None])
    return first - window.shape[1] // 2, wide


def _blurred_after(
    first: Int[Tensor, "batch out"],
    weight: Float[Tensor, "batch taps out"],
    sigma: np.ndarray,
    *,
    scale: float,
) -> tuple[Int[Tensor, "batch out"], Float[Tensor, "batch wider out"]]:
    """Return a map that blurs its output, the blur renormalised at the edges of the view.

    Args:
        scale: the largest number of input pixels that an output pixel stands for.
    """
    num, num_taps, out_px = weight.shape
    device = weight.device
    window = _gaussian(sigma, device)
    radius = window.shape[1] // 2
    near = torch.arange(out_px, device=device)[:, None] + torch.arange(-radius, radius + 1, device=device)
    there = (near >= 0) & (near < out_px)
    near = near.clamp(0, out_px - 1)
    share = window[:, None] * there / _edge_sums(window, out_px)[..., None]
    begins = first[:, near]
    start = torch.minimum(begins[..., 0], begins[..., -1])  # a flipped view counts down
    num_wide = math.ceil(2 * radius * scale) + 1 + num_taps
    at = (begins - start[..., None])[..., None] + torch.arange(num_taps, device=device)
    wide = weight.new_zeros(num, out_px, num_wide)
    return start, wide.scatter_add_(
        2, at.flatten(2).long(), (share[..., None] * weight.mT[:, near]).flatten(2)
    ).mT


def weighted_rows(
    x: Float[Tensor, "batch planes size width"], taps: Taps, *, first: int = 0
) -> Float[Tensor, "batch planes out width"]:
    """Apply the map to columns of pixels on a CPU: each output row is a weighted sum of whole input rows.

    Args:
        first: the input pixel that x begins with.
    """
    num, planes, size, width = x.shape
    _, out_px, num_taps = taps.weight.shape
    begins = torch.arange(-first, num * planes * size - first, size, dtype=torch.int32)
    summed = functional.embedding_bag(
        (taps.index[:, None] + begins.view(num, planes, 1, 1)).reshape(-1, num_taps),
        x.contiguous().view(-1, width),
        mode="sum",
        per_sample_weights=taps.weight[:, None].expand(-1, planes, -1, -1).reshape(-1, num_taps),
    )
    return summed.view(num, planes, out_px, width)


def banded_columns(
    x: Float[Tensor, "batch rows size"], taps: Taps, into: Float[Tensor, "batch rows out"], *, first: int = 0
) -> None:
    """Apply the map to rows of pixels: `BAND` output columns are a product with the few input columns they see."""
    index = taps.index.numpy()
    starts = np.arange(0, index.shape[1], BAND)
    low = np.minimum.reduceat(index[..., 0].min(0), starts)
    width = int((np.maximum.reduceat(index[..., -1].max(0), starts) - low).max()) + 1
    low = np.minimum(low, first + x.shape[2] - width)
    shift = torch.from_numpy(np.repeat(low, BAND)[: index.shape[1], None])
    matrix = Taps(index=taps.index - shift, weight=taps.weight).dense(width)
    bands = zip((low - first).tolist(), matrix.mT.split(BAND, 2), into.split(BAND, 2), strict=True)
    for begin, weights, made in bands:
        torch.bmm(x.narrow(2, begin, width), weights, out=made)
