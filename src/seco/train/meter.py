"""What a run tells between two log lines: running means, samples a second, time left."""

from __future__ import annotations

import time
from typing import Any

from seco.train.settings import Pretrain


class Meter:
    """Rates and running means between two log lines."""

    def __init__(
        self, first: int, config: Pretrain, *, sums: dict[str, float] | None = None, count: int = 0
    ) -> None:
        """Start after step `first`, with the sums of the steps since the last log line where there were some."""
        assert config.steps is not None
        self.num_steps, self.batch_size = config.steps, config.batch_size
        self.last_step, self.last_time = first, time.perf_counter()
        self.sums = dict(sums or {})
        self.count = count

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to log the means that this one would have logged."""
        return {"sums": self.sums, "count": self.count}

    def add(self, numbers: dict[str, float]) -> None:
        """Take the numbers of one step."""
        for key, value in numbers.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.count += 1

    def report(self, step: int) -> tuple[dict[str, float], str]:
        """Return the means since the last report, and a line that says them; start again."""
        now = time.perf_counter()
        rate = (step - self.last_step) * self.batch_size / max(1e-9, now - self.last_time)
        means = {k: v / max(1, self.count) for k, v in self.sums.items()}
        left = (self.num_steps - step) * self.batch_size / max(rate, 1e-9)
        heads = " ".join(
            f"{k.removeprefix('accuracy_')} {v:.2f}" for k, v in means.items() if k.startswith("accuracy_")
        )
        line = (
            f"step {step}/{self.num_steps}  loss {means['loss']:.3f}  accuracy {heads}  "
            f"{rate:.0f} samples/s  {_clock(left)} left"
        )
        self.last_step, self.last_time, self.sums, self.count = step, now, {}, 0
        return {**means, "samples_per_s": rate}, line


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
