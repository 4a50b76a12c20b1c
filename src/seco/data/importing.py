"""What an importer is, and how one is found: a module of `seco.data.importers`, by its name."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from seco.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import made, and what it had to leave out."""

    num_places: int
    num_patches: int
    notes: tuple[str, ...] = ()


@runtime_checkable
class Importer(Protocol):
    """The contract of a module in `seco.data.importers`."""

    HELP: str
    EXAMPLE: str
    Options: type[Any]

    def run(self, source: Path, out: Path, options: Any) -> ImportReport:
        """Import `source` as a new dataset at `out`."""


def names() -> list[str]:
    """Return the names of all importers."""
    package = importlib.import_module("seco.data.importers")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(name: str) -> Importer:
    """Return an importer by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"no importer {name!r}; known: {', '.join(names())}")
    return cast(Importer, importlib.import_module(f"seco.data.importers.{name}"))
