"""The header Range, as RFC 9110 tells it."""

import pytest

from seco.planet.serving.ranges import MAX_RANGES, UnsatisfiableError, has_tag, parse_range


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-99", [(0, 100)]),
        ("bytes=10-", [(10, 100)]),
        ("bytes=90-1000", [(90, 100)]),
        ("bytes=-10", [(90, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("Bytes = 1-2", [(1, 3)]),
        ("bytes=0-1, 5-6 ,-1", [(0, 2), (5, 7), (99, 100)]),
        ("bytes=200-,3-4", [(3, 5)]),  # what can be satisfied is
        ("items=0-5", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes 0-5", None),
        ("bytes=1-2-3", None),
        ("bytes=--5", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=\u0663-\u0664", None),  # digits, but not ones of ASCII
        ("", None),
    ],
)
def test_ranges_of_a_hundred_bytes(value: str | None, wanted: list[tuple[int, int]] | None) -> None:
    assert parse_range(value, 100) == wanted


@pytest.mark.parametrize(
    "value", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=" + ",".join(["0-1"] * (MAX_RANGES + 1))]
)
def test_nothing_to_give(value: str) -> None:
    with pytest.raises(UnsatisfiableError):
        parse_range(value, 100)


def test_nothing_of_nothing() -> None:
    assert parse_range(None, 0) is None
    with pytest.raises(UnsatisfiableError):
        parse_range("bytes=0-", 0)


def test_entity_tags() -> None:
    assert has_tag('"a", W/"b"', '"b"')
    assert has_tag("*", '"b"')
    assert not has_tag('"a"', '"b"')
    assert not has_tag("", '"b"')
