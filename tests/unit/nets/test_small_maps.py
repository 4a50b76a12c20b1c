"""Convolutions as matrix products: the same numbers, and only where they pay."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from seco.nets import small_maps
from seco.nets.small_maps import multiply_small_maps

CASES = [
    ({"kernel_size": 3, "padding": 1}, (2, 2)),
    ({"kernel_size": 3, "padding": 1, "stride": 2, "bias": False}, (5, 4)),
    ({"kernel_size": (3, 1), "padding": (0, 1), "stride": (1, 2)}, (4, 5)),
    ({"kernel_size": 1, "stride": 2, "bias": False}, (4, 4)),
    ({"kernel_size": 7, "padding": 3, "stride": 2}, (6, 5)),
    ({"kernel_size": 3, "padding": 1}, (1, 1)),
]


@pytest.fixture
def everywhere(monkeypatch):
    """Multiply whatever the sizes, in fp64 too, and count it."""
    limits = {(d, g): 10**6 for d in (torch.float64, torch.bfloat16) for g in ("with gradient", "without")}
    monkeypatch.setattr(small_maps, "MAX_PIXELS", limits)
    monkeypatch.setattr(small_maps, "MIN_CHANNELS", 0)
    return counted(monkeypatch)


def counted(monkeypatch):
    calls = []
    plain = small_maps.product
    monkeypatch.setattr(
        small_maps, "product", lambda conv, x: (calls.append(tuple(x.shape)), plain(conv, x))[1]
    )
    return calls


@pytest.mark.parametrize(("settings", "size"), CASES)
def test_result_and_gradients_are_those_of_the_convolution(settings, size, everywhere):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, **settings).double()
    other = copy.deepcopy(conv)
    multiply_small_maps(other)
    other = copy.deepcopy(other)  # a copy multiplies with its own weights
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    again = x.detach().clone().requires_grad_()
    a, b = conv(x), other(again)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    assert len(everywhere) == 1
    assert torch.allclose(a, b, rtol=0, atol=1e-12)
    assert torch.allclose(x.grad, again.grad, rtol=0, atol=1e-12)
    for ours, theirs in zip(conv.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-12)
    assert list(conv.state_dict()) == list(other.state_dict())


def test_autocast_computes_the_product_in_bf16_too(everywhere):
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last)
    other = copy.deepcopy(conv)
    multiply_small_maps(other)
    x = torch.randn(4, 256, 2, 2)
    for net in (conv, other):
        with torch.autocast("cpu", torch.bfloat16):
            y = net(x)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
    assert len(everywhere) == 1
    # Both round: what counts is that the sums are no farther from exact ones than oneDNN's.
    exact = functional.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        errors = [(net(x).double() - exact).square().mean().item() for net in (conv, other)]
    assert errors[1] < 1.1 * errors[0]
    assert other.weight.grad.dtype == torch.float32
    assert (
        functional.cosine_similarity(conv.weight.grad.flatten(), other.weight.grad.flatten(), dim=0) > 0.9999
    )


def test_only_what_pays_is_replaced(monkeypatch):
    calls = counted(monkeypatch)
    net = nn.ModuleDict(
        {
            "taken": nn.Conv2d(4, 256, 3, padding=1),
            "few channels": nn.Conv2d(4, 64, 3, padding=1),
            "by groups": nn.Conv2d(4, 256, 3, padding=1, groups=2),
            "reflecting": nn.Conv2d(4, 256, 3, padding=1, padding_mode="reflect"),
            "in words": nn.Conv2d(4, 256, 3, padding="same"),
            "dilated": nn.Conv2d(4, 256, 3, padding=2, dilation=2),
        }
    )
    multiply_small_maps(net)
    for conv in net.values():
        conv(torch.randn(2, 4, 3, 3))
    assert calls == [(2, 4, 3, 3)]
    net["taken"](torch.randn(2, 4, 4, 4))
    assert len(calls) == 1
    with torch.autocast("cpu", torch.bfloat16):  # other limits hold there
        net["taken"](torch.randn(2, 4, 7, 7))
        with torch.no_grad():
            net["taken"](torch.randn(2, 4, 5, 5))
    assert len(calls) == 2
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        nn.Conv2d(4, 256, 3)(torch.randn(2, 4, 1, 1))
