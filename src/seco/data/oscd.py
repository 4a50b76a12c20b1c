"""Onera Satellite Change Detection: two registered dates of a city, 13 bands, and where they differ.

Daudt, Le Saux, Boulch and Gousseau 2018. The authors' folders and TorchGeo's hold the same: a city's images in
`... Images/CITY/imgs_{1,2}_rect/B*.tif`, its map of change in `... {Train,Test} Labels/CITY/cm/` as `CITY-cm.tif`
(1 no change, 2 change) or `cm.png` (white is change); unpacked, one zip, or the three zips as they are published.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import rasterio

from seco.data.areas import UNKNOWN, Area, Labelled, make_classes
from seco.data.listing import Listing
from seco.data.rasters import raster_errors
from seco.errors import DatasetError
from seco.runs import progress
from seco.sensors import sentinel2

CLASSES = make_classes(["no change", "change"], ["#f0f0f0", "#d7191c"])
_IMAGE = re.compile(
    r"(?:.*/)?(?P<city>[^/]+)/imgs_(?P<date>[12])_rect/(?:.*_)?(?P<band>B\d{2}|B8A)\.tif", re.IGNORECASE
)
_MASK = re.compile(r"(?P<above>.*/)?(?P<city>[^/]+)/cm/(?P<file>[^/]+\.(?:tif|png))", re.IGNORECASE)


def looks_like_oscd(path: Path) -> bool:
    """Whether a source holds maps of change in OSCD's folders."""
    listings = _listings(path)
    try:
        return any(_MASK.fullmatch(n) for listing in listings for n in listing.names)
    finally:
        for listing in listings:
            listing.close()


def read_oscd(path: Path) -> Labelled:
    """Read every city that has images of both dates and a map of change.

    A city without labels (the test cities, before their labels were published) is left out and noted.

    Raises:
        DatasetError: no such folders, a missing band or date, or a map of another size.
    """
    listings = _listings(path)
    try:
        images, masks = _find(listings)
        if not masks or not images:
            raise DatasetError(
                f"{path} has {len(images)} cities with images (CITY/imgs_1_rect/B01.tif, ...) and {len(masks)} with a map "
                "of change (CITY/cm/cm.png or CITY-cm.tif); give OSCD's folder, or the folder of its zips"
            )
        lost = sorted(set(masks) - set(images))
        if lost:
            raise DatasetError(
                f"city {', '.join(lost)} has a map of change but no images; the download is not whole"
            )
        areas = []
        bands: list[str] = []
        for number, folder in enumerate(progress(sorted(masks), "cities")):
            file, part, city = masks[folder]
            found = images[folder]
            names = [b.name for b in sentinel2.BANDS if ("1", b.name) in found and ("2", b.name) in found]
            if bands and names != bands:
                missing = ", ".join(sorted(set(bands) ^ set(names)))
                raise DatasetError(
                    f"city {city}: band {missing} is not there at both dates, but is in other cities"
                )
            bands = names
            dates = [np.stack([_read(found[d, b], b) for b in names]) for d in "12"]
            mask = _read_mask(file)
            if dates[0].shape != dates[1].shape or dates[0].shape[1:] != mask.shape:
                shapes = ", ".join(str(x.shape[-2:]) for x in (*dates, mask))
                raise DatasetError(
                    f"city {city}: images and map differ in size ({shapes}); the download is not whole"
                )
            # 0 is nodata at the edges of the registered images.
            mask = np.where((dates[0] != 0).all(0) & (dates[1] != 0).all(0), mask, UNKNOWN).astype(np.int16)
            areas.append(
                Area(name=city, city=city, images=(dates[0], dates[1]), mask=mask, source=number, part=part)
            )
    finally:
        for listing in listings:
            listing.close()
    unlabelled = sorted(set(images) - set(masks))
    notes = (
        (f"{len(unlabelled)} cities without a map of change left out: {', '.join(unlabelled)}",)
        if unlabelled
        else ()
    )
    return Labelled(
        name=path.name,
        areas=tuple(areas),
        bands=tuple(sentinel2.band(b) for b in bands),
        classes=CLASSES,
        notes=notes,
    )


def _listings(path: Path) -> list[Listing]:
    """List a folder or zip, and the zips that lie in the folder."""
    first = Listing(path)
    zips = [n for n in first.names if n.lower().endswith(".zip")] if not first.is_zip else []
    return [first, *(Listing(Path(first.path(n))) for n in zips)]


def _find(
    listings: list[Listing],
) -> tuple[dict[str, dict[tuple[str, str], str]], dict[str, tuple[str, str | None, str]]]:
    """Return (date, band) -> file of each city, and each city's map, part and name."""
    images: dict[str, dict[tuple[str, str], str]] = {}
    masks: dict[str, tuple[str, str | None, str]] = {}
    for listing in listings:
        for name in listing.names:
            image, mask = _IMAGE.fullmatch(name), _MASK.fullmatch(name)
            if image:
                band = sentinel2.canonical(image["band"])
                images.setdefault(image["city"], {})[image["date"], band] = listing.path(name)
            elif mask:
                text = f"{listing.source.name}/{mask['above'] or ''}".lower()
                part = "test" if "test labels" in text else "train" if "train labels" in text else None
                # The map as numbers goes before the picture of it.
                if mask["city"] not in masks or PurePosixPath(name).suffix.lower() == ".tif":
                    own = re.fullmatch(r"(.+)-cm", PurePosixPath(name).stem)
                    masks[mask["city"]] = (listing.path(name), part, own[1] if own else mask["city"])
    return images, masks


def _read(path: str, band: str) -> np.ndarray:
    with raster_errors(path), rasterio.open(path) as source:
        if source.count != 1:
            raise DatasetError(f"{path} has {source.count} bands; band {band} is a file of its own in OSCD")
        return source.read(1)


def _read_mask(path: str) -> np.ndarray:
    """Return 1 where the city changed, 0 elsewhere."""
    with raster_errors(path), rasterio.open(path) as source:
        values = source.read(1)
    found = np.unique(values)
    if path.lower().endswith(".png"):
        return (values > 127).astype(np.int16)
    if not np.isin(found, (1, 2)).all():
        raise DatasetError(
            f"{path} holds {found[:5].tolist()}; OSCD's maps hold 1 (no change) and 2 (change)"
        )
    return (values == 2).astype(np.int16)
