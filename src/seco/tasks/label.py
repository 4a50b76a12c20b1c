"""Label: the dataset's own class of a place, told from one date."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from seco.config import setting
from seco.data.dataset import open_dataset
from seco.errors import ConfigError, TaskError
from seco.nets.encoder import FeatureExtractor
from seco.probes.blocks import UNLABELLED, place_cases
from seco.probes.classify import classify
from seco.probes.features import FeatureStore
from seco.probes.options import PlaceProbeOptions
from seco.probes.result import Headline, TaskResult

NAME = "label"
HELP = "the dataset's own label of a place seen on a single date; test places held out by block"
EXAMPLE = "seco evaluate runs/seco colour random:resnet18 --task label --data planet.seco --outputs all --json label.json"
HEADLINE = Headline(
    title="The dataset's own label from one picture", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out places",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PlaceProbeOptions):
    """Settings of the label task."""

    min_places: int = setting(10, "classes with fewer training places than this are left out")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.min_places < 1:
            raise ConfigError(f"least training places of a class {self.min_places}; give at least 1")


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by the labels of the dataset's index."""
    dataset = open_dataset(data)
    classes = tuple(sorted({name for name in dataset.labels if name is not None}))
    if len(classes) < 2:
        raise TaskError(
            f"{dataset.path} has {len(classes)} labels ({', '.join(classes) or 'none'}); two at least are needed"
        )
    numbers = {name: i for i, name in enumerate(classes)}
    labels = np.array([numbers[n] if n is not None else UNLABELLED for n in dataset.labels], np.int64)
    num_unknown = len(np.unique(dataset.place[labels == UNLABELLED]))
    cases = place_cases(
        dataset,
        labels,
        classes,
        options,
        left_out=f"{num_unknown} without a label",
        min_places=options.min_places,
    )
    return classify(NAME, FeatureStore(encoder, dataset, options), cases, options)
