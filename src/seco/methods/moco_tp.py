"""MoCo v2 with temporal positives (Ayush et al. 2021; MoCo-v2+TP in SeCo): one head, two seasons of a place."""

from __future__ import annotations

from seco.methods._contract import Setup
from seco.methods._engine import ContrastMethod, Options, derive
from seco.views.plan import Head, View, ViewPlan

__all__ = ["HELP", "PLAN", "Options", "build", "derive"]

HELP = "MoCo v2 with temporal positives: one head, augmented crops of two seasons"
PLAN = ViewPlan(
    views=(View(name="q", season=0, augment=True), View(name="k0", season=1, augment=True)),
    heads=(Head(name="z0", positive="k0"),),
    num_seasons=2,
    order="crop-augment",
)


def build(setup: Setup, options: Options) -> ContrastMethod:
    """Build MoCo v2 with temporal positives from derived options."""
    return ContrastMethod(PLAN, setup, options)
