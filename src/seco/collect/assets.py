"""Assets of an item to rasters of a scene: which there are, where their pixels lie, what their numbers mean. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from seco.collect.grids import Grid, ItemFault, grid_of, number
from seco.collect.masks import MASK, SCL, MaskRule, Meaning, meaning_of, told_of
from seco.collect.model import Asset
from seco.sensors.sentinel2 import BANDS, QUANTIFICATION, canonical

BANDS_MISSING, MASK_MISSING = "bands missing", "mask missing"
"""Why an item is of no use for what was asked."""
_GSD_M = {b.name: float(b.gsd_m or 0) for b in BANDS} | {SCL: 20.0, MASK: 20.0}
_BY_KEY = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09", "cirrus": "B10", "swir16": "B11", "swir22": "B12",
    "scl": SCL,
}  # fmt: skip
"""Earth Search's names of assets, which other catalogues use for bands too."""
_WITH_RESOLUTION = re.compile(r"^(B\d\d|B8A|SCL)_\d0M$")
_UNPRINTED = re.compile(r"[\x00-\x20]")
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
_RULES: dict[tuple[Any, ...], int] = {}
"""What is wanted of assets, by number: a run has a handful, and asks for each of millions."""
_GRIDS: dict[tuple[Any, ...], Grid] = {}
_MAX_GRIDS = 50_000
_DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32")
_MAX_HREF = 4096


class Alike(dict[str, Any]):
    """Fields of an asset whose maker knows that many others have the same, but for those of `OF_ITS_OWN`.

    Attributes:
        mark: the same for all that have the same; None where that is not known.
    """

    mark: str | None = None


def assets_of(
    item: Mapping[str, Any], *, tile: str | None, epsg: int, own: int, bands: Sequence[str], mask: MaskRule,
    base: str | None, offset: float | None,
) -> dict[str, Asset]:  # fmt: skip
    """Return an item's rasters by band, the mask among them.

    Args:
        item: as JSON gives it.
        tile: name of its tile.
        epsg: CRS of the scene.
        own: CRS of its rasters.
        bands: that it must have.
        mask: what tells how clear it is.
        base: address from which relative ones start.
        offset: of its numbers; what the assets say unless given.

    Raises:
        ItemFault: something that is needed is missing or wrong.
    """
    given = item.get("assets")
    if not isinstance(given, Mapping):
        raise ItemFault("no assets")
    properties: Mapping[str, Any] = item["properties"]
    wanted = (*bands, *mask.bands)
    rule = _RULES.setdefault((wanted, mask, offset), len(_RULES))
    grids: dict[tuple[float, int, int], tuple[Grid, Any, Any]] = {}
    best: dict[str, tuple[tuple[bool, float, str], Asset]] = {}
    for key, fields in given.items():
        if (
            not isinstance(key, str)
            or not isinstance(fields, Mapping)
            or not isinstance(fields.get("href"), str)
        ):
            continue
        pattern = _pattern_of(key, fields, rule, wanted, mask=mask, offset=offset)
        if pattern is None:
            continue
        gsd = _GSD_M[pattern["band"]]
        # Bands of one resolution have one grid.
        shape, transform = fields.get("proj:shape"), fields.get("proj:transform")
        place = gsd, id(shape), id(transform)
        if place not in grids:
            found_grid = _grid_of(gsd, fields, properties, tile=tile, epsg=epsg, own=own)
            grids[place] = found_grid, shape, transform  # held: an id is of what is alive
        grid = grids[place][0]
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
        raise ItemFault(BANDS_MISSING, ", ".join(missing))
    masks = [b for b in mask.bands if b in best][:1]
    if not masks and mask.is_needed:
        raise ItemFault(MASK_MISSING, mask.name)
    found = {b: best[b][1] for b in (*bands, *masks)}
    one_each = {(id(a.shape), id(a.transform)): a for a in found.values()}.values()
    if len({tuple(round(v) for v in a.bounds_m) for a in one_each}) > 1:
        raise ItemFault("rasters of different extent")
    return found


def _grid_of(
    gsd_m: float, fields: Mapping[str, Any], properties: Mapping[str, Any], *, tile: str | None, epsg: int, own: int
) -> Grid:  # fmt: skip
    """Do as `grid_of`, and remember: scenes of a tile have the same few grids."""
    told = fields.get("proj:shape"), fields.get("proj:transform")
    mark = (gsd_m, repr(told), tile, epsg, own)
    if mark in _GRIDS:
        return _GRIDS[mark]
    grid = grid_of(gsd_m, fields, properties, tile=tile, epsg=epsg, own=own)
    if all(told):  # else it follows from the item too
        if len(_GRIDS) >= _MAX_GRIDS:
            _GRIDS.clear()
        _GRIDS[mark] = grid
    return grid


def _pattern_of(
    key: str, fields: Mapping[str, Any], rule: int, wanted: tuple[str, ...], *, mask: MaskRule, offset: float | None
) -> dict[str, Any] | None:  # fmt: skip
    """Return all of an asset but address and grid, which differ from scene to scene; None where it is not wanted."""
    text = fields.mark if isinstance(fields, Alike) else None
    if text is None:
        text = repr([f for f in fields.items() if f[0] not in OF_ITS_OWN])
    mark = (key, text, rule)
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
