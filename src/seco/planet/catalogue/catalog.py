"""A planet's catalogue: `items.parquet`, and a static STAC catalogue beside it that can be walked from disk.

Items are made tile by tile and written in batches, so that memory does not grow with their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seco.data.workers import in_order
from seco.errors import CatalogError
from seco.planet.catalogue.archive import (
    CATALOG_NAME,
    COLLECTION_NAME,
    ITEMS_NAME,
    PIXELS_URL,
    TILES_NAME,
    Archive,
)
from seco.planet.catalogue.geoparquet import write_items
from seco.planet.catalogue.items import Describe, make_item
from seco.planet.catalogue.manifest import (
    Extent,
    catalog_json,
    collection_json,
    licence_link,
    link,
    tile_catalog_json,
)
from seco.planet.catalogue.orbits import Acquisition
from seco.planet.catalogue.scenes import ReadBand, describer, path_of
from seco.planet.catalogue.tiles import Tile
from seco.runs import progress, write_atomic, write_json

STATIC_ITEMS = 20_000
"""Most items that `static="auto"` expects to write as files of their own."""
_MIXED_ITEMS_A_CYCLE = 1.5


def write_catalog(
    archive: Archive,
    tiles: tuple[Tile, ...],
    out: Path,
    *,
    static: Literal["auto", "yes", "no"] = "auto",
    jobs: int = 1,
    read: ReadBand | None = None,
) -> Extent:
    """Write `items.parquet`, `collection.json`, `catalog.json` and, where asked, a file an item.

    `catalog.json` comes last: where it is, the catalogue is whole.

    Args:
        archive: what makes the scenes.
        tiles: the tiles to list.
        out: an existing folder.
        static: whether items become files that a static catalogue links to; `auto` where 20,000 or fewer are expected.
        jobs: processes that look at scenes.
        read: the renderer; the planet's own unless given.

    Raises:
        CatalogError: no scene is taken of any of the tiles in the time asked.
        DatasetError: the disk is full or the folder cannot be written.
    """
    files = static == "yes" or (static == "auto" and _expected(archive, tiles) <= STATIC_ITEMS)
    extent = Extent()
    work = in_order(partial(items_of, archive, read=read), tiles, jobs=jobs, what="looks at scenes")

    def made() -> Iterator[dict[str, Any]]:
        for tile, items in zip(tiles, progress(work, "tiles", total=len(tiles)), strict=True):
            if files and items:
                _write_tile(tile, items, out)
                extent.tiles.append(tile.id)
            for item in items:
                extent.add(item)
                yield item

    if not write_items(made(), out / ITEMS_NAME):
        raise CatalogError(
            f"no scene of {len(tiles)} tiles from {archive.first} to {archive.last}; ask for more days (a pass comes every "
            "5 days, and none in polar night)"
        )
    write_json(out / COLLECTION_NAME, collection_json(archive, extent))
    write_json(out / CATALOG_NAME, catalog_json())
    return extent


def items_of(archive: Archive, tile: Tile, *, read: ReadBand | None = None) -> list[dict[str, Any]]:
    """Return the items of a tile as `items.parquet` has them, in order of time."""
    describe: Describe = describer(archive, read=read)
    out = []
    for taken in archive.scenes(tile):
        item = make_item(
            tile,
            taken,
            contents=describe(tile, taken),
            href=href_of(archive, tile, taken),
            seed=archive.planet.seed,
        )
        # The swath's edge may miss a tile by less than an outline shows.
        if item is not None:
            item["links"] = [link("collection", f"./{COLLECTION_NAME}"), licence_link()]
            out.append(item)
    return out


def href_of(archive: Archive, tile: Tile, taken: Acquisition) -> Callable[[str], str]:
    """Return what gives the address of a scene's file: relative to the catalogue's folder where scenes are rendered."""
    base = f"./{TILES_NAME}" if archive.rendered else PIXELS_URL
    return lambda name: f"{base}/{path_of(tile, taken)}/{name}"


def _expected(archive: Archive, tiles: tuple[Tile, ...]) -> float:
    days = (archive.last - archive.first).days + 1
    return len(tiles) * (days / archive.revisit_days + 1) * _MIXED_ITEMS_A_CYCLE


def _write_tile(tile: Tile, items: list[dict[str, Any]], out: Path) -> None:
    """Write the items of a tile as files, and a catalogue that links to them."""
    folder = out / TILES_NAME / tile.id
    for item in items:
        # Files lie two folders deeper than items.parquet, so that relative addresses start elsewhere.
        assets = {
            key: asset | {"href": asset["href"].replace(f"./{TILES_NAME}/{tile.id}/", "./", 1)}
            for key, asset in item["assets"].items()
        }
        links = [
            link("root", f"../../{CATALOG_NAME}"),
            link("parent", f"./{CATALOG_NAME}"),
            link("collection", f"../../{COLLECTION_NAME}"),
            licence_link(),
        ]
        text = json.dumps({**item, "assets": assets, "links": links}, separators=(",", ":"))
        write_atomic(folder / f"{item['id']}.json", text + "\n")
    write_json(folder / CATALOG_NAME, tile_catalog_json(tile, [i["id"] for i in items]))
