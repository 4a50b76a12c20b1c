"""UC Merced: 21 kinds of land use in aerial pictures, a hundred of each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from seco.config import setting
from seco.nets.encoder import FeatureExtractor
from seco.probes.labelled import open_labelled, require_classes
from seco.probes.result import Headline, TaskResult
from seco.train.tuned import TunedImageOptions, judge_images

NAME = "ucmerced"
HELP = "land use of UC Merced (Yang and Newsam 2010): 21 classes of aerial pictures, a folder, zip or dataset"
EXAMPLE = "seco evaluate runs/seco imagenet:tf_efficientnet_lite0 --task ucmerced --data UCMerced_LandUse.zip"
HEADLINE = Headline(
    title="Land use in UC Merced", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out images",
)  # fmt: skip

CLASSES = (
    "agricultural", "airplane", "baseballdiamond", "beach", "buildings", "chaparral", "denseresidential", "forest",
    "freeway", "golfcourse", "harbor", "intersection", "mediumresidential", "mobilehomepark", "overpass", "parkinglot",
    "river", "runway", "sparseresidential", "storagetanks", "tenniscourt",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TunedImageOptions):
    """Settings of the UC Merced task."""

    split_files: tuple[str, ...] = setting(
        (),
        "published lists of names, such as uc_merced-train.txt,uc_merced-val.txt,uc_merced-test.txt, beside you or inside",
    )


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by land use."""

    def settings(path: Path) -> dict[str, Any]:
        require_classes(path, CLASSES, name="UC Merced")
        return {}

    dataset = open_labelled(data, settings=settings, split_files=options.split_files)
    return judge_images(NAME, encoder, dataset, options)
