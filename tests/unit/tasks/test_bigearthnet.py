"""BigEarthNet as a task: labels, splits, budgets, and scores against scikit-learn."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.errors import ConfigError, TaskError
from seco.nets.baselines import ColourEncoder, untrained
from seco.probes import paper
from seco.probes.evaluation import evaluate
from seco.sensors import sentinel2
from seco.tasks import bigearthnet
from seco.tasks.bigearthnet import Options, label_case

NAMES = ("Pastures", "Arable land", "Inland waters", "Mixed forest")


def _sets(num: int) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(n for n in NAMES if rng.random() < 0.4) for _ in range(num)]


@pytest.fixture
def data(make_dataset: Callable[..., Path]) -> Path:
    splits = [("train", "train", "val", "test")[i % 4] for i in range(80)]
    return make_dataset(num_places=80, num_dates=1, px=8, label_sets=_sets(80), splits=splits)


def test_the_published_split_and_patches_without_labels(data: Path) -> None:
    dataset = open_dataset(data)
    case = label_case(dataset, 0, Options())
    empty = [i for i, found in enumerate(dataset.label_sets) if not found]
    assert empty
    assert case.split == "published"
    assert case.num_left_out == len(empty)
    assert case.left_out == f"{len(empty)} with none of the 19 labels"
    rows = np.concatenate([case.train_rows, case.held_rows, case.test_rows])
    assert sorted([*rows.tolist(), *empty]) == list(range(80))
    assert (case.train_rows % 4 < 2).all()
    assert (case.held_rows % 4 == 2).all()
    assert (case.test_rows % 4 == 3).all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_train_is_drawn_without_replacement_by_seed(data: Path, share: float) -> None:
    dataset = open_dataset(data)
    whole = label_case(dataset, 0, Options())
    case = label_case(dataset, 0, Options(train_share=share))
    assert len(case.train_rows) == round(share * len(whole.train_rows)) == len(set(case.train_rows.tolist()))
    assert set(case.train_rows) <= set(whole.train_rows)
    assert len(case.held_rows) == max(1, round(share * len(whole.held_rows)))
    np.testing.assert_array_equal(case.test_rows, whole.test_rows)
    again = label_case(dataset, 0, Options(train_share=share))
    np.testing.assert_array_equal(case.train_rows, again.train_rows)
    other = label_case(dataset, 1, Options(train_share=share))
    assert set(other.train_rows) != set(case.train_rows)


def test_paper_draws_with_replacement_scores_validation_and_keeps_empty_targets(data: Path) -> None:
    dataset = open_dataset(data)
    strict = label_case(dataset, 0, Options())
    case = label_case(dataset, 0, Options(protocol="paper"))
    assert set(case.test_rows) == {i for i in range(80) if i % 4 == 2} > set(strict.held_rows)
    assert (~case.train_targets.any(1)).any()
    assert strict.train_targets.any(1).all()
    drawn = label_case(dataset, 0, Options(protocol="paper", train_share=0.9)).train_rows
    assert len(set(drawn.tolist())) < len(drawn) == 36


def test_a_seeded_split_keeps_scenes_whole(make_dataset: Callable[..., Path]) -> None:
    path = make_dataset(num_places=60, num_dates=1, px=8, label_sets=[("Pastures",), ("Arable land",)] * 30)
    dataset = open_dataset(path)
    scenes = np.arange(60) // 6
    numbers = [f"S2A_MSIL2A_2017061{s}T101031_{i}_1" for i, s in enumerate(scenes)]
    index = dataset.index
    dataset.__dict__["index"] = index.set_column(index.column_names.index("item"), "item", [numbers])
    case = label_case(dataset, 0, Options(test_share=0.3))
    parts = [set(scenes[rows].tolist()) for rows in (case.train_rows, case.held_rows, case.test_rows)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 10
    assert len(parts[2]) == 3
    with pytest.raises(TaskError, match="no published split"):
        label_case(open_dataset(path), 0, Options(split="published"))


def test_rows_of_every_metric_and_their_chance_level(data: Path) -> None:
    result = evaluate([ColourEncoder()], "bigearthnet", data, Options(k=5, num_draws=30))
    found = {(r["probe"], r["metric"]): r for r in result.rows}
    assert len(found) == len(result.rows) == 9
    for (probe, metric), row in found.items():
        assert row["majority"] == found["majority", metric]["value"]
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert row["num_classes"] == 4
        assert (row["reg"] is None) == (probe != "linear") or probe == "linear"
    shared = evaluate(
        [ColourEncoder()], "bigearthnet", data, Options(probes=("linear",), reg="shared", num_draws=0)
    )
    assert all(r["reg"] > 0 for r in shared.rows if r["probe"] == "linear")
    assert "; " in "".join(result.predictions["truth"].to_pylist())


def test_the_papers_batches_give_another_number(
    make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper, "BIGEARTHNET_BATCH", 16)
    monkeypatch.setattr(paper, "EPOCHS", 3)
    splits = [("train", "val", "test")[i % 3] for i in range(120)]
    data = make_dataset(num_places=120, num_dates=1, px=8, label_sets=_sets(120), splits=splits)
    (row,) = [
        r
        for r in evaluate([ColourEncoder()], "bigearthnet", data, Options(protocol="paper", num_draws=0)).rows
        if r["encoder"] == "colour"
    ]
    assert (row["metric"], row["probe"], row["protocol"], row["num_test"]) == (
        "map_micro",
        "linear",
        "paper",
        32,
    )
    assert row["normalise"] == "paper"


def test_a_folder_is_imported_with_the_bands_that_the_encoder_reads(
    tmp_path: Path, ben: SimpleNamespace
) -> None:
    labels = [NAMES[:2], NAMES[1:3], NAMES[2:], NAMES[:1], NAMES[:3], NAMES[1:]] * 3
    ben.write_v2(tmp_path / "ben", labels)
    rows = evaluate([ColourEncoder()], "bigearthnet", tmp_path / "ben", Options(k=2, num_draws=0)).rows
    assert {r["metric"] for r in rows} == {"map_micro", "map_macro", "lrap"}
    (made,) = (tmp_path / "cache" / "datasets").iterdir()
    assert [b.name for b in open_dataset(made).meta.bands] == ["B04", "B03", "B02"]


def test_an_encoder_of_a_band_that_there_is_not(tmp_path: Path, ben: SimpleNamespace) -> None:
    """The published 13-band weights read B10, which level 2A leaves out."""
    ben.write_v2(tmp_path / "ben", [NAMES[:2]] * 3)
    encoder = untrained("resnet18", init="random", bands=sentinel2.BANDS, device="cpu")
    with pytest.raises(TaskError, match=r"random:resnet18 reads B10, which BigEarthNet's patches"):
        evaluate([encoder], "bigearthnet", tmp_path / "ben")


def test_unsuitable_data_are_errors(make_dataset: Callable[..., Path]) -> None:
    plain = make_dataset("plain.seco", num_places=8, num_dates=1)
    with pytest.raises(TaskError, match="has no sets of labels"):
        evaluate([ColourEncoder()], "bigearthnet", plain)
    wrong = make_dataset("wrong.seco", num_places=8, num_dates=1, label_sets=[("lake",)] * 8)
    with pytest.raises(TaskError, match="labels lake are not of BigEarthNet"):
        evaluate([ColourEncoder()], "bigearthnet", wrong)
    new = make_dataset("new.seco", num_places=8, num_dates=1, label_sets=[("Urban fabric",)] * 8)
    with pytest.raises(TaskError, match="say --classes 19"):
        evaluate([ColourEncoder()], "bigearthnet", new, Options(classes=43))
    with pytest.raises(ConfigError, match="train share 0"):
        Options(train_share=0.0)
    assert bigearthnet.Options().classes == 19
