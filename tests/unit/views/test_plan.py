"""Plans that make no sense are refused; those of the methods say what the paper says."""

import pytest

from seco.errors import ConfigError
from seco.methods import _contract as methods
from seco.views.plan import Head, View, ViewPlan

Q, K0 = View(name="q", season=0, augment=False), View(name="k0", season=0, augment=True)
Z0 = Head(name="z0", positive="k0")


def plan(views=(Q, K0), heads=(Z0,), num_seasons=1, order="augment-crop"):
    return ViewPlan(views=views, heads=heads, num_seasons=num_seasons, order=order)


def test_a_plan_knows_its_keys_in_order():
    k1 = View(name="k1", season=0, augment=False)
    assert plan().keys == (K0,)
    assert plan(views=(k1, Q, K0)).keys == (k1, K0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"views": (Q, K0, K0)}, "different names"),
        ({"views": (K0,)}, "one of them q"),
        ({"heads": (Head(name="z0", positive="k9"),)}, "k9"),
        ({"heads": (Head(name="z0", positive="q"),)}, "heads name keys"),
        ({"heads": (Head(name="z0", positive="k0", siblings=("k7",)),)}, "k7"),
        ({"num_seasons": 2}, r"seasons \[0\] of 2"),
        ({"views": (Q, View(name="k0", season=2, augment=True)), "num_seasons": 2}, r"\[0, 2\] of 2"),
    ],
)
def test_bad_plans_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        plan(**wrong)


def test_the_three_plans():
    def views(name):
        return {v.name: (v.season, v.augment) for v in methods.find(name).PLAN.views}

    def heads(name):
        return {h.name: (h.positive, set(h.siblings)) for h in methods.find(name).PLAN.heads}

    # FACTS: q = crop(t0); k0 = crop(aug(t1)); k1 = crop(t2); k2 = crop(aug(t0)); siblings for heads 1 and 2 alone
    assert views("seco") == {"q": (0, False), "k0": (1, True), "k1": (2, False), "k2": (0, True)}
    assert heads("seco") == {"z0": ("k0", set()), "z1": ("k1", {"k0", "k2"}), "z2": ("k2", {"k0", "k1"})}
    assert views("moco") == {"q": (0, True), "k0": (0, True)}
    assert views("moco-tp") == {"q": (0, True), "k0": (1, True)}
    assert heads("moco") == heads("moco-tp") == {"z0": ("k0", set())}
    assert [methods.find(m).PLAN.order for m in ("seco", "moco", "moco-tp")] == [
        "augment-crop",
        "crop-augment",
        "crop-augment",
    ]
