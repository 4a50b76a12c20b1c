"""Masks that are no SCL: what an item says of them, and what its numbers say then."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seco.collect.clear import SCENE_CLASSES, look
from seco.collect.masks import CLEAR, CLOUD, MASK, NODATA, SCL, SHADOW, MaskRule, Meaning, meaning_of
from seco.sensors.sentinel2 import SCL_CLASSES, SCL_UNCLEAR

AUTO = MaskRule()


def classes(*names: str) -> dict:
    return {"classification:classes": [{"value": i, "name": n} for i, n in enumerate(names)]}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clear", CLEAR), ("not_cloud", CLEAR), ("no cloud", CLEAR), ("cloud-free", CLEAR), ("water", CLEAR),
        ("snow", CLEAR), ("terrain_shadow", CLEAR), ("cloud", CLOUD), ("thin_cirrus", CLOUD), ("Cloud High", CLOUD),
        ("opaque", CLOUD), ("cloud_shadow", SHADOW), ("shadow", SHADOW), ("no_data", NODATA), ("nodata", NODATA),
        ("fill", NODATA), ("saturated_or_defective", NODATA),
    ],
)  # fmt: skip
def test_words_tell_what_a_class_is(name, kind):
    found = meaning_of("qa", classes("cloud", name), AUTO)
    assert found == Meaning(values=((0, CLOUD), (1, kind)))


def test_titles_stand_in_for_names_that_say_nothing():
    fields = {
        "classification:classes": [{"value": 1, "description": "Opaque clouds"}, {"value": 2, "name": "2"}]
    }
    assert meaning_of("qa", fields, AUTO) == Meaning(values=((1, CLOUD), (2, CLEAR)))


def test_scene_classes_are_what_they_always_were():
    kinds = SCENE_CLASSES.kinds(np.arange(256, dtype=np.uint8))
    assert [i for i, k in enumerate(kinds[: len(SCL_CLASSES)]) if k != CLEAR] == list(SCL_UNCLEAR)
    assert (kinds[len(SCL_CLASSES) :] == CLOUD).all()


def test_of_a_described_mask_unknown_numbers_hide_and_nodata_is_nodata():
    fields = {**classes("clear", "cloud"), "raster:bands": [{"nodata": 255}]}
    found = meaning_of("qa", fields, AUTO)
    assert found.kinds(np.array([0, 1, 7, 255], np.uint8)).tolist() == [CLEAR, CLOUD, CLOUD, NODATA]
    seen = look(np.array([[0, 0, 1, 255]], np.uint8), found)
    assert (seen.clear, seen.cloud, seen.nodata) == (0.5, 0.25, 0.25)


def test_bits():
    fields = {
        "bands": [
            {
                "classification:bitfields": [
                    {"offset": 0, "length": 1, "classes": [{"value": 1, "name": "fill"}]},
                    {
                        "offset": 3,
                        "length": 1,
                        "classes": [{"value": 0, "name": "not_cloud"}, {"value": 1, "name": "cloud"}],
                    },
                    {"offset": 4, "length": 2, "classes": [{"value": 2, "name": "cloud_shadow"}]},
                ]
            }
        ]
    }
    found = meaning_of("qa", fields, AUTO)
    numbers = np.array([0, 1, 8, 0b100000, 0b101000, 0b101001, 0b010000, 1 << 15], np.uint16)
    wanted = [CLEAR, NODATA, CLOUD, SHADOW, CLOUD, NODATA, CLEAR, CLEAR]
    assert found.kinds(numbers).tolist() == wanted


@pytest.mark.parametrize(
    ("key", "fields", "is_one"),
    [
        ("cloud", {"title": "Cloud Probabilities", "roles": ["data", "cloud"]}, True),
        ("MSK_CLDPRB_20m", {"description": "cloud probability"}, True),
        ("cloud", {"unit": "%"}, True),
        ("cloud", {"roles": ["cloud"]}, False),  # a probability, or zeros and ones? nobody says
        ("snow", {"title": "Snow Probabilities", "roles": ["data", "snow-ice"]}, False),
        ("aot", {"title": "Aerosol optical thickness (AOT)"}, False),
        ("qa", classes("vegetation", "water"), False),
        ("qa", {**classes("cloud"), "raster:bands": [{}, {}]}, False),
    ],
)
def test_what_is_a_mask(key, fields, is_one):
    assert (meaning_of(key, fields, AUTO) is not None) == is_one


def test_probabilities():
    found = meaning_of("cld", {"title": "Cloud probability"}, MaskRule(cloud_from=60))
    numbers = np.array([0, 59, 60, 100, 101, 255], np.uint8)
    assert found.kinds(numbers).tolist() == [CLEAR, CLEAR, CLOUD, CLOUD, NODATA, NODATA]
    assert found.kinds(np.array([np.nan, -1.0])).tolist() == [NODATA, NODATA]


def test_what_the_user_says():
    rule = MaskRule(name="qa", hidden=(2, 3))
    assert meaning_of("other", classes("cloud"), rule) is None
    found = meaning_of("qa", {}, rule)
    assert found.kinds(np.array([0, 1, 2, 3, 4])).tolist() == [CLEAR, CLEAR, CLOUD, CLOUD, CLEAR]
    assert [MaskRule(name=n).bands for n in ("auto", "scl", "none", "qa")] == [
        (SCL, MASK),
        (SCL,),
        (),
        (MASK,),
    ]
    assert [MaskRule(name=n).is_needed for n in ("auto", "scl", "none", "qa")] == [False, True, False, True]


@pytest.mark.parametrize(
    "meaning",
    [
        SCENE_CLASSES, Meaning(cloud_from=40.0), Meaning(bits=((3, 1, ((1, CLOUD),)),)),
        Meaning(values=((1, CLOUD),), other=CLEAR),
    ],
)  # fmt: skip
def test_as_json(meaning):
    assert Meaning.from_json(json.loads(json.dumps(meaning.to_json()))) == meaning


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        ["classification:classes", "classification:bitfields", "title", "unit", "roles", "bands"]
    ),
    JUNK,
)
def test_strangers_may_write_anything(name, junk):
    """A meaning that can be used, or one of the errors that count as a bad item."""
    try:
        found = meaning_of("cloud", {"title": "cloud probability", name: junk}, AUTO)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return
    if found is not None:
        assert set(found.kinds(np.arange(8, dtype=np.uint8)).tolist()) <= {CLEAR, SHADOW, CLOUD, NODATA}


@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), 0.5, "nan", None])
def test_nodata_that_is_no_whole_number_is_left_out(nodata):
    classes = [
        {"value": 0, "name": "clear"},
        {"value": 1, "name": "cloud"},
        {"value": float("nan"), "name": "fill"},
    ]
    found = meaning_of("qa", {"classification:classes": classes, "nodata": nodata}, AUTO)
    assert found == Meaning(values=((0, CLEAR), (1, CLOUD)))
