"""Checkpoints as other programs write them: names and shapes as published, weights random."""

import argparse
import sys
from types import ModuleType, SimpleNamespace

import pytest
import timm
import torch
import torchvision
from torch import nn


def randomised(net, seed=0):
    """Give a network weights and batch-norm statistics that no default could be mistaken for."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.ndim < 2:
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
        else:
            value.mul_(1 + 0.1 * torch.randn(value.shape, generator=generator))
    return net.eval()


def resnet(arch="resnet18", bands=3, *, fc=None, seed=0):
    """Build torchvision's ResNet for any band count."""
    torch.manual_seed(seed)
    net = getattr(torchvision.models, arch)()
    if bands != 3:
        net.conv1 = nn.Conv2d(bands, 64, 7, stride=2, padding=3, bias=False)
    if fc is not None:
        net.fc = fc
    return randomised(net, seed)


def without_fc(net):
    return {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}


def head(dim, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 128))


def published_seco(arch="resnet18", seed=0):
    """Return (checkpoint, the release's query encoder, its heads)."""
    net = resnet(arch, seed=seed)
    dim = net.fc.in_features
    encoder = nn.Sequential(*list(net.children())[:-1], nn.Flatten()).eval()
    heads = nn.ModuleList([head(dim, i) for i in range(3)])
    state = {f"encoder_q.{k}": v for k, v in encoder.state_dict().items()}
    state |= {f"encoder_k.{k}": v + 1 for k, v in encoder.state_dict().items()}
    state |= {f"heads_q.{k}": v for k, v in heads.state_dict().items()}
    state |= {f"heads_k.{k}": v + 1 for k, v in heads.state_dict().items()}
    state["queue"] = torch.zeros(1).expand(3, 128, 16384)
    state["queue_ptr"] = torch.zeros(3, 1, dtype=torch.long)
    settings = {
        "base_encoder": arch,
        "emb_dim": 128,
        "num_negatives": 16384,
        "args": argparse.Namespace(gpus=4),
    }
    checkpoint = {
        "epoch": 199, "global_step": 781200, "pytorch-lightning_version": "1.1.0", "callbacks": {},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.zeros(3)}}}], "lr_schedulers": [],
        "state_dict": state, "hparams_name": "kwargs", "hyper_parameters": settings,
    }  # fmt: skip
    return checkpoint, encoder, heads


@pytest.fixture(scope="session")
def seco18(tmp_path_factory):
    """Return (path, encoder, heads) of a published SeCo ResNet-18. Nobody may change the file."""
    checkpoint, encoder, heads = published_seco()
    # Lightning 1.1 keys the state of callbacks by their class, which is not installed here.
    name = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": name})
    modules = {n: ModuleType(n) for n in ("pytorch_lightning", "pytorch_lightning.callbacks", name)}
    modules[name].ModelCheckpoint = callback
    checkpoint["callbacks"] = {callback: {"best_model_score": torch.tensor(0.5), "current_score": None}}
    path = tmp_path_factory.mktemp("published") / "seco_resnet18_1m.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        for key, module in modules.items():
            patch.setitem(sys.modules, key, module)
        torch.save(checkpoint, path)
        checkpoint["callbacks"] = {}
    return path, encoder, heads


@pytest.fixture(scope="session")
def converted(seco18, tmp_path_factory):
    """Return our encoder folder of `seco18`."""
    from seco.use.convert import convert

    out = tmp_path_factory.mktemp("converted") / "seco-r18"
    convert(seco18[0], out)
    return out


@pytest.fixture
def vit():
    """Build timm's smallest plain vision transformer for 13 bands."""
    torch.manual_seed(0)
    return randomised(timm.create_model("vit_tiny_patch16_224", num_classes=0, in_chans=13))


@pytest.fixture(scope="session")
def published():
    """Give the builders above to tests, which cannot import this file."""
    return SimpleNamespace(head=head, seco=published_seco, resnet=resnet, without_fc=without_fc)
