"""One view a sample, on one core: ours against PIL, torchvision v2 and kornia."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from seco.bench import recipes
from seco.bench.family import Say, Settings
from seco.bench.imagery import RGB, TWELVE, made_patch
from seco.bench.rivals import installed, missing
from seco.bench.table import Row, absent, rows_of
from seco.bench.timing import Contender, interleave, threads
from seco.train.settings import PAPER_PATCH_PX
from seco.views.augment import Augment

HELP = "a view a sample: ours, PIL, torchvision v2, kornia; 264 -> 224 and 64 -> 64 px, RGB and 12 bands; one core"
STEPS = {
    "crop, flip": ("flip_p",),
    "crop, flip, jitter": ("flip_p", "jitter_p"),
    "crop, flip, grey": ("flip_p", "grey_p"),
    "crop, flip, blur": ("flip_p", "blur_p"),
    "all": ("flip_p", "jitter_p", "grey_p", "blur_p"),
}
"""Name of the recipe -> the augmentations in it, each at the paper's strength and probability."""


def measure(settings: Settings, say: Say) -> Iterator[Row]:
    """Yield a row a contender and case."""
    sizes = [(32, 16)] if settings.quick else [(264, 224), (64, 64)]
    recipes_asked = ("all",) if settings.quick else tuple(STEPS)
    batch = 4 if settings.quick else 32
    with threads(1):
        for px, out_px in sizes:
            for bands in (RGB, TWELVE):
                stored = torch.from_numpy(
                    np.stack([made_patch(bands, px, seed=settings.seed + i) for i in range(batch)])
                )
                stored = stored if stored.dtype == torch.uint8 else stored.int()
                for name in recipes_asked:
                    case = (
                        f"{'RGB' if len(bands) == 3 else f'{len(bands)} bands'} {px} -> {out_px} px, {name}"
                    )
                    say(f"views: {case}")
                    task = recipes.Task(
                        stored=stored, bands=bands, augment=_augment(name, px, out_px), seed=settings.seed
                    )
                    yield from _case(task, case, repeats=settings.repeats)


def _augment(name: str, px: int, out_px: int) -> Augment:
    """Return the paper's augmentation with what the recipe leaves out never happening; blur in proportion to the patch."""
    sigma = (0.1, max(0.1, round(2.0 * px / PAPER_PATCH_PX, 3)))
    off: dict[str, Any] = {p: 0.0 for p in ("flip_p", "jitter_p", "grey_p", "blur_p") if p not in STEPS[name]}
    return dataclasses.replace(Augment(out_px=out_px, blur_sigma=sigma), **off)


def _certain(augment: Augment) -> Augment:
    """Return the augmentation with probability 1 for whatever may happen."""
    names = ("flip_p", "jitter_p", "grey_p", "blur_p")
    certain: dict[str, Any] = {n: float(getattr(augment, n) > 0) for n in names}
    return dataclasses.replace(augment, **certain)


def _case(task: recipes.Task, case: str, *, repeats: int) -> Iterator[Row]:
    """Measure those who can do the task, and say of the others why not."""
    able, absentees = [], []
    for name, (module, prepare) in recipes.MAKERS.items():
        if not installed(module):
            absentees.append((name, f"not measured: {missing(module)}"))
            continue
        try:
            # First with everything certain to happen, or what a rival cannot do might not come up.
            prepare(dataclasses.replace(task, augment=_certain(task.augment)))()
            make = prepare(task)
            made = make()
        except (TypeError, ValueError, RuntimeError, AssertionError) as err:
            if name == "ours":
                raise
            absentees.append((name, f"cannot: {' '.join(str(err).split())[:100]}"))
            continue
        assert made.shape == (len(task.stored), len(task.bands), task.augment.out_px, task.augment.out_px)
        able.append(Contender(name=name, run=_discarding(make)))
    timings = interleave(able, repeats=repeats)
    yield from rows_of(timings, able, family="views", case=case, against="ours", num=len(task.stored))
    for name, why in absentees:
        yield absent(family="views", case=case, contender=name, against="ours", why=why)


def _discarding(make: Callable[[], torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        make()

    return run
