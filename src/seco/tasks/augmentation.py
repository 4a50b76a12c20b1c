"""Augmentation: which transformation a patch went through, what an encoder invariant to augmentation should forget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from seco.config import setting
from seco.data.dataset import open_dataset
from seco.errors import ConfigError
from seco.nets.encoder import FeatureExtractor
from seco.probes.blocks import place_cases
from seco.probes.classify import classify
from seco.probes.features import Altered, FeatureStore
from seco.probes.options import ALL, PlaceProbeOptions
from seco.probes.result import Headline, TaskResult
from seco.views.augment import Parameters, colour_space, make_view
from seco.views.draws import uniforms

NAME = "augmentation"
HELP = "which colour change or blur a patch went through, read from the features and every projection head"
EXAMPLE = "seco evaluate runs/seco runs/moco --task augmentation --data planet.seco --json augmentation.json"
HEADLINE = Headline(
    title="A colour change or blur told from one picture", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out places; more is kept, not better", asks="kept",
)  # fmt: skip

KINDS = ("none", "darker", "brighter", "flatter", "harder", "greyish", "hue", "grey", "blur")
"""Unchanged; brightness down and up; contrast down and up; less saturation; hue turned; greyscale; Gaussian blur."""
_WORD = 0xA06
"""Stands in for the view's number, so that no view of training has the same draws."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PlaceProbeOptions):
    """Settings of the augmentation task."""

    outputs: tuple[str, ...] = setting(
        (ALL,), "outputs to judge: features, z0, z1, ... with commas, or all that there are"
    )
    strength: tuple[float, float] = setting(
        (0.2, 0.4),
        "least and most change of brightness, contrast and saturation; training's default goes up to 0.4",
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if not 0 < self.strength[0] <= self.strength[1] < 1:
            raise ConfigError(f"strength {self.strength}; give 0 < least <= most < 1")


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge what an encoder keeps of synthetic transformations: each patch goes through one, drawn by its row."""
    dataset = open_dataset(data)
    kinds = draw_kinds(len(dataset))

    def alter(rows: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        return transform(pixels, rows, kinds[rows], store=store, strength=options.strength)

    low, high = options.strength
    store = FeatureStore(
        encoder, dataset, options, altered=Altered(name=f"augmentation 1, {low:g} to {high:g}", alter=alter)
    )
    return classify(NAME, store, place_cases(dataset, kinds, KINDS, options), options)


def draw_kinds(num: int) -> Int[np.ndarray, " patches"]:
    """Return what each patch goes through, a number in `KINDS`; a function of its row alone."""
    draw = uniforms(seed=0, epoch=0, samples=np.arange(num), view=_WORD, num=1)[:, 0]
    return np.minimum((draw * len(KINDS)).astype(np.int64), len(KINDS) - 1)


def transform(
    pixels: np.ndarray,
    rows: np.ndarray,
    kinds: np.ndarray,
    *,
    store: FeatureStore,
    strength: tuple[float, float],
) -> np.ndarray:
    """Return stored numbers, as floats, after the transformations that training makes, one kind a patch.

    Args:
        pixels: (n, bands, px, px), stored numbers.
        rows: their rows, which decide how strong each change is.
        kinds: what each goes through.
        store: knows bands and statistics.
        strength: least and most change of a factor.
    """
    num, px = len(rows), pixels.shape[-1]
    u = uniforms(seed=0, epoch=1, samples=rows, view=_WORD, num=3)
    change = strength[0] + (strength[1] - strength[0]) * u[:, 0]

    def when(*names: str) -> np.ndarray:
        return np.isin(kinds, [KINDS.index(n) for n in names])

    factors = np.tile(np.array([1.0, 1.0, 1.0, 0.0]), (num, 1))
    factors[:, 0] += change * (when("brighter").astype(float) - when("darker"))
    factors[:, 1] += change * (when("harder").astype(float) - when("flatter"))
    factors[:, 2] -= change * when("greyish")
    turn = (0.05 + 0.05 * u[:, 0]) * np.where(u[:, 1] < 0.5, -1, 1)
    factors[:, 3] = turn * when("hue")
    # Blur as strong as in training, in proportion to the patch.
    sigma = np.where(when("blur"), (0.5 + 1.5 * u[:, 2]) * max(px / 224, 0.35), 0.0)
    parameters = Parameters(
        top=np.zeros(num, np.int64), left=np.zeros(num, np.int64), height=np.full(num, px), width=np.full(num, px),
        flip=np.zeros(num, bool), sigma=sigma, jitter=factors, jitter_order=np.tile(np.arange(4), (num, 1)),
        jittered=np.ones(num, bool), grey=when("grey"),
    )  # fmt: skip
    tier = store.tier
    space = colour_space(tier.bands, low=tier.low, high=tier.high, mean=tier.mean, std=tier.std)
    stored = pixels.astype(np.int32) if pixels.dtype == np.uint16 else pixels
    view = make_view(torch.from_numpy(stored.copy()), parameters, space, out_px=px, order="augment-crop")
    back = view * space.std[:, None, None] + space.mean[:, None, None]
    return np.ascontiguousarray(back.numpy())
