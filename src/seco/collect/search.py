"""Which scenes there are: places in groups, one search a tile or a group, kept on disk, filtered again here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seco.collect.api import ApiSource, Box
from seco.collect.catalogs import Catalog
from seco.collect.local import Wanted, read_local, scenes_of
from seco.collect.model import GRID_M, Place, Scene
from seco.collect.settings import Collect
from seco.collect.sources import Item
from seco.collect.store import SceneStore
from seco.errors import CatalogError
from seco.planet.catalogue.tiles import tiles_covering
from seco.planet.utm import NORTHERNMOST, SOUTHERNMOST
from seco.runs import progress

SEARCH_FOLDER = "search"
_KEPT_SCENES = 40_000
"""Scenes in memory, of the groups read last: enough for two rows of neighbours around the globe, some 300 MB."""
_M_A_DEGREE = 111_195.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Places of one cell of a degree, which are searched and planned together.

    Attributes:
        key: its name, for files.
        places: in the order given.
        box: what holds all of them with half a patch around each; never across the date line.
    """

    key: str
    places: tuple[Place, ...]
    box: Box


def group_places(places: Sequence[Place], *, size_px: int) -> tuple[list[Group], list[Place]]:
    """Return the places in groups, from the south-west to the north-east, and those beyond the latitudes of tiles."""
    polar = [p for p in places if not SOUTHERNMOST <= p.lat <= NORTHERNMOST]
    cells: dict[tuple[int, int], list[Place]] = {}
    for place in places:
        if SOUTHERNMOST <= place.lat <= NORTHERNMOST:
            cell = (int(np.floor(place.lat)), int(np.floor(place.lon)))
            cells.setdefault(cell, []).append(place)
    half = size_px * GRID_M / 2 / _M_A_DEGREE
    groups = []
    for (south, west), there in sorted(cells.items()):
        lon, lat = np.array([p.lon for p in there]), np.array([p.lat for p in there])
        wide = half / max(float(np.cos(np.radians(max(abs(south), abs(south + 1))))), 0.1)
        box = (
            max(float(lon.min()) - wide, -180.0), max(float(lat.min()) - half, -90.0),
            min(float(lon.max()) + wide, 180.0), min(float(lat.max()) + half, 90.0),
        )  # fmt: skip
        groups.append(Group(key=f"lat{south:+03d}lon{west:+04d}", places=tuple(there), box=box))
    return groups, polar


class Search:
    """Finds scenes for groups of places and keeps what it found.

    Args:
        catalog: where.
        settings: what to ask for.
        folder: of the run, where results are kept.

    Attributes:
        dropped: items that were left out, by reason.
        num_scenes: scenes found.
        bands: bands that a scene must have.
        way: whether it searches by tile or by box; local catalogues by box.

    Raises:
        CatalogError: searching by tile was asked of a catalogue that cannot.
        DatasetError: the folder cannot be written.
    """

    def __init__(self, catalog: Catalog, settings: Collect, folder: Path) -> None:
        self.catalog, self.settings = catalog, settings
        self.dropped: Counter[str] = Counter()
        self.num_scenes = 0
        self.way = _way(catalog, settings)
        self._store = SceneStore(folder / SEARCH_FOLDER, self._question())
        self._api: ApiSource | None = None
        self._kept: OrderedDict[str, list[Scene]] = OrderedDict()
        self._num_kept = 0
        self._counted: set[str] = set()
        self._grids: dict[str, list[str]] = {}
        level: Literal["L1C", "L2A"] = "L1C" if "l1c" in (catalog.collection or "") else "L2A"
        self.bands = settings.band_names(level=level)
        self._wanted = Wanted(catalog=catalog, settings=settings, bands=self.bands)

    @property
    def num_requests(self) -> int:
        """Requests sent to an API so far."""
        return self._api.num_requests if self._api else 0

    @property
    def num_answers(self) -> int:
        """Tiles, boxes or grids whose scenes were counted."""
        return sum(not k.startswith("list-") for k in self._counted)

    def _question(self) -> dict[str, Any]:
        settings, catalog = self.settings, self.catalog
        question = {
            "catalog": catalog.name, "url": catalog.url, "collection": catalog.collection, "by": self.way,
            "from": str(settings.days[0]), "to": str(settings.days[1]), "max_cloud": settings.max_cloud,
            "bands": settings.bands, "mask": dataclasses.astuple(settings.mask_rule),
        }  # fmt: skip
        if catalog.kind != "api":
            file = Path(catalog.url).resolve()
            known = file.stat()
            question |= {"url": str(file), "bytes": known.st_size, "modified": known.st_mtime_ns}
        return question

    def prepare(self, groups: Sequence[Group]) -> None:
        """Search for every group that was not searched yet.

        Raises:
            CatalogError: the catalogue cannot be searched.
        """
        if self.catalog.kind != "api":
            self._prepare_local(groups)
            return
        for key, ask in progress(self._questions(groups), "searches"):
            if not self._store.has(key):
                self._keep(key, ask())

    def _questions(self, groups: Sequence[Group]) -> list[tuple[str, Callable[[], Iterator[Item]]]]:
        if self.way == "box":
            return [(_box_key(g), lambda g=g: self._ask().items(box=g.box)) for g in groups]  # type: ignore[misc]
        tiles = sorted({t for g in groups for t in _tiles(g)})
        return [(t, lambda t=t: self._ask().items(tile=t)) for t in tiles]  # type: ignore[misc]

    def _ask(self) -> ApiSource:
        self._api = self._api or ApiSource(self.catalog, self.settings)
        return self._api

    def _keep(self, key: str, items: Iterable[Item]) -> None:
        dropped: Counter[str] = Counter()
        self._store.write(key, list(scenes_of(items, self._wanted, dropped)), dropped)

    def _prepare_local(self, groups: Sequence[Group]) -> None:
        """Read a local catalogue once, and keep the scenes near any group by their grid."""
        boxes = np.array([g.box for g in groups])
        name = f"list-{hashlib.sha256(boxes.tobytes()).hexdigest()[:16]}"
        if not self._store.has(name):
            read_local(self._wanted, boxes, store=self._store, name=name)
        about, dropped = self._store.read_lines(name)
        if name not in self._counted:
            self._counted.add(name)
            self.dropped.update(dropped)
        self._grids = {}
        for key, *bounds in map(json.loads, about):
            for i in touching(boxes, bounds):
                self._grids.setdefault(groups[i].key, []).append(key)

    def scenes(self, group: Group) -> list[Scene]:
        """Return the scenes for a group's places, each once; `prepare` comes first."""
        if self.catalog.kind != "api":
            keys = self._grids.get(group.key, [])
        else:
            keys = _tiles(group) if self.way == "tile" else [_box_key(group)]
        found = [self._read(k) for k in keys]
        return list({s.key: s for scenes in found for s in scenes}.values())

    def _read(self, key: str) -> list[Scene]:
        if key not in self._kept:
            scenes, dropped = self._store.read(key)
            if key not in self._counted:
                self._counted.add(key)
                self.dropped.update(dropped)
                self.num_scenes += len(scenes)
            self._kept[key] = scenes
            self._num_kept += len(scenes)
            while self._num_kept > _KEPT_SCENES and len(self._kept) > 1:
                self._num_kept -= len(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(key)
        return self._kept[key]


def _way(catalog: Catalog, settings: Collect) -> Literal["tile", "box"]:
    if settings.search == "tile" and (catalog.tile_field is None or catalog.kind != "api"):
        raise CatalogError(
            f"catalogue {catalog.name} cannot be searched by tile; use --search box, which works with every catalogue"
        )
    if settings.search == "box" or catalog.tile_field is None:
        return "box"
    return "tile"


def _box_key(group: Group) -> str:
    """Name a group's search by its box too: other places in the same cell are another question."""
    return group.key + "_" + "_".join(f"{v:.4f}" for v in group.box)


def _tiles(group: Group) -> list[str]:
    lon, lat = [p.lon for p in group.places], [p.lat for p in group.places]
    return [t.id for t in tiles_covering(lon, lat)]


def touching(boxes: np.ndarray, one: Sequence[float]) -> np.ndarray:
    """Return which boxes share ground with one; one wider than half the globe crosses the date line."""
    west, south, east, north = one
    if east - west < 180:
        # Some catalogues write longitudes beyond 180 degrees where a scene crosses the date line.
        turns = np.array([[-360.0], [0.0], [360.0]])
        beside = ((boxes[:, 0] <= east + turns) & (boxes[:, 2] >= west + turns)).any(axis=0)
    else:
        beside = (boxes[:, 2] >= east) | (boxes[:, 0] <= west) | (np.abs(boxes[:, [0, 2]]) > 174).any(axis=1)
    return np.flatnonzero(beside & (boxes[:, 1] <= north) & (boxes[:, 3] >= south))
