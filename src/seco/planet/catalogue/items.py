"""STAC items in the manner of Earth Search's sentinel-2-l2a, which all say that they are simulated.

What is like the real archive and what is not: docs/planet-scenes.md.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from seco.errors import ConfigError
from seco.planet.catalogue.orbits import Acquisition, footprint_m
from seco.planet.catalogue.outlines import outline
from seco.planet.catalogue.tiles import Tile
from seco.planet.earth.sun import reflectance_conversion_factor

COLLECTION = "seco-planet-sentinel-2-l2a"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "eo/v1.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "processing/v1.1.0", "projection/v1.1.0", "raster/v1.1.0",
        "sentinel-2/v1.0.0", "view/v1.0.0",
    )
)  # fmt: skip
PROCESSING_TIME = datetime.timedelta(hours=4)
"""From a look to its product, so that the times of items depend on nothing else."""


@dataclass(frozen=True, kw_only=True)
class BandAsset:
    """One band as an asset: Earth Search's key and title, the instrument's wavelengths in micrometres."""

    key: str
    name: str
    title: str
    gsd: int
    common_name: str
    centre: float
    width: float


BAND_ASSETS = tuple(
    BandAsset(key=k, name=n, title=t, gsd=g, common_name=c, centre=w, width=f)
    for k, n, t, g, c, w, f in (
        ("coastal", "B01", "Coastal - 60m", 60, "coastal", 0.443, 0.027),
        ("blue", "B02", "Blue - 10m", 10, "blue", 0.49, 0.098),
        ("green", "B03", "Green - 10m", 10, "green", 0.56, 0.045),
        ("red", "B04", "Red - 10m", 10, "red", 0.665, 0.038),
        ("rededge1", "B05", "Red Edge 1 - 20m", 20, "rededge", 0.704, 0.019),
        ("rededge2", "B06", "Red Edge 2 - 20m", 20, "rededge", 0.74, 0.018),
        ("rededge3", "B07", "Red Edge 3 - 20m", 20, "rededge", 0.783, 0.028),
        ("nir", "B08", "NIR 1 - 10m", 10, "nir", 0.842, 0.145),
        ("nir08", "B8A", "NIR 2 - 20m", 20, "nir08", 0.865, 0.033),
        ("nir09", "B09", "NIR 3 - 60m", 60, "nir09", 0.945, 0.026),
        ("swir16", "B11", "SWIR 1.6μm - 20m", 20, "swir16", 1.61, 0.143),
        ("swir22", "B12", "SWIR 2.2μm - 20m", 20, "swir22", 2.19, 0.242),
    )
)
SCL_GSD = 20

_PERCENTAGES = (
    # classes of SCL in order, from 1 on (0 is nodata)
    "saturated_defective_pixel", "dark_features", "cloud_shadow", "vegetation", "not_vegetated", "water",
    "unclassified", "medium_proba_clouds", "high_proba_clouds", "thin_cirrus", "snow_ice",
)  # fmt: skip
CONTENTS = tuple(f"s2:{name}_percentage" for name in _PERCENTAGES)

Describe = Callable[[Tile, Acquisition], Mapping[str, float]]
"""Says what a scene shows: a percentage of the pixels that were seen for each of `CONTENTS`."""


def contents_of(classes: np.ndarray) -> dict[str, float]:
    """Return the percentages of a scene classification, as a `Describe` gives them.

    Args:
        classes: any pixels of the scene's SCL; class 0, nodata, is left out. Nothing seen gives zeros.

    Raises:
        ConfigError: there are numbers that are no class.
    """
    counts = np.bincount(classes.ravel(), minlength=len(CONTENTS) + 1)
    if len(counts) > len(CONTENTS) + 1:
        raise ConfigError(f"scene class {len(counts) - 1}; classes are 0 to {len(CONTENTS)}")
    shares = 100.0 * counts[1:] / max(int(counts[1:].sum()), 1)
    return {name: round(float(v), 6) for name, v in zip(CONTENTS, shares, strict=True)}


def item_id(tile: Tile, acquisition: Acquisition) -> str:
    """Return an item's name as Earth Search makes them: `S2A_31UFQ_20230702_0_L2A`."""
    return f"{acquisition.spacecraft}_{tile.id}_{acquisition.day:%Y%m%d}_0_L2A"


def make_item(
    tile: Tile,
    acquisition: Acquisition,
    *,
    contents: Mapping[str, float],
    href: Callable[[str], str],
    seed: int,
) -> dict[str, Any] | None:
    """Return one scene as a STAC item, without links; None where the swath misses the tile.

    Args:
        tile: where.
        acquisition: when, and by whom.
        contents: a percentage for each of `CONTENTS`.
        href: gives the address of a file of the scene such as `B04.tif`.
        seed: of the planet.

    Raises:
        ConfigError: `contents` lacks a percentage or has one outside 0 to 100.
    """
    _check(contents)
    shape = footprint_m(tile, acquisition.day)
    if shape.is_empty:
        return None
    found = outline(shape, epsg=tile.epsg)
    properties = {
        **_when_and_who(acquisition),
        # Three rounded shares can add up to a little more than everything.
        "eo:cloud_cover": min(
            100.0, round(sum(contents[f"s2:{n}_percentage"] for n in _PERCENTAGES[7:10]), 6)
        ),
        "proj:epsg": tile.epsg,
        "proj:centroid": {"lat": found.lat, "lon": found.lon},
        "mgrs:utm_zone": tile.zone,
        "mgrs:latitude_band": tile.latitude_band,
        "mgrs:grid_square": tile.square,
        "grid:code": f"MGRS-{tile.id}",
        **_of_the_product(tile, acquisition),
        "s2:degraded_msi_data_percentage": 0.0,
        "s2:nodata_pixel_percentage": round(max(100.0 * (1.0 - shape.area / tile.edge_m**2), 0.0), 6),
        **{name: float(contents[name]) for name in CONTENTS},
        "earthsearch:boa_offset_applied": False,
        "processing:software": {"seco-planet": _version()},
        "seco:simulated": True,
        "seco:planet_seed": seed,
        "seco:tile_px": tile.tile_px,
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": list(EXTENSIONS),
        "id": item_id(tile, acquisition),
        "geometry": found.geometry,
        "bbox": found.bbox,
        "properties": properties,
        "links": [],
        "assets": _assets(tile, acquisition, href),
        "collection": COLLECTION,
    }


def _check(contents: Mapping[str, float]) -> None:
    missing = [n for n in CONTENTS if n not in contents]
    if missing:
        raise ConfigError(f"a scene is described without {', '.join(missing)}; give all of CONTENTS")
    wrong = {n: contents[n] for n in CONTENTS if not 0 <= contents[n] <= 100}
    if wrong:
        raise ConfigError(f"a scene is described with {wrong}; percentages are 0 to 100")


@lru_cache(maxsize=1)
def _version() -> str:
    try:
        return version("seasonal-contrast")
    except PackageNotFoundError:
        return "unknown"


def stamp(when: datetime.datetime, *, digits: int = 3) -> str:
    """Return a moment in RFC 3339, UTC, with so many decimals of a second."""
    text = when.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{f'{when.microsecond:06d}'[:digits]}Z" if digits <= 6 else text


def _when_and_who(acquisition: Acquisition) -> dict[str, Any]:
    made = stamp(acquisition.datetime + PROCESSING_TIME)
    return {
        "datetime": stamp(acquisition.datetime, digits=6),
        "created": made,
        "updated": made,
        "platform": acquisition.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "view:azimuth": acquisition.view_azimuth_deg,
        "view:incidence_angle": acquisition.view_incidence_deg,
        "view:sun_azimuth": acquisition.sun_azimuth_deg,
        "view:sun_elevation": acquisition.sun_elevation_deg,
    }


def _of_the_product(tile: Tile, acquisition: Acquisition) -> dict[str, Any]:
    """Return the names that ESA gives a product and its parts, with SECO as the processing centre."""
    made = acquisition.datetime + PROCESSING_TIME
    craft, baseline = acquisition.spacecraft, acquisition.baseline
    begin, end = (f"{t:%Y%m%dT%H%M%S}" for t in (acquisition.datatake_start, made))
    orbit = f"A{acquisition.absolute_orbit:06d}"
    return {
        "s2:tile_id": f"{craft}_OPER_MSI_L2A_TL_SECO_{end}_{orbit}_T{tile.id}_N{baseline}",
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": baseline,
        "s2:product_uri": (
            f"{craft}_MSIL2A_{begin}_N{baseline.replace('.', '')}_R{acquisition.relative_orbit:03d}_T{tile.id}_{end}.SAFE"
        ),
        "s2:generation_time": stamp(made.replace(microsecond=0), digits=6),
        "s2:datatake_id": acquisition.datatake_id,
        "s2:datatake_type": "INS-NOBS",
        "s2:datastrip_id": f"{craft}_OPER_MSI_L2A_DS_SECO_{end}_S{begin}_N{baseline}",
        "s2:reflectance_conversion_factor": round(reflectance_conversion_factor(acquisition.datetime), 12),
        "s2:sequence": "0",
    }


def _assets(tile: Tile, acquisition: Acquisition, href: Callable[[str], str]) -> dict[str, Any]:
    # Before baseline 04.00 the numbers carry no offset.
    offset = acquisition.boa_offset_dn / 10_000 if acquisition.boa_offset_dn else 0.0
    out: dict[str, Any] = {}
    for band in BAND_ASSETS:
        out[band.key] = {
            "href": href(f"{band.name}.tif"),
            "type": COG,
            "title": band.title,
            "eo:bands": [
                {
                    "name": band.name,
                    "common_name": band.common_name,
                    "center_wavelength": band.centre,
                    "full_width_half_max": band.width,
                }
            ],
            **_grid(tile, band.gsd),
            "raster:bands": [
                {
                    "nodata": 0,
                    "data_type": "uint16",
                    "spatial_resolution": band.gsd,
                    "scale": 0.0001,
                    "offset": offset,
                }
            ],
            "roles": ["data", "reflectance"],
        }
    out["scl"] = {
        "href": href("SCL.tif"),
        "type": COG,
        "title": "Scene classification map (SCL)",
        **_grid(tile, SCL_GSD),
        "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": SCL_GSD}],
        "roles": ["data"],
    }
    return out


def _grid(tile: Tile, gsd: int) -> dict[str, Any]:
    size = tile.edge_m // gsd
    return {
        "gsd": gsd,
        "proj:shape": [size, size],
        "proj:transform": [gsd, 0, tile.left_m, 0, -gsd, tile.top_m],
    }
