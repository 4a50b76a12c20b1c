"""The stopwatch: phases within phases, nothing counted twice, the sum is the wall time."""

import time

import pytest
import torch

from seco.nets.phases import LOSS, ORDER, OTHER, QUERY, WAIT, Phases, lines


def test_phases_sum_to_the_wall_time_and_inner_ones_are_taken_from_outer():
    phases = Phases()
    began = time.perf_counter()
    phases.start(torch.device("cpu"))

    def slow():
        for i in range(2):
            time.sleep(0.02)
            yield i

    for _ in phases.each(WAIT, slow()):
        with phases(LOSS):
            time.sleep(0.01)
            with phases(QUERY):
                time.sleep(0.03)
        time.sleep(0.005)
    report = phases.report(batch_size=5)
    wall = time.perf_counter() - began
    seconds = {k: v["s"] for k, v in report["phases"].items()}
    assert list(seconds) == list(ORDER)
    assert sum(seconds.values()) == pytest.approx(report["wall_s"], abs=1e-9)
    assert report["wall_s"] <= wall
    assert report["steps"] == 2
    assert report["ms_a_sample"] == pytest.approx(100 * report["wall_s"])
    assert seconds[WAIT] >= 0.04
    assert seconds[QUERY] >= 0.06
    assert seconds[LOSS] >= 0.02
    assert seconds[LOSS] + seconds[WAIT] + seconds[OTHER] <= report["wall_s"] - 0.06
    assert sum(v["share"] for v in report["phases"].values()) == pytest.approx(1)
    said = lines(report)
    assert len(said) == 1 + len(ORDER)
    assert "2 steps in" in said[0]


def test_an_error_within_a_phase_leaves_it():
    phases = Phases()
    phases.start(torch.device("cpu"))
    with pytest.raises(ValueError, match="x"), phases(LOSS):
        raise ValueError("x")
    time.sleep(0.02)
    seconds = {k: v["s"] for k, v in phases.report(batch_size=1)["phases"].items()}
    assert seconds[LOSS] < 0.02 <= seconds[OTHER]


def test_before_the_start_nothing_is_measured():
    phases = Phases()
    with phases(LOSS):
        assert list(phases.each(WAIT, [1, 2])) == [1, 2]
    assert phases.seconds == {}
