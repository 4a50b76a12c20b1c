"""Cloud masks: which of their numbers hide the ground, for the masks that products carry. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from seco.sensors.sentinel2 import SCL_UNCLEAR

QA60_CLOUD_BITS = (1 << 10) | (1 << 11)
"""Opaque cloud and cirrus (Sentinel-2 QA60)."""

AUTOMATIC = (
    # In order of preference: masks made for the purpose go before the scene classes, which miss thin cloud.
    ("dlmask", ("s2_dlmask", "dlmask")),
    ("earthnet", ("s2_mask",)),
    ("theia", ("clm",)),
    ("scl", ("scl", "s2_scl")),
    ("qa60", ("qa60",)),
    ("alpha", ("alpha",)),
    ("nonzero", ("cloud_mask", "cloudmask", "cloud", "clouds", "mask")),
)
"""Rules and the names of the bands that they hold for."""

RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    # GreenEarthNet's s2_dlmask follows CloudSEN12: 0 clear, 1 thick cloud, 2 thin cloud, 3 cloud shadow, 4 nothing known.
    # Its own text calls 2 shadow and 3 snow, but its pixels are bright at 2, and at 3 dark in near infrared, in summer.
    "dlmask": lambda values: np.isin(values, (1, 2, 3, 4)),
    # EarthNet's s2_mask: 0 clear, 1 cloud, 2 cloud shadow, 3 snow, 4 masked for other reasons.
    "earthnet": lambda values: np.isin(values, (1, 2, 4)),
    # MAJA: a bit a reason; any bit means cloud or its shadow.
    "theia": lambda values: values != 0,
    "scl": lambda values: np.isin(values, SCL_UNCLEAR),
    "qa60": lambda values: (values & QA60_CLOUD_BITS) != 0,
    # Transparent pixels were not photographed, or cut away.
    "alpha": lambda values: values == 0,
    "nonzero": lambda values: values != 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskRule:
    """How a mask is read.

    Attributes:
        band: the band or variable that holds it.
        rule: one of `RULES`; unused where `hidden` is given.
        hidden: the user's own list of numbers that hide the ground.
    """

    band: str
    rule: str = "nonzero"
    hidden: tuple[int, ...] = ()

    def unclear(self, values: np.ndarray, nodata: float | None) -> np.ndarray:
        """Return where the ground is hidden or was not looked at, bool of the same shape."""
        out = np.isin(values, self.hidden) if self.hidden else RULES[self.rule](values)
        # Masks often declare 0, their number for "clear", as nodata.
        return out if nodata is None or nodata == 0 else out | (values == nodata)


def choose(names: Iterable[str], wanted: str | None, hidden: Sequence[int]) -> MaskRule | None:
    """Choose the mask among band names: the one wanted, else the best of those known; None if there is none."""
    lowered = {n.lower(): n for n in names}
    if wanted is not None:
        rule = next((r for r, known in AUTOMATIC if wanted.lower() in known), "nonzero")
        found = lowered.get(wanted.lower())
        return MaskRule(band=found, rule=rule, hidden=tuple(hidden)) if found else None
    for rule, known in AUTOMATIC:
        for name in known:
            if name in lowered:
                return MaskRule(band=lowered[name], rule=rule, hidden=tuple(hidden))
    return None


def is_mask(name: str) -> bool:
    """Whether a band name is that of a mask or of scene classes, and so no band to learn from."""
    return any(name.lower() in known for _, known in AUTOMATIC)
