"""A finished run of a few steps on a small dataset, with scores beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from seco.train.loop import pretrain
from seco.train.settings import Pretrain

HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\">"


def row(**changed: Any) -> dict[str, Any]:
    """A result row."""
    told: dict[str, Any] = {
        "encoder": "run", "task": "landcover", "probe": "linear", "metric": "accuracy", "value": 0.5, "seed": 0,
        "output": "features", "ci_low": 0.4, "ci_high": 0.6, "balanced_accuracy": 0.45, "majority": 0.3,
    }  # fmt: skip
    return told | changed


@pytest.fixture(scope="session")
def rows_of():
    """Make a result row; see `row`."""
    return row


@pytest.fixture(scope="session")
def hostile() -> str:
    """Text that runs a script where it is not escaped."""
    return HOSTILE


@pytest.fixture(scope="module")
def finished(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the tests of a module share and do not change."""
    run = tmp_path_factory.mktemp("runs") / "run"
    config = Pretrain(
        data=small_dataset, encoder="test_resnet", steps=6, batch_size=4, log_every=2, probe_every=3, device="cpu",
        method_options={"warmup_steps": 2},
    )  # fmt: skip
    pretrain(config, run, say=lambda line: None)
    rows = [
        row(),
        row(encoder="colour", value=0.55, ci_low=0.5, ci_high=0.62),
        row(encoder="random:test_resnet", value=0.2, ci_low=0.1, ci_high=0.3),
        row(encoder="majority", probe="majority", output=None, value=0.3, ci_low=0.2, ci_high=0.4),
        row(encoder=f"random:{HOSTILE}", task="season", value=0.1),
    ]
    (run.parent / "scores.json").write_text(json.dumps({"rows": rows}))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copy(finished.parent / "scores.json", tmp_path / "scores.json")
    return tmp_path / "run"
