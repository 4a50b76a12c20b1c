"""Labelled images: splits, budgets of labels, and folders or zips taken as they are."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from seco.data.dataset import open_dataset
from seco.data.labels import quotas
from seco.errors import ConfigError, DatasetError, TaskError
from seco.nets.baselines import ColourEncoder
from seco.probes import labelled
from seco.probes.evaluation import evaluate
from seco.probes.linear import FIT, VALIDATE
from seco.tasks import images

LABELS = ["crops"] * 30 + ["lake"] * 20 + ["town"] * 10


@pytest.fixture
def data(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(num_places=60, num_dates=1, labels=LABELS, positions=False, px=8)


def _share(labels: np.ndarray) -> list[int]:
    return np.bincount(labels, minlength=3).tolist()


def test_a_seeded_split_is_stratified_sixty_twenty_twenty(data: Path) -> None:
    case = labelled.image_case(open_dataset(data), 0, images.Options())
    assert case.classes == ("crops", "lake", "town")
    assert _share(case.test_labels) == [6, 4, 2]
    assert _share(case.train_labels[case.parts == FIT]) == [18, 12, 6]
    assert _share(case.train_labels[case.parts == VALIDATE]) == [6, 4, 2]
    assert not set(case.train_rows) & set(case.test_rows)
    assert len(case.train_rows) + len(case.test_rows) == 60
    assert case.split == "stratified by class, test share 0.2, seed 0"
    other = labelled.image_case(open_dataset(data), 1, images.Options())
    assert set(other.test_rows) != set(case.test_rows)


@pytest.mark.parametrize("num", [12, 20, 47])
def test_a_budget_of_labels_counts_those_that_choose(data: Path, num: int) -> None:
    case = labelled.image_case(open_dataset(data), 0, images.Options(num_labels=num))
    whole = labelled.image_case(open_dataset(data), 0, images.Options())
    assert len(case.train_rows) == num
    assert (case.parts == VALIDATE).sum() == pytest.approx(num / 4, abs=1)
    np.testing.assert_array_equal(case.test_rows, whole.test_rows)
    assert min(_share(case.train_labels)) >= 1


def test_quotas_are_exact_and_leave_every_class_on_both_sides() -> None:
    counts = np.array([100, 50, 3, 1])
    assert quotas(counts, 0.2, spare=1).tolist() == [20, 10, 1, 0]
    assert quotas(np.full(7, 10), 0.15, spare=1).sum() == 11
    assert quotas(np.array([2, 2]), 0.99, spare=1).tolist() == [1, 1]
    assert quotas(np.array([2, 2]), 0.99, spare=0).tolist() == [2, 2]


def test_a_published_split_is_kept_and_its_validation_part_chooses(make_dataset: Callable[..., Path]) -> None:
    splits = [("train", "train", "val", "test", "train")[i % 5] for i in range(60)]
    dataset = open_dataset(make_dataset(num_places=60, num_dates=1, labels=LABELS, splits=splits, px=8))
    case = labelled.image_case(dataset, 0, images.Options())
    assert case.split == "published"
    assert case.test_rows.tolist() == [i for i, s in enumerate(splits) if s == "test"]
    assert case.train_rows[case.parts == VALIDATE].tolist() == [i for i, s in enumerate(splits) if s == "val"]
    assert len(case.train_rows) == 48
    seeded = labelled.image_case(dataset, 0, images.Options(split="seeded"))
    assert seeded.split.startswith("stratified")


def test_a_published_split_without_validation_part_draws_one(make_dataset: Callable[..., Path]) -> None:
    splits = [("train", "train", "test")[i % 3] for i in range(60)]
    dataset = open_dataset(make_dataset(num_places=60, num_dates=1, labels=LABELS, splits=splits, px=8))
    case = labelled.image_case(dataset, 0, images.Options())
    assert len(case.test_rows) == 20
    assert (case.parts == VALIDATE).sum() == 10


def test_pictures_of_one_place_stay_together(make_dataset: Callable[..., Path]) -> None:
    dataset = open_dataset(make_dataset(num_places=60, num_dates=3, labels=LABELS, px=8))
    case = labelled.image_case(dataset, 0, images.Options())
    parts = [dataset.place[case.train_rows[case.parts == p]] for p in (FIT, VALIDATE)] + [
        dataset.place[case.test_rows]
    ]
    assert sum(len(set(p)) for p in parts) == 60
    assert case.test_boxes is not None


def test_images_without_a_label_are_left_out_and_counted(make_dataset: Callable[..., Path]) -> None:
    labels = [*LABELS[:-3], "", "", ""]
    case = labelled.image_case(
        open_dataset(make_dataset(num_places=60, num_dates=1, labels=labels, px=8)), 0, images.Options()
    )
    assert case.num_left_out == 3
    assert len(case.train_rows) + len(case.test_rows) == 57


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {}, "has no labels"),
        ({"labels": ["crops"] * 24}, {}, r"one class only \(crops\)"),
        ({"labels": LABELS[20:44]}, {"split": "published"}, "no published split"),
        (
            {"labels": LABELS[20:44]},
            {"num_labels": 100},
            "100 labels asked for, but .* has 19 training images",
        ),
        (
            {"labels": ["crops"] * 12 + ["forest"] * 11 + ["mine"]},
            {},
            r"1 of 3 classes of .* have images of one place only \(mine\)",
        ),
        (
            {"labels": LABELS[20:44], "splits": ["train", "val"] * 12},
            {},
            r"is split into train and val, without test; .*--split seeded",
        ),
        (
            {"labels": LABELS[20:44], "splits": ["test", "val"] * 12},
            {},
            r"is split into test and val, without train; .*--split seeded",
        ),
    ],
)
def test_unsuitable_images_are_errors(
    settings: dict, options: dict, message: str, make_dataset: Callable[..., Path], headed: type
) -> None:
    data = make_dataset(num_dates=1, positions=False, px=8, **settings)
    with pytest.raises(TaskError, match=message):
        evaluate([headed()], "images", data, images.Options(**options))


def test_published_parts_that_share_a_place_are_an_error(make_dataset: Callable[..., Path]) -> None:
    dataset = open_dataset(make_dataset(num_places=20, num_dates=2, px=8, labels=["crops", "forest"] * 10))
    parts = pa.array(["train"] * 21 + ["test"] * 19)  # the 11th place has a date on either side
    column = dataset.index.schema.get_field_index("split")
    dataset.__dict__["index"] = dataset.index.set_column(column, "split", parts)
    with pytest.raises(
        TaskError, match=r"place 000010 in train and in test; a place belongs to one part only"
    ):
        labelled.image_case(dataset, 0, images.Options())
    assert labelled.image_case(dataset, 0, images.Options(split="seeded")).split.startswith("stratified")


@pytest.mark.parametrize(("splits", "split"), [(["train"] * 24, "auto"), (["train", "val"] * 12, "seeded")])
def test_parts_are_drawn_where_the_source_has_one_or_it_is_asked_for(
    splits: list, split: str, make_dataset: Callable[..., Path]
) -> None:
    data = open_dataset(make_dataset(num_places=24, num_dates=1, px=8, labels=LABELS[20:44], splits=splits))
    assert labelled.image_case(data, 0, images.Options(split=split)).split.startswith("stratified")


def test_errors_name_the_folder_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
    for i in range(3):
        (tmp_path / "mine/one").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"mine/one/{i}.png")
    with pytest.raises(TaskError, match=rf"^{re.escape(str(tmp_path / 'mine'))} has no labels"):
        evaluate([ColourEncoder()], "images", tmp_path / "mine")


def test_too_few_labels_are_an_error() -> None:
    with pytest.raises(ConfigError, match="labels 3"):
        images.Options(num_labels=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("bright", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(level - 30, level + 30, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def test_a_folder_or_zip_is_imported_once(folder: Path, tmp_path: Path, headed: type) -> None:
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder.parent))
    options = images.Options(k=3, num_draws=0)
    from_folder = evaluate([headed()], "images", folder, options).rows
    from_zip = evaluate([headed()], "images", tmp_path / "pictures.zip", options).rows
    assert from_folder == from_zip
    assert [r["value"] for r in from_folder if r["probe"] != "majority"] == [1.0, 1.0]
    made = sorted((tmp_path / "cache" / "datasets").iterdir())
    assert len(made) == 2
    times = [(m / "dataset.json").stat().st_mtime_ns for m in made]
    evaluate([headed()], "images", folder, options)
    assert [(m / "dataset.json").stat().st_mtime_ns for m in made] == times
    # Another picture makes another dataset.
    Image.new("RGB", (16, 16), "grey").save(folder / "dark" / "new.png")
    assert (
        evaluate([headed()], "images", folder, options).rows[0]["data_fingerprint"]
        != from_folder[0]["data_fingerprint"]
    )


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path, headed: type) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        evaluate([headed()], "images", tmp_path / "nothing.zip")
