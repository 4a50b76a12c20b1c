"""`--protocol paper`: what the original SeCo evaluation did where it differs, for comparison with its numbers alone.

Source: the released code of Mañas et al. 2021 (main_eurosat.py, main_bigearthnet.py, datasets/, models/ssl_finetuner.py).
docs/evaluation.md lists every deviation; none of them is an advice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from torch import nn
from torch.nn import functional

from seco.errors import TaskError
from seco.nets.encoder import Encoder, FeatureExtractor
from seco.probes.features import FeatureStore
from seco.runs import progress

EPOCHS = 100
MILESTONES = (60, 80)
LEARNING_RATE = 1e-3
EUROSAT_BATCH = 32
BIGEARTHNET_BATCH = 256
DROPOUT = 0.2
"""Before the linear layer of the original's BigEarthNet probe (lightning-bolts' `SSLEvaluator`)."""
READ_BATCHES = 64
"""Batches whose pixels are read at a time."""
_ORDER, _HEAD, _SUBSET = 0x9A9E, 0x9A9F, 0x9AA0


def drift(
    store: FeatureStore, rows: Integer[np.ndarray, " train"], outputs: tuple[str, ...], *, seed: int
) -> tuple[dict[str, Float32[np.ndarray, "kept dim"]], Integer[np.ndarray, " kept"], FeatureExtractor]:
    """Encode training patches in shuffled batches with the encoder in train mode, as the original's EuroSAT probe did.

    Its weights get no gradient, but batch norm standardises each batch by that batch and moves its running statistics to
    the data at hand. The original did so anew in each of its 100 epochs; here it is done once and the features kept: the
    statistics have settled long before (a batch moves them by a tenth).

    Returns:
        The features, the positions in `rows` they are of (the last, smaller batch is dropped), and the encoder after it.
    """
    order = np.random.default_rng([seed, _ORDER]).permutation(len(rows))
    kept = order[: len(order) // EUROSAT_BATCH * EUROSAT_BATCH]
    if not len(kept):
        raise TaskError(
            f"{len(rows)} training patches, protocol paper wants a batch of {EUROSAT_BATCH} at least; "
            "use more, or --protocol strict"
        )
    moved = copy.deepcopy(store.encoder)
    if isinstance(moved, Encoder):
        moved.net.train()
    step = READ_BATCHES * EUROSAT_BATCH
    found: dict[str, list[np.ndarray]] = {o: [] for o in outputs}
    for start in progress(range(0, len(kept), step), f"{store.encoder.name} in train mode"):
        values = encode(moved, store, rows[kept[start : start + step]], outputs, batch_size=EUROSAT_BATCH)
        for name, value in values.items():
            found[name].append(value)
    if isinstance(moved, Encoder):
        moved.net.eval()
    return {o: np.concatenate(v) for o, v in found.items()}, kept, moved


def encode(
    encoder: FeatureExtractor,
    store: FeatureStore,
    rows: Integer[np.ndarray, " n"],
    outputs: tuple[str, ...],
    *,
    batch_size: int = 256,
) -> dict[str, Float32[np.ndarray, "n dim"]]:
    """Encode patches of a store with an encoder that may not be the store's own."""
    pixels = store.tier.pixels[rows]
    if store.altered is not None:
        pixels = store.altered.alter(rows, pixels)
    return encoder.encode(
        pixels, bands=store.tier.bands, normalise=store.normalise, stats=(store.tier.mean, store.tier.std),
        size=store.size, outputs=outputs, batch_size=batch_size,
    )  # fmt: skip


def train_head(
    features: Float[np.ndarray, "n dim"],
    targets: np.ndarray,
    test: Float[np.ndarray, "m dim"],
    *,
    num_classes: int,
    loss: Literal["softmax", "multilabel"],
    seed: int,
    device: torch.device | str = "cpu",
) -> Float32[np.ndarray, "m classes"]:
    """Train the original's linear layer (Adam, 100 epochs, a tenth of the rate from 60 and 80) and return its logits.

    Features are taken as they are and nothing is regularised. `multilabel` is MultiLabelSoftMargin after dropout, in
    batches of 256; `softmax` cross-entropy in batches of 32. The last, smaller batch of each epoch is dropped.
    """
    batch = EUROSAT_BATCH if loss == "softmax" else BIGEARTHNET_BATCH
    batch = min(batch, len(features))
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, _HEAD]).integers(2**62)))
    bound = features.shape[1] ** -0.5
    layer = nn.Linear(features.shape[1], num_classes, device=device)
    with torch.no_grad():
        for parameter in layer.parameters():
            drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            parameter.copy_(drawn)
    x = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
    y = torch.from_numpy(targets).to(device)
    y = y.long() if loss == "softmax" else y.float()
    optimiser = torch.optim.Adam(layer.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=list(MILESTONES))
    for _ in range(EPOCHS):
        order = torch.randperm(len(x), generator=generator).to(device)
        for start in range(0, len(x) - batch + 1, batch):
            at = order[start : start + batch]
            given = x[at]
            if loss == "multilabel":
                keep = torch.rand(given.shape, generator=generator).to(device) >= DROPOUT
                given = given * keep / (1 - DROPOUT)
            logits = layer(given)
            value = (
                functional.cross_entropy(logits, y[at])
                if loss == "softmax"
                else functional.multilabel_soft_margin_loss(logits, y[at])
            )
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        schedule.step()
    with torch.inference_mode():
        asked = torch.from_numpy(np.ascontiguousarray(test, np.float32)).to(device)
        return layer(asked).cpu().numpy()


def over_batches(
    metric: Callable[[np.ndarray, np.ndarray], float], truth: np.ndarray, said: np.ndarray, *, batch: int
) -> float:
    """Return the mean of a metric over whole batches in order; the last, smaller one is dropped.

    Raises:
        TaskError: there is no whole batch.
    """
    num = len(truth) // batch
    if num < 1:
        raise TaskError(
            f"{len(truth)} patches to score, protocol paper wants a batch of {batch} at least; "
            "use more, or --protocol strict"
        )
    return float(
        np.mean(
            [
                metric(truth[i * batch : (i + 1) * batch], said[i * batch : (i + 1) * batch])
                for i in range(num)
            ]
        )
    )


def subset_with_replacement(
    rows: Integer[np.ndarray, " n"], num: int, *, seed: int
) -> Integer[np.ndarray, " num"]:
    """Draw training samples with replacement, as the original's subsets: 63% of a full-sized one are different ones."""
    return np.random.default_rng([seed, _SUBSET]).choice(rows, num, replace=True)
