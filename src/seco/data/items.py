"""Folders of the layout place/item/B2.tif: one item folder a date, and what its name and metadata.json say."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Iterator

from seco.data.listing import Listing
from seco.data.naming import parse_date
from seco.errors import DatasetError
from seco.sensors import sentinel2

METADATA_NAME = "metadata.json"
_BAND_FILE = re.compile(r"(B(?:\d{1,2}|8A))\.tiff?", re.IGNORECASE)
_ITEM_DATE = re.compile(r"\d{8}T\d{6}")
_MAX_METADATA_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One place at one date, as a folder.

    Attributes:
        folder: the place's folder, below the source.
        name: the item's own folder name.
        files: canonical band name -> file, below the source.
        metadata: its metadata.json, if it has one.
    """

    folder: str
    name: str
    files: dict[str, str]
    metadata: str | None

    @property
    def where(self) -> str:
        """The item's folder, for messages."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What an item's metadata say, as far as they say it.

    Attributes:
        baseline: processing baseline, `02.06`.
        offset: reflectance of stored number 0.
        when: time of acquisition.
        found: whether there are metadata.
    """

    baseline: str | None = None
    offset: float = 0.0
    when: datetime.datetime | None = None
    found: bool = False


def items(listing: Listing) -> Iterator[Item]:
    """Walk the source and yield every folder that holds band files; those of one place come one after another."""
    known = {b.name for b in sentinel2.BANDS}
    for path, names in listing.folders():
        files = {}
        for name in names:
            match = _BAND_FILE.fullmatch(name)
            if match and sentinel2.canonical(match[1]) in known:
                files[sentinel2.canonical(match[1])] = f"{path}/{name}" if path else name
        if files:
            folder, _, item = path.rpartition("/")
            about = f"{path}/{METADATA_NAME}" if METADATA_NAME in names else None
            yield Item(folder=folder, name=item or listing.stem, files=files, metadata=about)


def metadata(listing: Listing, item: Item) -> Metadata:
    """Read an item's metadata.json, as Earth Engine wrote it.

    Raises:
        DatasetError: it is no JSON, or holds values of another kind.
    """
    if item.metadata is None:
        return Metadata()
    raw = listing.read(item.metadata, _MAX_METADATA_BYTES)
    try:
        values = json.loads(raw)
        properties = values.get("properties", {})
        baseline = properties.get("PROCESSING_BASELINE")
        started = properties.get("system:time_start")
        when = (
            None if started is None else datetime.datetime.fromtimestamp(float(started) / 1000, datetime.UTC)
        )
        # Earth Engine's harmonised collections have the offset taken out already.
        harmonised = "HARMONIZED" in str(values.get("id", ""))
        offset = 0.0 if harmonised else sentinel2.reflectance_offset(baseline)
    except (DatasetError, ValueError, TypeError, AttributeError, OverflowError, OSError) as err:
        raise DatasetError(f"{item.metadata} is damaged ({err}); fetch it again, or remove it") from err
    return Metadata(baseline=baseline, offset=offset, when=when, found=True)


def taken_on(item: Item, about: Metadata) -> datetime.date | None:
    """Return the day of an item by its name (`20180710T125311_...`), else by its metadata; None if neither says."""
    match = _ITEM_DATE.match(item.name)
    if match is not None:
        return parse_date(match.group()).date()
    return about.when.date() if about.when is not None else None
