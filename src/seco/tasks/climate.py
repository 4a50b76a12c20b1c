"""Climate: the commonest Koeppen-Geiger zone of a place, told from one date."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from seco.config import setting
from seco.data.dataset import open_dataset
from seco.errors import ConfigError
from seco.nets.encoder import FeatureExtractor
from seco.places.rasters import LabelRaster, climate
from seco.probes.blocks import label_places, place_cases
from seco.probes.classify import classify
from seco.probes.features import FeatureStore
from seco.probes.options import PlaceProbeOptions
from seco.probes.result import TaskResult

NAME = "climate"
HELP = "dominant Koeppen-Geiger climate zone of a place seen on a single date; test places held out by block"
EXAMPLE = "seco evaluate runs/seco imagenet:tf_efficientnet_lite0 --task climate --data bluemarble-6000 --zones main"

MAIN_GROUPS = {"A": "tropical", "B": "dry", "C": "temperate", "D": "continental", "E": "polar"}
"""Köppen's first letter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PlaceProbeOptions):
    """Settings of the climate task."""

    zones: Literal["all", "main"] = setting("all", "all zones (Af to EF), or the five main groups (A to E)")
    min_places: int = setting(10, "zones with fewer training places than this are left out")
    min_share: float = setting(0.0, "leave out places where no zone covers more than this share of the land, 0-1")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.min_places < 1 or not 0 <= self.min_share < 1:
            raise ConfigError(f"min places {self.min_places}, min share {self.min_share}; at least 1, and 0 to below 1")


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by climate."""
    dataset = open_dataset(data)
    raster = climate() if options.zones == "all" else main_groups(climate())
    labels, left_out = label_places(dataset, raster, min_share=options.min_share)
    store = FeatureStore(encoder, dataset, options)
    cases = place_cases(
        dataset, labels[dataset.place], raster.classes, options, left_out=left_out, min_places=options.min_places
    )
    return classify(NAME, store, cases, options)


def main_groups(raster: LabelRaster) -> LabelRaster:
    """Merge zones into Köppen's five main groups; the group, not the zone, is then what covers most of a place."""
    letters = list(MAIN_GROUPS)
    ocean = len(letters)
    group_of = np.array([letters.index(c[0]) if c[:1] in letters else ocean for c in raster.classes], np.uint8)
    group_of[list(raster.water)] = ocean
    return LabelRaster(
        name=f"{raster.name} groups", codes=group_of[raster.codes], classes=(*MAIN_GROUPS.values(), "ocean"),
        water=(ocean,), source=raster.source,
    )  # fmt: skip
