"""A decoder gives a map of the input's size on any encoder, learns, and leaves a frozen encoder as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from seco.errors import ConfigError
from seco.nets.backbones import build_backbone
from seco.nets.decoders import DenseNet, feature_maps, pyramid


def images(num=2, bands=3, height=64, width=64, seed=0):
    return torch.randn((num, bands, height, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("resnet18", (96, 96)),
        ("resnet18", (97, 61)),
        ("tf_efficientnet_lite0", (64, 64)),
        ("test_vit", (160, 160)),
        ("test_convnext", (64, 96)),
    ],
)
def test_maps_are_of_the_inputs_size(arch, size):
    net = DenseNet(build_backbone(arch, 4), 5).eval()
    with torch.inference_mode():
        assert net(images(2, 4, *size)).shape == (2, 5, *size)
        assert net.change(images(2, 4, *size), images(2, 4, *size)).shape == (2, 5, *size)


def test_the_finest_to_the_coarsest_map_of_each_resolution():
    backbone = build_backbone("resnet18", 3)
    assert [(c, r) for _, c, r in pyramid(backbone)] == [(64, 2), (64, 4), (128, 8), (256, 16), (512, 32)]
    maps = feature_maps(backbone.eval(), images())
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2),
    ]  # fmt: skip
    # The maps are those that the encoder's own features come from.
    with torch.inference_mode():
        pooled = feature_maps(backbone, images())[-1].mean((2, 3))
        torch.testing.assert_close(pooled, backbone(images()))


def step(net, x, target, optimiser):
    loss = functional.binary_cross_entropy_with_logits(net(x)[:, 0], target)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


@pytest.mark.parametrize("tuning", ["frozen", "tuned"])
def test_what_learns_and_what_does_not(tuning):
    backbone = build_backbone("test_resnet", 3)
    net = DenseNet(backbone, 1, tuning=tuning).train()
    before = {k: v.clone() for k, v in net.backbone.state_dict().items()}
    x = images(4)
    x[:, :, 16:40, 8:32] += 2
    target = torch.zeros(4, 64, 64)
    target[:, 16:40, 8:32] = 1
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    losses = [step(net, x, target, optimiser) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    after = net.backbone.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert not [k for k in moved if "running" in k or "num_batches" in k]
    assert bool(moved) == (tuning == "tuned")
    # The encoder that was handed over is a copy's source, not the copy.
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_change_is_the_same_in_either_order_and_none_between_equal_dates():
    net = DenseNet(build_backbone("test_resnet", 3), 1).eval()
    a, b = images(seed=1), images(seed=2)
    with torch.inference_mode():
        assert torch.equal(net.change(a, b), net.change(b, a))
        same = net.change(a, a)
        torch.testing.assert_close(same, net.change(b, b))
        assert not torch.allclose(net.change(a, b), same)


def test_weights_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first, second, other = (DenseNet(build_backbone("test_resnet", 3), 1, seed=s).decoder for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    names = first.state_dict()
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in names.items())
    assert not torch.equal(names["last.weight"], other.state_dict()["last.weight"])


def test_an_encoder_without_maps():
    with pytest.raises(ConfigError, match="Linear has no feature maps"):
        DenseNet(nn.Linear(3, 3), 1)
