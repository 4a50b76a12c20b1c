"""`seco bench --quick` end to end, and what it refuses."""

import json
import os

import pytest

from seco.bench import family as families
from seco.bench.families import reading
from seco.cli import main

ROW = {
    "family", "case", "contender", "unit", "against", "repeats", "median", "min", "max", "cpu", "ratio", "ratio_min",
    "ratio_max", "ratio_cpu", "note", "extra",
}  # fmt: skip


def failure(capsys, *argv):
    assert main(["bench", *map(str, argv)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_families_are_found_and_fit_the_contract():
    assert {"views", "reading", "step", "training", "scaling"} <= set(families.names())
    assert all(isinstance(families.find(n), families.Family) for n in families.names())


def test_quick_runs_everything_and_writes_one_schema(tmp_path, capsys):
    file, work = tmp_path / "speed.json", tmp_path / "work"
    assert (
        main(
            ["bench", "--quick", "--threads", "1", "--json", str(file), "--work", str(work), "--repeats", "1"]
        )
        == 0
    )
    out = capsys.readouterr().out
    told = json.loads(file.read_text())
    assert set(told) == {"rows", "environment", "settings"}
    assert {r["family"] for r in told["rows"]} == set(families.names())
    for row in told["rows"]:
        assert set(row) == ROW
        assert (row["median"] is None) == (row["repeats"] == 0)
        assert row["median"] is not None or row["note"]
        assert row["contender"].split(":")[0].split(",")[0] in out
    for name in ("torch", "torchvision", "kornia", "lightly", "pillow"):
        assert name in told["environment"]["versions"]
    assert told["environment"]["threads"] == 1
    assert told["settings"]["repeats"] == 1
    notes = " ".join(r["note"] for r in told["rows"])
    assert (
        "git clone https://github.com/ServiceNow/seasonal-contrast original, then --rival original" in notes
    )
    assert "add --lightly" in notes
    assert not list(work.iterdir())
    assert "the figures mean nothing" in out


def test_against_a_checkout(tmp_path, rival, capsys, monkeypatch):
    # A checkout that looks like the original's, cropping to 32 px; its training data are written and read back.
    from seco.bench.families import training

    monkeypatch.setattr(training, "ORIGINAL_VIEW_PX", 32)
    file = tmp_path / "speed.json"
    argv = [
        "step",
        "training",
        "--quick",
        "--repeats",
        "1",
        "--rival",
        rival,
        "--json",
        file,
        "--work",
        tmp_path / "w",
    ]
    assert main(["bench", *map(str, argv)]) == 0
    told = json.loads(file.read_text())
    rows = {(r["family"], r["contender"]): r for r in told["rows"]}
    for family in ("step", "training"):
        assert rows[family, "original, as shipped, fp32"]["ratio"] > 0
        assert rows[family, "ours"]["ratio"] == 1
    shares = rows["training", "ours"]["extra"]
    assert 0 <= shares["share_waiting_for_data"] < 1
    assert told["environment"]["rival"]["path"] == str(rival)


def test_a_wrong_rival_is_refused_before_anything_is_measured(tmp_path, capsys):
    line = failure(capsys, "views", "--quick", "--rival", tmp_path / "nowhere", "--work", tmp_path / "work")
    assert "is no checkout of the original" in line
    assert "git clone" in line
    assert not (tmp_path / "work").exists()


def test_an_unknown_family_is_refused(capsys):
    assert "nothing to measure by the name 'view'; known: reading, scaling" in failure(capsys, "view")


def test_lightly_asked_for_but_not_installed_says_how(tmp_path, capsys, monkeypatch):
    from seco.bench import rivals

    monkeypatch.setattr(rivals, "installed", lambda module: module != "lightly")
    file = tmp_path / "speed.json"
    argv = ["step", "--quick", "--repeats", "1", "--lightly", "--json", file, "--work", tmp_path / "work"]
    assert main(["bench", *map(str, argv)]) == 0
    (row,) = [r for r in json.loads(file.read_text())["rows"] if r["contender"].startswith("Lightly")]
    assert "lightly is not installed: pip install" in row["note"]


@pytest.mark.skipif(reading.bytes_from_disk() is None, reason="needs /proc/self/io")
def test_dropping_makes_the_kernel_read_again(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(2_000_000))
    os.sync()
    before = reading.bytes_from_disk()
    file.read_bytes()
    if reading.bytes_from_disk() != before:
        pytest.skip("this file system keeps no page cache")
    reading.drop([file])
    file.read_bytes()
    if reading.bytes_from_disk() == before:
        pytest.skip("this file system is memory: nothing to drop")
    assert reading.bytes_from_disk() - before >= 1_900_000
