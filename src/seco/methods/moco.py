"""MoCo v2 (Chen et al. 2020): one head, two augmented crops of one image."""

from __future__ import annotations

from seco.methods._contract import Setup
from seco.methods._engine import ContrastMethod, Options, derive
from seco.views.plan import Head, View, ViewPlan

__all__ = ["HELP", "PLAN", "Options", "build", "derive"]

HELP = "MoCo v2: one head, two augmented crops of one image"
PLAN = ViewPlan(
    views=(View(name="q", season=0, augment=True), View(name="k0", season=0, augment=True)),
    heads=(Head(name="z0", positive="k0"),),
    num_seasons=1,
    order="crop-augment",
)


def build(setup: Setup, options: Options) -> ContrastMethod:
    """Build MoCo v2 from derived options."""
    return ContrastMethod(PLAN, setup, options)
