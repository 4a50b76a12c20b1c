"""Learning curves, confusion matrices and examples of errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from seco.data.dataset import open_dataset
from seco.errors import ConfigError, TaskError
from seco.probes.result import prediction_table
from seco.report import learning, mistakes


def _table(
    truth: list[str], said: list[str], *, encoder: str = "a", probe: str = "knn", shots: int | None = None
) -> pa.Table:
    num = len(truth)
    return prediction_table(
        encoder=encoder, task="t", probe=probe, output="features", seed=0, row=np.arange(num), group=np.arange(num),
        truth=truth, predicted=said, score=np.array([float(t == s) for t, s in zip(truth, said, strict=True)]), shots=shots,
    )  # fmt: skip


TRUTH = ["lake"] * 4 + ["town"] * 3 + ["crops"] * 2
SAID = ["lake", "town", "town", "crops", "town", "town", "lake", "crops", "swamp"]


def test_counts_are_scikit_learns() -> None:
    names, counts = mistakes.confusion(TRUTH, SAID)
    assert names == ["crops", "lake", "swamp", "town"]
    np.testing.assert_array_equal(counts, confusion_matrix(TRUTH, SAID, labels=names))


def test_examples_take_turns_among_the_confusions() -> None:
    found = mistakes.examples(_table(TRUTH, SAID), 10)
    assert found[0] == (1, "lake", "town")
    assert [kind for _, *kind in found[:4]] == [
        ["lake", "town"],
        ["crops", "swamp"],
        ["lake", "crops"],
        ["town", "lake"],
    ]
    assert found[4] == (2, "lake", "town")
    assert len(found) == 5
    assert mistakes.examples(_table(["x"], ["x"]), 5) == []


def test_pictures_are_drawn(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(num_places=9, num_dates=1))
    both = pa.concat_tables([_table(TRUTH, SAID), _table(TRUTH, TRUTH, encoder="b|", probe="linear")])
    for draw, name in ((mistakes.draw_confusion, "confusion.png"),):
        with Image.open(draw(both, tmp_path / name)) as picture:
            assert np.asarray(picture.convert("L")).std() > 5
    with Image.open(mistakes.draw_errors(both, dataset, tmp_path / "errors.png")) as picture:
        assert picture.width > picture.height


def test_few_shot_predictions_are_not_confused_with_those_of_all_labels() -> None:
    both = pa.concat_tables([_table(TRUTH, TRUTH), _table(TRUTH, SAID, shots=5)])
    ((name, table),) = mistakes._panels(both)
    assert name == "a, knn"
    assert len(table) == 9
    assert mistakes.examples(table, 5) == []


def test_what_fine_tuning_says_is_shown_too() -> None:
    both = pa.concat_tables([_table(TRUTH, SAID, probe="linear"), _table(TRUTH, TRUTH, probe="finetune")])
    assert [name for name, _ in mistakes._panels(both)] == ["a, linear", "a, finetune"]


def test_what_cannot_be_confused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no probe of this task says a class"):
        mistakes.draw_confusion(_table(TRUTH, SAID, probe="retrieval"), tmp_path / "x.png")
    with pytest.raises(TaskError, match="any number of labels"):
        mistakes.draw_confusion(_table(["a; b"], ["a"]), tmp_path / "x.png")
    many = [f"class {i}" for i in range(61)]
    with pytest.raises(TaskError, match="61 classes"):
        mistakes.draw_confusion(_table(many, many), tmp_path / "x.png")
    crowd = pa.concat_tables([_table(TRUTH, SAID, encoder=str(i)) for i in range(13)])
    with pytest.raises(TaskError, match="13 encoders, outputs and probes"):
        mistakes.draw_confusion(crowd, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def _row(encoder: str, shots: int | None, value: float) -> dict:
    return {
        "encoder": encoder, "task": "t", "probe": "knn", "metric": "accuracy", "output": "features", "shots": shots,
        "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1,
    }  # fmt: skip


def test_learning_curves(tmp_path: Path) -> None:
    rows = [_row(e, s, v) for e, v in (("a", 0.5), ("b", 0.7)) for s in (1, 5, None)]
    with Image.open(learning.draw_learning(rows, tmp_path / "curves.png")) as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    with pytest.raises(ConfigError, match="no row has a number of shots"):
        learning.draw_learning([_row("a", None, 0.5)], tmp_path / "none.png")
    assert (tmp_path / "none.png").exists() is False
