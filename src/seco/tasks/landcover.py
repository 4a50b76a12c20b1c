"""Land cover: the commonest IGBP class of a place, told from one date."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seco.nets.encoder import FeatureExtractor
from seco.places.rasters import land_cover
from seco.probes.options import RasterOptions
from seco.probes.rasters import judge_by_raster
from seco.probes.result import Headline, TaskResult

NAME = "landcover"
HELP = (
    "dominant land cover (MODIS IGBP, 2019) of a place seen on a single date; test places held out by block"
)
EXAMPLE = "seco evaluate runs/seco colour random:resnet18 --task landcover --data bluemarble-6000 --json landcover.json"
HEADLINE = Headline(
    title="Land cover from one picture", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out places",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(RasterOptions):
    """Settings of the land-cover task."""


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by land cover."""
    return judge_by_raster(NAME, encoder, data, land_cover(), options)
