"""Seasonal Contrast (Manas et al., ICCV 2021, section 3.2; views and heads as in the released code).

Three heads ask three questions of one query, the plain crop of season t0:

- z0 forgets everything:  its positive k0 is another season (t1), augmented;
- z1 forgets seasons:     its positive k1 is another season (t2), only cropped; the augmented keys are negatives;
- z2 forgets synthesis:   its positive k2 is the same season (t0), augmented; the keys of other seasons are negatives.
"""

from __future__ import annotations

from seco.methods._contract import Setup
from seco.methods._engine import ContrastMethod, Options, derive
from seco.views.plan import Head, View, ViewPlan

__all__ = ["HELP", "PLAN", "Options", "build", "derive"]

HELP = "Seasonal Contrast: three heads, invariant to all, to season only, to augmentation only"
PLAN = ViewPlan(
    views=(
        View(name="q", season=0, augment=False),
        View(name="k0", season=1, augment=True),
        View(name="k1", season=2, augment=False),
        View(name="k2", season=0, augment=True),
    ),
    heads=(
        Head(name="z0", positive="k0"),
        Head(name="z1", positive="k1", siblings=("k0", "k2")),
        Head(name="z2", positive="k2", siblings=("k0", "k1")),
    ),
    num_seasons=3,
    order="augment-crop",
)


def build(setup: Setup, options: Options) -> ContrastMethod:
    """Build SeCo from derived options."""
    return ContrastMethod(PLAN, setup, options)
