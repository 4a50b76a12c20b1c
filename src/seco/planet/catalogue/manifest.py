"""The catalogue's own papers: `catalog.json`, `collection.json` and a catalogue a tile. They say that all is simulated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seco.planet.catalogue.archive import CATALOG_NAME, COLLECTION_NAME, ITEMS_NAME, TILES_NAME, Archive
from seco.planet.catalogue.items import BAND_ASSETS, COG, COLLECTION
from seco.planet.catalogue.tiles import Tile

TITLE = "Simulated Sentinel-2 Level-2A of seco's planet (no measurements)"
DESCRIPTION = (
    "SIMULATED. No pixel of this collection was ever measured: seco draws a made-up landscape, seasons, clouds and two "
    "made-up satellites over real geography, in the manner of Earth Search's sentinel-2-l2a, so that programs which read "
    "the real archive can be tried without it. Places around cities: GeoNames, CC BY 4.0."
)
LICENCE = "CC-BY-4.0"


def link(rel: str, href: str, media_type: str = "application/json", **more: str) -> dict[str, str]:
    """Return a STAC link."""
    return {"rel": rel, "href": href, "type": media_type, **more}


@dataclass(kw_only=True)
class Extent:
    """Where and when the items of a catalogue are, as they are added."""

    num_items: int = 0
    west: float = 180.0
    south: float = 90.0
    east: float = -180.0
    north: float = -90.0
    first: str = "9999"
    last: str = ""
    tiles: list[str] = field(default_factory=list)

    def add(self, item: dict[str, Any]) -> None:
        """Take an item in."""
        west, south, east, north = item["bbox"]
        if west > east:  # over the antimeridian: the box of all is that of the globe
            west, east = -180.0, 180.0
        self.west, self.east = min(self.west, west), max(self.east, east)
        self.south, self.north = min(self.south, south), max(self.north, north)
        when = item["properties"]["datetime"]
        self.first, self.last = min(self.first, when), max(self.last, when)
        self.num_items += 1


def licence_link() -> dict[str, str]:
    """Return the link to the licence."""
    return link("license", "https://creativecommons.org/licenses/by/4.0/", "text/html")


def catalog_json() -> dict[str, Any]:
    """Return `catalog.json`."""
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "seco-planet",
        "title": "seco's simulated planet",
        "description": DESCRIPTION,
        "links": [
            link("root", f"./{CATALOG_NAME}"),
            link("child", f"./{COLLECTION_NAME}", title=TITLE),
        ],
    }


def tile_catalog_json(tile: Tile, items: list[str]) -> dict[str, Any]:
    """Return the catalogue of a tile's items."""
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": f"{COLLECTION}-{tile.id}",
        "title": f"Tile {tile.id} (simulated)",
        "description": f"Simulated scenes of tile {tile.id}, {tile.edge_m / 1000:g} km, EPSG:{tile.epsg}.",
        "links": [
            link("root", f"../../{CATALOG_NAME}"),
            link("parent", f"../../{COLLECTION_NAME}"),
            *(link("item", f"./{name}.json", "application/geo+json") for name in items),
        ],
    }


def collection_json(archive: Archive, extent: Extent) -> dict[str, Any]:
    """Return `collection.json`, with links to the tiles' catalogues where there are any."""
    box = [round(v, 6) for v in (extent.west, extent.south, extent.east, extent.north)]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/item-assets/v1.0.0/schema.json"],
        "id": COLLECTION,
        "title": TITLE,
        "description": DESCRIPTION,
        "keywords": ["simulated", "sentinel-2", "seco"],
        "license": LICENCE,
        "providers": [
            {
                "name": "seco planet (simulation)",
                "description": "A program, not an agency: nothing here is Copernicus data.",
                "roles": ["producer", "processor"],
            }
        ],
        "extent": {
            "spatial": {"bbox": [box]},
            "temporal": {"interval": [[extent.first, extent.last]]},
        },
        "summaries": _summaries(archive),
        "item_assets": _item_assets(),
        "seco:simulated": True,
        "seco:num_items": extent.num_items,
        "assets": {
            "items": {
                "href": f"./{ITEMS_NAME}",
                "type": "application/vnd.apache.parquet",
                "title": "All items as stac-geoparquet",
                "roles": ["stac-items"],
            }
        },
        "links": [
            link("root", f"./{CATALOG_NAME}"),
            link("parent", f"./{CATALOG_NAME}"),
            licence_link(),
            *(link("child", f"./{TILES_NAME}/{tile}/{CATALOG_NAME}", title=tile) for tile in extent.tiles),
        ],
    }


def _summaries(archive: Archive) -> dict[str, Any]:
    return {
        "platform": ["sentinel-2a", "sentinel-2b"],
        "constellation": ["sentinel-2"],
        "instruments": ["msi"],
        "gsd": [10, 20, 60],
        "seco:simulated": [True],
        "seco:planet_seed": [archive.planet.seed],
        "seco:tile_px": [archive.tile_px],
    }


def _item_assets() -> dict[str, Any]:
    bands = {
        b.key: {
            "type": COG,
            "title": b.title,
            "gsd": b.gsd,
            "eo:bands": [
                {
                    "name": b.name,
                    "common_name": b.common_name,
                    "center_wavelength": b.centre,
                    "full_width_half_max": b.width,
                }
            ],
            "roles": ["data", "reflectance"],
        }
        for b in BAND_ASSETS
    }
    scl = {"type": COG, "title": "Scene classification map (SCL)", "gsd": 20, "roles": ["data"]}
    return {**bands, "scl": scl}
