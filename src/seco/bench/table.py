"""From timings to rows: medians, spread, and ratios against one contender of the same round. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from seco.bench.timing import Contender, Timing

COLUMNS = (
    "case",
    "contender",
    "unit",
    "median",
    "spread",
    "cpu",
    "ratio",
    "ratio spread",
    "ratio cpu",
    "note",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One contender in one case.

    Attributes:
        unit: of `median`, `min`, `max` and `cpu`, such as `ms a sample`.
        median, min, max: wall time over the repeats; None where it was not measured, and `note` says why.
        cpu: median processor time.
        against: whom `ratio` compares with: this contender's time over theirs in the same round, so above 1 says that
            they are that many times faster.
        ratio, ratio_min, ratio_max: wall; `ratio_cpu` is the median ratio of processor times.
        extra: further numbers, named with their unit.
    """

    family: str
    case: str
    contender: str
    unit: str
    against: str
    repeats: int = 0
    median: float | None = None
    min: float | None = None
    max: float | None = None
    cpu: float | None = None
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    ratio_cpu: float | None = None
    note: str = ""
    extra: dict[str, float] = dataclasses.field(default_factory=dict)

    def cells(self) -> dict[str, Any]:
        """Return what the printed table shows."""
        further = ", ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in self.extra.items())
        return {
            **{k: getattr(self, k) for k in ("case", "contender", "unit")},
            "median": _short(self.median), "cpu": _short(self.cpu),
            "spread": _spread(self.min, self.max),
            "ratio": _short(self.ratio), "ratio spread": _spread(self.ratio_min, self.ratio_max),
            "ratio cpu": _short(self.ratio_cpu),
            "note": "; ".join(t for t in (self.note, further) if t),
        }  # fmt: skip


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _spread(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{_short(low)} to {_short(high)}"


def rows_of(
    timings: Mapping[str, Timing],
    contenders: Sequence[Contender],
    *,
    family: str,
    case: str,
    against: str,
    num: int,
    unit: str = "ms a sample",
    scale: float = 1000.0,
) -> list[Row]:
    """Return a row a contender.

    Args:
        timings: seconds, by the contenders' names.
        against: name of the contender whom the others are compared with.
        num: samples a run.
        scale: of a second in `unit`.
    """
    theirs = timings[against]
    rows = []
    for contender in contenders:
        own = timings[contender.name]
        values = [scale * t / num for t in own.wall]
        ratios = [a / b for a, b in zip(own.wall, theirs.wall, strict=True)]
        # A clock of the processor that ticks every 10 ms may show nothing of what is shorter.
        cpu_ratios = [a / b for a, b in zip(own.cpu, theirs.cpu, strict=True) if b > 0]
        compared = contender.name != against
        rows.append(
            Row(
                family=family, case=case, contender=contender.name, unit=unit, against=against, repeats=len(values),
                median=statistics.median(values), min=min(values), max=max(values),
                cpu=scale * statistics.median(own.cpu) / num,
                ratio=statistics.median(ratios) if compared else 1.0,
                ratio_min=min(ratios) if compared else None, ratio_max=max(ratios) if compared else None,
                ratio_cpu=(statistics.median(cpu_ratios) if cpu_ratios else None) if compared else 1.0,
                note=contender.note, extra=dict(own.extra),
            )
        )  # fmt: skip
    return rows


def absent(
    *, family: str, case: str, contender: str, against: str, why: str, unit: str = "ms a sample"
) -> Row:
    """Return the row of a contender that could not be measured."""
    return Row(family=family, case=case, contender=contender, unit=unit, against=against, note=why)
