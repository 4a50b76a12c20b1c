"""Kinds of faults, and how long is waited after each."""

import email.utils
import time

import pytest

from seco.collect.faults import Patience, PixelFault, retry_after_s

PATIENCE = Patience(first_s=1.0, longest_s=8.0, slow_down_s=10.0, seed=3)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), (" 0 ", 0.0), (None, None), ("", None), ("soon", None), ("-3", None), ("1e9", None)]
)  # fmt: skip
def test_retry_after(text, seconds):
    assert retry_after_s(text) == seconds


def test_retry_after_as_a_date():
    assert 28 < retry_after_s(email.utils.formatdate(time.time() + 30, usegmt=True)) <= 31
    assert retry_after_s(email.utils.formatdate(0, usegmt=True)) == 0.0


def test_waits_double_to_a_limit_with_jitter_that_is_seeded():
    fault = PixelFault("500", "h")
    waits = [PATIENCE.wait_s(fault, n, what="a") for n in range(1, 9)]
    for n, wait in enumerate(waits):
        whole = min(2.0**n, 10.0)
        assert whole / 2 <= wait <= whole
    assert waits == [PATIENCE.wait_s(fault, n, what="a") for n in range(1, 9)]
    assert waits != [PATIENCE.wait_s(fault, n, what="b") for n in range(1, 9)]


@pytest.mark.parametrize("kind", ["429", "503"])
def test_slow_down_waits_long_unless_told_how_long(kind):
    assert PATIENCE.wait_s(PixelFault(kind, "h"), 1, what="a") >= 5.0
    assert PATIENCE.wait_s(PixelFault(kind, "h", retry_after_s=2.5), 1, what="a") == 2.5


@pytest.mark.parametrize(
    ("kind", "is_transient"), [("500", True), ("truncated", True), ("missing", False), ("403", False)]
)
def test_which_may_pass(kind, is_transient):
    assert PixelFault(kind, "h").is_transient == is_transient
