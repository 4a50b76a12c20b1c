"""What a run will take: a few of its steps are made and measured, the rest is arithmetic."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from seco.data import format as fmt
from seco.errors import ConfigError
from seco.train import checkpoints
from seco.train.loop import _Session
from seco.train.places import batches
from seco.train.settings import Pretrain

NUM_STEPS, NUM_WARM = 8, 2
"""Steps that are made, and how many of the first do not count: they fill caches and allocators."""
SIZES = (100_000, 1_000_000, 10_000_000)
"""Patches that are estimated besides the run asked for: SeCo's published data sets, and ten times the larger."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What the trial said.

    Attributes:
        step_s: seconds a step, the median.
        save_s, probe_s: seconds a checkpoint, and a probe on the held-out places.
        start_s: seconds until the first step.
        peak_memory: bytes of the process's resident set, at most; mapped pixels that were read count.
        device_memory: bytes on the accelerator, at most; 0 on a CPU.
        checkpoint: bytes of one.
        archive, tier: bytes a patch of the dataset as kept, and as trained on.
        index: bytes a patch that are held in memory whatever the size of the data.
        epochs: passes over its places that the asked run makes.
        num_patches: of the data that are there.
    """

    config: Pretrain
    device: str
    precision: str
    step_s: float
    save_s: float
    probe_s: float
    start_s: float
    peak_memory: int
    device_memory: int
    checkpoint: int
    archive: float
    tier: float
    index: float
    epochs: float
    num_patches: int


def measure(config: Pretrain) -> Measured:
    """Make a few steps of a run, a checkpoint and a probe, and leave no run behind.

    Raises:
        SecoError: as `pretrain`, where the run could not be started.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="seco-estimate-") as folder:
        session = _Session(config, Path(folder) / "run", resume=False, say=_silence)
        try:
            start_s = time.perf_counter() - began
            step_s = _time_steps(session)
            began = time.perf_counter()
            about: dict[str, Any] = {"config": {}, "meter": {}}
            saved = checkpoints.save(session.run, step=0, state=session.method.state_dict(), about=about)
            save_s = time.perf_counter() - began
            began = time.perf_counter()
            if session.probe is not None:
                session.probe.run(session.as_encoder(0))
            probe_s = time.perf_counter() - began
            return _put_together(
                session, step_s=step_s, save_s=save_s, probe_s=probe_s, start_s=start_s,
                checkpoint=sum(f.stat().st_size for f in saved.iterdir()),
            )  # fmt: skip
        finally:
            session.close()


def _silence(line: str) -> None:
    """Say nothing: it is no run."""


def _time_steps(session: _Session) -> float:
    """Return the median of the seconds that a step takes, its data and views included."""
    config = session.config
    assert config.steps is not None
    if session.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(session.device)
    reading = batches(
        session.tier, session.places, session.viewer, batch_size=config.batch_size, first=0, last=NUM_STEPS,
        seed=config.seed,
    )  # fmt: skip
    taken = []
    with closing(reading) as reader:
        last = time.perf_counter()
        for step, batch in enumerate(reader):
            views = session.viewer.views(batch.seasons.to(session.device), batch.epoch, batch.places)
            session.method.update(
                views, step=step % config.steps
            )  # its numbers are fetched: the step is done
            now = time.perf_counter()
            taken.append(now - last)
            last = now
    return statistics.median(taken[NUM_WARM:])


def _put_together(session: _Session, **timed: Any) -> Measured:
    config, dataset, tier = session.config, session.tier.dataset, session.tier
    assert config.steps is not None
    files = (f for f in dataset.path.rglob("*") if f.is_file())
    archive = sum(f.stat().st_size for f in files if fmt.TRAINING_NAME not in f.parts)
    unit = 1 if sys.platform == "darwin" else 1024  # of getrusage
    device_memory = torch.cuda.max_memory_allocated(session.device) if session.device.type == "cuda" else 0
    return Measured(
        config=config, device=session.device.type, precision=session.precision,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, device_memory=device_memory,
        archive=archive / len(dataset), tier=tier.pixels.nbytes / len(dataset),
        index=dataset.index.nbytes / len(dataset),
        epochs=config.steps * config.batch_size / len(session.places.train),
        num_patches=len(dataset), **timed,
    )  # fmt: skip


def rows(measured: Measured, *, price_per_hour: float | None = None) -> list[dict[str, Any]]:
    """Return the asked run and `SIZES`, a row each: the same passes over more places, all else as asked.

    Args:
        price_per_hour: of the machine, in any currency; None leaves money out.

    Raises:
        ConfigError: the price is below 0.
    """
    if price_per_hour is not None and not price_per_hour >= 0:
        raise ConfigError(f"price of {price_per_hour} an hour; at least 0 (--price-per-hour)")
    config = measured.config
    assert config.steps is not None
    out = [_row(measured, "asked", measured.num_patches, config.steps)]
    for num in SIZES:
        # As large a share of the places is held out, and each is seen as often.
        steps = config.steps * num / measured.num_patches
        out.append(_row(measured, f"{num:,} patches", num, max(1, round(steps))))
    for row in out if price_per_hour is not None else ():
        row["money"] = row["hours"] * price_per_hour
    return out


def _row(measured: Measured, name: str, num: int, steps: int) -> dict[str, Any]:
    config = measured.config
    asked = config.steps or steps
    # Probes and checkpoints are as often a run, whatever its length, as in the one asked for.
    saves = -(-asked // (config.checkpoint_every or asked))
    probes = -(-asked // config.probe_every) if config.probe_every else 0
    seconds = measured.start_s + steps * measured.step_s + saves * measured.save_s + probes * measured.probe_s
    kept = checkpoints.KEEP * measured.checkpoint
    return {
        "run": name,
        "patches": num,
        "steps": steps,
        "seconds": seconds,
        "hours": seconds / 3600,
        "memory_gb": (measured.peak_memory + measured.index * (num - measured.num_patches)) / 1e9,
        "device_memory_gb": measured.device_memory / 1e9,
        "tier_gb": num * measured.tier / 1e9,
        "archive_gb": num * measured.archive / 1e9,
        "checkpoints_gb": kept / 1e9,
    }


def about(measured: Measured) -> Mapping[str, Any]:
    """Return what was measured, for a JSON file beside the rows."""
    names = [f.name for f in dataclasses.fields(measured) if f.name != "config"]
    return {k: getattr(measured, k) for k in names} | {
        "samples_per_s": measured.config.batch_size / measured.step_s
    }
