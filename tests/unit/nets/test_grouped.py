"""Batch norm by groups in one pass is a pass a group, bit by bit."""

import copy

import pytest
import torch
from torch import nn

from seco.nets.backbones import build_backbone
from seco.nets.grouped import GroupedNorms

SIZES = [5, 4, 4]


@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet", "resnet18", "test_vit"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_one_pass_by_groups_is_a_pass_a_group_running_statistics_included(arch, precision):
    """timm's own batch norms, which also activate, PyTorch's, and none at all."""
    px = 160 if arch == "test_vit" else 64
    one = build_backbone(arch, 3).to(memory_format=torch.channels_last).train()
    other = copy.deepcopy(one)
    norms = GroupedNorms(one)
    x = torch.randn(13, 3, px, px, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last
    )
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
        norms.sizes = SIZES
        together = one(x)
        apart = torch.cat([other(part) for part in x.split(SIZES)])
        norms.sizes = [13]
        whole = one(x)
    assert (together - apart).abs().max() <= 1e-5 * apart.abs().max()
    if arch != "test_vit":
        assert (whole - together).abs().max() > 1e-3
        kept = {k: v for k, v in one.state_dict().items() if "num_batches" in k}
        assert kept
        assert all(v == 4 for v in kept.values())


def test_buffers_are_those_of_the_passes_in_their_order():
    one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    other = copy.deepcopy(one)
    norms = GroupedNorms(one)
    norms.sizes = SIZES
    x = (
        torch.randn(13, 3, 9, 9, generator=torch.Generator().manual_seed(0))
        + torch.arange(13)[:, None, None, None]
    )
    with torch.no_grad():
        one(x)
        for part in x.split(SIZES):
            other(part)
    assert all(torch.allclose(v, other.state_dict()[k], rtol=1e-6) for k, v in one.state_dict().items())


def test_in_eval_mode_groups_make_no_difference():
    net = nn.BatchNorm2d(3).eval()
    norms = GroupedNorms(net)
    x = torch.randn(13, 3, 4, 4)
    before = net(x)
    norms.sizes = SIZES
    assert torch.equal(net(x), before)


def test_a_copy_has_norms_and_groups_of_its_own():
    one = nn.ModuleDict({"net": nn.BatchNorm2d(3)}).train()
    one.norms = GroupedNorms(one["net"])
    other = copy.deepcopy(one)
    other.norms.sizes = SIZES
    x = torch.randn(13, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        apart = torch.cat([nn.BatchNorm2d(3)(part) for part in x.split(SIZES)])
        assert (other["net"](x) - apart).abs().max() < 1e-6
        assert one["net"].running_mean.abs().max() == 0
        assert (one["net"](x) - nn.BatchNorm2d(3)(x)).abs().max() < 1e-6
