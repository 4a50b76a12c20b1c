"""STAC items to scenes: pure, for every catalogue of Sentinel-2 that we know. A bad item gives one reason.

What catalogues differ in: names of assets (`red`, `B04`, `B04_10m`), of fields (`eo:bands` or `bands`, `proj:epsg` or
`proj:code`), and in what they say of offsets, which may be absent or wrong; docs/collecting.md has the rules.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
import shapely
from pyproj.exceptions import ProjError
from shapely.geometry import shape as to_shape

from seco.collect.grids import Grid, ItemFault, grid_of, number, onto
from seco.collect.masks import MASK, SCL, MaskRule, Meaning, meaning_of, told_of
from seco.collect.model import Asset, Scene
from seco.errors import CatalogError, ConfigError
from seco.planet.utm import utm_epsg, zone_of_epsg
from seco.sensors.sentinel2 import BANDS, QUANTIFICATION, canonical, reflectance_offset

_GSD_M = {b.name: float(b.gsd_m or 0) for b in BANDS} | {SCL: 20.0, MASK: 20.0}
_BY_KEY = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "cirrus": "B10", "swir16": "B11", "swir22": "B12",
    "scl": SCL,
}  # fmt: skip
"""Earth Search's names of assets, which other catalogues use for bands too."""
_TILE = re.compile(r"^(\d{1,2})([C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V](?:\d\d)?)$")
_WITH_RESOLUTION = re.compile(r"^(B\d\d|B8A|SCL)_\d0M$")
_BASELINE = re.compile(r"^\d{2}\.\d{2}$")
_AFTER_DATATAKE = re.compile(r"_N\d\d\.\d\d$")
_UNPRINTED = re.compile(r"[\x00-\x20]")
_ANY_MASK = MaskRule()
_OF_GRIDS = ("proj:shape", "proj:transform")
OF_ITS_OWN = (
    "href",
    "proj:shape",
    "proj:transform",
    "proj:bbox",
    "proj:centroid",
    "file:checksum",
    "file:size",
)
"""What of an asset differs from scene to scene."""
_SHOWN = {"thumbnail", "overview", "visual", "metadata"}
_PATTERNS: dict[tuple[Any, ...], dict[str, Any] | None] = {}
"""Assets without address and grid, by all that they follow from; None for those that are not wanted."""
_MAX_PATTERNS = 50_000
_DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32")
_MAX_HREF = 4096
_MAX_VERTICES = 10_000


class Alike(dict[str, Any]):
    """Fields of an asset whose maker knows that many others have the same, but for those of `OF_ITS_OWN`.

    Attributes:
        mark: the same for all that have the same; None where that is not known.
    """

    mark: str | None = None


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
    assets = _assets(
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


def _assets(
    item: Mapping[str, Any], *, tile: str | None, epsg: int, own: int, bands: Sequence[str], mask: MaskRule,
    base: str | None, offset: float | None,
) -> dict[str, Asset]:  # fmt: skip
    given = item.get("assets")
    if not isinstance(given, Mapping):
        raise ItemFault("no assets")
    properties: Mapping[str, Any] = item["properties"]
    wanted = (*bands, *mask.bands)
    grids: dict[tuple[float, int, int], Grid] = {}
    alike: dict[tuple[float, str], Grid] = {}
    best: dict[str, tuple[tuple[bool, float, str], Asset]] = {}
    for key, fields in given.items():
        if (
            not isinstance(key, str)
            or not isinstance(fields, Mapping)
            or not isinstance(fields.get("href"), str)
        ):
            continue
        pattern = _pattern_of(key, fields, wanted, mask=mask, offset=offset)
        if pattern is None:
            continue
        gsd = _GSD_M[pattern["band"]]
        # Bands of one resolution have one grid.
        told = [fields.get(n) for n in _OF_GRIDS]
        mine = gsd, id(told[0]), id(told[1])
        if mine not in grids:
            place = gsd, repr(told)
            if place not in alike:
                alike[place] = grid_of(gsd, fields, properties, tile=tile, epsg=epsg, own=own)
            grids[mine] = alike[place]
        grid = grids[mine]
        asset = Asset(
            **pattern, href=_address(fields["href"], base), pixel_m=grid.transform[0], shape=grid.shape,
            transform=grid.transform, warp=grid.warp,
        )  # fmt: skip
        # JPEG 2000 only where there is nothing else; then the band's own resolution before coarser copies.
        rank = (asset.is_jpeg2000, asset.pixel_m, key)
        if asset.band not in best or rank < best[asset.band][0]:
            best[asset.band] = rank, asset
    missing = [b for b in bands if b not in best]
    if missing:
        raise ItemFault("bands missing", ", ".join(missing))
    masks = [b for b in mask.bands if b in best][:1]
    if not masks and mask.is_needed:
        raise ItemFault("mask missing", mask.name)
    found = {b: best[b][1] for b in (*bands, *masks)}
    grids_of = {(a.shape, a.transform): a for a in found.values()}
    if len({tuple(round(v) for v in a.bounds_m) for a in grids_of.values()}) > 1:
        raise ItemFault("rasters of different extent")
    return found


def _pattern_of(
    key: str, fields: Mapping[str, Any], wanted: tuple[str, ...], *, mask: MaskRule, offset: float | None
) -> dict[str, Any] | None:
    """Return all of an asset but address and grid, which differ from scene to scene; None where it is not wanted."""
    text = fields.mark if isinstance(fields, Alike) else None
    if text is None:
        text = repr([f for f in fields.items() if f[0] not in OF_ITS_OWN])
    mark = (key, text, wanted, mask, offset)
    if mark not in _PATTERNS:
        if len(_PATTERNS) >= _MAX_PATTERNS:
            _PATTERNS.clear()
        band = _band_of(key, fields)
        meaning = None
        if band not in wanted and MASK in wanted and not _SHOWN & {str(r) for r in fields.get("roles") or ()}:
            meaning = meaning_of(key, fields, mask)
            band = MASK if meaning else None
        _PATTERNS[mark] = _pattern(band, fields, offset=offset, meaning=meaning) if band in wanted else None
    return _PATTERNS[mark]


def _band_of(key: str, fields: Mapping[str, Any]) -> str | None:
    """Return the one band that an asset holds; None for all that is not one of the instrument's bands or SCL."""
    roles = fields.get("roles") or ()
    if _SHOWN & {str(r) for r in roles}:
        return None
    listed = fields.get("eo:bands") or fields.get("bands")
    if isinstance(listed, Sequence) and len(listed) > 1:
        return None
    names = [key]
    if listed and isinstance(listed[0], Mapping):
        names.insert(0, str(listed[0].get("name")))
    for name in names:
        text = canonical(name)
        match = _WITH_RESOLUTION.match(text)
        found = match[1] if match else _BY_KEY.get(name.lower(), text)
        if found in _GSD_M:
            return found
    return None


def _pattern(
    band: str | None, fields: Mapping[str, Any], *, offset: float | None, meaning: Meaning | None
) -> dict[str, Any]:
    told = partial(told_of, fields)
    dtype = told("data_type") or ("uint8" if band in (SCL, MASK) else "uint16")
    if dtype not in _DTYPES:
        raise ItemFault("data type is not known", f"{band}: {dtype}")
    nodata = told("nodata")
    scale, shift = 1.0, 0.0
    if band not in (SCL, MASK):
        given = told("scale")
        scale = 1 / QUANTIFICATION if given is None else number(given, "scale is no number")
        if scale <= 0:
            raise ItemFault("scale is not above 0", scale)
        # The baseline decides where it is known: catalogues say -0.1 also of numbers from which it was taken away.
        said = told("offset") if offset is None else offset
        if said is None:
            raise ItemFault("neither processing baseline nor offset")
        shift = number(said, "offset is no number")
    return {
        "band": band, "dtype": dtype, "nodata": 0.0 if nodata is None else _nodata(nodata), "scale": scale,
        "offset": shift, "media_type": str(fields.get("type") or ""), "meaning": meaning,
    }  # fmt: skip


def _nodata(value: Any) -> float | None:
    if value in ("nan", "inf", "-inf") or (isinstance(value, float) and math.isnan(value)):
        return float(value)
    return number(value, "nodata is no number")


def _address(href: str, base: str | None) -> str:
    if not href or len(href) > _MAX_HREF or _UNPRINTED.search(href):
        raise ItemFault("href cannot be used", repr(href[:80]))
    if href.startswith(("https://", "http://", "s3://")):
        return href
    if urlsplit(href).scheme or href.startswith("/") or base is None:
        return href
    return urljoin(base, href)
