"""Judge by a global raster: the class that covers most of a place is what its patches are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from seco.data.dataset import Dataset, open_dataset
from seco.data.split import place_boxes
from seco.nets.encoder import FeatureExtractor
from seco.places.rasters import LabelRaster, dominant_class
from seco.probes.blocks import UNLABELLED, place_cases
from seco.probes.classify import classify
from seco.probes.features import FeatureStore
from seco.probes.options import RasterOptions
from seco.probes.result import TaskResult


def judge_by_raster(
    task: str, encoder: FeatureExtractor, data: Path, raster: LabelRaster, options: RasterOptions
) -> TaskResult:
    """Run the probes with the raster's classes as labels, one a place whatever the date."""
    dataset = open_dataset(data)
    labels, left_out = label_places(dataset, raster, min_share=options.min_share)
    cases = place_cases(
        dataset,
        labels[dataset.place],
        raster.classes,
        options,
        left_out=left_out,
        min_places=options.min_places,
    )
    return classify(task, FeatureStore(encoder, dataset, options), cases, options)


def label_places(
    dataset: Dataset, raster: LabelRaster, *, min_share: float
) -> tuple[Integer[np.ndarray, " places"], str]:
    """Label each place with the class that covers most of its footprint.

    Returns:
        Class codes, UNLABELLED where water (or nothing known) covers most of it or the class covers less than `min_share`
        of what is not water; and how many those are, in words.

    Raises:
        DatasetError: places have no position, or the raster's package is missing.
    """
    return label_boxes(place_boxes(dataset), raster, min_share=min_share)


def label_boxes(
    boxes: Float[np.ndarray, "places 4"], raster: LabelRaster, *, min_share: float = 0.0
) -> tuple[Integer[np.ndarray, " places"], str]:
    """Label footprints (west, south, east, north) as `label_places` does."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    # A footprint in a projected CRS across the antimeridian has bounds all around the globe: they say nothing.
    around = width > 180
    centre = {"lon": (boxes[:, 0] + boxes[:, 2]) / 2, "lat": (boxes[:, 1] + boxes[:, 3]) / 2}
    extent = {"width_deg": np.where(around, 1.0, width), "height_deg": height}
    over_all = dominant_class(raster, **centre, **extent, ignore=())
    over_land = dominant_class(raster, **centre, **extent)
    water = np.isin(over_all.code, raster.water) | (over_land.code < 0) | around
    mixed = ~water & (over_land.share < min_share)
    labels = np.where(water | mixed, UNLABELLED, over_land.code).astype(np.int64)
    words = [f"{int(water.sum())} mostly water"]
    if min_share > 0:
        words.append(f"{int(mixed.sum())} with no class above {min_share:g}")
    return labels, ", ".join(words)
