"""What a run folder says of itself, read with patience: what is missing or damaged becomes a note, not an end."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import pyarrow as pa
import pyarrow.parquet as pq

from seco import config as configs
from seco.errors import CheckpointError, ConfigError
from seco.nets.encoder import WEIGHTS_NAME, read_spec
from seco.nets.spec import EncoderSpec
from seco.report.markup import clean
from seco.runs import CONFIG_NAME, ENCODER_NAME, ENVIRONMENT_NAME, METRICS_NAME
from seco.train.record import PLACES_NAME, STARTED_NAME

MAX_BYTES = 2**28
"""Largest file of a run folder that is read: a log of a million lines has about this size."""


MAX_COUNT = 2**53
"""Whole numbers below this are the same in Python and in the page's scripts."""
MAX_DEPTH, MAX_INSIDE = 6, 2_000_000
"""Of a setting: how deep it is nested, and how many values each level holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder tells it.

    Attributes:
        path: as it was given, so that a page says no more of a machine than its reader asked for.
        label: the folder's name, with more of its path where two runs share it.
        config, environment, started: as written; empty where missing.
        metrics: log lines that could be read.
        parts: place id -> `train`, `held out` or `left out`; None where it is not known.
        spec: of the encoder that the folder holds now; None where it holds none.
        last_logged: when the last line was logged.
        notes: what could not be read, and why.
    """

    path: Path
    label: str
    config: dict[str, Any]
    environment: dict[str, Any]
    started: dict[str, Any]
    metrics: list[dict[str, Any]]
    parts: dict[str, str] | None
    spec: EncoderSpec | None
    last_logged: datetime.datetime | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the folder: what result rows call the run's encoder."""
        return self.path.name

    @property
    def num_steps(self) -> int | None:
        """Steps that the run was to take."""
        steps = self.config.get("steps")
        return steps if _is_count(steps) and steps > 0 else None

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return max((line["step"] for line in self.metrics), default=0)

    @property
    def has_encoder(self) -> bool:
        """Whether the folder holds an encoder, be it one that cannot be read: then `spec` is None."""
        return self.spec is not None or (self.path / ENCODER_NAME / WEIGHTS_NAME).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the folder holds the encoder of its last step."""
        return self.spec is not None and self.num_steps is not None and self.spec.num_steps >= self.num_steps

    @property
    def method(self) -> str:
        """Name of the method, or `unknown`."""
        return clean(self.config.get("method") or (self.spec.method if self.spec else "unknown"))

    @property
    def seconds_left(self) -> float | None:
        """Time that the steps left take at the rate last logged."""
        rates = [
            r
            for line in self.metrics
            if isinstance(r := line.get("samples_per_s"), (int, float)) and r > 0 and math.isfinite(r)
        ]
        batch = self.config.get("batch_size")
        if self.num_steps is None or not rates or not _is_count(batch):
            return None
        return max(0, self.num_steps - self.step) * batch / rates[-1]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders; of one given twice, once.

    Raises:
        ConfigError: a folder is not there, or holds no run.
    """
    unique: dict[Path, Path] = {}
    for path in paths:
        # `.` and `..` have no name to be called by.
        unique.setdefault(path.resolve(), path if path.name not in ("", "..") else path.resolve())
    labels = _labels(list(unique))
    return [read_run(path, label=label) for path, label in zip(unique.values(), labels, strict=True)]


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart."""
    for depth in range(1, max(len(p.parts) for p in paths) + 1):
        labels = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(labels)) == len(labels):
            break
    return [clean(x) for x in labels]


def read_run(path: Path, *, label: str) -> Run:
    """Read a run folder.

    Raises:
        ConfigError: it is not there, or has neither settings nor a log.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder; give run folders, which `seco pretrain --out RUN` makes")
    if not (path / CONFIG_NAME).is_file() and not (path / METRICS_NAME).is_file():
        inside = sorted(p.parent.name for p in path.glob(f"*/{CONFIG_NAME}"))[:3]
        hint = f"; runs in it: {', '.join(inside)}" if inside else ""
        raise ConfigError(
            f"{path} holds no run (neither {CONFIG_NAME} nor {METRICS_NAME}){hint}; give a folder that "
            "`seco pretrain --out RUN` made"
        )
    notes: list[str] = []
    config: dict[str, Any] = {}
    try:
        config = _flat_enough(configs.read_yaml(path / CONFIG_NAME), CONFIG_NAME, notes)
    except ConfigError as err:
        notes.append(str(err))
    except (ValueError, RecursionError) as err:
        # A date of month 13, or lists in lists without end, are YAML by the letter.
        notes.append(f"{CONFIG_NAME} cannot be read: {err}")
    if not config and not notes:
        notes.append(f"{CONFIG_NAME} holds no settings")
    log = path / METRICS_NAME
    return Run(
        path=path, label=label, config=config,
        environment=_read_json(path / ENVIRONMENT_NAME, notes), started=_read_json(path / STARTED_NAME, notes),
        metrics=_read_log(log, notes), parts=_read_parts(path / PLACES_NAME, notes), spec=_read_spec(path, notes),
        last_logged=datetime.datetime.fromtimestamp(log.stat().st_mtime, datetime.UTC) if log.is_file() else None,
        notes=tuple(notes),
    )  # fmt: skip


def _is_count(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number that a script can hold too."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _is_huge(value: Any) -> bool:
    """Tell a whole number that is none of this program's: it fits no float."""
    return isinstance(value, int) and abs(value) >= MAX_COUNT


def _flat_enough(values: dict[str, Any], name: str, notes: list[str]) -> dict[str, Any]:
    """Keep settings that are as flat as any that seco writes; YAML can hold values that contain themselves."""
    kept = {k: v for k, v in values.items() if _is_flat(v)}
    if len(kept) < len(values):
        wrong = ", ".join(clean(k)[:40] for k in values if k not in kept)
        notes.append(
            f"{name}: {wrong} cannot be shown and is left out (nested too deep, or a number too large)"
        )
    return kept


def _is_flat(value: Any) -> bool:
    """Tell whether a setting is small: the levels are walked one by one, since few anchors can stand for endless values."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if len(level) > MAX_INSIDE or any(_is_huge(v) for v in level):
            return False
        inside = [
            v.items() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list, tuple, set))
        ]
        level = list(itertools.islice(itertools.chain.from_iterable(inside), MAX_INSIDE + 1))
        if not level:
            return True
    return False


def _text(file: Path) -> str:
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise OSError(f"it has {size:,} bytes, the limit is {MAX_BYTES:,}")
    return file.read_text(encoding="utf-8", errors="replace")


def _read_json(file: Path, notes: list[str]) -> dict[str, Any]:
    try:
        values = json.loads(_text(file))
    except FileNotFoundError:
        notes.append(f"{file.name} is missing")
    except (OSError, ValueError, RecursionError) as err:
        notes.append(f"{file.name} cannot be read: {err}")
    else:
        if isinstance(values, dict):
            return _flat_enough(values, file.name, notes)
        notes.append(f"{file.name} holds a {type(values).__name__}, not a mapping")
    return {}


def _read_log(file: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Read the lines of a log that are whole; the last may be half-written while the run goes on."""
    try:
        lines = _text(file).splitlines()
    except FileNotFoundError:
        return []
    except OSError as err:
        notes.append(f"{file.name} cannot be read: {err}")
        return []
    out, damaged = [], []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict) and _is_count(values.get("step")):
            out.append({k: v for k, v in values.items() if not _is_huge(v)})
        elif number < len(lines):
            damaged.append(number)
    if damaged:
        notes.append(
            f"{len(damaged)} of {len(lines)} lines of {file.name} are damaged and left out (the first is line {damaged[0]})"
        )
    return out


def _read_parts(file: Path, notes: list[str]) -> dict[str, str] | None:
    try:
        table = pq.read_table(file, columns=["place", "part"])
        parts = dict(zip(table["place"].to_pylist(), table["part"].to_pylist(), strict=True))
        if all(isinstance(x, str) for pair in parts.items() for x in pair):
            return parts
        notes.append(f"{file.name} cannot be read: its columns place and part must hold text")
    except FileNotFoundError:
        notes.append(f"{file.name} is missing, so training places and held-out places cannot be told apart")
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as err:
        # What is damaged inside a page of the table shows as any of these.
        notes.append(f"{file.name} cannot be read: {err}")
    return None


def _read_spec(path: Path, notes: list[str]) -> EncoderSpec | None:
    file = path / ENCODER_NAME / WEIGHTS_NAME
    if not file.is_file():
        return None
    try:
        return read_spec(file)
    except CheckpointError as err:
        notes.append(str(err))
        return None


def command_typed(run: Run) -> str | None:
    """Return the command that started the run, as one types it."""
    words = run.environment.get("command")
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        return None
    name = Path(words[0]).name
    program = "seco" if name in ("seco", "cli.py", "__main__.py") else words[0]
    return shlex.join([program, *words[1:]])


def command_again(run: Run) -> str | None:
    """Return the command that makes the same run again, all settings spelt out by its config."""
    if not run.config:
        return None
    again = run.path.with_name(f"{run.path.name}-again")
    return shlex.join(["seco", "pretrain", "--config", str(run.path / CONFIG_NAME), "--out", str(again)])


def flat_settings(run: Run) -> dict[str, str]:
    """Return the settings of a run as text, those of the method after those of training."""
    values = {str(k): v for k, v in run.config.items()}
    own = values.pop("method_options", None)
    if isinstance(own, dict):
        values |= {f"method option {k}": v for k, v in own.items()}
    return {k: _words(v) for k, v in values.items()}


def _words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else clean(value)
