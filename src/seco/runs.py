"""A run folder and what every room shares about files: atomic writes, the cache folder, progress, result tables."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from seco.errors import ConfigError, SecoError

T = TypeVar("T")

CONFIG_NAME = "config.yaml"
METRICS_NAME = "metrics.jsonl"
PROFILE_NAME = "profile.json"
ENVIRONMENT_NAME = "environment.json"
ENCODER_NAME = "encoder"
CHECKPOINTS_NAME = "checkpoints"


def cache_folder() -> Path:
    """Return the folder for things that can be made again: $SECO_CACHE, else the user's cache folder."""
    given = os.environ.get("SECO_CACHE")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "seco"


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file under a temporary name and rename it, so that a reader sees the whole of it or none.

    Raises:
        SecoError: it cannot be written (the disk is full, the folder is read-only).
    """
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        temporary.replace(path)
    except OSError as err:
        raise SecoError(f"cannot write {path}: {err}; free disk space or choose another folder") from err
    finally:
        with suppress(OSError):  # there is none, or no folder that could hold it
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, default=_json) + "\n")


def _json(value: Any) -> Any:
    """NumPy's numbers as numbers, anything else in words."""
    return value.item() if hasattr(value, "item") else str(value)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a result table in the one documented schema (docs/results-schema.md)."""
    write_json(path, {"rows": [dict(r) for r in rows]})


def environment() -> dict[str, Any]:
    """Describe what a run ran on: versions, machine, commit where there is one."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("seasonal-contrast", "torch", "timm", "numpy", "zarr", "pyarrow"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "versions": versions,
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str | None:
    """Return the commit of the checkout that runs, or None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


class MetricsLog:
    """Append-only `metrics.jsonl`, a line an event. A resumed run drops what was logged after its checkpoint."""

    def __init__(self, path: Path, *, keep_until_step: int = 0) -> None:
        """Open the log, keeping the lines up to and including `keep_until_step`."""
        self.path = path
        kept = "".join(
            json.dumps(r) + "\n" for r in read_metrics(path) if r.get("step", 0) <= keep_until_step
        )
        # A log that stays as it is keeps its time: when its last line was written.
        if not path.is_file() or path.read_bytes() != kept.encode():
            write_atomic(path, kept)
        self._file = path.open("a", encoding="utf-8")

    def add(self, **values: Any) -> None:
        """Append one line and flush it."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl`; a half-written last line (the process was killed) is left out."""
    if not path.is_file():
        return []
    out = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for i, line in enumerate(lines):
        try:
            out.append(json.loads(line))
        except ValueError as err:
            if i != len(lines) - 1:
                raise ConfigError(f"{path} line {i + 1} is damaged: {err}") from err
    return out


def progress(items: Iterable[T], title: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on a terminal, silently elsewhere."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        length = total if total is not None else (len(items) if hasattr(items, "__len__") else None)  # type: ignore[arg-type]
        yield from bar.track(items, description=title, total=length)


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str | None = None
) -> None:
    """Print rows as a table; None is shown as a dash, floats with three decimals."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, title=escape(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left")
    for row in rows:
        table.add_row(*[_cell(row.get(c)) for c in columns])
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if 0 < abs(value) < 0.001 else f"{value:.3f}"
    return escape(str(value))
