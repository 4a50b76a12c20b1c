"""STAC items to scenes: pure, for every catalogue of Sentinel-2 that we know. A bad item gives one reason.

What catalogues differ in: names of assets (`red`, `B04`, `B04_10m`), of fields (`eo:bands` or `bands`, `proj:epsg` or
`proj:code`), and in what they say of offsets, which may be absent or wrong; docs/collecting.md has the rules.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import shapely
from pyproj.exceptions import ProjError
from shapely.geometry import shape as to_shape

from seco.collect.assets import assets_of
from seco.collect.grids import ItemFault, number, onto
from seco.collect.masks import MaskRule
from seco.collect.model import Scene
from seco.errors import CatalogError, ConfigError
from seco.planet.utm import utm_epsg, zone_of_epsg
from seco.sensors.sentinel2 import reflectance_offset

_TILE = re.compile(r"^(\d{1,2})([C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V](?:\d\d)?)$")
_BASELINE = re.compile(r"^\d{2}\.\d{2}$")
_AFTER_DATATAKE = re.compile(r"_N\d\d\.\d\d$")
_ANY_MASK = MaskRule()
_MAX_VERTICES = 10_000


class UnusableItemError(CatalogError):
    """An item that is no usable scene.

    Attributes:
        reason: why, in the same words for all items of the same fault, so that they can be counted.
    """

    def __init__(self, reason: str, item: str, detail: str = "") -> None:
        super().__init__(f"item {item}: {reason}{f' ({detail})' if detail else ''}")
        self.reason = reason


def parse_item(
    item: Any, *, catalog: str, bands: Sequence[str], mask: MaskRule = _ANY_MASK, collection: str | None = None,
    base: str | None = None,
) -> Scene:  # fmt: skip
    """Read a STAC item as a scene.

    Args:
        item: the item as JSON gives it; from strangers, so that anything may be wrong with it.
        catalog: name of the catalogue.
        bands: bands that the scene must have.
        mask: what tells how clear it is; `SCL` where there is one, unless given.
        collection: what the item belongs to where it does not say.
        base: address of the item, from which relative hrefs start; its own link to itself unless given.

    Raises:
        UnusableItemError: something that is needed is missing or wrong; its `reason` says what.
    """
    name = str(item.get("id"))[:200] if isinstance(item, Mapping) else f"of type {type(item).__name__}"
    try:
        return _parse(item, catalog=catalog, bands=bands, mask=mask, collection=collection, base=base)
    except ItemFault as err:
        raise UnusableItemError(err.reason, name, err.detail) from err
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as err:
        detail = f"{type(err).__name__}: {' '.join(str(err).split())[:120]}"
        raise UnusableItemError("malformed", name, detail) from err


def _parse(
    item: Any, *, catalog: str, bands: Sequence[str], mask: MaskRule, collection: str | None, base: str | None
) -> Scene:
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        raise ItemFault("no STAC item")
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise ItemFault("no id")
    properties: Mapping[str, Any] = item["properties"]
    tile = tile_of(properties)
    own = _epsg(properties, tile)
    footprint = _footprint(item.get("geometry"))
    epsg = own if _is_utm(own) else _utm_of(footprint)
    baseline = _baseline(properties)
    removed = properties.get("earthsearch:boa_offset_applied") is True
    assets = assets_of(
        item, tile=tile, epsg=epsg, own=own, bands=bands, mask=mask,
        base=base or _own_address(item),
        offset=None if baseline is None else 0.0 if removed else reflectance_offset(baseline),
    )  # fmt: skip
    moment = _moment(properties)
    platform = str(properties.get("platform") or "").strip().lower()
    return Scene(
        id=item["id"],
        collection=str(item.get("collection") or collection or _linked_collection(item)),
        catalog=catalog,
        datetime=moment,
        tile=tile,
        epsg=epsg,
        platform=platform,
        datatake=_datatake(properties, platform, moment),
        baseline=baseline,
        cloud_percent=_percent(properties, "eo:cloud_cover"),
        nodata_percent=_percent(properties, "s2:nodata_pixel_percentage"),
        footprint=footprint,
        assets=assets,
        is_offset_removed=removed,
    )


def tile_of(properties: Mapping[str, Any]) -> str | None:
    """Return the MGRS tile that an item's properties name, `31UFQ`; None where they name none."""
    code = properties.get("grid:code")
    parts = [properties.get(f"mgrs:{p}") for p in ("utm_zone", "latitude_band", "grid_square")]
    found = [
        code.removeprefix("MGRS-") if isinstance(code, str) and code.startswith("MGRS-") else None,
        properties.get("s2:mgrs_tile"),
        "".join(map(str, parts)) if all(parts) else None,
        properties.get("s2:tile") or properties.get("tileId"),
    ]
    for text in found:
        match = _TILE.match(text.upper().removeprefix("T")) if isinstance(text, str) else None
        if match is not None:
            return f"{int(match[1]):02d}{match[2]}"
    return None


def _epsg(properties: Mapping[str, Any], tile: str | None) -> int:
    code = properties.get("proj:epsg")
    if code is None:
        text = properties.get("proj:code")
        code = text.upper().removeprefix("EPSG:") if isinstance(text, str) else None
    if code is None and tile is not None:
        code = (32700 if tile[2] < "N" else 32600) + int(tile[:2])
    if code is None:
        raise ItemFault("no CRS")
    try:
        epsg = int(code)
        if not _is_utm(epsg):
            onto(epsg, 32631)
    except (TypeError, ValueError, ProjError) as err:
        raise ItemFault("CRS is not known", code) from err
    return epsg


def _is_utm(epsg: int) -> bool:
    try:
        zone_of_epsg(epsg)
    except ConfigError:
        return False
    return True


def _utm_of(footprint: shapely.Geometry) -> int:
    """Return the UTM zone onto which rasters of another CRS are resampled: that of the footprint's middle."""
    middle = footprint.centroid
    try:
        return utm_epsg(middle.x, middle.y)
    except ConfigError as err:
        raise ItemFault("CRS is not known", "beyond UTM") from err


def _baseline(properties: Mapping[str, Any]) -> str | None:
    given = properties.get("s2:processing_baseline") or properties.get("processing:version")
    if given is None:
        return None
    text = f"{given:05.2f}" if isinstance(given, float) else str(given)
    if not _BASELINE.match(text):
        raise ItemFault("processing baseline is not NN.NN", given)
    return text


def _moment(properties: Mapping[str, Any]) -> dt.datetime:
    text = properties.get("datetime") or properties.get("start_datetime")
    if isinstance(text, dt.datetime):
        moment = text
    elif isinstance(text, str):
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError as err:
            raise ItemFault("datetime cannot be read", text) from err
    else:
        raise ItemFault("no datetime")
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _datatake(properties: Mapping[str, Any], platform: str, moment: dt.datetime) -> str:
    given = properties.get("s2:datatake_id") or properties.get("eopf:datatake_id")
    if isinstance(given, str) and given:
        return _AFTER_DATATAKE.sub("", given)
    return f"{platform or 'unknown'}_{moment:%Y%m%dT%H%M}"


def _percent(properties: Mapping[str, Any], name: str) -> float | None:
    value = properties.get(name)
    if value is None:
        return None
    share = number(value, f"{name} is no percentage")
    # A sum of rounded parts may be a little more than all.
    if not 0 <= share <= 100.01:
        raise ItemFault(f"{name} is no percentage", value)
    return min(share, 100.0)


def _footprint(geometry: Any) -> shapely.Polygon | shapely.MultiPolygon:
    if isinstance(geometry, Mapping) and geometry.get("type") in ("Polygon", "MultiPolygon"):
        geometry = to_shape(geometry)
    if not isinstance(geometry, (shapely.Polygon, shapely.MultiPolygon)):
        raise ItemFault("no footprint")
    with np.errstate(invalid="ignore"):  # what is not finite is found below
        found = shapely.force_2d(geometry)
    points = shapely.get_coordinates(found)
    if not 3 < len(points) <= _MAX_VERTICES or not (abs(points) <= (360.0, 90.0)).all():
        raise ItemFault("footprint is no area on the globe")
    if not found.is_valid:
        parts = [p for p in shapely.get_parts(shapely.make_valid(found)) if p.geom_type.endswith("Polygon")]
        found = shapely.union_all(parts)
    if found.is_empty or found.area <= 0:
        raise ItemFault("footprint is no area on the globe")
    return found


def _own_address(item: Mapping[str, Any]) -> str | None:
    return next((str(k["href"]) for k in item.get("links") or () if k.get("rel") == "self"), None)


def _linked_collection(item: Mapping[str, Any]) -> str:
    href = next((str(k["href"]) for k in item.get("links") or () if k.get("rel") == "collection"), "")
    return urlsplit(href).path.rstrip("/").rpartition("/")[2] or "unknown"
