"""A queue of keys: any size, any batch, saved with the model."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seco.errors import ConfigError


class KeyQueue(nn.Module):
    """First in, first out: the newest `size` keys that were pushed. Starts with random unit vectors, as MoCo does."""

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int, *, seed: int = 0) -> None:
        """Make a queue of `size` keys of length `dim`."""
        super().__init__()
        if size < 1:
            raise ConfigError(f"queue of {size} keys; it must hold at least 1 (--queue-size)")
        start = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("keys", functional.normalize(start, dim=1))
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Float[Tensor, "batch dim"]) -> None:
        """Put keys in place of the oldest, going on at the start when the end is reached."""
        size = len(self.keys)
        kept = keys.detach()[-size:].to(self.keys.dtype)
        # Where a batch is larger than the queue only its newest keys stay; the position still counts all.
        first = int(self.position) + len(keys) - len(kept)
        where = torch.arange(first, first + len(kept), device=kept.device) % size
        self.keys[where] = kept
        self.position[0] = (int(self.position) + len(keys)) % size
