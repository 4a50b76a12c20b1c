"""Whether a patch shows the ground, from its own scene classes or another mask. Pure."""

from __future__ import annotations

import dataclasses

import numpy as np

from seco.collect.masks import CLEAR, CLOUD, NODATA, SHADOW, Meaning
from seco.sensors.sentinel2 import SCL_CLASSES, SCL_UNCLEAR

_OF_NAME = {"no_data": NODATA, "saturated": NODATA, "cloud_shadow": SHADOW}
SCENE_CLASSES = Meaning(
    values=tuple(
        (i, _OF_NAME.get(name, CLOUD) if i in SCL_UNCLEAR else CLEAR) for i, name in enumerate(SCL_CLASSES)
    )
)
"""What the scene classes (SCL) say; numbers that are no class hide the ground too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clear:
    """What of a patch can be seen, shares of its pixels.

    Attributes:
        clear: neither hidden nor without data.
        nodata: without data (saturated included).
        shadow: under a cloud's shadow.
        cloud: under cloud or cirrus.
    """

    clear: float
    nodata: float
    shadow: float
    cloud: float

    def reason(self, *, min_clear: float, max_nodata: float) -> str | None:
        """Return why the patch is turned down: the largest of what hides it; None where it is not."""
        if self.nodata > max_nodata:
            return "nodata"
        if self.clear >= min_clear:
            return None
        shares = {"cloud": self.cloud, "shadow": self.shadow, "nodata": self.nodata}
        return max(shares, key=lambda k: shares[k])


def look(numbers: np.ndarray, meaning: Meaning = SCENE_CLASSES) -> Clear:
    """Count the pixels of a patch's mask by what they say."""
    counts = np.bincount(meaning.kinds(numbers).ravel(), minlength=4)
    shares = counts / max(numbers.size, 1)
    nodata, shadow, cloud = (float(shares[k]) for k in (NODATA, SHADOW, CLOUD))
    hidden = float((counts.sum() - counts[CLEAR]) / max(numbers.size, 1))
    return Clear(clear=1.0 - hidden, nodata=nodata, shadow=shadow, cloud=cloud)
