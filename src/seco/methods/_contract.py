"""What a method is, and how one is found: a module of `seco.methods`, by its name."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from seco.errors import ConfigError
from seco.nets.phases import Phases
from seco.nets.processes import ALONE, Processes
from seco.views.plan import ViewPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """What the run gives a method to build itself from.

    Attributes:
        num_places: places it trains on.
        num_steps: steps it will run.
        batch_size: places a step, of all processes together.
        precision: what to compute the networks in.
        phases: where to book the time of query pass, key pass, loss and optimiser, where that is asked for.
        processes: who trains together; each updates on its own part of a batch (`Processes.rows`).
        say: takes lines for the user.
    """

    backbone: nn.Module
    feature_dim: int
    num_places: int
    num_steps: int
    batch_size: int
    seed: int
    precision: Literal["fp32", "bf16"]
    phases: Phases = dataclasses.field(default_factory=Phases)
    processes: Processes = ALONE
    say: Callable[[str], None] = print


@runtime_checkable
class Method(Protocol):
    """A method that is being trained. It owns its networks, its optimisers and its update.

    With several processes, `update`, `encoder` and `state_dict` are called in all of them together.
    """

    def update(self, views: Mapping[str, Tensor], *, step: int) -> dict[str, float]:
        """Do one step on a batch of views; return numbers to log, among them `loss`.

        Raises:
            TrainingError: the loss is not finite; the weights in training and the queues are as before this step.
        """

    def encoder(self) -> tuple[nn.Module, nn.ModuleDict]:
        """Return the backbone and the named projection heads that training is for."""

    def to(self, device: Any) -> None:
        """Move everything to a device."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that a resumed run needs, as tensors."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up a state again."""


@runtime_checkable
class MethodModule(Protocol):
    """The contract of a module in `seco.methods`."""

    HELP: ClassVar[str]
    PLAN: ClassVar[ViewPlan]
    Options: ClassVar[type[Any]]

    def build(self, setup: Setup, options: Any) -> Method:
        """Build the method."""

    def derive(
        self, options: Any, *, num_places: int, num_steps: int, batch_size: int, num_processes: int = 1
    ) -> Any:
        """Return the options with everything that was left open chosen."""


def names() -> list[str]:
    """Return the names of all methods."""
    package = importlib.import_module("seco.methods")
    return sorted(
        m.name.replace("_", "-") for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_"
    )


def find(name: str) -> MethodModule:
    """Return a method by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"no method {name!r}; known: {', '.join(names())}")
    return cast(MethodModule, importlib.import_module("seco.methods." + name.replace("-", "_")))
