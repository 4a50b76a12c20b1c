"""The adapter: loads a checkout with the stand-ins and leaves no trace; steps it; reads its folder layout."""

import sys
import types

import numpy as np
import pytest
import rasterio
import torch

from seco.bench import imagery, original
from seco.bench.families.reading import read_date
from seco.errors import ConfigError


def test_loading_leaves_modules_and_path_as_they_were(rival, monkeypatch):
    mine = types.ModuleType("datasets")
    monkeypatch.setitem(sys.modules, "datasets", mine)
    path = list(sys.path)
    loaded = original.load(rival)
    assert loaded.module.__name__ == "MocoV2"
    assert sys.modules["datasets"] is mine
    assert "models" not in sys.modules
    assert "pl_bolts" not in sys.modules
    assert sys.path == path


def test_steps_train(rival):
    trainee = original.Trainee(
        original.load(rival), encoder="resnet18", queue_size=8, batch_size=4, device=torch.device("cpu"), seed=0,
        precision="bf16",
    )  # fmt: skip
    before = trainee.net.net.weight.detach().clone()
    views = [torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    loss = trainee.step(views[0], views[1:])
    assert 0 < loss < 10
    assert not torch.equal(before, trainee.net.net.weight)
    assert 0 <= float(trainee.net.logged["acc"]) <= 100


def test_precision_at_k_counts():
    output = torch.tensor([[0.1, 0.9, 0.5], [0.8, 0.1, 0.5], [0.3, 0.2, 0.1], [0.3, 0.2, 0.4]])
    first, second = original._precision_at_k(output, torch.tensor([1.0, 2.0, 0.0, 1.0]), top_k=(1, 2))
    assert (float(first), float(second)) == (50.0, 75.0)


def test_its_data_module_reads_what_we_write(rival, tmp_path):
    dataset = imagery.made_dataset(tmp_path / "data", bands=imagery.RGB, px=32, num_places=4, num_dates=3)
    dates = imagery.original_layout(dataset, tmp_path / "layout")
    data = original.endless(original.load(rival), tmp_path / "layout", batch_size=4, num_workers=0, seed=0)
    for _ in range(3):  # more than there is in an epoch
        query, keys = next(data)
        assert query.shape == keys[2].shape == (4, 3, 32, 32)
    # JPEG is lossy: near what was stored, and nearer than any other patch.
    stored = dataset.read(5)
    read = read_date(dates[5], imagery.RGB).astype(int)
    gap = [np.abs(read - np.stack(list(dataset.read(i).values()))).mean() for i in range(len(dataset))]
    assert np.argmin(gap) == 5
    assert gap[5] < 10
    assert set(stored) == {"red", "green", "blue"}


def test_sixteen_bits_are_written_without_loss(tmp_path):
    dataset = imagery.made_dataset(tmp_path / "data", bands=imagery.TWELVE, px=16, num_places=1, num_dates=1)
    (date,) = imagery.original_layout(dataset, tmp_path / "layout")
    with rasterio.open(date / "B8A.tif") as file:
        np.testing.assert_array_equal(file.read(1), dataset.read(0)["B8A"])


def test_a_batch_above_the_places_is_refused(rival, tmp_path):
    dataset = imagery.made_dataset(tmp_path / "data", bands=imagery.RGB, px=32, num_places=2, num_dates=3)
    imagery.original_layout(dataset, tmp_path / "layout")
    data = original.endless(original.load(rival), tmp_path / "layout", batch_size=4, num_workers=0, seed=0)
    with pytest.raises(ConfigError, match="batch of 4 is above the places"):
        next(data)


def test_a_wrong_path_says_what_is_missing(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no checkout of the original \(it has no models/moco2_module.py\)"
    ):
        original.check(tmp_path)


def test_code_that_does_not_import_says_so(rival):
    (rival / "models/moco2_module.py").write_text("import a_module_of_2020\n")
    with pytest.raises(ConfigError, match=r"cannot be imported .*a_module_of_2020"):
        original.load(rival)
    assert str(rival) not in sys.path
