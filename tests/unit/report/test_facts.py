"""A run folder read with patience."""

import json
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seco.errors import ConfigError
from seco.report import history
from seco.report.facts import command_again, command_typed, flat_settings, read_run, read_runs


def read(path):
    return read_run(path, label=path.name)


def test_a_finished_run(finished):
    run = read(finished)
    assert run.is_finished
    assert (run.num_steps, run.step, run.method, run.notes) == (6, 6, "seco", ())
    assert set(run.parts.values()) <= {"train", "held out", "left out"}
    assert history.state_words(run).startswith("Finished: 6 steps; last line logged on ")
    assert history.progress_bar(run) is None


def test_folders_that_hold_no_run_are_refused_in_one_line(tmp_path, finished):
    for path, words in (
        (tmp_path, "holds no run"),
        (tmp_path / "no", "not a folder"),
        (finished.parent, "runs in it: run"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_runs([path])


def test_a_run_given_twice_is_read_once_and_names_are_told_apart(finished, run):
    assert [r.label for r in read_runs([finished, finished])] == ["run"]
    labels = [r.label for r in read_runs([finished, run])]
    assert labels == [f"{finished.parent.name}/run", f"{run.parent.name}/run"]


def test_paths_are_told_as_they_were_given(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    (found,) = read_runs([Path("run"), run])
    assert (found.path, found.name) == (Path("run"), "run")
    assert command_again(found) == "seco pretrain --config run/config.yaml --out run-again"
    monkeypatch.chdir(run)
    (found,) = read_runs([Path()])
    assert (found.path, found.label) == (run.resolve(), "run")


def test_damaged_lines_are_left_out_and_counted(run):
    log = run / "metrics.jsonl"
    whole = log.read_text().splitlines()
    log.write_text(
        "\n".join([whole[0], '{"step": 2, "lo', "[1]", '{"step": "x"}', *whole[1:], '{"step": 9, "loss"'])
    )
    found = read(run)
    assert [m["step"] for m in found.metrics] == [json.loads(x)["step"] for x in whole]
    assert found.notes == ("3 of 10 lines of metrics.jsonl are damaged and left out (the first is line 2)",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jitter: &j [*j]\n", "jitter cannot be shown"),
        (
            "a: &a [1, 1]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: &e [*d, *d]\nf: [*e, *e]\n",
            ": f cannot be",
        ),
        (f"seed: {10**400}\n", "seed cannot be shown"),
        ("day: 2020-13-45\n", "cannot be read"),
        ("steps: " + "9" * 6000, "cannot be read"),
        ("d: " + "[" * 900 + "]" * 900, "cannot be"),
    ],
)
def test_settings_that_no_page_can_show_are_noted(run, text, words):
    (run / "config.yaml").write_text("method: seco\n" + text)
    found = read(run)
    assert words in " ".join(found.notes)
    assert len(str(flat_settings(found))) < 1000


@pytest.mark.parametrize("columns", [
    {"place": [["a"]], "part": ["train"]}, {"place": ["a"], "part": [["train"]]}, {"place": ["a"], "part": [None]},
    {"place": [1], "part": ["train"]},
])  # fmt: skip
def test_a_table_of_places_with_other_columns_is_noted(run, columns):
    pq.write_table(pa.table(columns), run / "places.parquet")
    found = read(run)
    assert found.parts is None
    assert "places.parquet" in found.notes[0]


def test_numbers_of_the_log_that_no_float_holds_are_left_out(run):
    log = run / "metrics.jsonl"
    lines = [
        {"step": 1, "loss": 10**400, "lr": 0.1},
        {"step": 10**400, "loss": 1},
        {"step": -1},
        {"step": True},
    ]
    log.write_text("".join(json.dumps(x) + "\n" for x in [*lines, {"step": 2, "samples_per_s": 1e999}]))
    found = read(run)
    assert found.metrics == [{"step": 1, "lr": 0.1}, {"step": 2, "samples_per_s": float("inf")}]
    assert history.charts([found])
    assert found.seconds_left is None


@pytest.mark.parametrize(
    "name",
    ["environment.json", "started.json", "places.parquet", "config.yaml", "encoder/encoder.safetensors"],
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, 2]", None])
def test_damaged_and_missing_files_become_notes(run, name, content):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    found = read(run)
    told = len(found.notes)
    if name.startswith("encoder"):
        assert (found.spec, told) == (None, 0 if content is None else 1)
    elif name == "config.yaml" and content == b"":
        assert found.config == {}
    else:
        assert told == 1
        assert name.split("/")[-1] in found.notes[0]


def test_a_run_in_the_middle_says_its_step_and_the_time_left(run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("steps: 6", "steps: 1006"))
    log = run / "metrics.jsonl"
    lines = [json.loads(x) | {"samples_per_s": 2.0} for x in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(x) + "\n" for x in lines))
    found = read(run)
    assert not found.is_finished
    assert found.seconds_left == 1000 * 4 / 2.0
    words = history.state_words(found)
    assert "step 6 of 1,006" in words
    assert "about 33 minutes are left" in words
    assert "It holds the encoder of step 6." in words
    bar = history.progress_bar(found, name="a & b")
    assert 'style="width:0.60%"' in bar
    assert "a &amp; b: Step 6 of 1,006" in bar
    assert "1%, about 33 minutes left if it still runs" in bar
    config.write_text(config.read_text().replace("batch_size: 4", "batch_size: -4"))
    assert read(run).seconds_left is None
    assert history.progress_bar(read(run)) is not None


def test_a_run_that_logged_nothing_says_so(run):
    (run / "metrics.jsonl").write_text("")
    (run / "encoder" / "encoder.safetensors").unlink()
    assert "Nothing was logged yet" in history.state_words(read(run))


def test_commands_are_quoted_for_a_shell(run):
    (run / "environment.json").write_text(
        json.dumps({"command": ["/x/bin/seco", "demo", "--out", "a b; rm"]})
    )
    moved = run.rename(run.with_name("my run"))
    found = read(moved)
    assert command_typed(found) == "seco demo --out 'a b; rm'"
    words = shlex.split(command_again(found))
    assert words == ["seco", "pretrain", "--config", str(moved / "config.yaml"), "--out", f"{moved}-again"]


@pytest.mark.parametrize("command", [None, [], "seco", [1, 2], {}])
def test_what_is_no_command_is_not_shown(run, command):
    (run / "environment.json").write_text(json.dumps({"command": command}))
    assert command_typed(read(run)) is None


def test_settings_are_text_whatever_they_are(run):
    (run / "config.yaml").write_text(
        "steps: true\nmethod_options: [1]\njitter: [0.4, 1]\nodd: {a: 1}\nnothing:\n"
    )
    found = read(run)
    assert found.num_steps is None
    assert flat_settings(found) == {"steps": "True", "jitter": "0.4, 1", "odd": "{'a': 1}", "nothing": "none"}
    assert "not known" in history.state_words(found)
