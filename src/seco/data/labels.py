"""Labels of a dataset, and splits stratified by them that training and tasks share."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Integer

from seco.data.dataset import Dataset

LABEL_SPLIT = 0x1A6E
"""Second word of the seed that draws the test part: pre-training and the `images` task draw the same one."""


def class_labels(dataset: Dataset) -> tuple[tuple[str, ...], Integer[np.ndarray, " patches"]]:
    """Return the class names in order, and each patch's class number, -1 where it has none."""
    names = np.array([n or "" for n in dataset.labels])
    labelled = names != ""
    classes = tuple(sorted(set(names[labelled].tolist())))
    return classes, np.where(labelled, np.searchsorted(classes, names), -1).astype(np.int64)


def stratified(
    dataset: Dataset, labels: Integer[np.ndarray, " patches"], among: Bool[np.ndarray, " patches"], share: float,
    *, seed: tuple[int, int], spare: int = 1,
) -> Bool[np.ndarray, " patches"]:  # fmt: skip
    """Draw `share` of each class, whole places at a time, so that no place is on both sides."""
    place = dataset.place
    rows = np.flatnonzero(among)
    places, first = np.unique(place[rows], return_index=True)
    draw = np.random.default_rng(seed).random(len(dataset.place_ids))[places]
    label = labels[rows[first]]
    taken = np.zeros(len(dataset.place_ids), bool)
    found, counts = np.unique(label, return_counts=True)
    for c, num in zip(found, quotas(counts, share, spare=spare), strict=True):
        taken[places[label == c][np.argsort(draw[label == c])][:num]] = True
    return among & taken[place]


def quotas(
    counts: Integer[np.ndarray, " classes"], share: float, *, spare: int
) -> Integer[np.ndarray, " classes"]:
    """Return how many of each class make up `share` of all (largest remainders): one at least, `spare` left undrawn."""
    exact = share * counts
    out = np.floor(exact).astype(np.int64)
    rest = math.floor(exact.sum() + 0.5) - int(out.sum())
    out[np.argsort(out - exact, kind="stable")[:rest]] += 1
    return np.minimum(np.maximum(out, 1), np.maximum(counts - spare, 0))
