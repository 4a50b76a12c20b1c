"""Learning rates over a run."""

from __future__ import annotations

import math


def cosine(peak: float, *, step: int, num_steps: int, warmup_steps: int) -> float:
    """Return the learning rate of a step (counted from 0): linear warm-up to `peak`, then half a cosine to 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
