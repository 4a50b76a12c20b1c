"""EuroSAT and UC Merced as they come: class folders, 13-band files, published lists."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from seco.data.dataset import open_dataset
from seco.errors import DatasetError
from seco.nets.baselines import ColourEncoder, untrained
from seco.probes.evaluation import evaluate
from seco.probes.labelled import open_labelled, require_classes
from seco.sensors import sentinel2
from seco.tasks import eurosat, ucmerced


def _pictures(root: Path, classes: tuple[str, ...], num: int = 5, px: int = 8, suffix: str = "png") -> Path:
    rng = np.random.default_rng(0)
    for i, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for j in range(1, num + 1):
            pixels = rng.integers(10 * i, 10 * i + 30, (px, px, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{j}.{suffix}")
    return root


@pytest.fixture
def multispectral(tmp_path: Path) -> Path:
    """Write EuroSAT_MS's layout: 13 bands a file, B8A last, without names."""
    rng = np.random.default_rng(0)
    root = tmp_path / "EuroSAT_MS"
    for i, name in enumerate(eurosat.CLASSES):
        (root / name).mkdir(parents=True)
        for j in range(1, 6):
            level = 300 * np.arange(13)[:, None, None] + 100 * i
            with rasterio.open(
                root / name / f"{name}_{j}.tif", "w", driver="GTiff", width=8, height=8, count=13, dtype="uint16",
                crs="EPSG:32632", transform=rasterio.Affine(10, 0, 500000 + 80 * j, 0, -10, 5000000 - 80 * i),
            ) as out:  # fmt: skip
                out.write((rng.integers(1, 50, (13, 8, 8)) + level).astype(np.uint16))
    return root


def test_all_13_bands_are_what_they_are(multispectral: Path) -> None:
    encoder = untrained("resnet18", init="random", bands=sentinel2.BANDS[:13], device="cpu")
    options = eurosat.Options(probes=("knn",), k=3, num_draws=0, size=(32,))
    (_, row) = evaluate([encoder], "eurosat", multispectral, options).rows
    assert (row["num_classes"], row["num_train"], row["num_test"]) == (10, 40, 10)
    (made,) = (Path(os.environ["SECO_CACHE"]) / "datasets").iterdir()
    dataset = open_dataset(made)
    assert [b.name for b in dataset.meta.bands] == list(eurosat.BANDS)
    assert {(b.units, b.scale, b.offset) for b in dataset.meta.bands} == {("dn", 1e-4, 0.0)}
    row = dataset.read(0)
    # The last plane of the file is B8A, not B12: its level says so.
    assert row["B8A"].mean() > row["B12"].mean() > row["B11"].mean()
    assert not dataset.index["geometry"].null_count


def test_published_lists_decide(tmp_path: Path) -> None:
    root = _pictures(tmp_path / "2750", eurosat.CLASSES)
    lists = []
    for part, numbers in (("train", (1, 2, 3)), ("val", (4,)), ("test", (5,))):
        file = tmp_path / f"eurosat-{part}.txt"
        file.write_text("".join(f"{c}_{n}.jpg\n" for c in eurosat.CLASSES for n in numbers))
        lists.append(str(file))
    options = eurosat.Options(probes=("knn",), k=3, num_draws=0, split_files=tuple(lists))
    result = evaluate([ColourEncoder()], "eurosat", root, options)
    row = result.rows[-1]
    assert (row["split"], row["num_train"], row["num_test"]) == ("published", 40, 10)
    # Other lists make another dataset.
    for file, numbers in zip(lists, ((5, 2, 3), (4,), (1,)), strict=True):
        Path(file).write_text("".join(f"{c}_{n}.jpg\n" for c in eurosat.CLASSES for n in numbers))
    again = evaluate([ColourEncoder()], "eurosat", root, options)
    assert not again.predictions["row"].equals(result.predictions["row"])
    with pytest.raises(DatasetError, match="imported already, with the split it has"):
        evaluate([ColourEncoder()], "eurosat", result.dataset, options)


def test_uc_merced_in_a_zip(tmp_path: Path) -> None:
    root = _pictures(tmp_path / "UCMerced_LandUse" / "Images", ucmerced.CLASSES, suffix="tif")
    with zipfile.ZipFile(tmp_path / "uc.zip", "w") as archive:
        for file in sorted(root.rglob("*.tif")):
            archive.write(file, file.relative_to(tmp_path))
    options = ucmerced.Options(probes=("knn",), k=3, num_draws=0)
    row = evaluate([ColourEncoder()], "ucmerced", tmp_path / "uc.zip", options).rows[-1]
    assert (row["num_classes"], row["num_train"], row["num_test"]) == (21, 84, 21)


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    root = _pictures(tmp_path / "pictures", (*eurosat.CLASSES[1:], "Volcano"), num=1)
    with pytest.raises(DatasetError, match="missing AnnualCrop, not of it Volcano; use --task images"):
        evaluate([ColourEncoder()], "eurosat", root)
    with pytest.raises(DatasetError, match="is not UC Merced: its 21 class folders"):
        evaluate([ColourEncoder()], "ucmerced", root)
    with pytest.raises(DatasetError, match="does not exist"):
        open_labelled(tmp_path / "nothing", settings=lambda _: {})


def test_the_real_ones_are_taken_for_what_they_are() -> None:
    folder = Path(os.environ.get("SECO_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not (folder / "EuroSAT.zip").is_file():
        pytest.skip(f"no real data in {folder}")
    assert len(require_classes(folder / "EuroSAT.zip", eurosat.CLASSES, name="EuroSAT")) == 27_000
    found = require_classes(folder / "UCMerced_LandUse_128px.zip", ucmerced.CLASSES, name="UC Merced")
    assert len(found) == 2_100
