"""What searches found, on disk: scenes in groups, so that a run that goes on need not search again."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import shapely

from seco.collect.model import Asset, Scene
from seco.errors import CatalogError, DatasetError
from seco.runs import write_atomic, write_json

VERSION = 1
_INFO = "search.json"


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """Return a scene as plain values."""
    return {
        **{f.name: getattr(scene, f.name) for f in dataclasses.fields(Scene)},
        "datetime": scene.datetime.isoformat(),
        "footprint": shapely.to_wkb(scene.footprint, hex=True),
        "assets": [a.to_json() for a in scene.assets.values()],
    }


def scene_from_json(values: dict[str, Any]) -> Scene:
    """Build a scene from `scene_to_json`'s answer."""
    assets = [Asset.from_json(a) for a in values["assets"]]
    return Scene(
        **{
            **values,
            "datetime": dt.datetime.fromisoformat(values["datetime"]),
            "footprint": shapely.from_wkb(values["footprint"]),
            "assets": {a.band: a for a in assets},
        }
    )


class SceneStore:
    """Scenes by group, a compressed file each, in a folder that belongs to one question.

    Args:
        folder: of the run; the question's own folder is made in it.
        question: all that the answers depend on, as plain values.

    Raises:
        DatasetError: the folder cannot be written.
    """

    def __init__(self, folder: Path, question: dict[str, Any]) -> None:
        text = json.dumps({"version": VERSION, **question}, sort_keys=True, default=str)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not (self.folder / _INFO).is_file():
            write_json(self.folder / _INFO, json.loads(text))

    def _file(self, group: str) -> Path:
        return self.folder / f"{group}.jsonl.gz"

    def has(self, group: str) -> bool:
        """Whether a group was searched to the end."""
        return self._file(group).is_file()

    def write(self, group: str, scenes: Iterable[Scene], dropped: Counter[str]) -> int:
        """Keep what a search found, and how many items it dropped for which reason; return the number of scenes."""
        return self.write_lines(group, [json.dumps(scene_to_json(s)) for s in scenes], dropped)

    def write_lines(self, group: str, lines: Sequence[str], dropped: Counter[str]) -> int:
        """Do as `write`, with scenes that are lines already."""
        text = "\n".join((json.dumps({"dropped": dict(dropped)}), *lines))
        write_atomic(self._file(group), gzip.compress(text.encode(), 1, mtime=0))
        return len(lines)

    def read(self, group: str) -> tuple[list[Scene], Counter[str]]:
        """Return a group's scenes, and what was dropped.

        Raises:
            DatasetError: the file is damaged.
        """
        file = self._file(group)
        try:
            head, *lines = gzip.decompress(file.read_bytes()).decode().splitlines()
            return [scene_from_json(json.loads(line)) for line in lines], Counter(json.loads(head)["dropped"])
        except (
            OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, CatalogError, shapely.errors.ShapelyError
        ) as err:  # fmt: skip
            raise DatasetError(
                f"search result {file} is damaged ({type(err).__name__}); delete it, and it will be searched again"
            ) from err


class Spool:
    """Lines for many groups on disk, in any order, before each group becomes a file of its own; memory stays bounded.

    Args:
        folder: where; what an earlier, interrupted spool left there is removed.
        most_lines: lines in memory.
    """

    def __init__(self, folder: Path, *, most_lines: int = 5_000) -> None:
        self._folder, self._most = folder, most_lines
        self._waiting: dict[str, list[str]] = {}
        self._num = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob("*.spool"):
                file.unlink()
        except OSError as err:
            raise DatasetError(f"cannot write {folder}: {err}; choose another folder") from err

    def add(self, group: str, scene: Scene) -> None:
        """Put a scene to a group."""
        self._waiting.setdefault(group, []).append(json.dumps(scene_to_json(scene)))
        self._num += 1
        if self._num >= self._most:
            self._flush()

    def _flush(self) -> None:
        try:
            for group, lines in self._waiting.items():
                with (self._folder / f"{group}.spool").open("ab") as file:
                    # Compressed pieces one after another are a compressed file.
                    file.write(gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1))
        except OSError as err:
            raise DatasetError(f"cannot write {self._folder}: {err}; free disk space") from err
        self._waiting, self._num = {}, 0

    def take(self, group: str) -> list[str]:
        """Return a group's scenes as lines, in the order in which they came, and forget them."""
        self._flush()
        file = self._folder / f"{group}.spool"
        if not file.is_file():
            return []
        lines = gzip.decompress(file.read_bytes()).decode().splitlines()
        file.unlink()
        return lines
