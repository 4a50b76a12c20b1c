"""What tells ground from cloud: SCL, or a mask that the item itself describes, or one that the user describes. Pure.

Described masks follow the STAC classification extension (v2: `classification:classes`, `classification:bitfields`); the
words in the names of their classes tell what hides the ground.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SCL, MASK = "SCL", "MASK"
"""What an asset is called whose numbers tell how clear a scene is: the scene classes, or any other mask."""
CLEAR, SHADOW, CLOUD, NODATA = range(4)
"""What a pixel of a mask says of the ground; of several parts of it, the highest."""
_CLEAR = re.compile(
    r"clear|cloud[ _-]?free|\b(no|not|non|without)[ _-]?cloud|terrain|topograph|cast[ _-]?shadow"
)
_WORDS = (
    (
        NODATA,
        re.compile(r"no[ _-]?data|\bfill|missing|saturat|defect|invalid|out[ _-]?of[ _-]?(swath|bounds)"),
    ),
    (SHADOW, re.compile(r"shadow")),
    (CLOUD, re.compile(r"cloud|cirrus|haze|opaque")),
)
_CLOUD = re.compile(r"cloud|\bcld")
_MAX_CLASSES = 1000

Kinds = tuple[tuple[int, int], ...]
"""Pairs of a number and what it says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meaning:
    """What the numbers of a mask say.

    Attributes:
        values: of the whole number.
        other: what a number says that is not among them.
        bits: first bit, number of bits, and what their numbers say, for each part of the number; the rest says nothing.
        cloud_from: percent of cloud from which a pixel is hidden, where the number is a probability; above 100 is nodata.
    """

    values: Kinds = ()
    other: int = CLOUD
    bits: tuple[tuple[int, int, Kinds], ...] = ()
    cloud_from: float | None = None

    def kinds(self, numbers: np.ndarray) -> np.ndarray:
        """Return what each pixel says, uint8."""
        if self.cloud_from is not None:
            kinds = np.where(numbers >= self.cloud_from, CLOUD, CLEAR)
            return np.where((numbers >= 0) & (numbers <= 100), kinds, NODATA).astype(np.uint8)
        if self.bits:
            found = np.zeros(numbers.shape, np.uint8)
            for first, num, pairs in self.bits:
                part = (numbers.astype(np.int64) >> first) & ((1 << num) - 1)
                for value, kind in pairs:
                    np.maximum(found, kind, out=found, where=part == value)
            return found
        found = np.full(numbers.shape, self.other, np.uint8)
        for value, kind in self.values:
            found[numbers == value] = kind
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Meaning:
        """Build a meaning from `to_json`'s answer, also after JSON."""

        def kinds(pairs: Sequence[Sequence[int]]) -> Kinds:
            return tuple((int(v), int(k)) for v, k in pairs)

        return cls(
            values=kinds(values["values"]), other=values["other"], cloud_from=values["cloud_from"],
            bits=tuple((int(a), int(n), kinds(p)) for a, n, p in values["bits"]),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskRule:
    """Which mask is asked for.

    Attributes:
        name: `auto`, `scl`, `none`, or an asset's name.
        hidden: numbers of that asset that hide the ground, whatever the item says of them.
        cloud_from: percent of cloud probability from which a pixel is hidden.
    """

    name: str = "auto"
    hidden: tuple[int, ...] = ()
    cloud_from: float = 40.0

    @property
    def bands(self) -> tuple[str, ...]:
        """Return what an asset may be to serve, best first."""
        return {"auto": (SCL, MASK), "scl": (SCL,), "none": ()}.get(self.name, (MASK,))

    @property
    def is_needed(self) -> bool:
        """Whether a scene without it is of no use."""
        return self.name not in ("auto", "none")


def told_of(fields: Mapping[str, Any], name: str) -> Any:
    """Return what an asset's first band, else the asset tells, under its plain name or with `raster:` before it."""
    described: Any = fields.get("raster:bands") or fields.get("bands") or ({},)
    raster = described[0] if isinstance(described[0], Mapping) else {}
    for source in (raster, fields):
        for key in (name, f"raster:{name}"):
            if source.get(key) is not None:
                return source[key]
    return None


def meaning_of(key: str, fields: Mapping[str, Any], rule: MaskRule) -> Meaning | None:
    """Return what the numbers of an asset say of clouds; None where it is not asked for, or does not say.

    Args:
        key: the asset's name.
        fields: of the asset.
        rule: which mask is asked for.
    """
    if rule.name not in ("auto", key):
        return None
    if any(
        isinstance(fields.get(n), Sequence) and len(fields[n]) > 1
        for n in ("raster:bands", "bands", "eo:bands")
    ):
        return None
    if rule.hidden:
        return Meaning(values=tuple((v, CLOUD) for v in rule.hidden), other=CLEAR)
    classes = _kinds(told_of(fields, "classification:classes"))
    if _hides(classes):
        nodata = told_of(fields, "nodata")
        if _is_whole(nodata) and nodata not in dict(classes):
            classes = (*classes, (int(nodata), NODATA))
        return Meaning(values=classes)
    bits = _bits(told_of(fields, "classification:bitfields"))
    if any(_hides(pairs) for _, _, pairs in bits):
        return Meaning(bits=bits)
    words = " ".join(str(w).lower() for w in (key, fields.get("title"), fields.get("description")))
    roles = {str(r) for r in fields.get("roles") or ()}
    is_share = "probabilit" in words or told_of(fields, "unit") == "%"
    if is_share and ("cloud" in roles or _CLOUD.search(words)):
        return Meaning(cloud_from=rule.cloud_from)
    return None


def _hides(pairs: Kinds) -> bool:
    return any(k in (CLOUD, SHADOW) for _, k in pairs)


def _kinds(classes: Any) -> Kinds:
    """Read `classification:classes`; what is none of these is left out."""
    found = []
    for one in classes[:_MAX_CLASSES] if isinstance(classes, Sequence) else ():
        value: Any = one.get("value") if isinstance(one, Mapping) else None
        if _is_whole(value):
            found.append((int(value), NODATA if one.get("nodata") is True else _kind(one)))
    return tuple(found)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and float(value).is_integer()


def _kind(one: Mapping[str, Any]) -> int:
    """Tell by a class's name, else by its title and description, what it says of the ground."""
    for texts in ((one.get("name"),), (one.get("title"), one.get("description"))):
        text = " ".join(str(t).lower() for t in texts if t)
        if _CLEAR.search(text.replace("_", " ")):
            return CLEAR
        for kind, pattern in _WORDS:
            if pattern.search(text.replace("_", " ")):
                return kind
        if text and not text.isdigit():
            return CLEAR
    return CLEAR


def _bits(fields: Any) -> tuple[tuple[int, int, Kinds], ...]:
    """Read `classification:bitfields`."""
    found = []
    for one in fields[:64] if isinstance(fields, Sequence) else ():
        first, num = (one.get(n) if isinstance(one, Mapping) else None for n in ("offset", "length"))
        if isinstance(first, int) and isinstance(num, int) and 0 <= first < 64 and 0 < num <= 32:
            found.append((first, num, _kinds(one.get("classes"))))
    return tuple(found)
