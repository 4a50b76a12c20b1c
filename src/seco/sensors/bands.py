"""Bands and their units. Every conversion between units is explicit; an undefined one is an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

from seco.errors import DatasetError

Units = Literal["reflectance", "dn", "display"]
_TEXTS = ("name", "units", "common_name", "stretch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
    """One spectral band as stored.

    Attributes:
        name: the sensor's own name (`B04`) or a common name (`red`).
        units: what stored numbers are: `reflectance` (0-1), `dn` (reflectance = stored * scale + offset) or `display`
            (bytes made for the eye by some stretch).
        common_name: STAC common name, by which bands of different sensors are matched.
        wavelength_nm: centre wavelength.
        gsd_m: ground sampling distance at the band's native resolution.
        scale, offset: for `dn`: from stored number to reflectance.
        nodata: the stored number that means "nothing measured", if any.
        stretch: for `display`: how the bytes were made, in words.
        stretch_range: for `display`: the reflectances that became bytes 0 and 255, where the stretch is linear and known.
    """

    name: str
    units: Units
    common_name: str | None = None
    wavelength_nm: float | None = None
    gsd_m: float | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    stretch: str | None = None
    stretch_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.units not in get_args(Units):
            raise DatasetError(f"band {self.name}: units {self.units!r}; known: {', '.join(get_args(Units))}")
        if self.units == "dn" and (self.scale is None or self.offset is None):
            raise DatasetError(f"band {self.name}: units dn need a scale and an offset to reflectance")

    def to_json(self) -> dict[str, Any]:
        """Return the band's fields that are set."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Band:
        """Build a band from `to_json`'s answer."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise DatasetError(f"band {values.get('name')}: unknown field {', '.join(unknown)}")
        values = dict(values)
        for name, value in values.items():
            kind = str if name in _TEXTS else (int, float)
            if (
                name != "stretch_range"
                and value is not None
                and (not isinstance(value, kind) or value is True)
            ):
                what = "text" if kind is str else "number"
                raise DatasetError(f"band {values.get('name')}: {name} {value!r} is no {what}")
        if not values.get("name"):
            raise DatasetError("a band has no name")
        if values.get("stretch_range") is not None:
            low, high = values["stretch_range"]
            values["stretch_range"] = (float(low), float(high))
        return cls(**values)

    @property
    def to_reflectance(self) -> tuple[float, float] | None:
        """Slope and intercept from stored numbers to reflectance, or None where that is not known."""
        if self.units == "reflectance":
            return 1.0, 0.0
        if self.units == "dn":
            return float(self.scale or 0.0), float(self.offset or 0.0)
        if self.stretch_range is not None:
            low, high = self.stretch_range
            return (high - low) / 255.0, low
        return None


def select(have: Sequence[Band], wanted: Sequence[str]) -> list[int]:
    """Find bands by name, or else by common name.

    Returns:
        For each wanted band its position in `have`.

    Raises:
        DatasetError: a wanted band is not there.
    """
    names = {b.name.lower(): i for i, b in reversed(list(enumerate(have)))}
    commons = {b.common_name.lower(): i for i, b in reversed(list(enumerate(have))) if b.common_name}
    found = [names.get(w.lower(), commons.get(w.lower())) for w in wanted]
    missing = [w for w, f in zip(wanted, found, strict=True) if f is None]
    if missing:
        raise DatasetError(
            f"band {', '.join(missing)} is missing; the imagery has {', '.join(b.name for b in have)}"
        )
    return [f for f in found if f is not None]


def match(have: Sequence[Band], spec: Sequence[Band]) -> list[int]:
    """Find, for each band of an encoder, the same band of some imagery: by name, else by common name.

    Raises:
        DatasetError: the imagery lacks a band that the encoder needs.
    """
    names = {b.name.lower(): i for i, b in enumerate(have)}
    commons = {b.common_name.lower(): i for i, b in reversed(list(enumerate(have))) if b.common_name}
    found = [names.get(s.name.lower(), commons.get((s.common_name or s.name).lower())) for s in spec]
    missing = [s.name for s, f in zip(spec, found, strict=True) if f is None]
    if missing:
        raise DatasetError(
            f"the encoder needs band {', '.join(missing)}; the imagery has {', '.join(b.name for b in have)}; "
            "choose imagery with these bands, or pre-train on the bands at hand (--bands)"
        )
    return [f for f in found if f is not None]


def conversion(source: Band, target: Band) -> tuple[float, float]:
    """Return slope and intercept that turn stored numbers of `source` into stored numbers of `target`.

    Display bytes of two products count as the same units, unless the stretches of both are known: both were made to fill
    the range for the eye. Whether unknown stretches agree is another matter; use `--normalise dataset` where they do not.

    Raises:
        DatasetError: no conversion between these units is defined.
    """
    a, b = source.to_reflectance, target.to_reflectance
    if source.units == target.units == "display" and (a is None or b is None or a == b):
        return 1.0, 0.0
    if a is None or b is None:
        raise DatasetError(
            f"band {source.name} is in {source.units} units and the encoder was trained on {target.units}: "
            "no conversion is defined between display bytes of an unknown stretch and reflectance; "
            "give imagery in the encoder's units or declare the stretch_range"
        )
    if b[0] == 0:
        raise DatasetError(f"band {target.name}: a scale of 0 cannot be converted to")
    return a[0] / b[0], (a[1] - b[1]) / b[0]


def as_units(bands: Sequence[Band], units: Units) -> tuple[Band, ...]:
    """Return the same bands as if their numbers were in `units` (for arrays a user hands over).

    What belongs to the old units goes: scale, stretch and nodata.
    """
    out = []
    for band in bands:
        if units == band.units:
            out.append(band)
        elif units == "dn":
            raise DatasetError(
                f"band {band.name}: units dn need a scale and an offset; pass bands as Band objects"
            )
        else:
            out.append(
                dataclasses.replace(
                    band, units=units, scale=None, offset=None, nodata=None, stretch=None, stretch_range=None
                )
            )
    return tuple(out)
