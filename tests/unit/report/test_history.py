"""What was logged, as charts."""

import dataclasses

import pytest

from seco.report.facts import read_run
from seco.report.history import MAX_LINE_POINTS, charts, clock, mean_rate


@pytest.fixture
def logged(finished):
    """A run with a log of one's own."""
    known = read_run(finished, label="a")
    return lambda *lines, label="a": dataclasses.replace(known, metrics=list(lines), label=label)


def test_heads_have_colours_in_one_run_and_dashes_among_several(logged):
    one = logged({"step": 1, "loss": 3.0, "loss_z0": 1.0, "loss_z1": 2.0})
    (chart,) = charts([one])
    assert [(x["name"], x["colour"], x["dash"]) for x in chart["lines"]] == [("z0", 0, 0), ("z1", 1, 0)]
    other = logged({"step": 1, "loss_z1": 2.5}, label="b")
    (chart,) = charts([one, other])
    assert [(x["name"], x["colour"], x["dash"]) for x in chart["lines"]] == [
        ("a z0", 0, 0),
        ("a z1", 0, 1),
        ("b z1", 1, 1),
    ]


def test_a_loss_without_heads_is_shown(logged):
    (chart,) = charts([logged({"step": 1, "loss": 3.0})])
    assert [x["name"] for x in chart["lines"]] == ["loss"]


def test_numbers_of_a_newer_version_are_shown_under_their_name_and_words_are_not(logged):
    found = charts([logged({"step": 1, "entropy": 0.5, "note": "x", "flag": True, "lr": 0.1})])
    assert [c["title"] for c in found] == ["Learning rate", "entropy"]


def test_what_is_not_finite_is_a_gap(logged):
    (chart,) = charts(
        [logged(*[{"step": i, "loss": v} for i, v in enumerate((1.0, float("nan"), float("inf")))])]
    )
    assert chart["lines"][0]["y"] == [1.0, None, None]


def test_long_logs_are_thinned_from_end_to_end(logged):
    (chart,) = charts([logged(*[{"step": i, "loss": float(i)} for i in range(50_000)])])
    x = chart["lines"][0]["x"]
    assert len(x) <= MAX_LINE_POINTS
    assert (x[0], x[-1]) == (0, 49_999)
    assert chart["lines"][0]["y"] == [float(f"{v:.5g}") for v in x]


def test_rates_and_durations(logged):
    run = logged(*[{"step": i, "samples_per_s": v} for i, v in enumerate((10.0, 30.0, 20.0, float("nan")))])
    assert mean_rate(run) == 20.0
    assert mean_rate(logged()) is None
    assert [clock(s) for s in (0.2, 60, 600, 7200, 1e6, 1e300)] == [
        "1 second",
        "60 seconds",
        "10 minutes",
        "2.0 hours",
        "11.6 days",
        "over 1,000 days",
    ]
