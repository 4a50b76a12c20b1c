"""Checkpoints: safetensors and JSON in a folder a step, written under another name and renamed. Nothing is pickled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from seco.errors import CheckpointError
from seco.nets.backbones import read_tensors
from seco.runs import CHECKPOINTS_NAME

KEEP = 2
CHECKPOINT_VERSION = 1


def save(run: Path, *, step: int, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a step and remove all but the newest two.

    Raises:
        CheckpointError: weights are not finite, or the disk is full; earlier checkpoints stay as they are.
    """
    wrong = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if wrong:
        raise CheckpointError(
            f"weights are not finite at step {step} ({wrong[0]}); this checkpoint is not written"
        )
    folder = run / CHECKPOINTS_NAME / f"step-{step:08d}"
    temporary = folder.with_name("." + folder.name + ".partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        # clone: a state may name one storage twice, which safetensors refuses
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in state.items()},
            temporary / "state.safetensors",
        )
        text = json.dumps({"version": CHECKPOINT_VERSION, "step": step, **about}, indent=2)
        (temporary / "state.json").write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, SafetensorError) as err:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"cannot write checkpoint {folder}: {err}; free disk space, then go on with --resume"
        ) from err
    for old in folders(run)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def folders(run: Path) -> list[Path]:
    """Return the run's whole checkpoints, oldest first."""
    found = (run / CHECKPOINTS_NAME).glob("step-*")
    return sorted(f for f in found if (f / "state.json").is_file())


def load_newest(run: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return (step, state, about) of the newest checkpoint, or None where there is none.

    Raises:
        CheckpointError: it is damaged or of a newer version.
    """
    whole = folders(run)
    if not whole:
        return None
    folder = whole[-1]
    try:
        about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        version, step = int(about["version"]), int(about["step"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(
            f"{folder}/state.json is damaged ({err}); remove {folder} to go on from the one before"
        ) from err
    if version > CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{folder} has version {version}; this seco reads up to {CHECKPOINT_VERSION}: upgrade seco"
        )
    try:
        return step, read_tensors(folder / "state.safetensors"), about
    except CheckpointError as err:
        raise CheckpointError(f"{err}; remove {folder} to go on from the one before") from err
