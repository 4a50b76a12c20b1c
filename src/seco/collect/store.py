"""What searches found, on disk: scenes in groups, so that a run that goes on need not search again."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from seco.collect.model import Asset, LaterAssets, Scene
from seco.collect.plan import seen_m
from seco.errors import CatalogError, DatasetError
from seco.runs import write_atomic, write_json

VERSION = 4
_INFO = "search.json"


_FIELDS = tuple(
    f.name for f in dataclasses.fields(Scene) if f.name not in ("datetime", "footprint", "seen", "assets")
)
_OF_KIND = ("band", "dtype", "nodata", "scale", "offset", "media_type", "meaning")
_OF_GRID = ("pixel_m", "shape", "transform", "warp")
_kind, _grid = attrgetter(*_OF_KIND), attrgetter(*_OF_GRID)


def scenes_to_lines(scenes: Sequence[Scene]) -> list[str]:
    """Return each scene as two JSON texts with a tab between: what a plan needs, and all assets."""
    # shapely's own hexadecimal is five to ten times as slow.
    footprints, seen = (
        [w.hex() for w in shapely.to_wkb(g)]
        for g in (np.array([s.footprint for s in scenes]), seen_m(scenes))
    )
    lines = []
    for scene, footprint, what in zip(scenes, footprints, seen, strict=True):
        head = {
            **{name: getattr(scene, name) for name in _FIELDS},
            "datetime": scene.datetime.isoformat(), "footprint": footprint, "seen": what,
            "finest": scene.finest.to_json(),
        }  # fmt: skip
        # JSON has no tabs but as spaces between its parts, and `dumps` writes none.
        lines.append(f"{json.dumps(head)}\t{_assets_to_text(scene.assets.values())}")
    return lines


def scenes_from_lines(lines: Sequence[str]) -> list[Scene]:
    """Build scenes from `scenes_to_lines`'s answer."""
    parts = [line.split("\t") for line in lines]
    heads = [json.loads(head) for head, _ in parts]
    footprints, seen = (
        shapely.from_wkb([bytes.fromhex(h[name]) for h in heads]) for name in ("footprint", "seen")
    )
    return [
        Scene(
            **{name: head[name] for name in _FIELDS},
            datetime=dt.datetime.fromisoformat(head["datetime"]),
            footprint=footprint,
            seen=what,
            assets=LaterAssets(partial(_assets_from_text, assets), Asset.from_json(head["finest"])),
        )
        for (_, assets), head, footprint, what in zip(parts, heads, footprints, seen, strict=True)
    ]


def _assets_to_text(assets: Iterable[Asset]) -> str:
    """Return assets as JSON, in which what many have alike is written (and made into text) once."""
    hrefs, kinds = [], []
    grids: dict[tuple[Any, ...], int] = {}
    on = []
    for asset in assets:
        hrefs.append(asset.href)
        kinds.append(_kind_text(*_kind(asset)))
        on.append(grids.setdefault(_grid(asset), len(grids)))
    rows = [(*g[:3], dataclasses.asdict(g[3]) if g[3] else None) for g in grids]
    return f'{{"href": {json.dumps(hrefs)}, "grids": {json.dumps(rows)}, "on": {on}, "kinds": [{", ".join(kinds)}]}}'


@lru_cache(maxsize=4096)
def _kind_text(*values: Any) -> str:
    kind = dict(zip(_OF_KIND, values, strict=True))
    meaning = kind["meaning"]
    return json.dumps({**kind, "meaning": meaning.to_json() if meaning else None})


def _assets_from_text(text: str) -> list[Asset]:
    told = json.loads(text)
    grids = [dict(zip(_OF_GRID, g, strict=True)) for g in told["grids"]]
    return [
        Asset.from_json({**kind, **grids[i], "href": href})
        for href, i, kind in zip(told["href"], told["on"], told["kinds"], strict=True)
    ]


def pack(lines: Sequence[str]) -> bytes:
    """Return lines compressed, each with its end; packs one after another are a pack of all their lines."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1, mtime=0)


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
        return self.write_lines(group, scenes_to_lines(list(scenes)), dropped)

    def write_lines(self, group: str, lines: Sequence[str], dropped: Counter[str]) -> int:
        """Do as `write`, with scenes that are lines already."""
        write_atomic(self._file(group), pack([json.dumps({"dropped": dict(dropped)}), *lines]))
        return len(lines)

    def write_packed(self, group: str, packed: bytes, dropped: Counter[str]) -> None:
        """Do as `write`, with scenes that are lines already and packed."""
        write_atomic(self._file(group), pack([json.dumps({"dropped": dict(dropped)})]) + packed)

    def read(self, group: str) -> tuple[list[Scene], Counter[str]]:
        """Return a group's scenes, and what was dropped.

        Raises:
            DatasetError: the file is damaged.
        """
        with self._damage(group):
            lines, dropped = self._lines(group)
            return scenes_from_lines(lines), dropped

    def read_lines(self, group: str) -> tuple[list[str], Counter[str]]:
        """Do as `read`, without making scenes of lines."""
        with self._damage(group):
            return self._lines(group)

    def _lines(self, group: str) -> tuple[list[str], Counter[str]]:
        head, *lines = gzip.decompress(self._file(group).read_bytes()).decode().splitlines()
        return lines, Counter(json.loads(head)["dropped"])

    @contextmanager
    def _damage(self, group: str) -> Iterator[None]:
        try:
            yield
        except (
            OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, CatalogError, shapely.errors.ShapelyError
        ) as err:  # fmt: skip
            raise DatasetError(
                f"search result {self._file(group)} is damaged ({type(err).__name__}); remove {self.folder}, and all is "
                "searched again"
            ) from err


class Spool:
    """Packs of lines for many groups on disk, in any order, until each group becomes a file; memory stays bounded.

    Args:
        folder: where; what an earlier, interrupted spool left there is removed.
        most_bytes: of packs in memory.
    """

    def __init__(self, folder: Path, *, most_bytes: int = 32 * 2**20) -> None:
        self._folder, self._most = folder, most_bytes
        self._waiting: dict[str, list[bytes]] = {}
        self._num_bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob("*.spool"):
                file.unlink()
        except OSError as err:
            raise DatasetError(f"cannot write {folder}: {err}; choose another folder") from err

    def add(self, group: str, packed: bytes) -> None:
        """Put scenes, as packed lines, to a group."""
        self._waiting.setdefault(group, []).append(packed)
        self._num_bytes += len(packed)
        if self._num_bytes >= self._most:
            self._flush()

    def _flush(self) -> None:
        try:
            for group, packs in self._waiting.items():
                with (self._folder / f"{group}.spool").open("ab") as file:
                    file.writelines(packs)
        except OSError as err:
            raise DatasetError(f"cannot write {self._folder}: {err}; free disk space") from err
        self._waiting, self._num_bytes = {}, 0

    def take(self, group: str) -> bytes:
        """Return a group's packs as one, in the order in which they came, and forget them."""
        self._flush()
        file = self._folder / f"{group}.spool"
        try:
            packed = file.read_bytes()
            file.unlink()
        except OSError as err:
            raise DatasetError(f"cannot read {file}: {err}; run the same command again") from err
        return packed
