"""Means, rates and time left between two log lines."""

import json

import pytest

from seco.train import meter as module
from seco.train.meter import Meter
from seco.train.settings import Pretrain

CONFIG = Pretrain(steps=100, batch_size=8)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_means_are_over_the_steps_since_the_last_report(clock):
    meter = Meter(0, CONFIG)
    for value in (1.0, 2.0, 6.0):
        meter.add({"loss": value, "accuracy_z0": value / 10})
    clock[0] += 4
    numbers, line = meter.report(3)
    assert numbers == {"loss": 3.0, "accuracy_z0": pytest.approx(0.3), "samples_per_s": 6.0}
    assert line == "step 3/100  loss 3.000  accuracy z0 0.30  6 samples/s  2:09 left"
    meter.add({"loss": 5.0, "accuracy_z0": 1.0})
    clock[0] += 1
    assert meter.report(4)[0] == {"loss": 5.0, "accuracy_z0": 1.0, "samples_per_s": 8.0}


def test_a_meter_taken_up_again_reports_the_same_means_exactly(clock):
    values = [0.1, 0.7, 1 / 3, 2.9]
    whole = Meter(0, CONFIG)
    for v in values:
        whole.add({"loss": v})
    first = Meter(0, CONFIG)
    for v in values[:2]:
        first.add({"loss": v})
    second = Meter(2, CONFIG, **json.loads(json.dumps(first.state())))
    for v in values[2:]:
        second.add({"loss": v})
    clock[0] += 1
    assert second.report(4)[0]["loss"] == whole.report(4)[0]["loss"]


def test_the_rate_counts_only_the_steps_of_this_session(clock):
    meter = Meter(50, CONFIG)
    meter.add({"loss": 1.0})
    clock[0] += 2
    numbers, line = meter.report(51)
    assert numbers["samples_per_s"] == 4
    assert line.endswith("4 samples/s  1:38 left")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (86399, "23:59:59")]
)
def test_time_left_is_readable(seconds, shown):
    assert module._clock(seconds) == shown
