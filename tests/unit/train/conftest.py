"""Runs of a few steps on a small dataset, and how two runs are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seco.nets.backbones import read_tensors
from seco.runs import read_metrics
from seco.train import checkpoints
from seco.train.loop import pretrain
from seco.train.settings import Pretrain

STEPS = 8
SETTINGS = {
    "method": "seco", "encoder": "test_resnet", "steps": STEPS, "batch_size": 4, "log_every": 3, "probe_every": 4,
    "checkpoint_every": 5, "device": "cpu", "method_options": {"queue_size": 16, "group_size": 2, "warmup_steps": 2},
}  # fmt: skip


def make(data: Path, **changed: Any) -> Pretrain:
    """Settings of a run of 8 steps."""
    options = {**SETTINGS["method_options"], **changed.pop("method_options", {})}
    return Pretrain(data=data, **{**SETTINGS, **changed, "method_options": options})


def quiet(line: str) -> None:
    """Say nothing."""


class At:
    """A `say` that does something once, at the first line that starts so."""

    def __init__(self, start: str, act: Callable[[], None]) -> None:
        self.start, self.act, self.done = start, act, False

    def __call__(self, line: str) -> None:
        if line.startswith(self.start) and not self.done:
            self.done = True
            self.act()


def logged(run: Path) -> list[dict[str, Any]]:
    """The log but for rates."""
    return [
        {k: v for k, v in row.items() if k != "samples_per_s"} for row in read_metrics(run / "metrics.jsonl")
    ]


def final(run: Path) -> tuple[Any, ...]:
    """All that a finished run comes to: its state, its encoder and its log."""
    newest = checkpoints.load_newest(run)
    assert newest is not None
    step, state, about = newest
    encoder = read_tensors(run / "encoder" / "encoder.safetensors")
    return step, state, encoder, about["meter"], logged(run), (run / "encoder" / "spec.json").read_text()


def assert_same(run: Path, other: Path) -> None:
    """Two finished runs are the same, bit for bit, in all that they came to."""
    a, b = final(run), final(other)
    assert a[0] == b[0]
    for i in (1, 2):
        assert set(a[i]) == set(b[i])
        for key in a[i]:
            assert torch.equal(a[i][key], b[i][key]), key
    assert a[3:] == b[3:]


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """What the tests of runs share."""
    return SimpleNamespace(
        STEPS=STEPS, make=make, quiet=quiet, At=At, logged=logged, final=final, assert_same=assert_same
    )  # fmt: skip


@pytest.fixture(scope="module")
def straight(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The run that nothing interrupted: its folder, what it returned, the lines it said."""
    run = tmp_path_factory.mktemp("runs") / "run"
    lines: list[str] = []
    finished = pretrain(make(small_dataset), run, say=lines.append)
    return SimpleNamespace(run=run, finished=finished, lines=lines)
