"""What a run is, written before its first step, and held against what is asked when it goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64

from seco import config as configs
from seco.data.tier import TrainingTier
from seco.errors import CheckpointError, ConfigError
from seco.nets.spec import boxes_to_text, read_boxes
from seco.runs import CONFIG_NAME, ENVIRONMENT_NAME, environment, write_json
from seco.train.places import Places
from seco.train.settings import Pretrain

PLACES_NAME = "places.parquet"
STARTED_NAME = "started.json"
FREE = ("device", "log_every", "data", "split")
"""Settings that may differ when a run goes on: what they lead to is compared itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Started:
    """What a run was started with, besides its settings.

    Attributes:
        tier, dataset: fingerprints of the data.
        device, precision: what it computes on and in.
        starting_boxes: footprints that the starting weights had been trained on, degrees.
    """

    tier: str
    dataset: str
    device: str
    precision: str
    starting_boxes: Float64[np.ndarray, "places 4"]


def write(run: Path, config: Pretrain, started: Started, places: Places, tier: TrainingTier) -> None:
    """Write what a run is. The config comes last: a folder that has one is a run."""
    run.mkdir(parents=True, exist_ok=True)
    write_json(run / ENVIRONMENT_NAME, environment())
    table = pa.table({"place": tier.dataset.place_names, "part": _parts(places)})
    pq.write_table(table, run / PLACES_NAME)
    values = {f.name: getattr(started, f.name) for f in dataclasses.fields(started)}
    write_json(run / STARTED_NAME, values | {"starting_boxes": boxes_to_text(started.starting_boxes)})
    configs.write_yaml(config, run / CONFIG_NAME)


def read(run: Path) -> Started:
    """Read what a run was started with.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        values = json.loads((run / STARTED_NAME).read_text(encoding="utf-8"))
        values["starting_boxes"] = read_boxes(values["starting_boxes"])
        return Started(**values)
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"cannot read {run / STARTED_NAME}: {err}; start a new run") from err


def same_run(run: Path, config: Pretrain, places: Places, tier: TrainingTier) -> Started:
    """Check that a run goes on with its own settings, data and places, and return what it was started with.

    Raises:
        ConfigError: something differs.
        CheckpointError: the run folder is damaged.
    """
    before = configs.build(Pretrain, configs.read_yaml(run / CONFIG_NAME))
    # A setting that came after the run was started was at its default.
    kept = configs.to_plain(before) | {"method_options": configs.to_plain(before.options())}
    now = configs.to_plain(config)
    for each in (kept, now):
        each.update(each.pop("method_options"))
    different = [k for k in now if k not in FREE and kept.get(k) != now[k]]
    if different:
        k = different[0]
        raise ConfigError(
            f"{run} was started with {k} {kept.get(k)}, now it is {now[k]}; resume with the settings of "
            f"{run / CONFIG_NAME}, or start a new run"
        )
    started = read(run)
    if started.tier != tier.fingerprint:
        raise ConfigError(
            f"{run} was trained on other data or bands (tier {started.tier}, now {tier.fingerprint}); start a new run"
        )
    _same_places(run, _parts(places))
    return started


def fingerprint(places: Places) -> str:
    """Return a hash of which places are trained on and held out."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (places.train, places.held_out):
        digest.update(np.ascontiguousarray(part, np.int64).tobytes() + b"|")
    return digest.hexdigest()


def _parts(places: Places) -> list[str]:
    part = np.full(len(places.num_dates), "left out", object)
    part[places.train], part[places.held_out] = "train", "held out"
    return part.tolist()


def _same_places(run: Path, parts: list[str]) -> None:
    """Check that a resumed run trains on its own places: a split's file may have changed."""
    file = run / PLACES_NAME
    try:
        kept = pq.read_table(file, columns=["part"])["part"].to_pylist()
    except (OSError, pa.ArrowException) as err:
        raise CheckpointError(f"cannot read {file}: {err}; start a new run") from err
    if kept != parts:
        num = sum(a != b for a, b in zip(kept, parts, strict=True))
        raise ConfigError(
            f"{run} trains on other places than the split now says ({num} have changed their part, see {file}); "
            "restore the split's file, or start a new run"
        )
