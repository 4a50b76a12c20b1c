"""Datasets of TorchGeo (extra `torchgeo`): any of its classes that gives an image and its label, by the class's name."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seco.config import setting, to_plain
from seco.data.encodings import Declared, decide, make_band, sentinel2_name
from seco.data.grids import Grid, Plane
from seco.data.importing import ImportReport
from seco.data.writer import DatasetWriter, Patch, require_new
from seco.errors import ConfigError, DatasetError
from seco.runs import progress
from seco.sensors import rgb
from seco.sensors.bands import Band, Units

HELP = "a dataset class of TorchGeo that gives images and labels: its folder, and --class NAME"
EXAMPLE = (
    "seco dataset import torchgeo eurosat-root/ eurosat --class EuroSAT --band-names B04,B03,B02 --units dn"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of the import."""

    dataset_class: str = setting(
        "EuroSAT", "class in torchgeo.datasets, such as EuroSAT or RESISC45", flag="--class"
    )
    splits: tuple[str, ...] = setting(("train", "val", "test"), "its splits to take, with commas")
    band_names: tuple[str, ...] = setting(
        (),
        "bands to ask the class for, in this order; without, the images are its own, three bands red, green, blue",
    )
    units: Units = setting("display", "what the numbers are: dn, reflectance or display (bytes)")
    scale: float | None = setting(
        None, "of dn: from stored number to reflectance, where it is not the usual one"
    )
    offset: float | None = setting(None, "of dn: reflectance of stored number 0")
    licence: str = setting("not stated", "licence and attribution, kept with the dataset")

    def __post_init__(self) -> None:
        """Check that there is a split."""
        if not self.splits:
            raise ConfigError("splits: none given; say train,val,test or some of them (--splits)")


def run(source: Path, out: Path, options: Options) -> ImportReport:
    """Import the samples of a TorchGeo class with its data in `source` as a new dataset at `out`; nothing is downloaded."""
    if not source.is_dir():
        raise DatasetError(
            f"{source} is no folder; give the root folder that TorchGeo's {options.dataset_class} takes"
        )
    require_new(out)
    opened = {split: _open(source, split, options) for split in options.splits}
    first, _ = _sample(next(iter(opened.values())), 0, options)
    bands = _bands(options, first)
    provenance = {"importer": "torchgeo", "source": source.name, "options": to_plain(options)}
    counts: dict[str, int] = {}
    with DatasetWriter(
        out, bands=bands, patch_px=first.shape[1], licence=options.licence, provenance=provenance
    ) as writer:
        for split, samples in opened.items():
            counts[split] = len(samples)
            for patch in progress(list(range(len(samples))), f"{options.dataset_class} {split}"):
                writer.add(_patch(samples, patch, split, first, options))
        notes = (f"{options.dataset_class}: " + ", ".join(f"{n} {s}" for s, n in counts.items()),)
        writer.provenance["notes"] = list(notes)
    return ImportReport(num_places=writer.num_places, num_patches=writer.num_patches, notes=notes)


def _open(source: Path, split: str, options: Options) -> Any:
    """Make the class's dataset of one split."""
    try:
        library = importlib.import_module("torchgeo.datasets")
    except ImportError as err:
        raise DatasetError(
            f"this import needs TorchGeo, which is not installed ({err}); pip install 'seasonal-contrast[torchgeo]'"
        ) from err
    cls = getattr(library, options.dataset_class, None)
    if cls is None:
        raise ConfigError(
            f"torchgeo.datasets has no class {options.dataset_class!r}; its documentation lists them"
        )
    words: dict[str, Any] = {"root": str(source), "split": split}
    if options.band_names:
        words["bands"] = options.band_names
    try:
        samples = cls(**words)
        num = len(samples)
    except Exception as err:
        raise DatasetError(
            f"TorchGeo's {options.dataset_class} cannot open split {split} of {source}: "
            f"{' '.join(str(err).split())[:200] or type(err).__name__}"
        ) from err
    if not num:
        raise DatasetError(
            f"split {split} of {options.dataset_class} in {source} is empty; leave it out (--splits)"
        )
    return samples


def _sample(samples: Any, number: int, options: Options) -> tuple[np.ndarray, Any]:
    """Return one image (bands, px, px) and its label."""
    found = samples[number]
    if "image" not in found or "label" not in found:
        raise DatasetError(
            f"{options.dataset_class} gives {', '.join(map(str, found))}, not image and label; only classes of labelled "
            "images can be imported (pixels with masks: write images/ and masks/ folders, docs/scenes.md)"
        )
    image = np.asarray(found["image"])
    if image.ndim != 3 or image.shape[1] != image.shape[2]:
        raise DatasetError(
            f"image {number} of {options.dataset_class} is {image.shape}; wanted (bands, edge, edge)"
        )
    return image, found["label"]


def _bands(options: Options, image: np.ndarray) -> list[Band]:
    """Declare the bands."""
    if options.units == "display" and not options.band_names and len(image) == 3:
        return list(rgb.display_bands(stretch="unknown"))
    if len(options.band_names) != len(image):
        raise DatasetError(
            f"images of {options.dataset_class} have {len(image)} bands, {len(options.band_names)} are named "
            f"({', '.join(options.band_names) or 'none'}); name them all (--band-names)"
        )
    grid = Grid(crs=None, transform=None, height=1, width=1)
    declared = Declared(units=options.units, scale=options.scale, offset=options.offset, nodata=None)
    is_sentinel2 = all(sentinel2_name(n) for n in options.band_names)
    bands = []
    for name in options.band_names:
        plane = Plane(path=options.dataset_class, name=None, dtype=_dtype(options.units), grid=grid)
        found = decide(plane, name, declared=declared, is_sentinel2=is_sentinel2, default_offset=0.0)
        bands.append(make_band(name, found, None, is_sentinel2=is_sentinel2))
    return bands


def _dtype(units: Units) -> str:
    return {"display": "uint8", "dn": "uint16"}.get(units, "float32")


def _stored(image: np.ndarray, number: int, options: Options) -> np.ndarray:
    """Return an image as what its units are stored as: TorchGeo hands over floats, and no number may change on the way."""
    out = image.astype(_dtype(options.units))
    if not np.array_equal(out, image.astype(np.float64)) and options.units != "reflectance":
        raise DatasetError(
            f"image {number} of {options.dataset_class} holds numbers from {image.min():g} to {image.max():g}, which are no "
            f"{options.units} ({out.dtype}); say what they are (--units)"
        )
    return out


def _names(label: Any, classes: Sequence[str] | None) -> list[str]:
    """Return the class, or the classes, that a label says; by number where the dataset names none."""
    numbers = np.asarray(label)
    which = [int(numbers)] if numbers.ndim == 0 else np.flatnonzero(numbers).tolist()
    return [str(classes[i]) if classes is not None else str(i) for i in which]


def _patch(samples: Any, number: int, split: str, first: np.ndarray, options: Options) -> Patch:
    image, label = _sample(samples, number, options)
    if image.shape != first.shape:
        raise DatasetError(
            f"image {number} of split {split} of {options.dataset_class} is {image.shape}, the first is {first.shape}; "
            "images of one size are wanted"
        )
    names = _names(label, getattr(samples, "classes", None))
    name = f"{split}-{number:06d}"
    single = np.asarray(label).ndim == 0
    return Patch(
        place=name, pixels=_stored(image, number, options), item=name, split=split,
        label=names[0] if single else None, labels=None if single else tuple(names),
    )  # fmt: skip
