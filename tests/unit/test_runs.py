"""Files of runs: written whole or not at all; logs that go on; tables."""

import json
import os
import threading

import numpy as np
import pytest

from seco import runs
from seco.errors import ConfigError, SecoError
from seco.runs import (
    MetricsLog,
    cache_folder,
    environment,
    print_table,
    progress,
    read_metrics,
    write_atomic,
    write_json,
    write_rows,
)


def test_a_file_is_written_whole_in_a_folder_that_is_made(tmp_path):
    file = tmp_path / "a" / "b" / "c.txt"
    write_atomic(file, "grün")
    assert file.read_text(encoding="utf-8") == "grün"
    write_atomic(file, b"\x00\x01")
    assert file.read_bytes() == b"\x00\x01"
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk_is_one_clear_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    from pathlib import Path

    file = tmp_path / "c.txt"
    write_atomic(file, "old")
    original = Path.write_bytes

    def full(self, data):
        original(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SecoError, match=r"cannot write .*c\.txt.*No space left.*free disk space"):
        write_atomic(file, "new and longer")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_reader_never_sees_half_a_file(tmp_path):
    file = tmp_path / "c.json"
    write_json(file, {"n": 0, "text": "x" * 100_000})
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            text = file.read_text()
            seen.append(json.loads(text)["n"] if text.endswith("}\n") else "half a file")

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(50):
        write_json(file, {"n": n, "text": "x" * 100_000})
    stop.set()
    reader.join()
    assert "half a file" not in seen
    assert seen == sorted(seen)


def test_a_path_through_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SecoError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below.txt", "x")


def test_tables_have_the_one_schema_and_numbers_stay_numbers(tmp_path):
    rows = [{"encoder": "a", "value": 0.5, "seed": 1, "k": None, "flag": True}]
    write_rows(tmp_path / "r.json", rows)
    assert json.loads((tmp_path / "r.json").read_text()) == {"rows": rows}
    write_rows(tmp_path / "n.json", [{"value": np.float32(0.25), "seed": np.int64(3), "ok": np.bool_(True)}])
    assert json.loads((tmp_path / "n.json").read_text()) == {"rows": [{"value": 0.25, "seed": 3, "ok": True}]}
    write_rows(tmp_path / "e.json", [])
    assert json.loads((tmp_path / "e.json").read_text()) == {"rows": []}


# --- metrics ------------------------------------------------------------------------------------------------------------


def fill(path, steps, **settings):
    log = MetricsLog(path, **settings)
    for step in steps:
        log.add(step=step, loss=step / 3)
    log.close()


def test_a_log_keeps_numbers_exactly(tmp_path):
    fill(tmp_path / "m.jsonl", [1, 2])
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    assert read_metrics(tmp_path / "nothing.jsonl") == []


def test_every_line_is_on_disk_at_once(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.add(step=1)
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1}]
    log.close()


def test_a_log_taken_up_again_drops_what_came_after_the_checkpoint(tmp_path):
    file = tmp_path / "m.jsonl"
    fill(file, [1, 2, 3, 4])
    fill(file, [3, 4, 5], keep_until_step=2)
    assert [r["step"] for r in read_metrics(file)] == [1, 2, 3, 4, 5]
    fill(file, [1])
    assert [r["step"] for r in read_metrics(file)] == [1]


def test_a_log_that_nothing_is_dropped_from_keeps_its_time(tmp_path):
    file = tmp_path / "m.jsonl"
    fill(file, [1, 2])
    os.utime(file, (1e9, 1e9))
    fill(file, [], keep_until_step=2)
    assert file.stat().st_mtime == 1e9
    fill(file, [], keep_until_step=1)
    assert file.stat().st_mtime != 1e9


def test_a_half_written_last_line_is_left_out_and_does_not_spoil_the_next(tmp_path):
    file = tmp_path / "m.jsonl"
    fill(file, [1, 2])
    with file.open("a") as f:
        f.write('{"step": 3, "lo')
    assert [r["step"] for r in read_metrics(file)] == [1, 2]
    fill(file, [3], keep_until_step=2)
    assert [r["step"] for r in read_metrics(file)] == [1, 2, 3]


def test_damage_in_the_middle_is_one_clear_error(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_text('{"step": 1}\n{"step\n{"step": 3}\n')
    with pytest.raises(ConfigError, match=r"m\.jsonl line 2 is damaged"):
        read_metrics(file)


# --- the rest -----------------------------------------------------------------------------------------------------------


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SECO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "seco"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "seco"


def test_the_environment_says_what_ran_where(monkeypatch):
    import torch

    about = environment()
    assert about["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert about["num_cpus"] >= 1
    assert about["processor"]
    json.dumps(about)
    monkeypatch.setenv("PATH", "/nowhere")
    assert environment()["commit"] is None  # no git: no error


def test_progress_hands_on_everything_and_is_silent_where_nobody_watches(capsys):
    assert list(progress(range(5), "counting")) == list(range(5))
    assert list(progress(iter("ab"), "letters")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_progress_shows_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(runs.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_tables_show_dashes_and_three_decimals(capsys):
    print_table([{"a": 1, "b": 0.123456, "c": None}, {"a": "text"}], ("a", "b", "c"), title="a title")
    lines = [x.strip() for x in capsys.readouterr().out.splitlines() if x.strip()]
    assert lines[0] == "a title"
    assert lines[1].split() == ["a", "b", "c"]
    assert lines[-2].split() == ["1", "0.123", "-"]
    assert lines[-1].split() == ["text", "-", "-"]


def test_tables_show_brackets_as_they_are(capsys):
    print_table([{"a": "[red]x[/red] [0.1, 2]"}], ("a",))
    assert "[red]x[/red] [0.1, 2]" in capsys.readouterr().out
