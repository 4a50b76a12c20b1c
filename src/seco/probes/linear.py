"""The linear probe: multinomial logistic regression on standardised features, its regularisation chosen within training.

It minimises mean cross-entropy + reg / 2 * |weights|^2 (the bias is free), which is scikit-learn's `LogisticRegression`
with C = 1 / (reg * n). The penalty does not change when the features are rotated, so the problem is solved along the
principal axes of the features, where each axis is scaled by an upper bound of its curvature (Böhning 1992: the Hessian
of the cross-entropy is at most half the covariance). L-BFGS then takes tens of steps where it would take hundreds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, Int64, Integer
from torch import Tensor
from torch.nn import functional

from seco.errors import TaskError

REGULARISATIONS = tuple(10.0 ** (-i / 2) for i in range(-2, 15))
"""The path that is searched, strong to weak: 10 to 1e-7 in half decades."""
PATIENCE = 5
"""The search ends after this many steps (two and a half decades) in a row without a better validation accuracy. Two were too
few: the curve of colour statistics on climate zones dips at once and then rises by seven points."""
MAX_AXES = 4096
"""Beyond this many features (and samples) their principal axes cost more than they save."""
MAX_STEPS = 300
TOLERANCE = 3e-5
"""Largest gradient entry, in the scaled problem, at which L-BFGS is done: 1e-5 would change some 0.1% of predictions."""
SEARCH_TOLERANCE = 3e-4
"""The same while searching: on EuroSAT it moves accuracies by at most 0.1 points, in a third of the steps."""

Moments = tuple[Tensor, Tensor]
"""Mean and deviation of each feature."""

FIT, VALIDATE, SET_ASIDE = 0, 1, 2
"""What a training sample does while the regularisation is chosen. All of them take part in the final fit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearModel:
    """A fitted probe.

    Attributes:
        classes: the class of each row of `weight`.
        weight, bias: of standardised features.
        mean, std: what standardises them.
        reg: regularisation.
    """

    classes: Int64[np.ndarray, " classes"]
    weight: Float32[np.ndarray, "classes dim"]
    bias: Float32[np.ndarray, " classes"]
    mean: Float32[np.ndarray, " dim"]
    std: Float32[np.ndarray, " dim"]
    reg: float

    def predict(self, features: Float[np.ndarray, "n dim"]) -> Int64[np.ndarray, " n"]:
        """Return the most probable class of each sample."""
        scaled = self.weight / self.std
        return self.classes[(features @ scaled.T + (self.bias - scaled @ self.mean)).argmax(1)]


def fit_linear(
    features: Float[np.ndarray, "n dim"],
    labels: Integer[np.ndarray, " n"],
    *,
    reg: float,
    moments: Moments | None = None,
    device: torch.device | str = "cpu",
) -> LinearModel:
    """Fit the probe at one regularisation.

    Args:
        features, labels: training samples.
        reg: regularisation.
        moments: mean and deviation that standardise the features; by default the training samples' own.
        device: where to compute.

    Raises:
        TaskError: there is one class only.
    """
    return _Problem(features, labels, device, moments).solve(reg)


def choose_linear(
    features: Float[np.ndarray, "n dim"],
    labels: Integer[np.ndarray, " n"],
    parts: Int8[np.ndarray, " n"],
    *,
    regs: Sequence[float] = REGULARISATIONS,
    moments: Moments | None = None,
    device: torch.device | str = "cpu",
) -> tuple[LinearModel, dict[float, float]]:
    """Choose the regularisation on a part of the training samples, then fit all of them with it.

    Args:
        features, labels: all training samples.
        parts: of each, FIT, VALIDATE or SET_ASIDE while choosing.
        regs: the path, strong to weak.
        moments: mean and deviation that standardise the features; by default those of the samples fitted.
        device: where to compute.

    Returns:
        The probe fitted on all training samples, and the validation accuracy of each regularisation tried. Of equally
        good ones the strongest is taken.

    Raises:
        TaskError: there is one class only, or nothing to validate on.
    """
    held = parts == VALIDATE
    if not held.any():
        raise TaskError(
            "no training sample is left to choose the regularisation on; use more places or images"
        )
    fit = parts == FIT
    problem = _Problem(features[fit], labels[fit], device, moments)
    # Strong regularisation predicts one class whatever it sees; that plateau is no reason to stop.
    constant = max(float((labels[held] == c).mean()) for c in np.unique(labels[fit]))
    tried: dict[float, float] = {}
    for reg in regs:
        tried[reg] = float(
            (problem.solve(reg, SEARCH_TOLERANCE).predict(features[held]) == labels[held]).mean()
        )
        best = max(tried, key=lambda r: (tried[r], r))
        if tried[best] > constant and list(tried).index(best) < len(tried) - PATIENCE:
            break
    return _Problem(features, labels, device, moments).solve(best), tried


class _Problem:
    """One training set along its principal axes; `solve` goes on from the last solution."""

    def __init__(
        self,
        features: Float[np.ndarray, "n dim"],
        labels: Integer[np.ndarray, " n"],
        device: torch.device | str,
        moments: Moments | None = None,
    ) -> None:
        self.classes, position = np.unique(labels, return_inverse=True)
        if len(self.classes) < 2:
            raise TaskError(f"a linear probe needs two classes; the {len(labels)} training labels hold one")
        target = torch.from_numpy(position.astype(np.int64)).to(device)
        self.share = functional.one_hot(target).float() / len(labels)
        self.axes, self.curvature, self.x, self.mean, self.std = prepare(features, device, moments)
        x = self.x
        self.weight = torch.zeros(len(self.classes), x.shape[1], device=x.device)
        self.bias = torch.bincount(target).float().div(len(x)).log()

    def solve(self, reg: float, tolerance: float = TOLERANCE) -> LinearModel:
        """Minimise from where the last solution left off."""
        scale = (self.curvature + reg).rsqrt()
        # Scaled once instead of in every step.
        x = self.x * scale
        penalty = reg * scale**2
        weight = self.weight / scale
        bias = self.bias.clone()
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=MAX_STEPS, history_size=20, line_search_fn="strong_wolfe",
            tolerance_grad=tolerance, tolerance_change=1e-9,
        )  # fmt: skip

        @torch.no_grad()
        def closure() -> Tensor:
            # The gradient by hand: with a few hundred samples autograd takes most of the time.
            chances = torch.addmm(bias, x, weight.T).log_softmax(1)
            loss = -(chances * self.share).sum() + (penalty * weight**2).sum() / 2
            slope = chances.exp_().div_(len(x)).sub_(self.share)
            weight.grad = torch.addcmul(slope.T @ x, penalty, weight)
            bias.grad = slope.sum(0)
            return loss

        optimiser.step(closure)
        self.weight, self.bias = weight * scale, bias
        rotated = self.weight if self.axes is None else self.weight @ self.axes.T
        return LinearModel(
            classes=self.classes.astype(np.int64), weight=_array(rotated), bias=_array(self.bias), mean=_array(self.mean),
            std=_array(self.std), reg=reg,
        )  # fmt: skip


class Prepared(NamedTuple):
    """Standardised features along their principal axes (None: as they are), and the curvature bound of each."""

    axes: Float32[Tensor, "dim axes"] | None
    curvature: Float32[Tensor, " axes"]
    x: Float32[Tensor, "n axes"]
    mean: Float32[Tensor, " dim"]
    std: Float32[Tensor, " dim"]


def moments_of(features: Float[np.ndarray, "n dim"], device: torch.device | str = "cpu") -> Moments:
    """Return what standardises features: their mean and deviation."""
    x = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
    std = x.std(0, correction=0)
    # A feature that hardly moves is centred and otherwise left: its noise must not be blown up.
    return x.mean(0), torch.where(std > 1e-6 * std.max().clamp(min=1e-30), std, torch.ones_like(std))


def prepare(
    features: Float[np.ndarray, "n dim"], device: torch.device | str, moments: Moments | None = None
) -> Prepared:
    """Standardise features, by their own moments or by those given, and turn them onto their principal axes."""
    x = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
    mean, std = moments_of(features, device) if moments is None else moments
    x = (x - mean) / std
    axes, curvature = _principal_axes(x)
    return Prepared(axes=axes, curvature=curvature, x=x if axes is None else x @ axes, mean=mean, std=std)


def _principal_axes(
    x: Float32[Tensor, "n dim"],
) -> tuple[Float32[Tensor, "dim axes"] | None, Float32[Tensor, " axes"]]:
    """Return the principal axes of standardised features (None for too many) and the curvature bound along each."""
    num, dim = x.shape
    if min(num, dim) > MAX_AXES:
        return None, torch.full((dim,), 0.5, device=x.device)
    if dim <= num:
        values, axes = torch.linalg.eigh(x.T @ x / num)
    else:
        # The solution lies in the span of the samples, which has fewer axes than there are features.
        values, left = torch.linalg.eigh(x @ x.T / num)
        keep = values > 1e-6 * values.max()
        values, left = values[keep], left[:, keep]
        axes = x.T @ left / (values * num).sqrt()
    return axes, values.clamp(min=0) / 2


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
