"""`--profile` and `--estimate`: where the time goes, and how much of it a run will take."""

import dataclasses
import json

import pytest

from seco.cli import main
from seco.errors import ConfigError
from seco.nets.phases import ORDER, OTHER, Phases
from seco.train import checkpoints, estimate
from seco.train.loop import pretrain


def test_a_profile_is_said_and_kept_and_changes_nothing(tools, straight, small_dataset, tmp_path):
    said = []
    pretrain(tools.make(small_dataset), tmp_path / "run", say=said.append, phases=Phases())
    tools.assert_same(tmp_path / "run", straight.run)
    report = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert list(report["phases"]) == list(ORDER)
    assert report["steps"] == tools.STEPS
    assert sum(v["s"] for v in report["phases"].values()) == pytest.approx(report["wall_s"], rel=1e-6)
    assert all(v["s"] > 0 for v in report["phases"].values())
    # What has no name of its own is next to nothing: every part of a step is claimed by a phase.
    assert report["phases"][OTHER]["share"] < 0.3
    assert f"{tools.STEPS} steps in" in said[-1 - len(ORDER)]
    assert not (straight.run / "profile.json").exists()


def test_an_estimate_agrees_with_a_run_within_a_factor_of_three(tools, make_dataset, tmp_path):
    """Other programs share the machine of a test, and its steps take milliseconds; docs/speed.md has a quiet figure."""
    path = make_dataset(px=32)
    config = tools.make(
        path, steps=40, batch_size=16, probe_every=20, checkpoint_every=20, encoder="resnet18"
    )
    before = sorted(path.rglob("*"))
    measured = estimate.measure(config)
    asked, *more = estimate.rows(measured, price_per_hour=3.6)
    finished = pretrain(config, tmp_path / "run", say=tools.quiet)
    took = asked["seconds"] - measured.start_s
    assert finished.seconds / 3 < took < 3 * finished.seconds
    assert set(before) <= set(path.rglob("*"))
    assert not [f for f in tmp_path.iterdir() if f.name != "run" and "estimate" in f.name]
    # What is on disk is known to the byte, but for the words beside the weights.
    (newest,) = checkpoints.folders(tmp_path / "run")[-1:]
    real = checkpoints.KEEP * sum(f.stat().st_size for f in newest.iterdir()) / 1e9
    assert asked["checkpoints_gb"] == pytest.approx(real, rel=0.01)
    assert asked["tier_gb"] == pytest.approx(24 * 4 * 3 * 32 * 32 / 1e9)
    kept = sum(f.stat().st_size for f in path.rglob("*") if f.is_file() and "training" not in f.parts) / 1e9
    assert asked["archive_gb"] == pytest.approx(kept, rel=0.01)
    assert asked["money"] == pytest.approx(asked["seconds"] / 1000)
    assert [r["patches"] for r in more] == [100_000, 1_000_000, 10_000_000]
    for row in more:
        times = row["patches"] / 96
        assert row["steps"] == round(40 * times)
        assert row["tier_gb"] == pytest.approx(asked["tier_gb"] * times)
        assert row["checkpoints_gb"] == asked["checkpoints_gb"]
        assert row["memory_gb"] > asked["memory_gb"] > 0.05


def test_rows_are_arithmetic():
    """Two probes and four checkpoints in a run, whatever its length."""
    config = dataclasses.replace(
        estimate.Pretrain(), steps=100, batch_size=10, probe_every=50, checkpoint_every=30
    )
    measured = estimate.Measured(
        config=config, device="cpu", precision="fp32", step_s=2.0, save_s=3.0, probe_s=5.0, start_s=7.0, peak_memory=10**9,
        device_memory=0, checkpoint=10**8, archive=1000.0, tier=500.0, index=10.0, epochs=2.0, num_patches=1000,
    )  # fmt: skip
    asked, first, *_ = estimate.rows(measured)
    assert "money" not in asked
    assert asked["seconds"] == 7 + 200 + 4 * 3 + 2 * 5
    assert first["steps"] == 10_000
    assert first["seconds"] == 7 + 20_000 + 4 * 3 + 2 * 5
    assert first["memory_gb"] == pytest.approx(1 + 10 * 99_000 / 1e9)
    assert (first["tier_gb"], first["archive_gb"], first["checkpoints_gb"]) == (0.05, 0.1, 0.2)
    with pytest.raises(ConfigError, match="price of -1"):
        estimate.rows(measured, price_per_hour=-1)


def test_the_command_writes_the_estimate_and_makes_no_run(small_dataset, tmp_path, capsys):
    flags = ["--data", str(small_dataset), "--encoder", "test_resnet", "--steps", "4", "--batch-size", "4"]
    file = tmp_path / "estimate.json"
    command = ["pretrain", *flags, "--estimate", "--price-per-hour", "2", "--json", str(file)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "ms a step of 4 places" in printed
    assert "10,000,000 patches" in printed
    assert [f.name for f in tmp_path.iterdir()] == ["estimate.json"]
    rows = json.loads(file.read_text())["rows"]
    assert all(r["money"] == pytest.approx(2 * r["hours"]) for r in rows)
    for wrong, said in (
        (flags, "required: --out"),
        (
            [*flags, "--out", str(tmp_path / "r"), "--price-per-hour", "2"],
            "--price-per-hour belongs to --estimate",
        ),
        ([*flags, "--estimate", "--profile"], "leave out --resume and --profile"),
    ):
        assert main(["pretrain", *wrong]) == 2
        assert said in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["estimate.json"]
