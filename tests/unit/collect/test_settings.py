"""What a collection may be asked for, and what each wrong wish is told."""

import datetime as dt

import pytest

from seco import config as configs
from seco.collect.settings import Collect
from seco.errors import ConfigError

DAYS = {"first": dt.date(2023, 1, 1), "last": dt.date(2024, 12, 31)}

WRONG = [
    ({"first": None}, "--from 2023-01-01"),
    ({"last": None}, "--to"),
    ({"first": dt.date(2025, 1, 1)}, "first day comes first"),
    ({"last": dt.date(2023, 12, 30)}, "need 365 days"),
    ({"seasons": 0}, "--seasons 0"),
    ({"spacing_days": 0}, "--spacing-days"),
    ({"window_days": -1}, "--window-days"),
    ({"bands": ("B04", "B99")}, "choose from all, B01|choose from all,B01"),
    ({"bands": ()}, "bands none"),
    ({"bands": ("B04", "b4")}, "each once"),
    ({"bands": ("all", "B04")}, "alone"),
    ({"size": 256}, "multiple of 6"),
    ({"size": 0}, "--size"),
    ({"size": 10_986}, "--size"),
    ({"size": 131, "bands": ("B05",)}, "multiple of 2"),
    ({"min_clear": 1.1}, "--min-clear"),
    ({"max_nodata": -0.1}, "--max-nodata"),
    ({"max_cloud": 101.0}, "--max-cloud"),
    ({"mask_hidden": (1,)}, "--mask-hidden with --mask auto"),
    ({"mask": ""}, "--mask"),
    ({"mask": "qa", "mask_cloud": 0.0}, "--mask-cloud 0"),
    ({"num_places": 0}, "--num 0"),
    ({"candidates": 0}, "--candidates"),
    ({"seed": -1}, "--seed"),
    ({"concurrency": 0}, "--concurrency"),
    ({"retries": -1}, "--retries"),
    ({"timeout_s": 0.0}, "--timeout-s"),
    *(
        ({"scheduler": s}, "--scheduler .*such as tcp:")
        for s in ("", "nonsense", "10.0.0.1:8786", "tcp://10.0.0.1", "foo://a:1")
    ),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_wrong_wishes(values, words):
    with pytest.raises(ConfigError, match=words):
        Collect(**{**DAYS, **values})


def test_bands_and_sizes():
    assert Collect(**DAYS).band_names() == (
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
    )  # fmt: skip
    assert len(Collect(**DAYS).band_names(level="L1C")) == 13
    some = Collect(**DAYS, bands=("b8a", "B2"), size=256)
    assert some.band_names() == ("B02", "B8A")
    assert some.coarsest_m == 20
    assert Collect(**DAYS, bands=("B02",), size=1).coarsest_m == 10


def test_from_flags_and_back():
    values = {"first": "2023-01-01", "last": "2024-12-31", "bands": "B02,B03", "max_cloud": "20"}
    config = configs.build(Collect, values)
    assert config.days == (dt.date(2023, 1, 1), dt.date(2024, 12, 31))
    assert configs.build(Collect, configs.to_plain(config)) == config
