"""Whether a patch shows the ground, from its own scene classes. Pure."""

from __future__ import annotations

import dataclasses

import numpy as np

from seco.sensors.sentinel2 import SCL_CLASSES, SCL_UNCLEAR

_NODATA = (SCL_CLASSES.index("no_data"), SCL_CLASSES.index("saturated"))
_SHADOW = (SCL_CLASSES.index("cloud_shadow"),)


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


def look(classes: np.ndarray) -> Clear:
    """Count the scene classes (SCL) of a patch; numbers that are no class hide the ground too."""
    counts = np.bincount(classes.ravel(), minlength=len(SCL_CLASSES)).astype(np.float64)
    shares = counts / max(classes.size, 1)
    unclear = list(SCL_UNCLEAR) + list(range(len(SCL_CLASSES), len(shares)))
    nodata, shadow = (float(shares[list(which)].sum()) for which in (_NODATA, _SHADOW))
    hidden = float(shares[unclear].sum())
    return Clear(clear=1.0 - hidden, nodata=nodata, shadow=shadow, cloud=max(hidden - nodata - shadow, 0.0))
