"""The dataset that a run saw, and which of its places the run held out."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from seco.data.dataset import Dataset, open_dataset
from seco.data.tier import TrainingTier
from seco.errors import DatasetError, SecoError
from seco.report.facts import Run
from seco.report.markup import count

TRAIN, HELD_OUT, LEFT_OUT, UNKNOWN = "train", "held out", "left out", "unknown"
PARTS = (TRAIN, HELD_OUT, LEFT_OUT, UNKNOWN)
MAX_DATES = 12
"""Dates of a place that pictures and features are made of, evenly chosen where there are more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ground:
    """A dataset as one run divided it.

    Attributes:
        tier: in the bands that the run trained on.
        part: per place one of PARTS.
        num_dates: per place its number of patches.
    """

    dataset: Dataset
    tier: TrainingTier
    part: np.ndarray
    num_dates: np.ndarray

    @property
    def simulated(self) -> str:
        """`simulated ` for imagery of the planet that seco makes up, else nothing: said wherever it is shown."""
        return "simulated " if self.dataset.meta.provenance.get("importer") == "planet" else ""

    def counted(self, num: int, kind: str = "place") -> str:
        """Return a number of places in words."""
        return count(num, f"{self.simulated}{kind}")

    def rows_of(self, place: int | np.integer, *, most: int = MAX_DATES) -> np.ndarray:
        """Return the patches of a place, evenly chosen over its dates where there are more than `most`."""
        rows = self.dataset.first_row[place] + np.arange(self.num_dates[place])
        return _evenly(rows, most)

    @functools.cached_property
    def clear(self) -> np.ndarray:
        """Clear share of each patch, 0-1; 1 where nobody knows."""
        return np.nan_to_num(self.dataset.column("clear_fraction").astype(np.float64), nan=1.0)

    @property
    def knows_clouds(self) -> bool:
        """Whether some patches are known to be less than clear."""
        return bool((self.clear < 1).any())

    def clear_rows(self, place: int | np.integer, *, least: float) -> np.ndarray:
        """Return the patches of a place that are at least so clear, evenly chosen where there are more than MAX_DATES."""
        rows = self.dataset.first_row[place] + np.arange(self.num_dates[place])
        return _evenly(rows[self.clear[rows] >= least], MAX_DATES)

    def date_words(self, row: int | np.integer) -> str:
        """Return the day of a patch, or the empty string."""
        date = self.dataset.dates[row]
        return "" if np.isnat(date) else str(date)

    def label(self, row: int | np.integer) -> str | None:
        """Return the label of a patch, None where it has none."""
        name: str | None = self.dataset.index["label"][int(row)].as_py()
        return name

    def draw(self, part: str, num: int, *, seed: int) -> np.ndarray:
        """Draw `num` places of a part, in order."""
        there = np.flatnonzero(self.part == part)
        return np.sort(np.random.default_rng(seed).permutation(there)[:num])


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)] if len(rows) > most else rows


def find_ground(run: Run, data: Path | None = None) -> Ground:
    """Open the dataset of a run: where `data` says, where the config says, or beside the run.

    Raises:
        DatasetError: it is not there, is damaged, or is not the one that the run was trained on.
    """
    dataset = _find_dataset(run, data)
    names = run.config.get("bands")
    bands = [str(b) for b in names] if isinstance(names, list) else None
    ids = dataset.place_ids
    parts = run.parts or {}
    told = [parts.get(i, UNKNOWN) for i in ids]
    return Ground(
        dataset=dataset, tier=dataset.training(bands),
        part=np.array([p if p in PARTS else UNKNOWN for p in told], object),
        num_dates=np.bincount(dataset.place, minlength=len(ids)),
    )  # fmt: skip


def _find_dataset(run: Run, data: Path | None) -> Dataset:
    told = run.config.get("data")
    if data is None and not isinstance(told, str):
        raise DatasetError(
            "the run does not say which dataset it was trained on; say where it lies with --data"
        )
    written = Path(str(told))
    # A relative path was relative to where the command ran: a folder that was moved whole keeps its neighbours.
    places = [data] if data is not None else [written, run.path.parent / written.name]
    wanted = run.started.get("dataset")
    first: SecoError | None = None
    for place in places:
        try:
            dataset = open_dataset(place)
            if isinstance(wanted, str) and dataset.fingerprint != wanted:
                raise DatasetError(
                    f"{place} is not the dataset that the run was trained on (fingerprint {dataset.fingerprint}, the "
                    f"run's {wanted}); say where that lies with --data"
                )
        except SecoError as err:
            first = first or err
        else:
            return dataset
    assert first is not None
    if data is None and not written.exists():
        raise DatasetError(f"the dataset {written} is gone; say where it lies now with --data") from first
    raise first
