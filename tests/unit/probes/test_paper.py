"""Every deviation of `--protocol paper`, on data made so that it changes the answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from seco.data.dataset import open_dataset
from seco.errors import TaskError
from seco.nets.baselines import ColourEncoder, untrained
from seco.nets.encoder import Encoder
from seco.probes import paper
from seco.probes.evaluation import evaluate
from seco.probes.features import FeatureStore
from seco.probes.labelled import image_case
from seco.probes.precision import LabelScores
from seco.tasks import images

LABELS = [("crops", "lake", "town")[i % 3] for i in range(120)]


@pytest.fixture
def data(make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper, "EPOCHS", 3)
    monkeypatch.setattr(paper, "EUROSAT_BATCH", 10)
    splits = [("train", "train", "val", "test")[i // 3 % 4] for i in range(120)]
    return make_dataset(num_places=120, num_dates=1, labels=LABELS, splits=splits, positions=False, px=32)


def test_a_mean_over_batches_is_not_the_metric_over_the_split() -> None:
    rng = np.random.default_rng(0)
    truth = np.sort(rng.random((70, 1)) < 0.3, axis=0)
    score = rng.normal(size=truth.shape) + 3 * (np.arange(70)[:, None] > 40)

    def micro(t: np.ndarray, s: np.ndarray) -> float:
        return LabelScores(t, s).micro() if t.any() else 0.0

    batches = [average_precision_score(truth[i : i + 16], score[i : i + 16]) for i in (48,)]
    averaged = paper.over_batches(micro, truth, score, batch=16)
    assert averaged == pytest.approx(
        sum(micro(truth[i : i + 16], score[i : i + 16]) for i in (0, 16, 32, 48)) / 4
    )
    assert batches[0] == pytest.approx(micro(truth[48:64], score[48:64]))
    assert abs(averaged - micro(truth, score)) > 0.1
    with pytest.raises(TaskError, match="a batch of 100 at least"):
        paper.over_batches(micro, truth, score, batch=100)


def test_the_last_batch_is_dropped() -> None:
    truth = np.array([1] * 8 + [0] * 3)
    said = np.ones(11, int)
    right = lambda t, s: float((t == s).mean())  # noqa: E731
    assert paper.over_batches(right, truth, said, batch=4) == 1.0
    assert right(truth, said) < 0.75


def test_subsets_are_drawn_with_replacement() -> None:
    rows = np.arange(1000)
    drawn = paper.subset_with_replacement(rows, 1000, seed=0)
    assert len(set(drawn.tolist())) == pytest.approx(632, abs=40)


def test_an_encoder_in_train_mode_drifts_to_the_data_and_the_judged_one_does_not(data: Path) -> None:
    encoder = untrained("resnet18", init="random", device="cpu")
    before = encoder.fingerprint()
    store = FeatureStore(encoder, open_dataset(data), images.Options(protocol="paper", cache="none"))
    assert store.normalise == "paper"
    rows = np.arange(57)
    found, kept, moved = paper.drift(store, rows, ("features",), seed=0)
    assert len(kept) == 50
    assert sorted(set(kept)) == sorted(kept)
    assert encoder.fingerprint() == before
    assert isinstance(moved, Encoder)
    assert moved.fingerprint() != before
    assert not moved.net.training
    weights = {
        k: v for k, v in encoder.net.state_dict().items() if "running" not in k and "num_batches" not in k
    }
    assert all((moved.net.state_dict()[k] == v).all() for k, v in weights.items())
    still = paper.encode(encoder, store, rows, ("features",))["features"]
    assert np.abs(paper.encode(moved, store, rows, ("features",))["features"] - still).max() > 0.01
    assert np.abs(found["features"] - still[kept]).max() > 0.01


def test_colour_statistics_have_nothing_to_drift(data: Path) -> None:
    store = FeatureStore(ColourEncoder(), open_dataset(data), images.Options(protocol="paper", cache="none"))
    found, kept, moved = paper.drift(store, np.arange(40), ("features",), seed=0)
    np.testing.assert_array_equal(
        found["features"], paper.encode(moved, store, kept, ("features",))["features"]
    )


def test_the_head_learns_and_its_draws_are_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "EPOCHS", 40)
    rng = np.random.default_rng(0)
    labels = np.arange(320) % 2
    x = (labels[:, None] * 2 - 1 + 0.3 * rng.normal(size=(320, 4))).astype(np.float32)
    once, again = (paper.train_head(x, labels, x, num_classes=2, loss="softmax", seed=0) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert (once.argmax(1) == labels).mean() > 0.98
    many = np.stack([labels == 1, labels == 0], axis=1)
    logits = paper.train_head(x, many, x, num_classes=2, loss="multilabel", seed=0)
    assert ((logits[:, 0] - logits[:, 1] > 0) == many[:, 0]).mean() > 0.95


def test_rows_say_which_protocol_made_them_and_the_test_part_is_not_touched(data: Path) -> None:
    encoders = [ColourEncoder(), untrained("resnet18", init="random", device="cpu")]
    strict = evaluate(encoders[:1], "images", data, images.Options(k=3, num_draws=0))
    rough = evaluate(encoders, "images", data, images.Options(protocol="paper", num_draws=0))
    assert {r["protocol"] for r in strict.rows} == {"strict"}
    assert [(r["encoder"], r["probe"], r["protocol"]) for r in rough.rows] == [
        ("colour", "linear", "paper"), ("random:resnet18", "linear", "paper")
    ]  # fmt: skip
    splits = np.array(open_dataset(data).index["split"].to_pylist())
    assert set(splits[strict.predictions["row"].to_numpy()]) == {"test"}
    assert set(splits[rough.predictions["row"].to_numpy()]) == {"val"}
    for row in rough.rows:
        assert (row["num_train"], row["num_test"], row["normalise"]) == (60, 30, "paper")
        assert row["settings"] is None or "protocol" not in row["settings"]
        assert row["ci_low"] is None
        assert "validation part" in row["split"]
    means = rough.predictions.group_by("encoder").aggregate([("score", "mean")]).to_pylist()
    assert {m["encoder"]: pytest.approx(m["score_mean"], rel=1e-5) for m in means} == {
        r["encoder"]: r["value"] for r in rough.rows
    }


def test_a_budget_of_labels_repeats_some(data: Path) -> None:
    dataset = open_dataset(data)
    case = image_case(dataset, 0, images.Options(protocol="paper", num_labels=50))
    fitted = case.train_rows[case.parts == 0]
    assert len(fitted) == 50 > len(set(fitted.tolist()))
    strict = image_case(dataset, 0, images.Options(num_labels=50))
    assert len(set(strict.train_rows.tolist())) == 50
    assert "with replacement" in case.split


def test_too_little_for_a_batch_is_an_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "EUROSAT_BATCH", 61)
    with pytest.raises(TaskError, match="60 training patches, protocol paper wants a batch of 61"):
        evaluate([ColourEncoder()], "images", data, images.Options(protocol="paper"))
