"""Few-shot: the same probes fitted on a handful of labels a class, several times over, on labels drawn anew each time."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int8, Integer

from seco.errors import TaskError
from seco.probes.knn import predict_knn, standardise
from seco.probes.linear import FIT, VALIDATE, choose_linear, fit_linear, moments_of
from seco.probes.options import ClassOptions

LEAST_TO_CHOOSE = 4
"""With fewer labels a class none can be spared to choose the regularisation on."""
VALIDATION_SHARE = 0.25
_SHOTS, _CHOOSE = 0x5407, 0x5408
"""Words after the seed, so that no two draws share their numbers."""


def fixed_reg(num_labels: int) -> float:
    """Return the regularisation of the linear probe where no label is spared to choose it.

    It is scikit-learn's default, C = 1, which here is reg = 1 / labels (see `linear`): a convention that no label, and no
    test image, had a part in.
    """
    return 1 / num_labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShot:
    """What a probe says when it is fitted on few labels.

    Attributes:
        predicted: of each draw, the class of each test sample.
        num_train: labels used in a draw.
        chosen: what the row tells of the probe: `k`, or `reg` where it is the same in all draws.
    """

    predicted: Integer[np.ndarray, "draws test"]
    num_train: int
    chosen: dict[str, Any]


def draw_shots(
    labels: Integer[np.ndarray, " train"],
    places: Integer[np.ndarray, " train"],
    shots: int,
    *,
    seed: int,
    draw: int,
) -> Integer[np.ndarray, " drawn"]:
    """Draw `shots` training samples of each class, no two of one place; a class with fewer gives all it has.

    The draws of one seed are nested: those of 5 shots are among those of 10.

    Raises:
        TaskError: no class has that many places.
    """
    order = np.random.default_rng([seed, _SHOTS, draw]).permutation(len(labels))
    _, first = np.unique(places[order], return_index=True)
    order = order[np.sort(first)]
    drawn = [order[labels[order] == c] for c in np.unique(labels)]
    most = max(len(d) for d in drawn)
    if shots > most:
        raise TaskError(
            f"{shots} labels a class asked for; the largest class has {most} training places: ask for fewer (--shots)"
        )
    return np.sort(np.concatenate([d[:shots] for d in drawn]))


def few_shot(
    probe: str,
    train: Float[np.ndarray, "train dim"],
    labels: Integer[np.ndarray, " train"],
    places: Integer[np.ndarray, " train"],
    test: Float[np.ndarray, "test dim"],
    *,
    shots: int,
    seed: int,
    options: ClassOptions,
    device: torch.device | str = "cpu",
) -> FewShot:
    """Fit a probe on `shots` labels a class, `options.shot_draws` times.

    Features are standardised by all of the training part, which needs no labels: the deviations of ten samples are noise.
    """
    predicted, regs, num_train = [], set(), 0
    k = min(options.k, shots)
    moments = moments_of(train, device)
    if probe == "knn" and options.knn_features == "standardised":
        train, test = standardise(train, test)
    for draw in range(options.shot_draws):
        at = draw_shots(labels, places, shots, seed=seed, draw=draw)
        num_train = len(at)
        if probe == "knn":
            near = min(k, len(at))
            predicted.append(
                predict_knn(train[at], labels[at], test, k=near, vote=options.vote, device=device)
            )
        elif shots < LEAST_TO_CHOOSE:
            model = fit_linear(train[at], labels[at], reg=fixed_reg(len(at)), moments=moments, device=device)
            predicted.append(model.predict(test))
            regs.add(model.reg)
        else:
            parts = choosing_parts(labels[at], seed=seed, draw=draw)
            model, _ = choose_linear(train[at], labels[at], parts, moments=moments, device=device)
            predicted.append(model.predict(test))
            regs.add(model.reg)
    chosen: dict[str, Any] = {"k": k} if probe == "knn" else {"reg": regs.pop() if len(regs) == 1 else None}
    return FewShot(predicted=np.stack(predicted), num_train=num_train, chosen=chosen)


def choosing_parts(
    labels: Integer[np.ndarray, " drawn"], *, seed: int, draw: int
) -> Int8[np.ndarray, " drawn"]:
    """Hold out a quarter of each class's few labels to choose the regularisation on, one at least where there are two."""
    rng = np.random.default_rng([seed, _CHOOSE, draw])
    parts = np.full(len(labels), FIT, np.int8)
    for c in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == c))
        held = max(1, round(VALIDATION_SHARE * len(mine))) if len(mine) > 1 else 0
        parts[mine[:held]] = VALIDATE
    return parts
