"""Images: tell the class of labelled pictures, any folder with a folder a class."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seco.nets.encoder import FeatureExtractor
from seco.probes.labelled import open_labelled
from seco.probes.result import Headline, TaskResult
from seco.train.tuned import TunedImageOptions, judge_images

NAME = "images"
HELP = "class of labelled images: a dataset, or a folder or zip with a folder a class; published or stratified split"
EXAMPLE = (
    "seco evaluate runs/seco imagenet:tf_efficientnet_lite0 --task images --data pictures/ --num-labels 4000"
)
HEADLINE = Headline(
    title="Class of a labelled image", probe="linear", metric="accuracy",
    words="accuracy of a linear probe on held-out images",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TunedImageOptions):
    """Settings of the images task."""


def run(encoder: FeatureExtractor, data: Path, options: Options) -> TaskResult:
    """Judge an encoder by the class of images."""
    return judge_images(NAME, encoder, open_labelled(data), options)
