"""What the stored numbers of each band mean, and how files that mean different things are put on one scale. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np

from seco.data.grids import Plane
from seco.errors import DatasetError
from seco.sensors import sentinel2
from seco.sensors.bands import Band, Units

THEIA_NODATA = -10_000.0
"""Stored number of pixels without a measurement in THEIA L2A products (MAJA product format)."""
_SENTINEL2 = re.compile(r"(?:s2_|sentinel2_)?(b(?:0?[1-9]|1[0-2]|8a))", re.IGNORECASE)

How = Literal["same", "shift", "rescale"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a band's numbers are stored: reflectance = stored * scale + offset where units are `dn`."""

    dtype: str
    units: Units
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declared:
    """What the user, or a product's specification, says about the numbers; None leaves it to the file."""

    units: Units | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


def sentinel2_name(name: str) -> str | None:
    """Return the canonical Sentinel-2 name (`B02`) of a band called `B2`, `B02` or `s2_B02`; None for other names."""
    match = _SENTINEL2.fullmatch(name.strip())
    return sentinel2.canonical(match[1]) if match else None


def decide(
    plane: Plane, name: str, *, declared: Declared, is_sentinel2: bool, default_offset: float
) -> Encoding:
    """Decide what the numbers of a plane mean: the user's word, then the file's, then the sensor's convention.

    Args:
        plane: the file's own declarations.
        name: the band, for messages.
        declared: what the user or the product says.
        is_sentinel2: whether integers without a declared scale are Sentinel-2 numbers of 1/10,000 reflectance.
        default_offset: reflectance offset of such numbers, by their processing baseline.

    Raises:
        DatasetError: nothing says how to turn the numbers into reflectance.
    """
    kind = np.dtype(plane.dtype).kind
    if kind not in "iuf":
        raise DatasetError(
            f"{plane.path}: band {name} is {plane.dtype}; only integers and floats can be stored"
        )
    nodata = declared.nodata if declared.nodata is not None else plane.nodata
    scale = declared.scale if declared.scale is not None else plane.scale
    offset = declared.offset if declared.offset is not None else plane.offset
    units = declared.units
    convention = is_sentinel2 and kind in "iu" and plane.dtype != "uint8"
    if units is None:
        units = "dn" if scale is not None or convention else "reflectance" if kind == "f" else None
    if units is None and plane.dtype == "uint8":
        units = "display"
    if units == "dn":
        if scale is None and convention:
            scale, offset = 1 / sentinel2.QUANTIFICATION, default_offset if offset is None else offset
            nodata = 0.0 if nodata is None else nodata
        if scale is None:
            units = None
    if units is None:
        raise DatasetError(
            f"{plane.path}: nothing says how the {plane.dtype} numbers of band {name} become reflectance; "
            "give --scale and --offset, or --units display for numbers without a meaning"
        )
    if units != "dn":
        return Encoding(dtype=plane.dtype, units=units, nodata=nodata)
    return Encoding(dtype=plane.dtype, units="dn", scale=scale, offset=offset or 0.0, nodata=nodata)


def common(encodings: Iterable[Encoding], name: str) -> tuple[Encoding, How]:
    """Find one encoding for all files of a band.

    Returns:
        The encoding and how files get there: `same` (nothing to do); `shift` (integers of one scale whose offsets
        differ by whole numbers: lossless); `rescale` (onto 16 bits that span every file's range, in steps no finer than
        needed, or onto float32 reflectance where a file is wider than that).

    Raises:
        DatasetError: files have different units.
    """
    found = sorted(set(encodings), key=repr)
    if len(found) == 1:
        return found[0], "same"
    kinds = {e.units for e in found}
    if kinds != {"dn"}:
        shown = ", ".join(sorted(f"{e.dtype} {e.units}" for e in found))
        raise DatasetError(f"band {name} is stored in different ways ({shown}); import such files apart")
    first = found[0]
    steps = [((e.offset or 0.0) - (first.offset or 0.0)) / (first.scale or 1.0) for e in found]
    alike = {(e.dtype, e.scale, e.nodata) for e in found} == {(first.dtype, first.scale, first.nodata)}
    if alike and np.dtype(first.dtype).kind in "iu" and all(abs(s - round(s)) < 1e-6 for s in steps):
        lowest = min(e.offset or 0.0 for e in found)
        return dataclasses.replace(first, offset=lowest), "shift"
    if all(np.dtype(e.dtype).kind in "iu" and np.dtype(e.dtype).itemsize <= 2 for e in found):
        low, high = (f(_range(e)[i] for e in found) for i, f in enumerate((min, max)))
        # Stored 0 is nodata, so that 65,534 steps span the range.
        scale = (high - low) / 65_534
        return Encoding(dtype="uint16", units="dn", scale=scale, offset=low - scale, nodata=0.0), "rescale"
    return Encoding(dtype="float32", units="reflectance"), "rescale"


def _range(encoding: Encoding) -> tuple[float, float]:
    """Return the lowest and highest reflectance that an integer encoding can hold."""
    info = np.iinfo(encoding.dtype)
    ends = [float(v) * (encoding.scale or 1.0) + (encoding.offset or 0.0) for v in (info.min, info.max)]
    return min(ends), max(ends)


def convert(pixels: np.ndarray, source: Encoding, target: Encoding) -> np.ndarray:
    """Turn stored numbers of one encoding into stored numbers of another; nodata stays nodata."""
    if source == target:
        return pixels.astype(target.dtype, copy=False)
    missing = empty(pixels, source.nodata)
    values = pixels.astype(np.float64) * (source.scale or 1.0) + (source.offset or 0.0)
    dtype = np.dtype(target.dtype)
    if dtype.kind == "f":
        return np.where(missing, np.nan, values).astype(dtype)
    stored = np.rint((values - (target.offset or 0.0)) / (target.scale or 1.0))
    info = np.iinfo(dtype)
    # A valid number must not become the one that means nodata.
    low = 1 if target.nodata == 0 and info.min == 0 else info.min
    stored = np.clip(stored, low, info.max)
    return np.where(missing, 0 if target.nodata is None else target.nodata, stored).astype(dtype)


def empty(pixels: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return where nothing was measured: nodata or NaN, bool of the same shape."""
    mask = np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, bool)
    return mask if nodata is None else mask | (pixels == nodata)


def make_band(name: str, encoding: Encoding, gsd_m: float | None, *, is_sentinel2: bool) -> Band:
    """Return the band to declare in the dataset; a Sentinel-2 band with its wavelength and common name."""
    canonical = sentinel2_name(name) if is_sentinel2 else None
    if canonical is None:
        common_name = name.lower() if name.lower() in _COMMON_NAMES else None
        known = Band(name=name, units="reflectance", common_name=common_name)
    else:
        known = sentinel2.band(canonical)
    return dataclasses.replace(
        known, units=encoding.units, scale=encoding.scale, offset=encoding.offset, nodata=encoding.nodata,
        gsd_m=known.gsd_m if gsd_m is None else gsd_m, stretch="unknown" if encoding.units == "display" else None,
    )  # fmt: skip


_COMMON_NAMES = {b.common_name for b in sentinel2.BANDS}
