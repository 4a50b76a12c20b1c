"""Items to the scenes that a search wants; and a local catalogue read once, whole, on all cores where it is large."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import shapely

from seco.collect.catalogs import Catalog
from seco.collect.model import Scene
from seco.collect.parse import UnusableItemError, parse_item
from seco.collect.plan import seen_m, unfit
from seco.collect.settings import Collect
from seco.collect.sources import Item, Near, file_items, parquet_items, parquet_parts
from seco.collect.store import SceneStore, Spool, pack, scenes_to_lines
from seco.data.workers import in_order, num_cores
from seco.runs import progress

COLLECTION, BLIND = "of another collection", "footprint outside its own raster"
_ROWS_FOR_PROCESSES = 50_000
_TOGETHER = 1_000
"""Scenes whose outlines are projected at once."""

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a search wants.

    Attributes:
        catalog: where.
        settings: days, cloud.
        bands: bands that a scene must have.
    """

    catalog: Catalog
    settings: Collect
    bands: tuple[str, ...]


def scenes_of(items: Iterable[Item], wanted: Wanted, dropped: Counter[str]) -> Iterator[Scene]:
    """Yield the scenes of items that are wanted, whatever the server was asked; count the others by reason."""
    parsed = _parsed(items, wanted, dropped)
    while some := list(itertools.islice(parsed, _TOGETHER)):
        blind = shapely.is_empty(seen_m(some))
        dropped.update({BLIND: int(blind.sum())} if blind.any() else {})
        yield from (s for s, is_blind in zip(some, blind, strict=True) if not is_blind)


def _parsed(items: Iterable[Item], wanted: Wanted, dropped: Counter[str]) -> Iterator[Scene]:
    catalog, mask = wanted.catalog, wanted.settings.mask_rule
    for item, base in items:
        try:
            scene = parse_item(
                item,
                catalog=catalog.name,
                bands=wanted.bands,
                mask=mask,
                collection=catalog.collection,
                base=base,
            )
        except UnusableItemError as err:
            dropped[err.reason] += 1
            continue
        if catalog.collection is not None and scene.collection != catalog.collection:
            dropped[COLLECTION] += 1
        elif (reason := unfit(scene, wanted.settings)) is not None:
            dropped[reason] += 1
        else:
            yield scene


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """What a part of a catalogue holds that is wanted.

    Attributes:
        found: by grid, the bounds of its scenes, and these as the store's lines, packed: many parts wait in memory.
        dropped: items that were left out, by reason.
    """

    found: dict[str, tuple[Box, bytes]]
    dropped: Counter[str]


def read_local(wanted: Wanted, boxes: np.ndarray, *, store: SceneStore, name: str) -> None:
    """Read a local catalogue, and keep the scenes near any of the boxes by their grid.

    Args:
        wanted: what is wanted of it.
        boxes: west, south, east and north of each group of places.
        store: where to keep it.
        name: of the list of grids, written last: each a line, its group in the store and its bounds.

    Raises:
        CatalogError: the catalogue is missing or damaged.
    """
    spool = Spool(store.folder)
    grids: dict[str, Box] = {}
    dropped: Counter[str] = Counter()
    for part in _parts(wanted, Near(boxes)):
        dropped.update(part.dropped)
        for grid, (box, packed) in part.found.items():
            key = f"grid-{name}-{grid.replace(':', '_')}"
            spool.add(key, packed)
            grids[key] = _around(box, grids.get(key, box))
    for key in grids:
        store.write_packed(key, spool.take(key), Counter())
    store.write_lines(name, [json.dumps([k, *b]) for k, b in sorted(grids.items())], dropped)


def _parts(wanted: Wanted, near: Near) -> Iterator[_Part]:
    if wanted.catalog.kind != "parquet":
        yield _part(wanted, _near_only(file_items(wanted.catalog), near), Counter())
        return
    parts, num_rows = parquet_parts(wanted.catalog, wanted.settings, near)
    jobs = min(num_cores(), len(parts)) if num_rows >= _ROWS_FOR_PROCESSES else 1
    work = in_order(partial(_parquet_part, wanted, near), parts, jobs=jobs, what="reads the catalogue")
    yield from progress(work, "reads the catalogue", total=len(parts))


def _parquet_part(wanted: Wanted, near: Near, part: tuple[int, ...]) -> _Part:
    dropped: Counter[str] = Counter()
    items = parquet_items(wanted.catalog, wanted.settings, dropped, near=near, part=part)
    return _part(wanted, items, dropped)


def _part(wanted: Wanted, items: Iterable[Item], dropped: Counter[str]) -> _Part:
    lines: dict[str, list[str]] = {}
    boxes: dict[str, Box] = {}
    scenes = scenes_of(items, wanted, dropped)
    # Lines are held and not scenes, which have a record for each of their rasters.
    while some := list(itertools.islice(scenes, _TOGETHER)):
        bounds = shapely.bounds([s.footprint for s in some]).tolist()
        for scene, box, line in zip(some, bounds, scenes_to_lines(some), strict=True):
            lines.setdefault(scene.grid, []).append(line)
            boxes[scene.grid] = _around(box, boxes.get(scene.grid, box))
    return _Part(found={grid: (box, pack(lines.pop(grid))) for grid, box in boxes.items()}, dropped=dropped)


def _around(one: Sequence[float], other: Sequence[float]) -> Box:
    """Return the bounds of two boxes."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _near_only(items: Iterator[Item], near: Near) -> Iterator[Item]:
    """Leave out items whose box says that they are far from all places, as is done for parquet."""
    for item, base in items:
        box: Any = item.get("bbox") if isinstance(item, dict) else None
        is_box = isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)
        if not is_box or near.touches(*(np.array([v], float) for v in box))[0]:
            yield item, base
