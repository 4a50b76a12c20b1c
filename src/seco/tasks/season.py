"""Season: in which month (or season) a picture was taken, what an encoder invariant to season should forget."""

from __future__ import annotations

import calendar
import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer

from seco.config import setting
from seco.data.dataset import Dataset, open_dataset
from seco.errors import DatasetError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes.blocks import UNLABELLED, place_cases
from seco.probes.classify import classify
from seco.probes.features import FeatureStore
from seco.probes.options import ALL, PlaceProbeOptions
from seco.probes.result import Headline, TaskResult

NAME = "season"
HELP = "which month (or season) a patch shows, read from the features and every projection head; held out by block"
EXAMPLE = "seco evaluate runs/seco runs/moco-tp --task season --data bluemarble-6000 --json season.json"
HEADLINE = Headline(
    title="Month or season told from one picture", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out places; more is kept, not better", asks="kept",
)  # fmt: skip

SEASONS = ("winter", "spring", "summer", "autumn")
MONTHLY_DATES = 12
"""With at least this many dates a place, the month is asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PlaceProbeOptions):
    """Settings of the season task."""

    outputs: tuple[str, ...] = setting(
        (ALL,), "outputs to judge: features, z0, z1, ... with commas, or all that there are"
    )
    target: Literal["auto", "month", "season"] = setting(
        "auto",
        "what to tell: the month, the meteorological season at that latitude, or the month where places have 12 dates",
    )


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge what an encoder keeps of the season."""
    dataset = open_dataset(data)
    labels, classes = label_dates(dataset, options.target)
    store = FeatureStore(encoder, dataset, options)
    num_unknown = len(np.unique(dataset.place[labels == UNLABELLED]))
    cases = place_cases(
        dataset, labels, classes, options, left_out=f"{num_unknown} with patches of unknown date"
    )
    return classify(NAME, store, cases, options)


def label_dates(dataset: Dataset, target: str) -> tuple[Integer[np.ndarray, " patches"], tuple[str, ...]]:
    """Label each patch with its month or season.

    Raises:
        TaskError: no patch has a date, or all have the same month or season.
        DatasetError: the season is asked for and no patch has a position.
    """
    months = dataset.months.astype(np.int64)
    if not (months > 0).any():
        raise TaskError(
            f"{dataset.path} has no dates, so there is no season to tell; use a dataset with dates"
        )
    per_place = (months > 0).sum() / len(dataset.place_ids)
    if target == "month" or (target == "auto" and per_place >= MONTHLY_DATES):
        labels, classes = np.where(months > 0, months - 1, UNLABELLED), tuple(calendar.month_name[1:])
    else:
        known = dataset.index["season"].is_valid().to_numpy()
        labels = np.where(known, dataset.index["season"].fill_null(UNLABELLED).to_numpy(), UNLABELLED).astype(
            np.int64
        )
        classes = SEASONS
    found = np.unique(labels[labels != UNLABELLED])
    if not len(found):
        raise DatasetError(
            f"{dataset.path}: patches have no position, so the season at their latitude is unknown"
        )
    if len(found) < 2:
        kind = "month" if len(classes) == 12 else "season"
        raise TaskError(
            f"{dataset.path}: all dates fall into one {kind} ({classes[int(found[0])]}); two at least are needed"
        )
    return labels, classes
