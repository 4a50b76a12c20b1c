"""Probes for any number of labels a patch: logistic regression of each label, and what share of the neighbours has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional

from seco.errors import TaskError
from seco.probes.knn import SIMILARITY_CHUNK, TEMPERATURE, Vote, unit
from seco.probes.linear import MAX_STEPS, PATIENCE, REGULARISATIONS, SEARCH_TOLERANCE, TOLERANCE, prepare
from seco.probes.precision import LabelScores, label_average_precision

Choice = Literal["per-label", "shared"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelModel:
    """A fitted probe: one logistic regression a label.

    Attributes:
        weight, bias: of standardised features.
        mean, std: what standardises them.
        regs: regularisation of each label.
    """

    weight: Float32[np.ndarray, "labels dim"]
    bias: Float32[np.ndarray, " labels"]
    mean: Float32[np.ndarray, " dim"]
    std: Float32[np.ndarray, " dim"]
    regs: Float[np.ndarray, " labels"]

    def scores(self, features: Float[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n labels"]:
        """Return the logit of each label."""
        scaled = self.weight / self.std
        return (features @ scaled.T + (self.bias - scaled @ self.mean)).astype(np.float32)


def fit_labels(
    features: Float[np.ndarray, "n dim"],
    targets: Bool[np.ndarray, "n labels"],
    regs: Float[np.ndarray, " labels"],
    *,
    device: torch.device | str = "cpu",
) -> LabelModel:
    """Fit the probe: for each label scikit-learn's `LogisticRegression` with C = 1 / (reg * n) on standardised features."""
    return _Problem(features, targets, device).solve(regs)


def choose_labels(
    features: Float[np.ndarray, "n dim"],
    targets: Bool[np.ndarray, "n labels"],
    held_features: Float[np.ndarray, "m dim"],
    held_targets: Bool[np.ndarray, "m labels"],
    *,
    choice: Choice = "per-label",
    regs: Sequence[float] = REGULARISATIONS,
    device: torch.device | str = "cpu",
) -> LabelModel:
    """Fit the probe with the regularisation that does best on a validation part, which it is not fitted on.

    Args:
        features, targets: training samples.
        held_features, held_targets: validation samples.
        choice: `per-label` takes for each label what gives it the highest average precision, `shared` for all labels
            what gives the highest micro average precision. Of equally good ones the strongest.
        regs: the path, strong to weak.
        device: where to compute.

    Raises:
        TaskError: there is nothing to fit or to validate on.
    """
    if not len(features) or not held_targets.any():
        raise TaskError(
            f"{len(features)} training and {len(held_features)} validation patches with {int(held_targets.sum())} labels; "
            "both parts are needed to choose the regularisation: use a larger --train-share"
        )
    problem = _Problem(features, targets, device)
    tried: list[np.ndarray] = []
    best, since = -1.0, 0
    for i, reg in enumerate(regs):
        scores = problem.solve(np.full(targets.shape[1], reg), SEARCH_TOLERANCE).scores(held_features)
        if choice == "shared":
            tried.append(np.full(targets.shape[1], LabelScores(held_targets, scores).micro()))
        else:
            tried.append(np.nan_to_num(label_average_precision(held_targets, scores), nan=-1.0))
        now = float(np.max(tried, axis=0).mean())
        if now > best:
            best, since = now, i
        if i - since >= PATIENCE:
            break
    chosen = np.asarray(regs)[np.argmax(tried, axis=0)]
    return problem.solve(chosen)


class _Problem:
    """One training set along its principal axes; `solve` goes on from the last solution."""

    def __init__(
        self,
        features: Float[np.ndarray, "n dim"],
        targets: Bool[np.ndarray, "n labels"],
        device: torch.device | str,
    ) -> None:
        self.axes, self.curvature, self.x, self.mean, self.std = prepare(features, device)
        self.target = torch.from_numpy(targets.astype(np.float32)).to(device)
        share = self.target.mean(0).clamp(0.5 / len(targets), 1 - 0.5 / len(targets))
        self.bias = torch.logit(share)
        self.weight = torch.zeros(targets.shape[1], self.x.shape[1], device=self.x.device)

    def solve(self, regs: Float[np.ndarray, " labels"], tolerance: float = TOLERANCE) -> LabelModel:
        """Minimise from where the last solution left off, all labels at once: they do not touch each other."""
        reg = torch.tensor(regs, dtype=torch.float32, device=self.x.device)[:, None]
        scale = (self.curvature + reg).rsqrt()
        weight = (self.weight / scale).requires_grad_()
        bias = self.bias.clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=MAX_STEPS, history_size=20, line_search_fn="strong_wolfe",
            tolerance_grad=tolerance, tolerance_change=1e-9,
        )  # fmt: skip

        def closure() -> Tensor:
            optimiser.zero_grad()
            plain = weight * scale
            logits = torch.addmm(bias, self.x, plain.T)
            data = functional.binary_cross_entropy_with_logits(logits, self.target, reduction="none")
            loss = data.mean(0).sum() + (reg / 2 * plain**2).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        self.weight = (weight * scale).detach()
        self.bias = bias.detach()
        rotated = self.weight if self.axes is None else self.weight @ self.axes.T
        return LabelModel(
            weight=rotated.cpu().numpy(), bias=self.bias.cpu().numpy(), mean=self.mean.cpu().numpy(),
            std=self.std.cpu().numpy(), regs=np.asarray(regs, np.float64),
        )  # fmt: skip


def knn_labels(
    train: Float[np.ndarray, "n dim"],
    targets: Bool[np.ndarray, "n labels"],
    test: Float[np.ndarray, "m dim"],
    *,
    k: int = 20,
    vote: Vote = "majority",
    device: torch.device | str = "cpu",
) -> Float[np.ndarray, "m labels"]:
    """Return for each label the share of the k nearest training samples (by cosine) that have it; nearer ones break ties.

    Raises:
        TaskError: there are fewer training samples than neighbours asked for.
    """
    if not 1 <= k <= len(train):
        raise TaskError(
            f"kNN with k = {k} and {len(train)} training samples; choose k from 1 to {len(train)} (--k)"
        )
    bank = unit(train, device)
    have = torch.from_numpy(targets.astype(np.float32)).to(device)
    out = []
    step = max(1, SIMILARITY_CHUNK // len(train))
    with torch.inference_mode():
        for start in range(0, len(test), step):
            near, where = (unit(test[start : start + step], device) @ bank.T).topk(k, dim=1)
            weight = torch.exp((near - 1) / TEMPERATURE) if vote == "weighted" else 1 + (near + 1) / (4 * k)
            votes = torch.bmm(weight[:, None], have[where])[:, 0]
            out.append((votes / weight.sum(1, keepdim=True)).double().cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, targets.shape[1]))


def constant_scores(targets: Bool[np.ndarray, "n labels"], num: int) -> Float[np.ndarray, "m labels"]:
    """Return the scores of who gives each label its share among the training samples, whatever the patch."""
    return np.tile(targets.mean(0, dtype=np.float64), (num, 1))


def label_words(rows: Bool[np.ndarray, "n labels"], classes: Sequence[str]) -> list[str]:
    """Return the names of each sample's labels, joined by '; ' (no label's name holds one)."""
    names = np.array(classes, dtype=object)
    return ["; ".join(names[row]) for row in rows]
