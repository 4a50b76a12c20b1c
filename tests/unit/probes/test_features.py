import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.errors import DatasetError, SecoError, TaskError
from seco.nets.baselines import ColourEncoder, untrained
from seco.probes import features
from seco.probes.features import FeatureStore
from seco.probes.options import EvaluationOptions
from seco.sensors import sentinel2


class Counting(ColourEncoder):
    """Colour statistics that remember how many patches they saw, with a projection."""

    outputs = ("features", "z0")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def encode(self, pixels: np.ndarray, **settings: object) -> dict[str, np.ndarray]:
        self.seen.append(len(pixels))
        settings["outputs"] = ("features",)
        found = super().encode(pixels, **settings)["features"]  # type: ignore[arg-type]
        return {"features": found, "z0": found[:, :4] * 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _store(path: Path, encoder: ColourEncoder | None = None, **settings: object) -> FeatureStore:
    return FeatureStore(encoder or Counting(), open_dataset(path), EvaluationOptions(**settings))  # type: ignore[arg-type]


def _rows(*rows: int) -> np.ndarray:
    return np.array(rows, np.int64)


def test_features_come_in_the_order_asked_repeats_included(small_dataset: Path) -> None:
    store = _store(small_dataset)
    everything = store.get(np.arange(96), ("features", "z0"))
    some = store.get(_rows(7, 3, 7, 95), ("features", "z0"))
    np.testing.assert_array_equal(some["features"], everything["features"][[7, 3, 7, 95]])
    np.testing.assert_array_equal(some["z0"], everything["features"][[7, 3, 7, 95], :4] * 2)
    tier = store.tier
    direct = ColourEncoder().encode(tier.pixels[:5], bands=tier.bands)["features"]
    np.testing.assert_allclose(everything["features"][:5], direct, rtol=1e-6)


def test_only_what_is_missing_is_encoded_by_whichever_store(small_dataset: Path) -> None:
    first, second = Counting(), Counting()
    _store(small_dataset, first).get(np.arange(0, 40), ("features",))
    _store(small_dataset, second).get(np.arange(30, 50), ("z0",))
    assert first.seen == [40]
    assert second.seen == [10]
    third = Counting()
    _store(small_dataset, third).get(np.arange(50), ("features", "z0"))
    assert third.seen == []


def test_another_size_normalisation_or_encoder_has_its_own_features(small_dataset: Path) -> None:
    folders = {
        _store(small_dataset).folder,
        _store(small_dataset, size=(32,)).folder,
        _store(small_dataset, normalise="paper").folder,
        _store(small_dataset, untrained("resnet18", init="random", device="cpu")).folder,  # type: ignore[arg-type]
        _store(small_dataset, untrained("resnet18", init="random", seed=1, device="cpu")).folder,  # type: ignore[arg-type]
    }
    assert len(folders) == 5


def test_nothing_is_kept_when_not_wanted(small_dataset: Path, cache: Path) -> None:
    _store(small_dataset, cache="none").get(np.arange(5), ("features",))
    assert not (cache / "features").exists()


def test_segments_are_bounded(small_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Counting()
    monkeypatch.setattr(features, "SEGMENT_BYTES", 16 * 16 * 3 * 10)
    found = _store(small_dataset, encoder).get(np.arange(25), ("features",))
    assert encoder.seen == [10, 10, 5]
    np.testing.assert_array_equal(
        found["features"], _store(small_dataset).get(np.arange(25), ("features",))["features"]
    )


def test_an_interrupted_run_goes_on(small_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SEGMENT_ROWS", 10)

    class Stops(Counting):
        def encode(self, pixels: np.ndarray, **settings: object) -> dict[str, np.ndarray]:
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().encode(pixels, **settings)

    with pytest.raises(KeyboardInterrupt):
        _store(small_dataset, Stops()).get(np.arange(40), ("features",))
    encoder = Counting()
    _store(small_dataset, encoder).get(np.arange(40), ("features",))
    assert encoder.seen == [10, 10]


def test_a_damaged_segment_is_named(small_dataset: Path) -> None:
    store = _store(small_dataset)
    store.get(np.arange(5), ("features",))
    assert store.folder is not None
    (file,) = store.folder.glob("*.npz")
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(TaskError, match=rf"{file.name} are damaged .*remove it"):
        store.get(np.arange(5), ("features",))


def test_features_that_are_not_finite_name_the_encoder_and_are_not_kept(small_dataset: Path) -> None:
    class Broken(Counting):
        name = "broken-run"

        def encode(self, pixels: np.ndarray, **settings: object) -> dict[str, np.ndarray]:
            found = super().encode(pixels, **settings)
            found["z0"][3, 1] = np.nan
            return found

    store = _store(small_dataset, Broken())
    with pytest.raises(
        TaskError, match=r"encoder broken-run: z0 of 1 of 8 patches are not finite .*row 13 of"
    ):
        store.get(np.arange(10, 18), ("features",))
    assert store.folder is not None
    assert not store.folder.exists()


def test_a_band_that_the_data_lack_is_an_error(small_dataset: Path) -> None:
    encoder = untrained("resnet18", init="random", bands=[sentinel2.band("B08")], device="cpu")
    with pytest.raises(DatasetError, match="needs band B08"):
        _store(small_dataset, encoder)  # type: ignore[arg-type]


def test_units_that_cannot_be_converted_are_an_error(small_dataset: Path) -> None:
    bands = [sentinel2.band(b) for b in ("B04", "B03", "B02")]
    encoder = untrained("resnet18", init="random", bands=bands, device="cpu")
    encoder.spec = dataclasses.replace(encoder.spec, normalise="spec")
    with pytest.raises(SecoError, match="no conversion is defined"):
        _store(small_dataset, encoder).get(_rows(0), ("features",))  # type: ignore[arg-type]


def test_bands_are_matched_by_what_they_are(make_dataset: Callable[..., Path]) -> None:
    order: Sequence[str] = ("B08", "B02", "B03", "B04")
    path = make_dataset(bands=[sentinel2.band(b) for b in order], dtype="uint16", num_places=3)
    store = _store(path)
    assert [b.name for b in store.tier.bands] == ["B04", "B03", "B02"]
    assert store.get(np.arange(12), ("features",))["features"].shape == (12, 54)
