"""Climate: the commonest Koeppen-Geiger zone of a place, told from one date."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from seco.config import setting
from seco.nets.encoder import FeatureExtractor
from seco.places.rasters import MAIN_GROUPS, LabelRaster, climate
from seco.probes.options import RasterOptions
from seco.probes.rasters import judge_by_raster
from seco.probes.result import Headline, TaskResult

NAME = "climate"
HELP = "dominant Koeppen-Geiger climate zone of a place seen on a single date; test places held out by block"
EXAMPLE = "seco evaluate runs/seco imagenet:tf_efficientnet_lite0 --task climate --data bluemarble-6000 --zones main"
HEADLINE = Headline(
    title="Climate zone from one picture", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out places",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(RasterOptions):
    """Settings of the climate task."""

    zones: Literal["all", "main"] = setting("all", "all zones (Af to EF), or the five main groups (A to E)")


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by climate."""
    raster = climate() if options.zones == "all" else main_groups(climate())
    return judge_by_raster(NAME, encoder, data, raster, options)


def main_groups(raster: LabelRaster) -> LabelRaster:
    """Merge zones into Köppen's five main groups; the group, not the zone, is then what covers most of a place."""
    letters = list(MAIN_GROUPS)
    ocean = len(letters)
    group_of = np.array(
        [letters.index(c[0]) if c[:1] in letters else ocean for c in raster.classes], np.uint8
    )
    group_of[list(raster.water)] = ocean
    return LabelRaster(
        name=f"{raster.name} groups", codes=group_of[raster.codes], classes=(*MAIN_GROUPS.values(), "ocean"),
        water=(ocean,), source=raster.source,
    )  # fmt: skip
