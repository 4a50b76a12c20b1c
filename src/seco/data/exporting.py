"""What an exporter is, and how one is found: a module of `seco.data.exporters`, by its name."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from seco.data.dataset import Dataset
from seco.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export wrote, and what to know of it."""

    num_places: int
    num_patches: int
    num_files: int
    notes: tuple[str, ...] = ()


@runtime_checkable
class Exporter(Protocol):
    """The contract of a module in `seco.data.exporters`."""

    HELP: str
    EXAMPLE: str
    Options: type[Any]

    def run(self, dataset: Dataset, out: Path, options: Any) -> ExportReport:
        """Write `dataset` in another layout to `out`, which must not exist."""


def names() -> list[str]:
    """Return the names of all exporters."""
    package = importlib.import_module("seco.data.exporters")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(name: str) -> Exporter:
    """Return an exporter by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"no exporter {name!r}; known: {', '.join(names())}")
    return cast(Exporter, importlib.import_module(f"seco.data.exporters.{name}"))
