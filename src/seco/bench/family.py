"""What a family of rows is, and how one is found: a module of `seco.bench.families`, by its name."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Literal, Protocol, cast, runtime_checkable

from seco.bench.table import Row
from seco.errors import ConfigError

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user asked for.

    Attributes:
        work: a folder for what is made to be measured on; whoever calls removes it.
        repeats: timed rounds, each of which runs every contender once.
        size: `quick` is for tests: everything runs, on so little that the figures mean nothing.
        rival: a checkout of the original repository, checked already, or None.
        lightly: whether to measure against Lightly's parts.
        encoder: a name that both timm and torchvision know.
        threads: of the families `step` and `training`; the others run on one.
    """

    work: Path
    repeats: int = 5
    size: Literal["full", "quick"] = "full"
    rival: Path | None = None
    lightly: Literal["with", "without"] = "without"
    encoder: str = "resnet18"
    batch_size: int = 32
    queue_size: int = 16_384
    threads: int = 1
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, lowest in (("repeats", 1), ("batch_size", 2), ("threads", 1)):
            value = getattr(self, name)
            if value < lowest:
                raise ConfigError(
                    f"{name.replace('_', ' ')} {value}; at least {lowest} (--{name.replace('_', '-')})"
                )
        if self.queue_size < self.batch_size or self.queue_size % self.batch_size:
            raise ConfigError(
                f"queue of {self.queue_size} keys; the original takes a multiple of the batch, {self.batch_size} "
                "(--queue-size, --batch-size)"
            )

    @property
    def quick(self) -> bool:
        """Whether to run on next to nothing."""
        return self.size == "quick"


@runtime_checkable
class Family(Protocol):
    """The contract of a module in `seco.bench.families`."""

    HELP: ClassVar[str]

    def measure(self, settings: Settings, say: Say) -> Iterator[Row]:
        """Yield rows as they are measured; `say` takes a line about what is being measured now."""


def names() -> list[str]:
    """Return the names of all families."""
    package = importlib.import_module("seco.bench.families")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def find(name: str) -> Family:
    """Return a family by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"nothing to measure by the name {name!r}; known: {', '.join(names())}")
    return cast(Family, importlib.import_module(f"seco.bench.families.{name}"))
