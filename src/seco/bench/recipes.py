"""One augmentation, four who make it: ours, PIL as the original does, torchvision v2, kornia.

Everyone gets the same stored numbers and gives normalised float32 (batch, bands, out, out); the steps are those of
`seco.views.augment.Augment`, in the original's order: jitter, greyscale, blur, flip, then the crop.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from seco.nets.backbones import IMAGENET_MEAN, IMAGENET_STD
from seco.sensors.bands import Band
from seco.views.augment import Augment, colour_space
from seco.views.batch import Viewer
from seco.views.plan import View, ViewPlan

Make = Callable[[], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked of everyone.

    Attributes:
        stored: (batch, bands, px, px), uint8 display bytes or Sentinel-2 numbers in int32.
    """

    stored: Tensor
    bands: Sequence[Band]
    augment: Augment
    seed: int

    @property
    def top(self) -> float:
        """The stored number that stands for 1 in the range in which jitter is defined."""
        return 255.0 if self.bands[0].units == "display" else 10_000.0

    @property
    def mean(self) -> tuple[float, ...]:
        """Per band, of numbers scaled to 0-1."""
        return IMAGENET_MEAN if len(self.bands) == 3 else (0.2,) * len(self.bands)

    @property
    def std(self) -> tuple[float, ...]:
        """Per band, of numbers scaled to 0-1."""
        return IMAGENET_STD if len(self.bands) == 3 else (0.1,) * len(self.bands)

    @property
    def kernel_px(self) -> int:
        """Edge of a blur kernel that reaches three deviations of the strongest blur, as ours does."""
        return 2 * math.ceil(3 * self.augment.blur_sigma[1]) + 1


def ours(task: Task) -> Make:
    """Ours: a batch at once, through the public `Viewer`."""
    num = len(task.bands)
    space = colour_space(
        task.bands, low=np.zeros(num), high=np.full(num, task.top), mean=task.top * np.array(task.mean),
        std=task.top * np.array(task.std),
    )  # fmt: skip
    plan = ViewPlan(
        views=(View(name="q", season=0, augment=True),), heads=(), num_seasons=1, order="augment-crop"
    )
    viewer = Viewer(plan=plan, augment=task.augment, space=space, seed=task.seed)
    places, epochs = np.arange(len(task.stored)), itertools.count()
    return lambda: viewer.views(task.stored[None], next(epochs), places)["q"]


def pil(task: Task) -> Make:
    """PIL, through torchvision's classic transforms, an image at a time: the original's way."""
    from torchvision import transforms

    a = task.augment
    if len(task.bands) != 3:
        raise TypeError("PIL images have no more than four bands")

    def blur(image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(*a.blur_sigma)))  # noqa: S311 - no secret

    steps = _wanted([
        (a.jitter_p, lambda: transforms.RandomApply([transforms.ColorJitter(*a.jitter)], p=a.jitter_p)),
        (a.grey_p, lambda: transforms.RandomGrayscale(p=a.grey_p)),
        (a.blur_p, lambda: transforms.RandomApply([blur], p=a.blur_p)),
        (a.flip_p, lambda: transforms.RandomHorizontalFlip(p=a.flip_p)),
    ])  # fmt: skip
    transform = transforms.Compose([
        *steps, transforms.RandomResizedCrop(a.out_px, scale=a.crop_scale, ratio=a.crop_ratio), transforms.ToTensor(),
        transforms.Normalize(task.mean, task.std),
    ])  # fmt: skip
    images = [np.ascontiguousarray(x.permute(1, 2, 0).numpy()) for x in task.stored]
    return lambda: torch.stack([transform(Image.fromarray(x)) for x in images])


def torchvision_v2(task: Task) -> Make:
    """The transforms v2 of torchvision on tensors: bytes where the data are bytes; a draw a call, so an image at a time."""
    from torchvision.transforms import v2

    a = task.augment
    steps = _wanted([
        (a.jitter_p, lambda: v2.RandomApply([v2.ColorJitter(*a.jitter)], p=a.jitter_p)),
        (a.grey_p, lambda: v2.RandomGrayscale(p=a.grey_p)),
        (a.blur_p, lambda: v2.RandomApply([v2.GaussianBlur(task.kernel_px, a.blur_sigma)], p=a.blur_p)),
        (a.flip_p, lambda: v2.RandomHorizontalFlip(p=a.flip_p)),
    ])  # fmt: skip
    transform = v2.Compose([
        *steps, v2.RandomResizedCrop(a.out_px, scale=a.crop_scale, ratio=a.crop_ratio, antialias=True),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(task.mean), list(task.std)),
    ])  # fmt: skip
    if task.stored.dtype == torch.uint8:
        return lambda: torch.stack([transform(x) for x in task.stored])
    return lambda: torch.stack([transform(x / task.top) for x in task.stored])


def kornia(task: Task) -> Make:
    """kornia: a batch at once, a draw a sample."""
    import kornia.augmentation as k

    a = task.augment
    size, edge = (a.out_px, a.out_px), (task.kernel_px, task.kernel_px)
    steps: list[Any] = _wanted([
        (a.jitter_p, lambda: k.ColorJitter(*a.jitter, p=a.jitter_p)),
        (a.grey_p, lambda: k.RandomGrayscale(p=a.grey_p)),
        (a.blur_p, lambda: k.RandomGaussianBlur(edge, a.blur_sigma, p=a.blur_p)),
        (a.flip_p, lambda: k.RandomHorizontalFlip(p=a.flip_p)),
    ])  # fmt: skip
    transform = torch.nn.Sequential(
        *steps, k.RandomResizedCrop(size, scale=a.crop_scale, ratio=a.crop_ratio),
        k.Normalize(torch.tensor(task.mean), torch.tensor(task.std)),
    )  # fmt: skip
    return lambda: transform(task.stored / task.top)


def _wanted(steps: list[tuple[float, Callable[[], Any]]]) -> list[Any]:
    """Return the steps that can happen at all."""
    return [make() for probability, make in steps if probability > 0]


MAKERS: dict[str, tuple[str, Callable[[Task], Make]]] = {
    "ours": ("torch", ours),
    "PIL": ("PIL", pil),
    "torchvision v2": ("torchvision", torchvision_v2),
    "kornia": ("kornia", kornia),
}
"""Name in the table -> (module it needs, what prepares it). Preparing or a first call raises where it cannot do the task."""
