"""What a layout is, and what several share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from seco.errors import CheckpointError
from seco.use.foreign import Foreign, tensors

COUNTER = ".num_batches_tracked"
"""Ends the name of batch norm's counter, which files from before PyTorch 0.4.1 lack; it does not enter features."""
STATE_KEYS = ("state_dict", "model_state_dict", "model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """A checkpoint taken apart. Every tensor is in one of the three.

    Attributes:
        backbone: weights under timm's names, classifier excluded.
        heads: projection heads in order, each under the names of `seco.nets.heads.projection_head`.
        dropped: what is left out on purpose: what it is -> number of entries.
        about: plain facts of the checkpoint (`arch`, `method`, `num_steps`), where it says them.
        feed: how the authors fed the encoder (`seco.use.layouts._feeds`), None where it cannot be told.
    """

    backbone: dict[str, Tensor]
    heads: tuple[dict[str, Tensor], ...] = ()
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    feed: str | None = None


@runtime_checkable
class Layout(Protocol):
    """The contract of a module in `seco.use.layouts`.

    Attributes:
        NAME: the module's name.
        HELP: one line: whose files.
        METHOD: what trained the weights.
        SOURCE: of the weights, for the spec.
        LICENCE: of the weights, as far as their authors say.
    """

    NAME: str
    HELP: str
    METHOD: str
    SOURCE: str
    LICENCE: str

    def matches(self, foreign: Foreign) -> bool:
        """Tell whether the names in a file are this layout's and no other's."""

    def read(self, foreign: Foreign) -> Parts:
        """Take a checkpoint apart. A classifier, whose name depends on the model, may stay in the backbone.

        Raises:
            CheckpointError: names that this layout does not know.
        """


def state_of(foreign: Foreign, keys: Sequence[str] = STATE_KEYS) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Find the state dictionary of a file: under one of `keys`, else its top level.

    Returns:
        The tensors, and what stands beside them.
    """
    key = next((k for k in keys if isinstance(foreign.content.get(k), Mapping)), None)
    if key is None:
        return tensors(foreign.content, what=str(foreign.path)), {}
    beside = [k for k in foreign.content if k != key]
    dropped = {f"{', '.join(beside)} (no weights of the encoder)": len(beside)} if beside else {}
    return tensors(foreign.content[key], what=f"{foreign.path}: {key}"), dropped


def names_of(foreign: Foreign) -> list[str]:
    """Return the names in the state dictionary, wherever it is, for telling layouts apart."""
    inner = next(
        (foreign.content[k] for k in STATE_KEYS if isinstance(foreign.content.get(k), Mapping)), None
    )
    return [str(k) for k in (foreign.content if inner is None else inner)]


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def rest_is_unknown(state: Mapping[str, Tensor], known: Sequence[str], *, layout: str) -> None:
    """Refuse names that begin with none of the known prefixes.

    Raises:
        CheckpointError: there are some; it lists the first and the count.
    """
    unknown = [k for k in state if not k.startswith(tuple(known))]
    if unknown:
        raise CheckpointError(
            f"{count(unknown, 'name')} unknown to the layout {layout}: {some(unknown)}; choose another --layout"
        )


def some(names: Sequence[str]) -> str:
    """Return the first three of some names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def count(names: Sequence[Any], noun: str) -> str:
    """Return `3 names`, `1 name`."""
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def take(state: dict[str, Tensor], names: Sequence[str]) -> int:
    """Remove names from a state dictionary; return how many there were."""
    return sum(state.pop(n, None) is not None for n in names)
