"""Pictures for the eye: red, green and blue display bytes of any origin."""

from __future__ import annotations

from seco.sensors.bands import Band

NAME = "rgb"


def display_bands(*, stretch: str = "unknown", gsd_m: float | None = None) -> tuple[Band, ...]:
    """Return red, green and blue bands of display bytes whose stretch is told in words."""
    centres = {"red": 665.0, "green": 560.0, "blue": 490.0}
    return tuple(
        Band(name=name, units="display", common_name=name, wavelength_nm=nm, gsd_m=gsd_m, stretch=stretch)
        for name, nm in centres.items()
    )


BANDS = display_bands()
