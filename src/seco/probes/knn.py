"""k nearest neighbours by cosine similarity: what the features hold without any training."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor
from torch.nn import functional

from seco.errors import TaskError

Vote = Literal["majority", "weighted"]
TEMPERATURE = 0.07
"""Of the weighted vote (Wu et al. 2018, section 3.4)."""
SIMILARITY_CHUNK = 2**22
"""Most similarities held at a time: 16 MB, which the allocator hands out again instead of asking the kernel."""


def predict_knn(
    train: Float[np.ndarray, "n dim"],
    labels: Integer[np.ndarray, " n"],
    test: Float[np.ndarray, "m dim"],
    *,
    k: int = 20,
    vote: Vote = "majority",
    device: torch.device | str = "cpu",
) -> Integer[np.ndarray, " m"]:
    """Predict the class of each test sample from the k training samples of highest cosine similarity.

    Args:
        train, labels: training features and their classes, 0 and up.
        test: test features.
        k: neighbours that vote.
        vote: `majority` gives each neighbour one vote, and of classes with as many votes the one whose neighbours are nearer
            in sum wins; `weighted` gives exp(similarity / 0.07).
        device: where to compute.

    Raises:
        TaskError: there are fewer training samples than neighbours asked for.
    """
    if not 1 <= k <= len(train):
        raise TaskError(
            f"kNN with k = {k} and {len(train)} training samples; choose k from 1 to {len(train)} (--k)"
        )
    bank = unit(train, device)
    classes = torch.from_numpy(labels.astype(np.int64)).to(device)
    num_classes = int(labels.max()) + 1
    out = []
    step = max(1, SIMILARITY_CHUNK // len(train))
    with torch.inference_mode():
        for start in range(0, len(test), step):
            near, where = (unit(test[start : start + step], device) @ bank.T).topk(k, dim=1)
            # A vote is worth far more than any sum of similarities, so that these only break ties.
            weight = torch.exp((near - 1) / TEMPERATURE) if vote == "weighted" else 1 + (near + 1) / (4 * k)
            votes = torch.zeros(len(near), num_classes, device=device)
            votes.scatter_add_(1, classes[where], weight)
            out.append(votes.argmax(1).cpu().numpy())
    return np.concatenate(out) if out else np.zeros(0, np.int64)


def unit(features: Float[np.ndarray, "n dim"], device: torch.device | str) -> Float32[Tensor, "n dim"]:
    """Return features of unit length, on the device."""
    return functional.normalize(
        torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device), dim=1
    )


def standardise(
    train: Float[np.ndarray, "n dim"], test: Float[np.ndarray, "m dim"]
) -> tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "m dim"]]:
    """Shift and scale both by the mean and deviation of the training features; constant ones are only shifted."""
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 1e-6 * std.max(initial=0), std, 1).astype(train.dtype)
    return (train - mean) / std, (test - mean) / std
