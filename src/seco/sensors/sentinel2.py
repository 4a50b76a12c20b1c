"""Sentinel-2 MSI: bands, numbers and cloud classes.

Source: ESA Sentinel-2 User Handbook and Products Specification Document (quantification value 10,000; from processing
baseline 04.00 on, an offset of -1,000 DN).
"""

from __future__ import annotations

import dataclasses

from seco.errors import DatasetError
from seco.sensors.bands import Band

NAME = "sentinel2"

QUANTIFICATION = 10_000
OFFSET_FROM_BASELINE = (4, 0)
"""Processing baseline from which stored numbers carry +1,000 (BOA_ADD_OFFSET = -1000)."""

_TABLE = (
    # name, common name, centre nm, GSD m
    ("B01", "coastal", 443.0, 60.0),
    ("B02", "blue", 490.0, 10.0),
    ("B03", "green", 560.0, 10.0),
    ("B04", "red", 665.0, 10.0),
    ("B05", "rededge071", 705.0, 20.0),
    ("B06", "rededge075", 740.0, 20.0),
    ("B07", "rededge078", 783.0, 20.0),
    ("B08", "nir", 842.0, 10.0),
    ("B8A", "nir08", 865.0, 20.0),
    ("B09", "nir09", 945.0, 60.0),
    ("B10", "cirrus", 1375.0, 60.0),
    ("B11", "swir16", 1610.0, 20.0),
    ("B12", "swir22", 2190.0, 20.0),
)

BANDS = tuple(
    Band(
        name=n,
        units="dn",
        common_name=c,
        wavelength_nm=w,
        gsd_m=g,
        scale=1 / QUANTIFICATION,
        offset=0.0,
        nodata=0.0,
    )
    for n, c, w, g in _TABLE
)
LEVEL_2A = tuple(b.name for b in BANDS if b.name != "B10")
"""Bands of surface reflectance: cirrus shows no surface."""

SCL_CLASSES = (
    "no_data", "saturated", "dark", "cloud_shadow", "vegetation", "bare", "water", "unclassified",
    "cloud_medium", "cloud_high", "cirrus", "snow",
)  # fmt: skip
SCL_UNCLEAR = (0, 1, 3, 8, 9, 10)
"""Scene classes that hide the ground: no data, saturated, cloud shadow, cloud (medium, high), thin cirrus."""


def band(name: str, *, offset: float = 0.0) -> Band:
    """Return a band by any usual spelling (`B2`, `B02`, `b8a`, `B8A`), with the product's reflectance offset.

    Raises:
        DatasetError: there is no such band.
    """
    wanted = canonical(name)
    for candidate in BANDS:
        if candidate.name == wanted:
            return dataclasses.replace(candidate, offset=offset)
    raise DatasetError(f"{name!r} is no Sentinel-2 band; known: {', '.join(b.name for b in BANDS)}")


def canonical(name: str) -> str:
    """Spell a band name as `B02`, `B8A`, `B11`."""
    text = name.strip().upper()
    if text.startswith("B") and text[1:].isdigit():
        return f"B{int(text[1:]):02d}"
    return text


def reflectance_offset(processing_baseline: str | None) -> float:
    """Return the reflectance offset that a processing baseline ("05.09") implies; none known means no offset."""
    if not processing_baseline:
        return 0.0
    try:
        major, minor = (int(p) for p in processing_baseline.split(".")[:2])
    except ValueError as err:
        raise DatasetError(f"processing baseline {processing_baseline!r} is not of the form NN.NN") from err
    return -0.1 if (major, minor) >= OFFSET_FROM_BASELINE else 0.0
