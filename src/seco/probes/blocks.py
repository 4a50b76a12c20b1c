"""Cases whose test places lie in blocks of the globe that no training place touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int8, Integer

from seco.data.dataset import Dataset
from seco.data.split import DROPPED, TEST, TRAIN, BlockSplit, find_split, place_boxes, split_by_block
from seco.errors import DatasetError, TaskError
from seco.probes.classify import Case
from seco.probes.linear import FIT, SET_ASIDE, VALIDATE
from seco.probes.options import BlockOptions, PlaceProbeOptions

VALIDATION_SHARE = 0.25
"""Share of the training places, in blocks of their own, on which the regularisation is chosen."""
UNLABELLED = -1
_DATES = 0xDA7E
"""Word after the seed for drawing training dates, so that no other draw shares their numbers."""


def splits(dataset: Dataset, options: BlockOptions) -> Iterator[tuple[BlockSplit, str]]:
    """Yield the block split of each seed, or the one split that `options` names; and what it is in words.

    The blocks are drawn over all places of the dataset, labelled or not: every task, and `seco dataset split` with the same
    seed and settings, holds out the same places.

    Raises:
        DatasetError: places have no position, blocks leave a part empty, or there is no such split.
    """
    if options.split is not None:
        yield find_split(dataset, options.split)
        return
    boxes = place_boxes(dataset)
    for seed in options.split_seeds:
        split = split_by_block(
            boxes,
            seed=seed,
            test_share=options.test_share,
            block_deg=options.block_deg,
            buffer_deg=options.buffer_deg,
        )
        buffer = f", buffer {options.buffer_deg:g}" if options.buffer_deg else ""
        yield (
            split,
            f"blocks of {split.block_deg:g} degrees{buffer}, test share {options.test_share:g}, seed {seed}",
        )


def place_cases(
    dataset: Dataset,
    labels: Integer[np.ndarray, " patches"],
    classes: Sequence[str],
    options: PlaceProbeOptions,
    *,
    left_out: str = "",
    min_places: int = 1,
) -> Iterator[Case]:
    """Yield a case a split: some dates of each training place, every date of each test place.

    Args:
        dataset: with positions.
        labels: class of each patch, UNLABELLED where it takes no part.
        classes: names, by label.
        options: of the split.
        left_out: what is unlabelled and why, in words.
        min_places: classes with fewer training places than this take no part, in training or in test.

    Raises:
        DatasetError: places have no position, or blocks leave a part empty.
        TaskError: fewer than two classes are left, or nothing to test on.
    """
    boxes = place_boxes(dataset)
    for split, words in splits(dataset, options):
        part = split.part[dataset.place]
        rare = _rare_classes(dataset, labels, part == TRAIN, len(classes), min_places)
        usable = (labels != UNLABELLED) & ~rare[labels]
        if min_places > 1 and rare.any() and len(np.unique(labels[usable & (part == TRAIN)])) < 2:
            raise TaskError(
                f"{int(rare.sum())} of {len(np.unique(labels[labels != UNLABELLED]))} classes have fewer than {min_places} "
                f"training places ({words}) and are left out, which leaves too few to tell apart; lower --min-places "
                f"{min_places}, or use more places"
            )
        train_rows = _draw_dates(dataset, usable & (part == TRAIN), options.num_dates, split.seed)
        test_rows = np.flatnonzero(usable & (part == TEST))
        test_places = np.unique(dataset.place[test_rows])
        gone = len(dataset.place_ids) - len(np.unique(dataset.place[usable & (part != DROPPED)]))
        reasons = [
            left_out,
            f"{int((split.part == DROPPED).sum())} beside a test patch",
            f"{int(rare.sum())} classes with fewer than {min_places} training places" if rare.any() else "",
        ]
        yield Case(
            seed=split.seed, split=words, classes=tuple(classes),
            train_rows=train_rows, train_labels=labels[train_rows],
            parts=_validation(boxes, dataset.place[train_rows], split),
            test_rows=test_rows, test_labels=labels[test_rows],
            groups=split.block[dataset.place[test_rows]].astype(np.int64),
            test_boxes=boxes[test_places], num_left_out=gone, left_out="; ".join(r for r in reasons if r),
        )  # fmt: skip


def _rare_classes(
    dataset: Dataset,
    labels: Integer[np.ndarray, " patches"],
    train: Bool[np.ndarray, " patches"],
    num: int,
    least: int,
) -> Bool[np.ndarray, " classes"]:
    """Tell which classes occur, but in fewer than `least` training places."""
    known = labels != UNLABELLED
    pairs = np.unique(np.stack([labels, dataset.place])[:, known & train], axis=1)
    places = np.bincount(pairs[0].astype(np.int64), minlength=num)
    occurs = np.bincount(labels[known], minlength=num) > 0
    return occurs & (places < least)


def _draw_dates(
    dataset: Dataset, usable: Bool[np.ndarray, " patches"], num: int, seed: int
) -> Integer[np.ndarray, " train"]:
    """Draw `num` dates of each place. A patch's draw depends on seed and row alone, so that tasks share features."""
    draw = np.random.default_rng([seed, _DATES]).random(len(dataset))
    rows = np.flatnonzero(usable)
    order = rows[np.lexsort((draw[rows], dataset.place[rows]))]
    place = dataset.place[order]
    first = np.searchsorted(place, place)
    return np.sort(order[np.arange(len(order)) - first < num])


def _validation(
    boxes: Float[np.ndarray, "places 4"],
    place: Integer[np.ndarray, " train"],
    split: BlockSplit,
) -> Int8[np.ndarray, " train"]:
    """Hold out blocks of the training places, as the test blocks were, to choose the regularisation on."""
    places, position = np.unique(place, return_inverse=True)
    try:
        inner = split_by_block(
            boxes[places],
            seed=split.seed,
            test_share=VALIDATION_SHARE,
            block_deg=split.block_deg,
            buffer_deg=split.buffer_deg,
        )
    except DatasetError as err:
        raise TaskError(
            f"{len(places)} training places lie in too few blocks of {split.block_deg:g} degrees to hold some out for "
            "choosing the regularisation; use smaller blocks (--block-deg) or more places"
        ) from err
    part = np.full(len(places), SET_ASIDE, np.int8)
    part[inner.part == TRAIN] = FIT
    part[inner.part == TEST] = VALIDATE
    return part[position]
