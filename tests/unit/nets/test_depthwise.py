"""Depthwise convolutions leave autocast where a CPU would train them in bf16, and only there."""

import copy

import timm
import torch
from torch import nn
from torch.nn import functional

from seco.nets.depthwise import train_depthwise_in_fp32


def seen_dtypes(monkeypatch):
    """Collect the dtypes in which convolutions of more than one group are computed."""
    seen = []
    plain = functional.conv2d

    def look(x, weight, bias, stride, padding, dilation, groups):
        if groups > 1:
            auto = torch.is_autocast_enabled("cpu")
            seen.append(torch.get_autocast_dtype("cpu") if auto else x.dtype)
        return plain(x, weight, bias, stride, padding, dilation, groups)

    monkeypatch.setattr(functional, "conv2d", look)
    return seen


def test_fp32_only_in_training_under_autocast_and_only_depthwise(monkeypatch):
    seen = seen_dtypes(monkeypatch)
    net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 3, groups=2))
    train_depthwise_in_fp32(net)
    x = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x).dtype == torch.bfloat16
        with torch.no_grad():
            net(x)
    net(x.to(torch.float32))
    full, half = torch.float32, torch.bfloat16
    assert seen == [full, half, half, half, full, full]


def test_gradients_are_nearer_to_exact_ones_than_those_of_bf16():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    x, weights = torch.randn(8, 16, 12, 12), torch.randn(8, 16, 12, 12)
    nets = {"bf16": copy.deepcopy(conv), "ours": copy.deepcopy(conv), "exact": copy.deepcopy(conv).double()}
    train_depthwise_in_fp32(nets["ours"])
    nets["ours"] = copy.deepcopy(nets["ours"])  # a copy has its own weights
    for name, net in nets.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=name != "exact"):
            y = net(x.to(net.weight.dtype))
        (y * weights).sum().backward()
    errors = {n: (nets[n].weight.grad - nets["exact"].weight.grad).abs().max() for n in ("bf16", "ours")}
    assert 0 < errors["ours"] < errors["bf16"]
    assert errors["ours"] < 0.02 * nets["exact"].weight.grad.abs().max()
    assert conv.weight.grad is None
    assert list(nets["ours"].state_dict()) == list(conv.state_dict())


def test_every_depthwise_convolution_of_a_network_is_found(monkeypatch):
    seen = seen_dtypes(monkeypatch)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=0)  # half of them are of a class of timm's
    train_depthwise_in_fp32(net)
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 3, 32, 32))
    assert seen == [torch.float32] * 16
