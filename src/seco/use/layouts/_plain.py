"""Plain state dictionaries: the model's own names, with or without its classifier."""

from __future__ import annotations

from collections.abc import Mapping

from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts, names_of, state_of


def is_plain(foreign: Foreign) -> bool:
    """Tell whether a file holds a ResNet or plain vision transformer under its own names."""
    names = set(names_of(foreign))
    return not isinstance(foreign.content.get("teacher"), Mapping) and bool(
        {"conv1.weight", "patch_embed.proj.weight"} & names
    )


def read_plain(foreign: Foreign, *, feed: str | None) -> Parts:
    """Take everything."""
    state, dropped = state_of(foreign)
    # DistributedDataParallel puts a word before every name.
    if state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return Parts(backbone=state, dropped=dropped, feed=feed)
