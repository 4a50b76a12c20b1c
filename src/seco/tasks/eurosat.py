"""EuroSAT: ten kinds of land use, from RGB pictures or from all 13 bands of Sentinel-2."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from seco.config import setting
from seco.nets.encoder import FeatureExtractor
from seco.probes.labelled import open_labelled, require_classes
from seco.probes.result import Headline, TaskResult
from seco.train.tuned import TunedImageOptions, judge_images

NAME = "eurosat"
HELP = "land use of EuroSAT (Helber et al. 2019): its RGB pictures or its 13-band GeoTIFFs, a folder, zip or dataset"
EXAMPLE = "seco evaluate runs/seco imagenet:tf_efficientnet_lite0 --task eurosat --data EuroSAT.zip --shots 1,5,10,50,100"
HEADLINE = Headline(
    title="Land use in EuroSAT", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out images",
)  # fmt: skip

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop", "Residential",
    "River", "SeaLake",
)  # fmt: skip
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
"""Order of the bands in a file of EuroSAT_MS: B8A comes last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TunedImageOptions):
    """Settings of the EuroSAT task."""

    split_files: tuple[str, ...] = setting(
        (),
        "published lists of names, such as eurosat-train.txt,eurosat-val.txt,eurosat-test.txt, beside you or in the source",
    )


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by land use."""

    def settings(path: Path) -> dict[str, Any]:
        files = require_classes(path, CLASSES, name="EuroSAT")
        chosen: dict[str, Any] = {"gsd": 10.0}
        if all(f.lower().endswith((".tif", ".tiff")) for f in files):
            # Level 1C: reflectance at the top of the atmosphere, without the offset of later baselines.
            chosen |= {"band_names": BANDS, "units": "dn", "scale": 1e-4, "offset": 0.0}
        return chosen

    dataset = open_labelled(data, settings=settings, split_files=options.split_files)
    return judge_images(NAME, encoder, dataset, options)
