"""Check a dataset: its files, shapes, order and every checksum, and those of its training tiers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from seco.data import format as fmt
from seco.data.dataset import Dataset
from seco.data.tier import find_damage
from seco.errors import DatasetError
from seco.runs import cache_folder, progress

CHUNK_PATCHES = 256
REMADE = "remove this folder, it is made again"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    where: str
    what: str


def check(dataset: Dataset) -> list[Problem]:
    """Read everything and compare it with what the index says.

    Returns:
        The problems found; an empty list means that the dataset is whole.
    """
    problems = _check_files(dataset) + _check_index(dataset) + _check_tiers(dataset)
    checksums = dataset.index["checksum"].to_pylist()
    for start in progress(range(0, len(dataset), CHUNK_PATCHES), "check"):
        stop = min(start + CHUNK_PATCHES, len(dataset))
        problems += _check_block(dataset, checksums, start, stop)
    return problems


def _check_block(dataset: Dataset, checksums: list[str], start: int, stop: int) -> list[Problem]:
    """Compare the pixels of some patches with their checksums; where a block cannot be decoded, find which patches."""
    try:
        planes = dataset.planes(start, stop)
    except DatasetError as err:
        if stop - start == 1:
            return [Problem(f"patch {start}", str(err.__cause__ or err))]
        middle = (start + stop) // 2
        return _check_block(dataset, checksums, start, middle) + _check_block(
            dataset, checksums, middle, stop
        )
    out = []
    for row in range(start, stop):
        found = fmt.checksum([p[row - start] for p in planes])
        if found != checksums[row]:
            out.append(Problem(f"patch {row}", f"checksum {found}, the index says {checksums[row]}"))
    return out


def _check_files(dataset: Dataset) -> list[Problem]:
    """Compare the small files with their checksums, where the dataset has them."""
    values = json.loads((dataset.path / fmt.META_NAME).read_text(encoding="utf-8"))
    out = []
    has_checksums = "checksum" in values or "files" in values
    if has_checksums and values.get("checksum") != fmt.json_checksum(values):
        out.append(
            Problem(
                fmt.META_NAME, "does not have the checksum it was written with: damaged, or edited by hand"
            )
        )
    for name, wanted in dataset.meta.files.items():
        file = dataset.path / name
        if not file.is_file():
            out.append(Problem(name, "is missing"))
        elif fmt.file_checksum(file) != wanted:
            out.append(Problem(name, f"does not have the checksum that {fmt.META_NAME} says"))
    return out


def _check_tiers(dataset: Dataset) -> list[Problem]:
    """Compare every finished training tier, in the dataset's folder or the cache, with its own checksums."""
    out = []
    roots = (dataset.path, cache_folder() / dataset.fingerprint)
    for folder in (f for root in roots for f in sorted((root / fmt.TRAINING_NAME).glob("*"))):
        if ".partial-" in folder.name or not folder.is_dir():
            continue
        damage = find_damage(folder)
        if damage:
            inside = folder.is_relative_to(dataset.path)
            where = folder.relative_to(dataset.path) if inside else folder
            out.append(Problem(str(where), f"{damage}; {REMADE}"))
    return out


def _check_index(dataset: Dataset) -> list[Problem]:
    out = []
    rows = dataset.column("row")
    if not np.array_equal(rows, np.arange(len(dataset))):
        out.append(Problem("index", "column row is not 0, 1, 2, ..."))
    if len(dataset.place_names) != dataset.meta.num_places:
        out.append(
            Problem(
                "index", f"{len(dataset.place_names)} places; {fmt.META_NAME} says {dataset.meta.num_places}"
            )
        )
    if (np.diff(dataset.place) < 0).any():
        out.append(Problem("index", "patches of a place do not stand together"))
    same = np.diff(dataset.place) == 0
    days = dataset.dates
    backwards = same & (days[1:] < days[:-1])
    if backwards.any():
        out.append(Problem(f"patch {int(np.argmax(backwards)) + 1}", "dates of its place are not in order"))
    return out
