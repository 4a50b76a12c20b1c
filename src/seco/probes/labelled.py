"""Labelled pictures: splits, budgets of labels, and folders or zips taken as they are; what image tasks share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Integer

from seco.config import setting
from seco.data import importing
from seco.data.dataset import Dataset, open_dataset
from seco.data.format import META_NAME
from seco.data.labels import LABEL_SPLIT, class_labels, stratified
from seco.data.listing import Listing
from seco.data.pictures import SUFFIXES
from seco.errors import ConfigError, DatasetError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes import paper
from seco.probes.classify import Case, classify
from seco.probes.features import FeatureStore
from seco.probes.linear import FIT, VALIDATE
from seco.probes.options import PAPER, ClassOptions
from seco.probes.result import TaskResult
from seco.runs import cache_folder

VALIDATION_SHARE = 0.25
"""Share of the training images on which the regularisation is chosen, unless the source has a validation part: with a
fifth for testing, the images fall 60 : 20 : 20, the sizes of the usual EuroSAT split."""
_LABELS, _VALIDATION = 0x1ABE, 0x7A11
"""Words after the seed, so that no two draws share their numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions(ClassOptions):
    """Settings of tasks on labelled images."""

    split: Literal["auto", "published", "seeded"] = setting(
        "auto",
        "published (the source's own train, val and test), seeded (drawn, stratified by class), or the first there is",
    )
    num_labels: int | None = setting(
        None,
        "use this many labelled training images, stratified by class, those to choose the regularisation on included",
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.num_labels is not None and self.num_labels < 4:
            raise ConfigError(f"labels {self.num_labels}; give at least 4")


def judge_images(task: str, encoder: FeatureExtractor, dataset: Dataset, options: ImageOptions) -> TaskResult:
    """Judge an encoder by the class of images."""
    store = FeatureStore(encoder, dataset, options)
    return classify(
        task, store, [image_case(dataset, seed, options) for seed in options.split_seeds], options
    )


def open_labelled(
    path: Path,
    *,
    importer: str = "images",
    settings: Callable[[Path], dict[str, Any]] | None = None,
    split_files: Sequence[str] = (),
    state: Callable[[Path], str] | None = None,
) -> Dataset:
    """Open a dataset, or import a folder or zip of images into the cache folder, once for each state that it is in.

    Args:
        path: dataset, folder or zip.
        importer: what imports a folder or zip.
        settings: looks at the folder or zip, refuses what is not the task's, and says how to import it.
        split_files: lists of names that say which picture is in which part.
        state: tells whether a folder has changed; by default by the names, sizes and times of all its files.

    Raises:
        DatasetError: there is nothing there, or nothing that can be imported.
    """
    if (path / META_NAME).is_file():
        if split_files:
            raise DatasetError(
                f"{path} is imported already, with the split it has; give --split-files to its import, or the folder or zip"
            )
        return open_dataset(path)
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist; give a dataset, or a folder or zip with a folder of images a class"
        )
    chosen = settings(path) if settings is not None else {}
    if split_files:
        chosen |= {"split_files": tuple(split_files)}
    key = (state or state_fingerprint)(path)
    if chosen or importer != "images":
        lists = [state_fingerprint(Path(f)) for f in split_files if Path(f).is_file()]
        words = json.dumps([importer, chosen, lists], sort_keys=True, default=str)
        key += "-" + hashlib.blake2b(words.encode(), digest_size=4).hexdigest()
    out = cache_folder() / "datasets" / key
    if not (out / META_NAME).is_file():
        module = importing.find(importer)
        module.run(path, out, module.Options(**chosen))
    dataset = open_dataset(out)
    dataset.source = path
    return dataset


def require_classes(path: Path, wanted: Collection[str], *, name: str) -> list[str]:
    """Check that a folder or zip has a folder of pictures for each class of a benchmark, and return its pictures.

    Raises:
        DatasetError: classes are missing, or there are others.
    """
    with Listing(path) as listing:
        files = [n for n in listing.names if n.lower().endswith(SUFFIXES)]
    found = {f.rpartition("/")[2] for f in {n.rpartition("/")[0] for n in files}}
    missing, more = sorted(set(wanted) - found), sorted(found - set(wanted))
    if missing or more:
        raise DatasetError(
            f"{path} is not {name}: its {len(wanted)} class folders are wanted, missing {', '.join(missing) or 'none'}, "
            f"not of it {', '.join(more[:5]) or 'none'}; use --task images for other folders"
        )
    return files


def state_fingerprint(path: Path) -> str:
    """Hash the names, sizes and modification times of a file, or of all files in a folder."""
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        about = file.stat()
        digest.update(f"{file.resolve()}\n{about.st_size}\n{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def image_case(dataset: Dataset, seed: int, options: ImageOptions) -> Case:
    """Split labelled images into training, validation within it, and test.

    Raises:
        TaskError: there are no labels, one class only, a class that cannot be both learned and tested, no published split
            where one is asked for, or one whose parts share a place.
    """
    classes, labels = class_labels(dataset)
    labelled = labels >= 0
    if len(classes) < 2:
        found = f"one class only ({classes[0]})" if classes else "no labels"
        raise TaskError(f"{dataset.source} has {found}; images need at least two classes, a folder each")
    published = _published(dataset, options.split)
    _check_classes(dataset, classes, labels)
    if published is None:
        test = labelled & stratified(dataset, labels, labelled, options.test_share, seed=(seed, LABEL_SPLIT))
        train = labelled & ~test
        held = np.zeros(len(dataset), bool)
        words = f"stratified by class, test share {options.test_share:g}, seed {seed}"
    else:
        test, held = labelled & (published == "test"), labelled & (published == "val")
        train = labelled & ((published == "train") | held)
        check_apart(dataset, {"train": train & ~held, "val": held, "test": test})
        words = "published"
    as_paper = options.protocol == PAPER
    train = _limit(dataset, labels, train, None if as_paper else options.num_labels, seed)
    if not (train & held).any():
        held = stratified(dataset, labels, train, VALIDATION_SHARE, seed=(seed, _VALIDATION))
    rows = np.flatnonzero(train)
    if as_paper and options.num_labels is not None:
        drawn = paper.subset_with_replacement(rows[~held[rows]], options.num_labels, seed=seed)
        rows = np.concatenate([drawn, rows[held[rows]]])
        words += f", {options.num_labels} labels drawn with replacement"
    test_rows = np.flatnonzero(test)
    num_left_out = int((~labelled).sum())
    return Case(
        seed=seed, split=words, classes=classes, train_rows=rows, train_labels=labels[rows],
        parts=np.where(held[rows], VALIDATE, FIT).astype(np.int8), test_rows=test_rows, test_labels=labels[test_rows],
        groups=dataset.place[test_rows].astype(np.int64), test_boxes=footprints(dataset, test_rows),
        num_left_out=num_left_out, left_out=f"{num_left_out} without a label" if num_left_out else None,
    )  # fmt: skip


def _check_classes(dataset: Dataset, classes: Sequence[str], labels: Integer[np.ndarray, " patches"]) -> None:
    """Refuse classes that cannot be both learned and tested: all their images are of one place."""
    pairs = np.unique(np.stack([labels, dataset.place])[:, labels >= 0], axis=1)
    lone = np.flatnonzero(np.bincount(pairs[0], minlength=len(classes)) == 1)
    if len(lone):
        names = ", ".join(classes[i] for i in lone[:3]) + (", ..." if len(lone) > 3 else "")
        raise TaskError(
            f"{len(lone)} of {len(classes)} classes of {dataset.source} have images of one place only ({names}); two are "
            "needed, one to learn from and one to test on: add images, or leave these classes out"
        )


def check_apart(dataset: Dataset, parts: Mapping[str, Bool[np.ndarray, " patches"]]) -> None:
    """Refuse published parts that share a place.

    Raises:
        TaskError: a place has patches in two of them.
    """
    part_of: dict[int, str] = {}
    for name, rows in parts.items():
        for place in np.unique(dataset.place[rows]).tolist():
            if part_of.setdefault(place, name) != name:
                raise TaskError(
                    f"the published split of {dataset.source} has place {dataset.place_ids[place]} in {part_of[place]} and "
                    f"in {name}; a place belongs to one part only: mend the split, or --split seeded"
                )


def _published(dataset: Dataset, wanted: str) -> np.ndarray | None:
    """Return the source's own part of each patch, or None for a seeded split."""
    parts = np.array([p or "" for p in dataset.index["split"].to_pylist()])
    found = set(parts.tolist()) - {""}
    lacking = [p for p in ("train", "test") if p not in found]
    if wanted == "published" and lacking:
        raise TaskError(
            f"{dataset.source} has no published split (train and test in its index); use --split seeded"
        )
    # A draw over all would learn from what the source keeps apart; one part alone keeps nothing apart.
    if wanted == "auto" and lacking and len(found) > 1:
        raise TaskError(
            f"{dataset.source} is split into {' and '.join(sorted(found))}, without {' and '.join(lacking)}; add images to "
            "learn from and to test on, or draw the parts from all of them (--split seeded)"
        )
    return None if lacking or wanted == "seeded" else parts


def _limit(
    dataset: Dataset,
    labels: Integer[np.ndarray, " patches"],
    train: Bool[np.ndarray, " patches"],
    num: int | None,
    seed: int,
) -> Bool[np.ndarray, " patches"]:
    """Keep about `num` training images, stratified by class."""
    have = int(train.sum())
    if num is None or num == have:
        return train
    if num > have:
        raise TaskError(
            f"{num} labels asked for, but {dataset.source} has {have} training images; ask for fewer (--num-labels)"
        )
    return stratified(dataset, labels, train, num / have, seed=(seed, _LABELS), spare=0)


def footprints(dataset: Dataset, rows: Integer[np.ndarray, " n"]) -> np.ndarray | None:
    """Return the footprints of patches, or None where some have none."""
    geometry = dataset.index["geometry"].take(rows)
    if geometry.null_count:
        return None
    import shapely

    return shapely.bounds(shapely.from_wkb(geometry.to_pylist()))
