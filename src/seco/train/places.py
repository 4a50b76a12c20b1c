"""Which places a run trains on and which it holds out, and their patches as batches."""

from __future__ import annotations

import dataclasses
import mmap
import queue
import threading
from collections.abc import Generator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from seco.data.dataset import Dataset
from seco.data.labels import LABEL_SPLIT, class_labels, stratified
from seco.data.split import TEST, TRAIN, find_boxes, find_split, split_by_block
from seco.data.tier import TrainingTier
from seco.errors import DatasetError
from seco.train.settings import Pretrain, Shuffle
from seco.views.batch import Viewer
from seco.views.draws import shuffled

RANDOM_SPLIT = 0x5EC0
BLOCK_BYTES = 2**22
"""Of the training tier in a block: a disk reads so much in one go at nearly its full speed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """The places of a run.

    Attributes:
        first_row, num_dates: per place of the dataset, where its patches start and how many there are.
        train, held_out: positions of places.
        boxes: footprints of the training places, degrees (train, 4); empty where places have no position.
        how: how places were held out, in words.
        num_short: places left out because they have too few dates for the method.
    """

    first_row: np.ndarray
    num_dates: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    boxes: np.ndarray
    how: str
    num_short: int


def choose_places(dataset: Dataset, config: Pretrain, *, num_seasons: int) -> Places:
    """Hold out places and keep those with enough dates.

    Without a split of the user's own, places with a position are held out by spatial block; others by the source's own test
    split, or at random.

    Raises:
        DatasetError: no place has enough dates, or there is no such split.
    """
    num_dates = np.bincount(dataset.place, minlength=len(dataset.place_names))
    boxes = find_boxes(dataset)
    if config.split is not None:
        named, how = find_split(dataset, config.split)
        train, held = named.places(TRAIN), named.places(TEST)
    elif config.test_share == 0:
        train, held, how = np.arange(len(num_dates)), np.zeros(0, np.int64), "none"
    elif boxes is not None:
        split = split_by_block(
            boxes, seed=config.split_seed, test_share=config.test_share, block_deg=config.block_deg
        )
        train, held = split.places(TRAIN), split.places(TEST)
        how = f"blocks of {split.block_deg:g} degrees, seed {config.split_seed}, share {config.test_share:g}"
    elif (is_test := _own_test(dataset)).any():
        train, held, how = np.flatnonzero(~is_test), np.flatnonzero(is_test), "the source's own test split"
    else:
        held, how = _held_at_random(dataset, config)
        train = np.setdiff1d(np.arange(len(num_dates)), held)
    if not len(train):
        raise DatasetError(
            f"all {len(held)} places of {dataset.path} are held out ({how}); lower --test-share to train on some"
        )
    enough = num_dates >= num_seasons
    if not enough[train].any():
        raise DatasetError(
            f"method {config.method} needs {num_seasons} dates a place; the places of {dataset.path} have at most "
            f"{int(num_dates.max())}: choose --method moco, which needs one, or import more dates"
        )
    kept = train[enough[train]]
    return Places(
        first_row=dataset.first_row, num_dates=num_dates, train=kept, held_out=held, how=how,
        boxes=np.zeros((0, 4)) if boxes is None else boxes[kept], num_short=int((~enough[train]).sum()),
    )  # fmt: skip


def _own_test(dataset: Dataset) -> np.ndarray:
    """Return which places the source itself tests on."""
    some = (
        pc.fill_null(pc.equal(s, "test"), False).to_numpy(zero_copy_only=False)
        for s in dataset.index_batches("split")
    )
    return np.concatenate([*some, np.zeros(0, bool)])[dataset.first_row]


def _held_at_random(dataset: Dataset, config: Pretrain) -> tuple[np.ndarray, str]:
    """Draw places to hold out where there is neither position nor split: what the `images` task tests on, if labelled."""
    words = f"seed {config.split_seed}, share {config.test_share:g}"
    classes, labels = class_labels(dataset)
    if len(classes) >= 2:
        test = stratified(
            dataset, labels, labels >= 0, config.test_share, seed=(config.split_seed, LABEL_SPLIT)
        )
        return np.unique(dataset.place[test]), f"stratified by class, {words}"
    num = len(dataset.place_names)
    order = np.random.default_rng([config.split_seed, RANDOM_SPLIT]).permutation(num)
    return np.sort(order[: round(config.test_share * num)]), f"at random, {words}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Stored pixels of some places: `seasons` is (seasons, batch, bands, px, px)."""

    seasons: torch.Tensor
    places: np.ndarray
    epoch: int


def batches(
    tier: TrainingTier,
    places: Places,
    viewer: Viewer,
    *,
    batch_size: int,
    first: int,
    last: int,
    seed: int,
    rows: np.ndarray | None = None,
    shuffle: Shuffle = "places",
) -> Generator[Batch, None, None]:
    """Yield the batches of steps `first` to `last` - 1, read ahead in the background.

    Every epoch goes over the places in a new order and leaves out what does not fill a batch. Of a batch only `rows` are
    read where they are given: this process's share. `shuffle` by `blocks` keeps what is read together near each other.
    """  # fmt: skip
    per_epoch = len(places.train) // batch_size
    block = block_places(tier, places) if shuffle == "blocks" else None
    stop = threading.Event()
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=3)

    def read() -> None:
        order, order_epoch = np.zeros(0, np.int64), -1
        try:
            for step in range(first, last):
                epoch, number = divmod(step, per_epoch)
                if epoch != order_epoch:
                    order, order_epoch = (
                        shuffled(seed=seed, epoch=epoch, num=len(places.train), block=block),
                        epoch,
                    )
                chosen = places.train[order[number * batch_size : (number + 1) * batch_size]]
                chosen = chosen if rows is None else chosen[rows]
                patches = viewer.rows(epoch, chosen, places.first_row, places.num_dates)
                ask_for(tier.pixels, patches.ravel())
                pixels = np.ascontiguousarray(tier.pixels[patches.ravel()])
                if pixels.dtype == np.uint16:  # not every torch operation takes uint16
                    pixels = pixels.astype(np.int32)
                seasons = torch.from_numpy(pixels).view(*patches.shape, *pixels.shape[1:])
                _put(ready, Batch(seasons=seasons, places=chosen, epoch=epoch), stop)
                if stop.is_set():
                    return
        except BaseException as err:  # noqa: BLE001 - handed to the training thread, which raises it
            _put(ready, err, stop)

    reader = threading.Thread(target=read, name="seco-reader", daemon=True)
    reader.start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        reader.join()


def ask_for(pixels: Any, rows: np.ndarray) -> None:
    """Have the kernel fetch patches of a memory map all at once, and nothing else.

    Taking them one by one waits for each, and fetches its surroundings besides, which random order has no use for.
    """
    source: Any = pixels.base if isinstance(pixels, np.memmap) else None
    if not isinstance(source, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    source.madvise(mmap.MADV_RANDOM)
    for start, length in pages(
        rows, size=pixels.nbytes // len(pixels), offset=pixels.offset % mmap.ALLOCATIONGRANULARITY
    ):
        source.madvise(mmap.MADV_WILLNEED, start, length)


def pages(rows: np.ndarray, *, size: int, offset: int) -> list[tuple[int, int]]:
    """Return (start, length) in bytes of what holds each patch of `size` bytes, from the start of a page on."""
    start = offset + rows * size
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    return list(zip(first.tolist(), (start + size - first).tolist(), strict=True))


def block_places(tier: TrainingTier, places: Places) -> int:
    """Return how many places lie in a block of `BLOCK_BYTES`."""
    bytes_a_patch = tier.pixels.nbytes // max(1, len(tier.pixels))
    dates = int(places.num_dates.sum()) / len(places.num_dates)
    return max(1, round(BLOCK_BYTES / (bytes_a_patch * dates)))


def _put(ready: queue.Queue, item: Batch | BaseException, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return
