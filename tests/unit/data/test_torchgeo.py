"""TorchGeo's dataset classes: a stand-in for what they give, and the real EuroSAT class where TorchGeo is installed."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import rasterio

from seco import config
from seco.data.dataset import open_dataset
from seco.data.importers import torchgeo as importer
from seco.errors import ConfigError, DatasetError


class Fake:
    """Six images a split; what TorchGeo's classes have in common."""

    classes = ("crops", "lake", "town")

    def __init__(self, root: str, split: str = "train", bands: tuple[str, ...] = ()) -> None:
        if split not in ("train", "test", "empty"):
            raise AssertionError
        self.split, self.num_bands = split, len(bands) or 3

    def __len__(self) -> int:
        return 0 if self.split == "empty" else 6

    def image(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([number, self.split == "test"])
        return rng.integers(0, 256, (self.num_bands, 16, 16)).astype(np.float32)

    def label(self, number: int) -> np.ndarray:
        return np.array(number % 3)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return {"image": self.image(number), "label": self.label(number)}


class Several(Fake):
    def label(self, number: int) -> np.ndarray:
        return np.array([1, 0, number % 2])


class Masks(Fake):
    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return {"image": self.image(number), "mask": self.image(number)[0]}


class Halves(Fake):
    def image(self, number: int) -> np.ndarray:
        return super().image(number) + 0.5


class Growing(Fake):
    def image(self, number: int) -> np.ndarray:
        return np.zeros((3, 16 + number, 16 + number), np.float32)


@pytest.fixture
def library(monkeypatch) -> None:
    found = types.ModuleType("torchgeo.datasets")
    for cls in (Fake, Several, Masks, Halves, Growing):
        setattr(found, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "torchgeo", types.ModuleType("torchgeo"))
    monkeypatch.setitem(sys.modules, "torchgeo.datasets", found)


def _options(name: str = "Fake", **settings: object) -> importer.Options:
    return config.build(importer.Options, {"dataset_class": name, "splits": "train,test"} | settings)


@pytest.mark.usefixtures("library")
def test_images_labels_and_splits_are_those_of_the_class(tmp_path: Path) -> None:
    report = importer.run(tmp_path, tmp_path / "out", _options())
    assert (report.num_patches, report.notes) == (12, ("Fake: 6 train, 6 test",))
    dataset = open_dataset(tmp_path / "out")
    assert dataset.labels == ["crops", "lake", "town"] * 4
    assert dataset.index["split"].to_pylist() == ["train"] * 6 + ["test"] * 6
    assert [b.units for b in dataset.meta.bands] == ["display"] * 3
    pixels = np.array(dataset.training().pixels)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[7], Fake("", "test").image(1))


@pytest.mark.usefixtures("library")
def test_several_labels_become_a_set(tmp_path: Path) -> None:
    importer.run(tmp_path, tmp_path / "out", _options("Several"))
    sets = open_dataset(tmp_path / "out").label_sets
    assert [sorted(s) for s in sets[:2]] == [["crops"], ["crops", "town"]]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "Nothing"}, "torchgeo.datasets has no class 'Nothing'"),
        ({"name": "Masks"}, "gives image, mask, not image and label"),
        ({"name": "Halves"}, "holds numbers from .* which are no display"),
        (
            {"name": "Growing"},
            r"image 1 of split train of Growing is \(3, 17, 17\), the first is \(3, 16, 16\)",
        ),
        ({"splits": "train,dev"}, "cannot open split dev .*: AssertionError"),
        ({"splits": "empty"}, "split empty of Fake in .* is empty"),
        ({"units": "dn"}, "have 3 bands, 0 are named"),
        ({"splits": ""}, "splits: none given"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tmp_path: Path, settings: dict, words: str) -> None:
    with pytest.raises((ConfigError, DatasetError), match=words) as caught:
        importer.run(tmp_path, tmp_path / "out", _options(**settings))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_torchgeo_it_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchgeo", None)
    monkeypatch.setitem(sys.modules, "torchgeo.datasets", None)
    with pytest.raises(DatasetError, match=r"pip install 'seasonal-contrast\[torchgeo\]'"):
        importer.run(tmp_path, tmp_path / "out", _options())


def test_the_real_class_of_eurosat(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchgeo.datasets", reason="the extra torchgeo is not installed")
    root, stored = tmp_path / "root", {}
    for i, name in enumerate(("Forest", "River")):
        folder = root / datasets.EuroSAT.base_dir / name
        folder.mkdir(parents=True)
        for n, split in enumerate(("train", "val", "test")):
            stored[name, split] = np.random.default_rng([i, n]).integers(0, 5000, (13, 64, 64), np.uint16)
            file = folder / f"{name}_{n}.tif"
            with rasterio.open(
                file, "w", driver="GTiff", count=13, height=64, width=64, dtype="uint16"
            ) as out:
                out.write(stored[name, split])
            with (root / f"eurosat-{split}.txt").open("a") as lines:
                lines.write(f"{name}_{n}.jpg\n")
    importer.run(
        root, tmp_path / "out", _options("EuroSAT", splits="train,val,test", band_names="B04,B8A", units="dn")
    )
    dataset = open_dataset(tmp_path / "out")
    assert dataset.labels == ["Forest", "River"] * 3
    assert [(b.name, b.units, b.scale) for b in dataset.meta.bands] == [
        ("B04", "dn", 1e-4),
        ("B8A", "dn", 1e-4),
    ]
    np.testing.assert_array_equal(np.array(dataset.training().pixels)[1], stored["River", "train"][[3, 12]])
