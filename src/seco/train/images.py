"""Images that are labelled as a whole: batches to train on, and logits of many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Integer, Shaped
from torch import Tensor

from seco.nets.predictor import Predictor
from seco.train.supervised import Batch, Training

_DRAW = 0xF17E
PREDICT_BATCH = 64


def image_draw(
    pixels: np.ndarray,
    rows: Integer[np.ndarray, " n"],
    targets: Shaped[np.ndarray, "n ..."],
    feed: Callable[[np.ndarray], Tensor],
    settings: Training,
    *,
    seed: int,
) -> Callable[[int], Batch]:
    """Return what draws the images of a step: all of them once before any twice.

    Args:
        pixels: (images, bands, px, px) stored numbers, a memory map perhaps.
        rows: of `pixels` to train on.
        targets: of each of `rows`, a class, or 0 or 1 a label.
        feed: from stored pixels to input.
        settings: batch size and augmentation.
        seed: of every draw.
    """
    per_epoch = max(1, len(rows) // settings.batch_size)

    def draw(step: int) -> Batch:
        epoch, at = divmod(step, per_epoch)
        order = np.random.default_rng([seed, _DRAW, epoch]).permutation(len(rows))
        chosen = order[at * settings.batch_size : (at + 1) * settings.batch_size]
        images = np.asarray(pixels[rows[chosen]])
        if settings.augment == "turns":
            rng = np.random.default_rng([seed, _DRAW, epoch, at])
            turned = [
                np.rot90(i, int(t), axes=(-2, -1))[..., :: int(f)]
                for i, t, f in zip(
                    images, rng.integers(4, size=len(images)), rng.choice([1, -1], len(images)), strict=True
                )
            ]
            images = np.stack(turned)
        x = feed(images)
        return Batch(inputs=(x,), target=torch.from_numpy(targets[chosen]).to(x.device))

    return draw


def image_logits(
    net: Predictor, feed: Callable[[np.ndarray], Tensor], pixels: np.ndarray, rows: Integer[np.ndarray, " n"]
) -> Float32[np.ndarray, "n classes"]:
    """Return the logits of images, in evaluation mode."""
    net.eval()
    with torch.inference_mode():
        found = [
            net(feed(np.asarray(pixels[rows[i : i + PREDICT_BATCH]]))).float().cpu().numpy()
            for i in range(0, len(rows), PREDICT_BATCH)
        ]
    return np.concatenate(found)
