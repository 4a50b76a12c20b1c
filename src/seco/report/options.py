"""Settings of a report."""

import dataclasses
from pathlib import Path

from seco.config import setting
from seco.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Settings of a report."""

    scores: tuple[str, ...] = setting(
        (),
        "result files of `seco evaluate --json`, with commas; default: scores*.json in the runs and beside them",
    )
    data: Path | None = setting(None, "where the dataset lies now (default: where the runs say)")
    num_places: int = setting(
        300, "held-out places that neighbours and the embedding are made from", flag="--places"
    )
    seed: int = setting(0, "seed of what is drawn to be shown")
    device: str = setting("auto", "auto, cpu, cuda, ...")

    def __post_init__(self) -> None:
        if self.num_places < 2:
            raise ConfigError(f"{self.num_places} places; neighbours need at least 2 (--places)")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed {self.seed}; it must lie between 0 and 2**32 - 1 (--seed)")
