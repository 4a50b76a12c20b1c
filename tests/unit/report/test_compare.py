"""Result rows: found, checked, put together, and said."""

import json

import pytest

from seco.errors import ConfigError
from seco.report import compare
from seco.report.facts import read_run


@pytest.fixture
def scores_of(tmp_path, rows_of):
    """Scores of rows that differ from the usual one."""

    def make(*changes):
        file = tmp_path / "made.json"
        file.write_text(json.dumps({"rows": [rows_of(**c) for c in changes]}))
        return compare.find_scores([], [file])

    return make


def test_seeds_are_put_together_with_their_range(scores_of):
    scores = scores_of({"seed": 0, "value": 0.4}, {"seed": 1, "value": 0.6}, {"encoder": "colour"})
    both, one = scores.rows
    assert (both["value"], both["low"], both["high"], both["num_seeds"]) == (0.5, 0.4, 0.6, 2)
    assert both["spread"] == pytest.approx(0.1414, abs=1e-4)
    assert both["interval"] == "range of 2 seeds"
    assert (one["interval"], one["low"], one["high"]) == ("95% interval", 0.4, 0.6)


def test_rows_of_other_settings_or_weights_stay_apart(scores_of):
    changes = [
        {},
        {"settings": "num_dates=1"},
        {"size": 224},
        {"normalise": "paper"},
        {"encoder_fingerprint": "ab"},
    ]
    assert len(scores_of(*changes).rows) == len(changes)


def test_the_same_row_of_two_files_counts_once(finished, tmp_path):
    copy = tmp_path / "scores-2.json"
    copy.write_text((finished.parent / "scores.json").read_text())
    once = compare.find_scores([], [finished.parent / "scores.json"])
    assert compare.find_scores([], [finished.parent / "scores.json", copy]).rows == once.rows


def test_what_is_no_row_is_left_out_and_counted(scores_of, tmp_path, rows_of):
    odd = [
        rows_of(value=None),
        rows_of(value="x"),
        rows_of(value=float("nan")),
        {k: v for k, v in rows_of().items() if k != "task"},
        3,
    ]
    file = tmp_path / "odd.json"
    file.write_text(json.dumps({"rows": [*odd, rows_of(ci_low="x", majority=[1], extra={"a": 1})]}))
    scores = compare.find_scores([], [file])
    assert scores.notes == ["5 rows of odd.json lack a number or a name and are left out."]
    assert [(r["value"], r["low"], r["interval"], r["majority"]) for r in scores.rows] == [
        (0.5, None, "no interval given", None)
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"rows": 3}', "{" * 10_000, None])
def test_a_file_asked_for_must_be_good_and_one_that_was_found_need_not(run, content):
    bad = run.parent / "scores-bad.json"
    bad.write_text(content) if content is not None else bad.mkdir()
    with pytest.raises(ConfigError, match=r"scores-bad\.json"):
        compare.find_scores([], [bad])
    found = compare.find_scores([read_run(run, label="run")])
    assert found.rows
    assert len(found.notes) == 1
    assert "scores-bad.json" in found.notes[0]


def test_the_verdict_says_how_far_and_how_sure(scores_of):
    rows = scores_of(
        {"value": 0.5, "ci_low": 0.45, "ci_high": 0.55},
        {"encoder": "colour", "value": 0.52, "ci_low": 0.5, "ci_high": 0.6},
        {"encoder": "random:x", "value": 0.3, "ci_low": 0.2, "ci_high": 0.4},
        {"encoder": "other", "value": 0.5, "ci_low": None},
    ).rows  # fmt: skip
    assert compare.verdict(rows[0], rows[1:]) == (
        "2.0 points below colour statistics (intervals overlap); 20.0 points above random x (intervals apart); "
        "level with other."
    )
    assert "no other encoder" in compare.verdict(rows[0], [])


def test_headlines_show_the_run_even_where_it_loses(finished):
    runs = [read_run(finished, label="run")]
    made = compare.headlines(compare.find_scores(runs), runs)
    assert made.count('class="card"') == 1
    assert '<span class="big">50.0</span>' in made
    assert "5.0 points below colour statistics" in made
    assert "20.0 points above commonest class" in made


def test_scores_without_the_run_have_no_headline(finished, scores_of):
    assert compare.headlines(scores_of({"encoder": "colour"}), [read_run(finished, label="run")]) == ""


def test_bars_stay_inside_their_track(finished, scores_of):
    made = compare.bars(scores_of({"value": 1.7, "ci_low": -0.2, "ci_high": 2.0}), [])
    assert "width:100.00%" in made
    assert "left:0.00%;width:100.00%" in made


def test_the_table_escapes_and_sorts_by_numbers(finished, hostile):
    runs = [read_run(finished, label="run")]
    made = compare.table(compare.find_scores(runs), runs)
    assert "<img" not in made
    assert "&lt;/script&gt;&lt;img" in made
    assert 'data-value="0.55"' in made
    assert made.count("<tr") == 1 + 5
