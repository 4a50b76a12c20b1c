"""Checkpoints: whole or not there, the newest two kept, and every damage one clear error."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from seco.errors import CheckpointError
from seco.train import checkpoints


def state(value=1.0):
    shared = torch.full((3, 2), value)
    return {"a": shared, "b": shared.T, "position": torch.tensor([7])}


def save(run, step, value=None, **about):
    return checkpoints.save(run, step=step, state=state(float(step if value is None else value)), about=about)


def names(run):
    return sorted(f.name for f in (run / "checkpoints").iterdir())


def test_what_is_saved_comes_back(tmp_path):
    folder = save(tmp_path, 12, meter={"sums": {"loss": 0.1 + 0.2}, "count": 3})
    step, got, about = checkpoints.load_newest(tmp_path)
    assert step == 12
    assert set(got) == {"a", "b", "position"}
    assert all(torch.equal(got[k], v) for k, v in state(12.0).items())
    assert about["meter"] == {"sums": {"loss": 0.1 + 0.2}, "count": 3}
    assert sorted(f.name for f in folder.iterdir()) == ["state.json", "state.safetensors"]


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.load_newest(tmp_path) is None
    assert checkpoints.folders(tmp_path) == []


def test_the_newest_two_are_kept_in_the_order_of_their_steps(tmp_path):
    for step in (5, 10, 20, 100, 1000):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000100", "step-00001000"]
    assert checkpoints.load_newest(tmp_path)[0] == 1000


def test_a_step_can_be_saved_again(tmp_path):
    save(tmp_path, 5, value=1.0)
    save(tmp_path, 5, value=2.0)
    assert names(tmp_path) == ["step-00000005"]
    assert checkpoints.load_newest(tmp_path)[1]["a"][0, 0] == 2


def test_one_that_was_never_finished_is_not_taken_for_whole(tmp_path):
    save(tmp_path, 5)
    half = tmp_path / "checkpoints" / ".step-00000010.partial"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    (half / "state.json").write_text("{}")
    without = tmp_path / "checkpoints" / "step-00000011"
    without.mkdir()
    assert checkpoints.load_newest(tmp_path)[0] == 5
    save(tmp_path, 10)
    assert not half.exists()
    assert checkpoints.load_newest(tmp_path)[0] == 10


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_written(tmp_path, wrong):
    save(tmp_path, 5)
    bad = {**state(), "net.weight": torch.tensor([1.0, wrong])}
    with pytest.raises(CheckpointError, match=r"not finite at step 10 \(net\.weight\)"):
        checkpoints.save(tmp_path, step=10, state=bad, about={})
    assert names(tmp_path) == ["step-00000005"]


@pytest.mark.parametrize("where", ["tensors", "json", "rename"])
def test_a_full_disk_is_one_clear_error_and_keeps_what_was_there(tmp_path, monkeypatch, where):
    save(tmp_path, 5)
    save(tmp_path, 6)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def full_in_rust(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        if where == "tensors":
            patch.setattr(checkpoints, "save_file", full_in_rust)
        else:
            patch.setattr(Path, {"json": "write_text", "rename": "rename"}[where], full)
        with pytest.raises(
            CheckpointError, match=r"cannot write checkpoint .*No space left .*--resume"
        ) as caught:
            save(tmp_path, 10)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["step-00000005", "step-00000006"]
    assert checkpoints.load_newest(tmp_path)[0] == 6
    save(tmp_path, 10)
    assert checkpoints.load_newest(tmp_path)[0] == 10


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"version": 1}', '{"step": 3}', '{"version": "x", "step": 3}', "\xff"]
)
def test_a_damaged_description_is_one_clear_error(tmp_path, text):
    save(tmp_path, 5)
    folder = save(tmp_path, 10)
    (folder / "state.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"state\.json is damaged .*remove .*step-00000010"):
        checkpoints.load_newest(tmp_path)


def test_a_newer_version_is_refused(tmp_path):
    folder = save(tmp_path, 10)
    values = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**values, "version": 2}))
    with pytest.raises(CheckpointError, match="version 2; this seco reads up to 1: upgrade"):
        checkpoints.load_newest(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, -1])
def test_truncated_tensors_are_one_clear_error_that_says_how_to_go_on(tmp_path, keep):
    save(tmp_path, 5)
    folder = save(tmp_path, 10)
    file = folder / "state.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"cannot read .*state\.safetensors.*remove .*step-00000010 to go on"
    ):
        checkpoints.load_newest(tmp_path)
    shutil.rmtree(folder)
    assert checkpoints.load_newest(tmp_path)[0] == 5
