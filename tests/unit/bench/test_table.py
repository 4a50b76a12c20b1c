"""Rows from known timings: medians, spread and ratios by hand; interleaving in order; the clock of the processor."""

import dataclasses
import time

import pytest

from seco.bench.table import COLUMNS, Row, absent, rows_of
from seco.bench.timing import Contender, Timing, cpu_seconds, interleave


def contender(name, note=""):
    return Contender(name=name, run=lambda: None, note=note)


def test_rows_are_computed_from_the_timings_of_the_same_round():
    # The machine got slower from round to round; the ratio of each round says that it is the rival who got worse.
    timings = {
        "ours": Timing(wall=(1.0, 2.0, 4.0), cpu=(1.0, 1.0, 1.0)),
        "rival": Timing(wall=(3.0, 8.0, 20.0), cpu=(2.0, 3.0, 7.0), extra={"kB": 5.0}),
    }
    ours, rival = rows_of(
        timings, [contender("ours"), contender("rival", "slow")], family="f", case="c", against="ours", num=10
    )
    assert (ours.median, ours.min, ours.max, ours.cpu) == (200.0, 100.0, 400.0, 100.0)
    assert (ours.ratio, ours.ratio_min, ours.ratio_cpu) == (1.0, None, 1.0)
    assert (rival.median, rival.min, rival.max, rival.cpu) == (800.0, 300.0, 2000.0, 300.0)
    assert (rival.ratio, rival.ratio_min, rival.ratio_max, rival.ratio_cpu) == (4.0, 3.0, 5.0, 3.0)
    assert (rival.repeats, rival.note, rival.extra) == (3, "slow", {"kB": 5.0})
    assert rival.cells()["ratio spread"] == "3 to 5"
    assert rival.cells()["median"] == "800"
    assert rival.cells()["note"] == "slow; kB 5"


def test_a_clock_too_coarse_for_the_reference_gives_no_ratio():
    timings = {"a": Timing(wall=(1.0,), cpu=(0.0,)), "b": Timing(wall=(2.0,), cpu=(1.0,))}
    _, row = rows_of(
        timings,
        [contender("a"), contender("b")],
        family="f",
        case="c",
        against="a",
        num=1,
        unit="s",
        scale=1.0,
    )
    assert (row.median, row.ratio, row.ratio_cpu) == (2.0, 2.0, None)


def test_every_cell_has_a_column_and_what_is_absent_says_why():
    row = absent(family="f", case="c", contender="kornia", against="ours", why="not measured: not installed")
    assert set(row.cells()) == set(COLUMNS)
    assert row.cells()["median"] is None
    assert row.cells()["ratio"] is None
    assert row.cells()["note"] == "not measured: not installed"
    assert {f.name for f in dataclasses.fields(Row)} >= {"median", "ratio", "ratio_min", "ratio_cpu", "extra"}


def test_contenders_have_their_turns_after_one_round_without_a_clock():
    done = []
    both = [
        Contender(
            name=n,
            run=lambda n=n: done.append(n) or {"calls": float(len(done))},
            prepare=lambda: done.append("-"),
        )
        for n in "AB"
    ]
    timings = interleave(both, repeats=2)
    assert done == ["-", "A", "-", "B"] * 3
    assert len(timings["A"].wall) == len(timings["B"].cpu) == 2
    assert timings["A"].extra == {"calls": 8.0}  # of 6 and 10; the first round's 2 does not count


def test_preparing_is_not_timed_and_sleeping_takes_no_processor():
    slow = Contender(name="slow", run=lambda: time.sleep(0.05), prepare=lambda: time.sleep(0.3))
    timing = interleave([slow], repeats=1)["slow"]
    assert 0.05 <= timing.wall[0] < 0.3
    assert timing.cpu[0] < 0.04


def test_the_time_of_worker_processes_counts():
    from multiprocessing import get_context

    with get_context("fork").Pool(1) as pool:
        before, own = cpu_seconds(), time.process_time()
        pool.apply(burn)
        both, own = cpu_seconds() - before, time.process_time() - own
    assert both - own > 0.1


def burn():
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"repeats": 0}, "repeats 0; at least 1"),
        ({"batch_size": 1}, "batch size 1; at least 2"),
        ({"queue_size": 16}, "queue of 16 keys"),
        ({"queue_size": 100}, "multiple of the batch, 32"),
    ],
)
def test_settings_out_of_range(settings, words, tmp_path):
    from seco.bench.family import Settings
    from seco.errors import ConfigError

    with pytest.raises(ConfigError, match=words):
        Settings(work=tmp_path, **settings)
