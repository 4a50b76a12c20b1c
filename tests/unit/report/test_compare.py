"""Result rows: found, checked, put together, and said."""

import json
import shutil

import pytest

from seco.errors import ConfigError
from seco.probes import evaluation
from seco.probes.result import metric_words
from seco.report import compare
from seco.report.facts import read_run, read_runs
from seco.report.markup import escape
from seco.report.rows import find_scores
from seco.use.load import load_encoder


@pytest.fixture
def scores_of(tmp_path, rows_of):
    """Scores of rows that differ from the usual one."""

    def make(*changes):
        file = tmp_path / "made.json"
        file.write_text(json.dumps({"rows": [rows_of(**c) for c in changes]}))
        return find_scores([], [file])

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
    once = find_scores([], [finished.parent / "scores.json"])
    assert find_scores([], [finished.parent / "scores.json", copy]).rows == once.rows


def test_what_is_no_row_is_left_out_and_counted(scores_of, tmp_path, rows_of):
    odd = [
        rows_of(value=None),
        rows_of(value="x"),
        rows_of(value=float("nan")),
        {k: v for k, v in rows_of().items() if k != "task"},
        3,
    ]
    file = tmp_path / "odd.json"
    file.write_text(
        json.dumps({"rows": [*odd, rows_of(ci_low="x", majority=[1], shots="few", extra={"a": 1})]})
    )
    scores = find_scores([], [file])
    assert scores.notes == ["5 rows of odd.json lack a number or a name and are left out."]
    assert [(r["value"], r["low"], r["interval"], r["majority"]) for r in scores.rows] == [
        (0.5, None, "no interval given", None)
    ]
    assert "few" not in compare.table(scores) + compare.bars(scores)


@pytest.mark.parametrize("content", ["", "[]", '{"rows": 3}', "{" * 10_000, None])
def test_a_file_asked_for_must_be_good_and_one_that_was_found_need_not(run, content):
    bad = run.parent / "scores-bad.json"
    bad.write_text(content) if content is not None else bad.mkdir()
    with pytest.raises(ConfigError, match=r"scores-bad\.json"):
        find_scores([], [bad])
    found = find_scores([read_run(run, label="run")])
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
        "Does not beat colour statistics or other. 2.0 points below colour statistics (intervals overlap); 20.0 points "
        "above random x (intervals apart); level with other."
    )
    assert "no other encoder" in compare.verdict(rows[0], [])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([("colour", 0.3, 0.02)], "Clearly above all of these."),
        ([("colour", 0.45, 0.1)], "Highest here, but not clearly above colour statistics."),
        (
            [("colour", 0.3, 0.02), ("random:x", 0.49, 0.1)],
            "Above all of these, though not clearly above random x.",
        ),
        ([("colour", 0.3, 0.02), ("random:x", 0.6, 0.1)], "Does not beat random x."),
        ([("colour", 0.5, 0.02)], "Does not beat colour statistics."),
        ([("colour", 0.7, 0.02), ("random:x", 0.6, 0.1)], "Beats none of these."),
    ],
)
def test_the_first_sentence_says_whom_the_run_beats(scores_of, values, words):
    told = [{"encoder": e, "value": v, "ci_low": v - w, "ci_high": v + w} for e, v, w in values]
    rows = scores_of({"value": 0.5, "ci_low": 0.45, "ci_high": 0.55}, *told).rows
    assert compare.standing(rows[0], rows[1:]) == words


def test_what_an_encoder_keeps_has_no_winner(scores_of):
    rows = scores_of({"value": 0.5}, {"encoder": "colour", "value": 0.2}).rows
    assert (
        compare.verdict(rows[0], rows[1:], asks="kept")
        == "30.0 points above colour statistics (intervals overlap)."
    )


@pytest.mark.parametrize("task", evaluation.names())
def test_every_task_has_a_card_and_bars_under_its_own_title(run, rows_of, task):
    about = evaluation.find(task).HEADLINE
    rows = [rows_of(task=task, probe=about.probe, metric=about.metric, encoder=e) for e in ("run", "colour")]
    (run / "scores.json").write_text(json.dumps({"rows": rows}))
    (run.parent / "scores.json").unlink()
    scores = find_scores([read_run(run, label="run")])
    title = str(escape(about.title))
    assert title in compare.headlines(scores)
    assert title in compare.bars(scores)
    assert str(escape(metric_words(about.metric))) in compare.bars(scores)
    assert compare.in_words(scores)[0].startswith(f"{about.title}: run 50.0%. ")


def test_skills_come_before_what_is_kept_and_few_shots_are_no_headline(run, rows_of):
    rows = [rows_of(task="season"), rows_of(task="climate", shots=5, value=0.9), rows_of(task="climate")]
    (run / "scores.json").write_text(json.dumps({"rows": rows}))
    found = compare.answers(find_scores([read_run(run, label="run")], [run / "scores.json"]))
    assert [(a.headline.title[:7], a.best["value"]) for a in found] == [("Climate", 0.5), ("Month o", 0.5)]


def test_others_are_of_the_same_data_and_settings_and_random_weights_are_always_among_them(run, rows_of):
    rows = [rows_of(data_fingerprint="a")]
    rows += [rows_of(encoder=f"imagenet:{i}", value=0.6 + i / 100) for i in range(4)]
    rows += [
        rows_of(encoder="random:x", value=0.1),
        rows_of(encoder="colour", value=0.7, data_fingerprint="b"),
        rows_of(encoder="colour", value=0.8, settings="num_dates=1"),
    ]
    (run / "scores.json").write_text(json.dumps({"rows": rows}))
    (one,) = compare.answers(find_scores([read_run(run, label="run")], [run / "scores.json"]))
    assert [r["encoder"] for r in one.others] == ["imagenet:3", "imagenet:2", "random:x"]


def test_rows_of_other_runs_are_left_out_unless_their_file_is_named(run, rows_of):
    file = run.parent / "scores.json"
    file.write_text(json.dumps({"rows": [rows_of(), rows_of(encoder="moco"), rows_of(encoder="random:x")]}))
    runs = [read_run(run, label="run")]
    found = find_scores(runs)
    assert [r["encoder"] for r in found.rows] == ["run", "random:x"]
    assert found.notes == [
        "1 row of moco left out: no run of this page. Name it too, or its file with `--scores`."
    ]
    assert len(find_scores(runs, [file]).rows) == 3


def test_rows_of_two_runs_of_one_name_go_to_the_run_that_they_lie_in(run, rows_of, tmp_path):
    shutil.copytree(run, tmp_path / "b" / "run")
    (run.parent / "scores.json").unlink()
    (run / "scores.json").write_text(json.dumps({"rows": [rows_of(value=0.1)]}))
    (tmp_path / "b" / "scores.json").write_text(json.dumps({"rows": [rows_of(value=0.2)]}))
    runs = read_runs([run, tmp_path / "b" / "run"])
    found = sorted(find_scores(runs).rows, key=lambda r: r["value"])
    assert [(r["run"], r["encoder"], r["value"]) for r in found] == [
        (label, label, value) for label, value in zip([r.label for r in runs], (0.1, 0.2), strict=True)
    ]


def test_rows_that_tell_other_weights_are_not_the_runs(run, rows_of):
    mine = load_encoder(run, device="cpu").fingerprint()
    rows = [rows_of(encoder_fingerprint=mine), rows_of(encoder_fingerprint="0" * 16, value=0.9)]
    (run / "scores.json").write_text(json.dumps({"rows": rows}))
    (run.parent / "scores.json").unlink()
    found = find_scores([read_run(run, label="run")])
    assert [r["value"] for r in found.rows] == [0.5]
    assert "other weights than the run holds now" in found.notes[0]


@pytest.mark.parametrize("value", [10**400, 2**70, -(10**400)], ids=["huge", "large", "negative"])
def test_numbers_that_no_float_holds_are_no_scores(run, rows_of, value):
    (run / "scores.json").write_text(
        json.dumps({"rows": [rows_of(), rows_of(value=value), rows_of(task="climate", ci_low=value)]})
    )
    (run.parent / "scores.json").unlink()
    found = find_scores([read_run(run, label="run")])
    assert [r["low"] for r in found.rows] == [0.4, None]


def test_headlines_show_the_run_even_where_it_loses(finished):
    runs = [read_run(finished, label="run")]
    made = compare.headlines(find_scores(runs))
    assert made.count('class="card"') == 1
    assert '<span class="big">50.0</span>' in made
    assert "5.0 points below colour statistics" in made
    assert "20.0 points above the commonest class" in made


def test_scores_without_the_run_have_no_headline(scores_of):
    assert compare.headlines(scores_of({"encoder": "colour"})) == ""


def test_bars_stay_inside_their_track(scores_of):
    made = compare.bars(scores_of({"value": 1.7, "ci_low": -0.2, "ci_high": 2.0}))
    assert "width:100.00%" in made
    assert "left:0.00%;width:100.00%" in made


def test_the_table_escapes_and_sorts_by_numbers(finished, hostile):
    runs = [read_run(finished, label="run")]
    made = compare.table(find_scores(runs, [finished.parent / "scores.json"]))
    assert "<img" not in made
    assert "&lt;/script&gt;&lt;img" in made
    assert 'data-value="0.55"' in made
    assert made.count("<tr") == 1 + 5
