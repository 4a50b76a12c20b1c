"""Land cover: the commonest IGBP class of a place, told from one date."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seco.config import setting
from seco.data.dataset import open_dataset
from seco.errors import ConfigError
from seco.nets.encoder import FeatureExtractor
from seco.places.rasters import land_cover
from seco.probes.blocks import label_places, place_cases
from seco.probes.classify import classify
from seco.probes.features import FeatureStore
from seco.probes.options import PlaceProbeOptions
from seco.probes.result import TaskResult

NAME = "landcover"
HELP = "dominant land cover (MODIS IGBP, 2019) of a place seen on a single date; test places held out by block"
EXAMPLE = "seco evaluate runs/seco colour random:resnet18 --task landcover --data bluemarble-6000 --json landcover.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(PlaceProbeOptions):
    """Settings of the land-cover task."""

    min_places: int = setting(10, "classes with fewer training places than this are left out")
    min_share: float = setting(0.0, "leave out places where no class covers more than this share of the land, 0-1")

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.min_places < 1 or not 0 <= self.min_share < 1:
            raise ConfigError(f"min places {self.min_places}, min share {self.min_share}; at least 1, and 0 to below 1")


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by land cover."""
    dataset = open_dataset(data)
    raster = land_cover()
    labels, left_out = label_places(dataset, raster, min_share=options.min_share)
    store = FeatureStore(encoder, dataset, options)
    cases = place_cases(
        dataset, labels[dataset.place], raster.classes, options, left_out=left_out, min_places=options.min_places
    )
    return classify(NAME, store, cases, options)
