"""A run in several processes, from the command line: it comes to what one process comes to, and ends cleanly."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import seco
from seco.nets.backbones import read_tensors
from seco.train import checkpoints

SETTINGS = (
    "--encoder", "test_resnet", "--steps", "8", "--batch-size", "8", "--log-every", "1", "--device", "cpu", "--precision",
    "fp32", "--checkpoint-every", "3", "--optimiser", "sgd", "--queue-size", "16", "--negatives", "both",
    "--group-size", "2",
)  # fmt: skip
ENV = {**os.environ, "PYTHONPATH": str(Path(seco.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def start(*words, **env):
    """Start `seco pretrain`."""
    return subprocess.Popen(
        [sys.executable, "-m", "seco.cli", "pretrain", *map(str, words)], env={**ENV, **env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process, *, seconds=200):
    out, err = process.communicate(timeout=seconds)
    # Lines of seco's own: a library warns on its own account.
    return process.returncode, out, [x for x in err.splitlines() if x.startswith("seco:")]


def run(data, out, *words, **env):
    return finish(start("--data", data, "--out", out, *SETTINGS, *words, **env))


def in_turn(data, out, words, **env):
    """Start processes by their variables alone, as torchrun and srun do, each with words of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = [
        start(
            "--data", data, "--out", out, *SETTINGS, *own, WORLD_SIZE=str(len(words)), RANK=str(rank), MASTER_PORT=port,
            LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", **env,
        )
        for rank, own in enumerate(words)
        if own is not None
    ]  # fmt: skip
    return [finish(c) for c in children]


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {r["step"]: r["loss"] for r in map(json.loads, lines) if "loss" in r}


def descendants(pid):
    found = []
    for task in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if task.read_text().rsplit(")", 1)[1].split()[1] == str(pid):
                found.append(int(task.parent.name))
    return found


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def rank_of(pid):
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((int(v[5:]) for v in variables if v.startswith(b"RANK=")), None)


@pytest.fixture(scope="module")
def alone(small_dataset, tmp_path_factory):
    """The run of one process that nothing interrupted."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert run(small_dataset, folder)[0] == 0
    return folder


def assert_alike(folder, other):
    """To rounding in fp32, which eight steps amplify (fp64: tests/unit/methods/test_many_processes.py)."""
    assert losses(folder) == pytest.approx(losses(other), rel=1e-3)
    (step, state, _), (other_step, other_state, _) = (checkpoints.load_newest(f) for f in (folder, other))
    assert step == other_step
    assert set(state) == set(other_state)
    for name in (n for n in state if n.startswith(("net.query", "net.queues"))):
        a, b = state[name].double(), other_state[name].double()
        assert (a - b).norm() <= 1e-2 * b.norm() + 1e-4, name


def test_two_processes_come_to_what_one_comes_to_and_one_of_them_speaks(small_dataset, alone, tmp_path):
    code, out, errors = run(small_dataset, tmp_path / "run", "--processes", "2")
    assert (code, errors) == (0, [])
    assert "8 steps of 8 places, 4 a process" in out
    assert len([x for x in out.splitlines() if x.startswith("step 8/8")]) == 1
    assert_alike(tmp_path / "run", alone)
    files = {
        p.relative_to(tmp_path / "run") for p in (tmp_path / "run").rglob("*.*") if "tfevents" not in p.name
    }
    assert files == {p.relative_to(alone) for p in alone.rglob("*.*") if "tfevents" not in p.name}
    a, b = (read_tensors(f / "encoder" / "encoder.safetensors") for f in (tmp_path / "run", alone))
    assert set(a) == set(b)


@pytest.mark.parametrize(("first", "then"), [("2", "1"), ("1", "2")])
def test_a_stopped_run_goes_on_in_another_number_of_processes(small_dataset, alone, tmp_path, first, then):
    folder = tmp_path / "run"
    process = start("--data", small_dataset, "--out", folder, *SETTINGS, "--steps", "8", "--processes", first)
    wait_for(lambda: (folder / "metrics.jsonl").is_file() and 2 in losses_so_far(folder))
    process.send_signal(signal.SIGTERM)
    code, _, errors = finish(process)
    assert code == 130
    assert len(errors) == 1
    assert "saved; go on" in errors[0]
    stopped = checkpoints.load_newest(folder)[0]
    assert 2 <= stopped < 8
    code, out, errors = run(small_dataset, folder, "--resume", "--processes", then)
    assert (code, errors) == (0, [])
    assert f"going on from step {stopped}" in out
    assert_alike(folder, alone)


def losses_so_far(folder):
    with contextlib.suppress(ValueError):
        return losses(folder)
    return {}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_killed_ends_the_run_with_one_line_that_names_the_checkpoint(
    small_dataset, alone, tmp_path, rank
):
    folder = tmp_path / "run"
    process = start(
        "--data", small_dataset, "--out", folder, *SETTINGS, "--steps", "4000", "--processes", "2"
    )
    wait_for(lambda: checkpoints.folders(folder))
    child = next(p for p in descendants(process.pid) if rank_of(p) == rank)
    os.kill(child, signal.SIGKILL)
    code, _, errors = finish(process, seconds=60)
    assert code == 2
    assert len(errors) == 1, errors
    assert "the newest checkpoint is" in errors[0]
    assert "--resume" in errors[0]
    assert Path(errors[0].split("checkpoint is ")[1].split(": go on")[0]).is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch-size", "9"), "batch size 9 cannot be shared evenly by 2 processes"),
        (("--group-size", "5"), "8 on 2 processes is 4 places each, fewer than a batch-norm group of 5"),
        (("--bogus", "1"), "unrecognized arguments: --bogus"),
    ],
)  # fmt: skip
def test_what_all_processes_do_wrong_is_said_once(small_dataset, tmp_path, words, said):
    for code, _, errors in [run(small_dataset, tmp_path / "run", "--processes", "2", *words)]:
        assert code == 2
        assert len(errors) == 1
        assert said in errors[0]
    results = in_turn(small_dataset, tmp_path / "run", [words, words])
    assert [r[0] for r in results] == [2, 2]
    assert len(results[0][2]) == 1
    assert said in results[0][2][0]
    assert results[1][2] == []
    assert not (tmp_path / "run").exists()


def test_processes_with_other_settings_or_data_are_refused_by_the_first(
    small_dataset, make_dataset, tmp_path
):
    results = in_turn(small_dataset, tmp_path / "run", [("--seed", "1"), ("--seed", "2")])
    assert [(r[0], len(r[2])) for r in results] == [(2, 1), (2, 0)]
    assert "process 1 has seed 2, process 0 has 1" in results[0][2][0]
    other = make_dataset("other.seco", seed=5)
    results = in_turn(small_dataset, tmp_path / "run", [(), ("--data", other)])
    assert [(r[0], len(r[2])) for r in results] == [(2, 1), (2, 0)]
    assert "process 1 has training data" in results[0][2][0]
    results = in_turn(small_dataset, tmp_path / "run", [(), ("--data", tmp_path / "nothing")])
    assert [(r[0], len(r[2])) for r in results] == [(2, 1), (2, 0)]
    assert "process 1 of 2: " in results[0][2][0]
    assert "is not a dataset" in results[0][2][0]


def test_a_process_that_does_not_come_is_missed(small_dataset, alone):
    results = in_turn(small_dataset, alone, [("--resume",), None], SECO_PROCESS_TIMEOUT_S="3")
    assert [(r[0], len(r[2])) for r in results] == [(2, 1)]
    assert "process 1 of 2 did not come within 3 s" in results[0][2][0]


def test_without_process_0_the_others_say_so(small_dataset, alone):
    results = in_turn(small_dataset, alone, [None, ("--resume",)], SECO_PROCESS_TIMEOUT_S="3")
    assert results[0][0] == 2
    assert "process 1 cannot meet the others at 127.0.0.1:" in results[0][2][0]


def test_an_environment_that_makes_no_sense_is_one_error(small_dataset, tmp_path):
    for env in ({"WORLD_SIZE": "2", "RANK": "2"}, {"WORLD_SIZE": "two"}):
        code, _, errors = run(small_dataset, tmp_path / "run", **env)
        assert code == 2
        assert len(errors) == 1
        assert "RANK 2 of WORLD_SIZE 2" in errors[0] or "WORLD_SIZE is 'two'" in errors[0]


def test_passes_go_with_processes(small_dataset, tmp_path):
    words = ("--accumulate", "2", "--steps", "3")
    assert run(small_dataset, tmp_path / "one", *words)[0] == 0
    assert run(small_dataset, tmp_path / "two", *words, "--processes", "2")[0] == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
