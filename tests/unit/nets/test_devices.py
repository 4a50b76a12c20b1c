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


def test_bf16_of_an_accelerator_without_it_is_refused_and_auto_takes_fp32():
    mps = torch.device("mps")  # PyTorch cannot be asked about its bf16
    assert devices.pick_precision("auto", mps) == "fp32"
    with pytest.raises(ConfigError, match="no bf16 arithmetic; use --precision auto or fp32"):
        devices.pick_precision("bf16", mps)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_computes_in_the_precision_picked(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with devices.autocast(precision, torch.device("cpu")):
        assert layer(torch.zeros(1, 3)).dtype == dtype


@pytest.mark.parametrize(
    ("px", "kernel", "groups", "broken"),
    [(1, 3, 1, True), (2, 3, 1, False), (2, 5, 1, True), (3, 7, 1, True), (4, 7, 1, False), (1, 1, 1, False),
     (1, 3, 4, False)],
)  # fmt: skip
def test_a_kernel_that_reaches_beyond_its_whole_input_is_found(px, kernel, groups, broken):
    """The gradient itself is right or wrong by luck, so what is tested is that such convolutions are found."""
    first = torch.nn.Conv2d(3, 4, 1)
    second = torch.nn.Conv2d(4, 4, kernel, stride=2, padding=kernel // 2, groups=groups)
    net = torch.nn.Sequential(first, torch.nn.BatchNorm2d(4), second).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert devices.broken_in_bf16(net, 3, px=px) == ("2" if broken else None)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not second._forward_pre_hooks
    second.requires_grad_(False)
    assert devices.broken_in_bf16(net, 3, px=px) is None
