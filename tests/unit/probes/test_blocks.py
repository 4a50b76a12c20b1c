from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seco.data.dataset import Dataset, open_dataset
from seco.data.overlap import touched
from seco.data.split import TEST, TRAIN, place_boxes, split_by_block, write_split
from seco.errors import ConfigError, DatasetError, TaskError
from seco.places.rasters import LabelRaster
from seco.probes.blocks import UNLABELLED, place_cases, splits
from seco.probes.classify import Case
from seco.probes.linear import FIT, VALIDATE
from seco.probes.options import BlockOptions, PlaceProbeOptions
from seco.probes.rasters import label_places

CLASSES = ("water", "forest", "desert", "city")


@pytest.fixture
def dataset(small_dataset: Path) -> Dataset:
    return open_dataset(small_dataset)


def _cases(dataset: Dataset, labels: np.ndarray, **settings: object) -> list[Case]:
    min_places = settings.pop("min_places", 1)
    options = PlaceProbeOptions(**settings)  # type: ignore[arg-type]
    return list(
        place_cases(dataset, labels[dataset.place], CLASSES, options, left_out="told", min_places=min_places)
    )  # type: ignore[arg-type]


def _alternating(num: int = 24) -> np.ndarray:
    return (np.arange(num) % 2 + 1).astype(np.int64)


def test_the_split_is_the_datasets_own_and_one_a_seed(dataset: Dataset) -> None:
    options = BlockOptions(split_seeds=(0, 5), test_share=0.3)
    found = list(splits(dataset, options))
    for (split, words), seed in zip(found, (0, 5), strict=True):
        own = split_by_block(place_boxes(dataset), seed=seed, test_share=0.3)
        np.testing.assert_array_equal(split.part, own.part)
        assert words == f"blocks of 10 degrees, test share 0.3, seed {seed}"
    assert (found[0][0].part != found[1][0].part).any()


def test_a_split_of_the_user_s_own_is_one_case_of_its_own_seed(make_dataset: Callable[..., Path]) -> None:
    dataset = open_dataset(make_dataset())
    split = split_by_block(place_boxes(dataset), seed=7, test_share=0.4)
    write_split(dataset, split, "mine")
    (found,) = splits(dataset, BlockOptions(split="mine"))
    np.testing.assert_array_equal(found[0].part, split.part)
    assert found[1] == f"split mine ({split.fingerprint()}), seed 7"
    (case,) = _cases(dataset, _alternating(), split="mine")
    assert case.seed == 7
    assert set(dataset.place[case.train_rows]) == set(split.places(TRAIN))
    assert set(dataset.place[case.test_rows]) == set(split.places(TEST))
    (drawn,) = _cases(dataset, _alternating(), split_seeds=(7,), test_share=0.4)
    np.testing.assert_array_equal(case.train_rows, drawn.train_rows)
    np.testing.assert_array_equal(case.parts, drawn.parts)
    with pytest.raises(DatasetError, match="no split 'his', it has: mine"):
        _cases(dataset, _alternating(), split="his")
    with pytest.raises(
        ConfigError, match="split 'mine' is drawn already, but split_seeds, block_deg given too"
    ):
        BlockOptions(split="mine", split_seeds=(0, 5), block_deg=5.0)


def test_blocks_are_called_by_the_size_they_have(dataset: Dataset, make_dataset: Callable[..., Path]) -> None:
    (split, words) = next(splits(dataset, BlockOptions(block_deg=300.0)))
    assert split.block_deg < 300
    assert words.startswith(f"blocks of {split.block_deg:g} degrees")


def test_some_dates_train_and_every_date_is_tested(dataset: Dataset) -> None:
    (case,) = _cases(dataset, _alternating(), num_dates=2)
    split = split_by_block(place_boxes(dataset), seed=0)
    train, test = dataset.place[case.train_rows], dataset.place[case.test_rows]
    assert set(train) == set(split.places(TRAIN))
    assert set(test) == set(split.places(TEST))
    assert (np.bincount(train)[split.places(TRAIN)] == 2).all()
    assert (np.bincount(test)[split.places(TEST)] == 4).all()
    np.testing.assert_array_equal(case.test_labels, _alternating()[test])
    np.testing.assert_array_equal(case.groups, split.block[test])
    np.testing.assert_array_equal(case.test_boxes, place_boxes(dataset)[split.places(TEST)])


def test_draws_depend_on_the_seed_and_not_on_other_places(dataset: Dataset) -> None:
    labels = _alternating()
    some = labels.copy()
    some[::3] = UNLABELLED
    (whole,), (part,) = _cases(dataset, labels, num_dates=2), _cases(dataset, some, num_dates=2)
    assert set(part.train_rows) < set(whole.train_rows)
    # The same places are tested under any seed that draws the same blocks, but with other dates.
    one, two = _cases(dataset, labels, num_dates=2, split_seeds=(1, 2))
    both = np.intersect1d(dataset.place[one.train_rows], dataset.place[two.train_rows])
    dates = [np.sort(c.train_rows[np.isin(dataset.place[c.train_rows], both)]) for c in (one, two)]
    assert (dates[0] != dates[1]).any()


def test_validation_places_lie_in_blocks_of_their_own(make_dataset: Callable[..., Path]) -> None:
    dataset = open_dataset(make_dataset(num_places=40))
    (case,) = _cases(dataset, _alternating(40))
    boxes = place_boxes(dataset)
    fit = np.unique(dataset.place[case.train_rows[case.parts == FIT]])
    held = np.unique(dataset.place[case.train_rows[case.parts == VALIDATE]])
    tested = np.unique(dataset.place[case.test_rows])
    assert len(fit) > len(held) > 0
    assert not set(fit) & set(held)
    assert not touched(boxes[fit], boxes[held]).any()
    assert not touched(boxes[np.concatenate([fit, held])], boxes[tested]).any()


def test_rare_classes_take_no_part_and_are_told(dataset: Dataset) -> None:
    labels = _alternating()
    split = split_by_block(place_boxes(dataset), seed=0)
    labels[split.places(TRAIN)[:2]] = 3
    labels[split.places(TEST)[0]] = 3
    (kept,) = _cases(dataset, labels, min_places=2)
    assert set(kept.train_labels) == {1, 2, 3}
    assert kept.num_left_out == 0
    (dropped,) = _cases(dataset, labels, min_places=3)
    assert set(dropped.train_labels) | set(dropped.test_labels) == {1, 2}
    assert dropped.num_left_out == 3
    assert dropped.left_out == "told; 0 beside a test patch; 1 classes with fewer than 3 training places"


def test_one_class_is_an_error(dataset: Dataset) -> None:
    with pytest.raises(TaskError, match=r"hold 1 class \(forest\); at least two"):
        _cases(dataset, np.ones(24, np.int64))


def test_no_labelled_test_place_is_an_error(dataset: Dataset) -> None:
    labels = _alternating()
    labels[split_by_block(place_boxes(dataset), seed=0).places(TEST)] = UNLABELLED
    with pytest.raises(TaskError, match="no test patch is left"):
        _cases(dataset, labels)


def test_too_few_blocks_to_validate_on_is_an_error(make_dataset: Callable[..., Path]) -> None:
    dataset = open_dataset(make_dataset(num_places=4))
    with pytest.raises(TaskError, match="too few blocks of 200 degrees"):
        _cases(dataset, _alternating(4), block_deg=200.0)


def test_places_without_position_are_an_error(make_dataset: Callable[..., Path]) -> None:
    dataset = open_dataset(make_dataset(positions=False))
    with pytest.raises(DatasetError, match="no position"):
        _cases(dataset, _alternating())


def _raster(codes: np.ndarray) -> LabelRaster:
    return LabelRaster(name="made up", codes=codes.astype(np.uint8), classes=CLASSES, water=(0,), source="")


def test_places_take_the_class_that_covers_them_and_water_none(dataset: Dataset) -> None:
    codes = np.zeros((180, 360))
    boxes = place_boxes(dataset)
    lon, lat = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    wanted = np.arange(24) % 4
    codes[np.floor(90 - lat).astype(int), np.floor(lon + 180).astype(int)] = wanted
    labels, words = label_places(dataset, _raster(codes), min_share=0.0)
    np.testing.assert_array_equal(labels, np.where(wanted == 0, UNLABELLED, wanted))
    assert words == "6 mostly water"


def test_places_of_mixed_class_can_be_left_out(dataset: Dataset) -> None:
    # 0.01 degree cells, one a pixel: the western 6 of 16 columns of every patch desert, the others forest.
    codes = np.ones((18_000, 36_000))
    boxes = place_boxes(dataset)
    for box in boxes:
        west, top = round((box[0] + 180) * 100), round((90 - box[3]) * 100)
        codes[top : top + 16, west : west + 6] = 2
    raster = _raster(codes)
    labels, _ = label_places(dataset, raster, min_share=0.6)
    assert (labels == 1).all()
    labels, words = label_places(dataset, raster, min_share=0.7)
    assert (labels == UNLABELLED).all()
    assert words == "0 mostly water, 24 with no class above 0.7"
