"""Where and in which precision: what is asked for, or one clear error."""

import pytest
import torch

from seco.errors import ConfigError
from seco.nets import devices


@pytest.mark.parametrize("name", ["cuda:97", "nonsense", "cpu:x", ""])
def test_a_device_that_is_not_there_is_one_clear_error(name):
    with pytest.raises(ConfigError, match="cannot be used here") as caught:
        devices.pick_device(name)
    assert "\n" not in str(caught.value)


def test_cpu_is_cpu():
    assert devices.pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("fast", "picked"), [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_bf16_where_the_machine_has_it(fast, picked, monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bf16", lambda device: fast)
    cpu = torch.device("cpu")
    assert devices.pick_precision("auto", cpu) == picked
    assert devices.pick_precision("fp32", cpu) == "fp32"
    assert devices.pick_precision("bf16", cpu) == "bf16"


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_computes_in_the_precision_picked(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with devices.autocast(precision, torch.device("cpu")):
        assert layer(torch.zeros(1, 3)).dtype == dtype
