"""What is known of scenes, and what is planned for places: plain frozen records, without I/O."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import shapely

from seco.collect.masks import Meaning
from seco.errors import CatalogError

SNAP_M = 60
"""Corners of patches lie on multiples of this from the raster's corner: every band's pixels begin there."""
GRID_M = 10
"""Pixels of the finest bands, in which the size of a patch is counted."""

Affine = tuple[float, float, float, float, float, float]
"""Pixel to CRS: x = a * column + b * row + c, y = d * column + e * row + f, written (a, b, c, d, e, f)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """A square of ground on a scene's grid.

    Attributes:
        epsg: CRS of the coordinates.
        left_m: easting of the upper left corner.
        top_m: northing of the upper left corner.
        size_px: edge in pixels of `GRID_M`.
    """

    epsg: int
    left_m: float
    top_m: float
    size_px: int

    @property
    def edge_m(self) -> float:
        """Return the length of an edge, metres."""
        return self.size_px * GRID_M

    @property
    def bounds_m(self) -> tuple[float, float, float, float]:
        """Return left, bottom, right and top, metres."""
        return self.left_m, self.top_m - self.edge_m, self.left_m + self.edge_m, self.top_m

    def transform(self, pixel_m: float) -> Affine:
        """Return the affine of the patch itself, at a resolution."""
        return pixel_m, 0.0, self.left_m, 0.0, -pixel_m, self.top_m

    def pixels(self, asset: Asset) -> PixelWindow:
        """Return where this square lies in a raster; it may reach beyond the raster's edges.

        Raises:
            CatalogError: the raster is not north up, or its pixels do not begin at the square's corner.
        """
        a, b, c, d, e, f = asset.transform
        if b or d or a <= 0 or e >= 0:
            raise CatalogError(
                f"raster {asset.band} has transform {asset.transform}: only north-up rasters are cut"
            )
        places = ((self.left_m - c) / a, (self.top_m - f) / e, self.edge_m / a, self.edge_m / -e)
        whole = [round(p) for p in places]
        if max(abs(p - w) for p, w in zip(places, whole, strict=True)) > 1e-6:
            raise CatalogError(
                f"patch at {self.left_m:g}, {self.top_m:g} of {self.edge_m:g} m does not begin and end "
                f"with pixels of {asset.band} ({a:g} m): choose a size that its pixels fill (--size)"
            )
        return PixelWindow(column=whole[0], row=whole[1], width=whole[2], height=whole[3])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelWindow:
    """A rectangle of a raster's pixels; column and row may be negative where a patch reaches over the edge."""

    column: int
    row: int
    width: int
    height: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warp:
    """A raster as it is, where it has to be resampled onto an asset's grid.

    Attributes:
        epsg: its own CRS.
        shape: height and width, pixels.
        transform: its affine, north up.
        to_epsg: CRS of the asset's grid.
    """

    epsg: int
    shape: tuple[int, int]
    transform: Affine
    to_epsg: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One raster of a scene.

    Attributes:
        band: `B01` to `B12`, `B8A`, `SCL`, or `MASK` for another mask.
        href: where it is, as the catalogue wrote it (not signed).
        pixel_m: edge of a pixel.
        shape: height and width, pixels.
        transform: affine of this raster itself.
        dtype: of the stored numbers, as numpy spells it.
        nodata: the stored number that means "nothing measured"; None where there is none.
        scale, offset: stored number to reflectance, `scale * DN + offset`; 1 and 0 for classes. The offset is
            what holds for the numbers as stored, whatever the catalogue says.
        media_type: as in the catalogue; empty where it says nothing.
        warp: the raster itself, where its CRS is no UTM zone: shape and transform above are of the grid that it is
            resampled onto. None where it is read as it is.
        meaning: of a `MASK`, what its numbers say.
    """

    band: str
    href: str
    pixel_m: float
    shape: tuple[int, int]
    transform: Affine
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    media_type: str = ""
    warp: Warp | None = None
    meaning: Meaning | None = None

    @property
    def bounds_m(self) -> tuple[float, float, float, float]:
        """Return left, bottom, right and top in the scene's CRS (north-up rasters)."""
        a, _, c, _, e, f = self.transform
        height, width = self.shape
        return c, f + e * height, c + a * width, f

    @property
    def is_jpeg2000(self) -> bool:
        """Whether the raster is JPEG 2000, which the fast reader cannot read."""
        return "jp2" in self.media_type or self.href.split("?")[0].lower().endswith(".jp2")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        # Flat already; `asdict` would copy every number of hundreds of thousands.
        return {
            **vars(self), "warp": dict(vars(self.warp)) if self.warp else None,
            "meaning": self.meaning.to_json() if self.meaning else None,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Asset:
        """Build an asset from `to_json`'s answer, also after JSON."""
        a, b, c, d, e, f = values["transform"]
        height, width = values["shape"]
        warp = values["warp"]
        if warp is not None:
            warp = Warp(**{**warp, "shape": tuple(warp["shape"]), "transform": tuple(warp["transform"])})
        meaning = values["meaning"]
        return cls(
            **{
                **values, "shape": (height, width), "transform": (a, b, c, d, e, f), "warp": warp,
                "meaning": Meaning.from_json(meaning) if meaning is not None else None,
            }
        )  # fmt: skip


class LaterAssets(Mapping[str, Asset]):
    """Assets that are made when one is asked for: a plan needs one raster of a scene, and most scenes nothing more.

    Args:
        make: makes all of them.
        finest: the one of the finest pixels.
    """

    def __init__(self, make: Callable[[], Sequence[Asset]], finest: Asset) -> None:
        self._make, self.finest = make, finest

    @cached_property
    def _assets(self) -> dict[str, Asset]:
        return {a.band: a for a in self._make()}

    def __getitem__(self, band: str) -> Asset:
        return self._assets[band]

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One scene of a catalogue: an item, read and checked.

    Attributes:
        id: the item's id, unique in its collection.
        collection: the item's collection.
        catalog: name of the catalogue that gave it.
        datetime: moment of the look, UTC.
        tile: MGRS tile such as `31UFQ`; None where the catalogue does not say.
        epsg: CRS of the rasters.
        platform: `sentinel-2a`; empty where the catalogue does not say.
        datatake: id of the datatake without its processing baseline, so that reprocessed scenes agree;
            where the catalogue has none, made of platform and minute.
        baseline: processing baseline such as `05.09`; None where the catalogue does not say.
        cloud_percent: cloud cover of the whole scene, or None.
        nodata_percent: share of the raster that was not seen, or None.
        footprint: what was seen, longitude and latitude.
        assets: rasters by band.
        is_offset_removed: whether the stored numbers of a baseline from 04.00 on had the offset of +1,000
            taken away already (`earthsearch:boa_offset_applied`).
        seen: the footprint in the scene's own CRS, clipped to its raster, where that was worked out already.
    """

    id: str
    collection: str
    catalog: str
    datetime: dt.datetime
    tile: str | None
    epsg: int
    platform: str
    datatake: str
    baseline: str | None
    cloud_percent: float | None
    nodata_percent: float | None
    footprint: shapely.Polygon | shapely.MultiPolygon
    assets: Mapping[str, Asset]
    is_offset_removed: bool
    seen: shapely.Geometry | None = None

    @property
    def day(self) -> dt.date:
        """Return the day of the look, UTC."""
        return self.datetime.date()

    @property
    def key(self) -> tuple[str, str, str]:
        """Return catalogue, collection and id: what names a scene in a run."""
        return self.catalog, self.collection, self.id

    @cached_property
    def finest(self) -> Asset:
        """Return the asset of the finest pixels, whose raster is the scene's grid."""
        if isinstance(self.assets, LaterAssets):
            return self.assets.finest
        return min(self.assets.values(), key=lambda a: (a.pixel_m, a.band))

    @cached_property
    def grid(self) -> str:
        """Return the name of the grid: scenes of one grid have their pixels in the same places."""
        left, bottom, right, top = self.finest.bounds_m
        return f"{self.epsg}:{left:.0f}:{bottom:.0f}:{right:.0f}:{top:.0f}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A place to collect.

    Attributes:
        index: its row in the list of places.
        id: its name.
        lon, lat: degrees.
    """

    index: int
    id: str
    lon: float
    lat: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slot:
    """One season of one place: the day aimed at, and the days that will do, both ends included."""

    index: int
    target: dt.date
    first: dt.date
    last: dt.date


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A scene that would do for a season of a place.

    Attributes:
        place: id of the place.
        place_index: row of the place.
        season: index of the slot.
        rank: 0 is tried first; the next one if the pixels turn it down.
        scene: where the pixels are.
        window: what to cut; the same for all candidates of a place.
        coverage: share of the window inside the scene's footprint, 0 to 1.
    """

    place: str
    place_index: int
    season: int
    rank: int
    scene: Scene
    window: Window
    coverage: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SeasonPlan:
    """One season of a place and all scenes that would do, best first; none means the season is missing."""

    slot: Slot
    candidates: Sequence[Candidate]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PlacePlan:
    """What to fetch for one place, or why nothing.

    Attributes:
        place: where.
        order: the place's turn. Places are taken in this order until enough are whole.
        seasons: one for each slot; empty where there is a reason.
        tile: MGRS tile, or the grid's name, that serves all seasons; None where there is a reason.
        window: what to cut from each scene; None where there is a reason.
        reason: why the place has no plan, one of `seco.collect.plan.REASONS`; None where it has one.
    """

    place: Place
    order: int
    seasons: tuple[SeasonPlan, ...] = ()
    tile: str | None = None
    window: Window | None = None
    reason: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every season has a candidate."""
        return self.reason is None and all(s.candidates for s in self.seasons)
