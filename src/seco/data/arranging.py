"""What the folders that pictures lie in say: place ids, labels, the source's own split. Pure: names in, entries out."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from seco.errors import DatasetError

Labels = Literal["auto", "folder", "none"]

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture: its file, its place id, its label and its part of the source's own split."""

    name: str
    place: str
    label: str | None
    split: str | None


def arrange(names: Sequence[str], labels: Labels) -> list[Entry]:
    """Return an entry a picture, in the order of `names`.

    A folder level whose every name is train, val or test is the split; the last other folder is the label. With `auto`
    there are labels where pictures lie in at least two such folders.

    Raises:
        DatasetError: labels are asked for, and a picture lies in no folder.
    """
    parts = [_folders(n) for n in names]
    level = _split_level(parts)
    folders = [p if level is None else p[:level] + p[level + 1 :] for p in parts]
    found = [f[-1] if f else None for f in folders]
    if labels == "folder" and None in found:
        raise DatasetError(
            f"{names[found.index(None)]} lies in no class folder; sort pictures into folders, or --labels none"
        )
    if labels == "none" or (labels == "auto" and len(set(found) - {None}) < 2):
        found = [None] * len(names)
    places = _places(names, parts)
    splits = [None if level is None else SPLIT_NAMES[p[level].lower()] for p in parts]
    return [
        Entry(name=n, place=p, label=f, split=s)
        for n, p, f, s in zip(names, places, found, splits, strict=True)
    ]


def _folders(name: str) -> tuple[str, ...]:
    return tuple(p for p in name.split("/")[:-1] if p not in ("", "."))


def _split_level(parts: Sequence[tuple[str, ...]]) -> int | None:
    """Return the folder level that holds the split, if there is one."""
    for level in range(min((len(p) for p in parts), default=0)):
        found = {p[level].lower() for p in parts}
        if found <= set(SPLIT_NAMES) and len({SPLIT_NAMES[f] for f in found}) > 1:
            return level
    return None


def _places(names: Sequence[str], parts: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the path of each picture below what all have in common, without its suffix where that is unambiguous."""
    common = len(posixpath.commonprefix(list(set(parts))))
    below = ["/".join((*p[common:], posixpath.basename(n))) for n, p in zip(names, parts, strict=True)]
    stems = [posixpath.splitext(b)[0] for b in below]
    of_stem, of_path = Counter(stems), Counter(below)
    return [
        s if of_stem[s] == 1 else b if of_path[b] == 1 else n
        for s, b, n in zip(stems, below, names, strict=True)
    ]


def split_name(file: str) -> str:
    """Return which split a list of names is for, by its own name (`eurosat-train.txt`).

    Raises:
        DatasetError: the name says none.
    """
    words = re.split(r"[^a-z]+", PurePosixPath(file).stem.lower())
    found = {SPLIT_NAMES[w] for w in words if w in SPLIT_NAMES}
    if len(found) != 1:
        raise DatasetError(
            f"split file {file}: its name must say train, val or test, such as mydata-train.txt"
        )
    return found.pop()


def apply_lists(
    entries: Sequence[Entry], lists: Mapping[str, Sequence[str]]
) -> tuple[list[Entry], list[str]]:
    """Set each picture's split by lists of names; suffixes and leading folders need not agree.

    Args:
        entries: the pictures.
        lists: split -> lines of its list.

    Returns:
        The entries, and notes on what was not listed or not found.

    Raises:
        DatasetError: no name is found, or one fits several pictures or stands in two lists.
    """
    by_path = {_stem(e.name): e.name for e in entries}
    by_name: dict[str, list[str]] = {}
    for entry in entries:
        by_name.setdefault(PurePosixPath(_stem(entry.name)).name, []).append(entry.name)
    split_of: dict[str, str] = {}
    unknown: list[str] = []
    for split, lines in lists.items():
        for line in lines:
            wanted = _stem(line)
            fits = by_name.get(PurePosixPath(wanted).name, [])
            exact = [by_path[wanted]] if wanted in by_path else []
            chosen = exact or [n for n in fits if _stem(n).endswith("/" + wanted)] or fits
            if len(chosen) > 1:
                raise DatasetError(
                    f"split list {split}: {line} fits {chosen[0]} and {chosen[1]}; write the folder too"
                )
            if not chosen:
                unknown.append(line)
            elif split_of.setdefault(chosen[0], split) != split:
                raise DatasetError(
                    f"{line} stands in the lists of {split_of[chosen[0]]} and {split}; leave it in one"
                )
    if not split_of:
        raise DatasetError(
            f"no name of the split files is among the pictures, such as {(unknown or ['(empty)'])[0]}"
        )
    notes = []
    if unknown:
        notes.append(f"{len(unknown)} names of the split files are no picture, such as {unknown[0]}")
    if len(split_of) < len(entries):
        notes.append(f"{len(entries) - len(split_of)} pictures are in no split file and have no split")
    return [dataclasses.replace(e, split=split_of.get(e.name)) for e in entries], notes


def _stem(name: str) -> str:
    return str(PurePosixPath(name.strip().replace("\\", "/")).with_suffix(""))
