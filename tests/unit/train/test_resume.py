"""No stop of a run can be seen in what comes after it: bit for bit, weights, queues and log."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import seco
from seco.data.dataset import open_dataset
from seco.data.split import place_boxes, split_by_block, write_split
from seco.errors import CheckpointError, ConfigError
from seco.train import checkpoints
from seco.train import loop as module
from seco.train.loop import InterruptedRunError, pretrain

# --- stopping and going on ----------------------------------------------------------------------------------------------


def test_the_same_run_again_is_the_same(tools, straight, small_dataset, tmp_path):
    pretrain(tools.make(small_dataset), tmp_path / "run", say=tools.quiet)
    tools.assert_same(tmp_path / "run", straight.run)
    pretrain(tools.make(small_dataset, seed=1), tmp_path / "other", say=tools.quiet)
    key = "net.query.backbone.conv1.0.weight"
    assert not torch.equal(tools.final(tmp_path / "other")[1][key], tools.final(straight.run)[1][key])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tools, straight, small_dataset, tmp_path, number):
    run = tmp_path / "run"
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(
        InterruptedRunError, match=r"stopped at step 4 of 8, saved; go on: seco pretrain --resume"
    ):
        pretrain(tools.make(small_dataset), run, say=tools.At("step 3/", lambda: signal.raise_signal(number)))
    assert {s: signal.getsignal(s) for s in before} == before
    assert checkpoints.load_newest(run)[0] == 4
    # While it is unfinished its encoder can be used.
    encoder = seco.load_encoder(run, device="cpu")
    assert encoder.spec.num_steps == 4
    tier = open_dataset(small_dataset).training()
    assert np.isfinite(encoder.encode(tier.pixels[:2], bands=tier.bands)["features"]).all()
    lines = []
    finished = pretrain(tools.make(small_dataset), run, resume=True, say=lines.append)
    assert "going on from step 4" in lines
    assert finished.num_steps == tools.STEPS
    tools.assert_same(run, straight.run)


def test_stopped_at_every_step_it_still_comes_to_the_same(
    tools, straight, small_dataset, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    original = module._Session._after_step

    def stop_after(self, step, *, stopping):
        original(self, step, stopping=stopping)
        if not stopping and step % 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module._Session, "_after_step", stop_after)
    stops = 0
    while (
        not run.exists()
        or checkpoints.load_newest(run) is None
        or checkpoints.load_newest(run)[0] < tools.STEPS
    ):
        with contextlib.suppress(InterruptedRunError):
            pretrain(tools.make(small_dataset), run, resume=run.exists(), say=tools.quiet)
        stops += 1
    assert stops == 4  # a signal after step n stops the run after step n + 1
    tools.assert_same(run, straight.run)


def test_a_run_stopped_twice_at_once_breaks_off_and_goes_on_from_its_checkpoint(
    tools, straight, small_dataset, tmp_path
):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain(tools.make(small_dataset), tmp_path / "run", say=tools.At("step 6/", twice))
    assert not [t for t in threading.enumerate() if t.name == "seco-reader"]
    assert checkpoints.load_newest(tmp_path / "run")[0] == 5
    pretrain(tools.make(small_dataset), tmp_path / "run", resume=True, say=tools.quiet)
    tools.assert_same(tmp_path / "run", straight.run)


def test_a_run_does_not_go_on_with_a_split_that_has_changed(tools, make_dataset, tmp_path):
    path, run = make_dataset(), tmp_path / "run"
    dataset = open_dataset(path)
    split = split_by_block(place_boxes(dataset), seed=3)
    write_split(dataset, split, "mine")
    config = tools.make(path, split="mine", steps=2, checkpoint_every=1, precision="fp32")
    pretrain(config, run, say=tools.quiet)
    write_split(dataset, split_by_block(place_boxes(dataset), seed=4), "mine")
    with pytest.raises(
        ConfigError, match=r"trains on other places .*\(\d+ have changed their part.*places.parquet"
    ):
        pretrain(config, run, resume=True, say=tools.quiet)
    write_split(dataset, split, "mine")
    assert pretrain(config, run, resume=True, say=tools.quiet).num_steps == 2
    (run / "places.parquet").write_bytes(b"PAR1")
    with pytest.raises(CheckpointError, match=r"cannot read .*places\.parquet"):
        pretrain(config, run, resume=True, say=tools.quiet)


KILLED = """
import os, signal, sys
from pathlib import Path
from seco.config import build, read_yaml
from seco.train.loop import pretrain
from seco.train.settings import Pretrain

def say(line):
    if line.startswith("step 6/"):
        os.kill(os.getpid(), signal.SIGKILL)

pretrain(build(Pretrain, read_yaml(Path(sys.argv[1]))), Path(sys.argv[2]), say=say)
"""


def test_a_killed_run_goes_on_from_its_newest_checkpoint(tools, straight, small_dataset, tmp_path):
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(straight.run / "config.yaml"), str(run)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(seco.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoints.load_newest(run)[0] == 5
    assert tools.logged(run)[-1]["step"] == 6  # logged after the checkpoint: it is done again and logged once
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')
    pretrain(tools.make(small_dataset), run, resume=True, say=tools.quiet)
    tools.assert_same(run, straight.run)


def test_a_run_killed_before_its_first_checkpoint_starts_anew_on_resume(
    tools, straight, small_dataset, tmp_path
):
    def die():
        raise RuntimeError("as if killed")

    with pytest.raises(RuntimeError, match="as if killed"):
        pretrain(tools.make(small_dataset), tmp_path / "run", say=tools.At("step 3/", die))
    assert checkpoints.load_newest(tmp_path / "run") is None
    pretrain(tools.make(small_dataset), tmp_path / "run", resume=True, say=tools.quiet)
    tools.assert_same(tmp_path / "run", straight.run)


def test_a_finished_run_resumed_stays_as_it_is(tools, straight, small_dataset, tmp_path):
    shutil.copytree(straight.run, tmp_path / "run")
    lines = []
    pretrain(tools.make(small_dataset), tmp_path / "run", resume=True, say=lines.append)
    assert any("is finished already" in x for x in lines)
    tools.assert_same(tmp_path / "run", straight.run)


def test_a_full_disk_stops_with_one_error_and_the_run_goes_on_when_there_is_room(
    tools, straight, small_dataset, tmp_path, monkeypatch
):
    original = checkpoints.save_file
    calls = []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        original(*args, **kwargs)

    monkeypatch.setattr(checkpoints, "save_file", full)
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match="No space left"):
        pretrain(tools.make(small_dataset), run, say=tools.quiet)
    assert checkpoints.load_newest(run)[0] == 5
    pretrain(tools.make(small_dataset), run, resume=True, say=tools.quiet)
    tools.assert_same(run, straight.run)


# --- what a run needs to go on ------------------------------------------------------------------------------------------


def stopped(tools, config, run):
    with pytest.raises(InterruptedRunError):
        pretrain(config, run, say=tools.At("step 3/", lambda: signal.raise_signal(signal.SIGINT)))


@pytest.mark.parametrize("options", [{"queue_size": None}, {"negatives": "both"}, {"optimiser": "sgd"}])
def test_a_stopped_run_goes_on_with_any_negatives_and_optimiser(tools, small_dataset, tmp_path, options):
    config = tools.make(small_dataset, method="moco", method_options=options)
    pretrain(config, tmp_path / "straight", say=tools.quiet)
    stopped(tools, config, tmp_path / "run")
    pretrain(config, tmp_path / "run", resume=True, say=tools.quiet)
    tools.assert_same(tmp_path / "run", tmp_path / "straight")


def test_a_run_goes_on_without_the_encoder_it_started_from(tools, straight, small_dataset, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(straight.run, start)
    config = tools.make(small_dataset, init=str(start), split_seed=1)
    pretrain(config, tmp_path / "straight", say=tools.quiet)
    stopped(tools, config, tmp_path / "run")
    shutil.rmtree(start)
    pretrain(config, tmp_path / "run", resume=True, say=tools.quiet)
    tools.assert_same(tmp_path / "run", tmp_path / "straight")
    seen, boxes = (
        {tuple(b) for b in seco.load_encoder(r, device="cpu").spec.trained_boxes.tolist()}
        for r in (straight.run, tmp_path / "run")
    )
    assert seen < boxes
