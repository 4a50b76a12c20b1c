"""Projection heads."""

from __future__ import annotations

import torch
from torch import nn


def projection_head(dim: int, out_dim: int = 128, *, seed: int = 0) -> nn.Module:
    """Build Linear(dim, dim), ReLU, Linear(dim, out_dim): MoCo v2 and SeCo's head (released code)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out_dim))
