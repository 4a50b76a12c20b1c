"""Clear fractions, and why a patch is turned down."""

import numpy as np
import pytest

from seco.collect.clear import look


def classes(**share) -> np.ndarray:
    out = np.full(100, 4, np.uint8)
    at = 0
    for name, num in share.items():
        out[at : at + num] = int(name.removeprefix("c"))
        at += num
    return out.reshape(10, 10)


def test_shares():
    seen = look(classes(c0=5, c1=3, c3=10, c8=7, c9=6, c10=4, c11=20, c2=9))
    assert (round(seen.nodata, 9), round(seen.shadow, 9), round(seen.cloud, 9)) == (0.08, 0.10, 0.17)
    assert seen.clear == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        ({}, None),
        ({"c9": 10}, None),
        ({"c9": 11}, "cloud"),
        ({"c3": 11}, "shadow"),
        ({"c3": 12, "c8": 7, "c10": 6}, "cloud"),
        ({"c0": 2}, "nodata"),
        ({"c0": 1}, None),
        ({"c0": 100}, "nodata"),
        ({"c11": 100}, None),
        ({"c77": 50}, "cloud"),
    ],
)
def test_reasons(share, reason):
    assert look(classes(**share)).reason(min_clear=0.9, max_nodata=0.01) == reason


def test_nodata_that_is_allowed_still_hides():
    assert look(classes(c0=30)).reason(min_clear=0.9, max_nodata=1.0) == "nodata"
