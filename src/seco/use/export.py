"""Write an encoder for other programs. Every format is read back and its features compared before it has its name."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import timm
import torch
from torch import Tensor

from seco.config import setting
from seco.errors import CheckpointError, ConfigError
from seco.nets.encoder import Encoder, load_folder
from seco.runs import write_json
from seco.use.convert import require_new, save_torch
from seco.use.layouts._contract import some

TORCHGEO = (
    "resnet18", "resnet50", "resnet152", "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224",
    "vit_huge_patch14_224",
)  # fmt: skip
"""What `torchgeo.models` builds by calling timm with these names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of an export."""

    format: Literal["safetensors", "timm", "torchgeo", "onnx", "hub"] = setting(
        "safetensors",
        "safetensors (an encoder folder), timm and torchgeo (.pth state dictionary), onnx, hub (folder with a model card)",
    )
    preprocess: Literal["inside", "outside"] = setting(
        "inside", "onnx: take stored numbers and normalise in the graph, or take normalised input"
    )
    size: int | None = setting(
        None, "onnx: edge of the input in pixels; default: that of the training patches"
    )
    scores: Path | None = setting(None, "hub: result tables to show in the card (--json of `seco evaluate`)")
    title: str | None = setting(None, "hub: title of the card; default: the name of the folder")
    data: str | None = setting(None, "hub: what it was trained on, in words")
    licence: str | None = setting(None, "hub: licence of the weights, an SPDX name such as cc-by-4.0")

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.size is not None and not 1 <= self.size <= 4096:
            raise ConfigError(f"size {self.size}; it must be from 1 to 4096")


def export(encoder: Encoder, out: Path, options: Options | None = None) -> list[str]:
    """Write an encoder in a format, checked.

    Returns:
        What to tell the user, a line each.

    Raises:
        CheckpointError: `out` exists, the format cannot hold the encoder, its weights are not finite, or what was written
            gives other features.
    """
    options = options or Options()
    require_new(out)
    state = encoder.net.state_dict()
    broken = [n for n, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        raise CheckpointError(
            f"{encoder.name} has weights that are not finite ({some(broken)}); nothing is written: train it again"
        )
    return _formats()[options.format](encoder, out, options)


def _formats() -> Mapping[str, Callable[[Encoder, Path, Options], list[str]]]:
    from seco.use.hub import to_hub
    from seco.use.onnx_graph import to_onnx

    return {
        "safetensors": to_safetensors,
        "timm": to_timm,
        "torchgeo": to_torchgeo,
        "onnx": to_onnx,
        "hub": to_hub,
    }


def to_safetensors(encoder: Encoder, out: Path, _options: Options) -> list[str]:
    """Write our own folder: weights, heads and spec in one file."""
    temporary = out.with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        encoder.save(temporary)
        again = load_folder(temporary, name=out.name, device="cpu").net.state_dict()
        own = encoder.net.state_dict()
        if any(not torch.equal(own[k].cpu(), again[k]) for k in own):
            raise CheckpointError(f"{temporary} does not hold what was written; is the disk sound?")
        temporary.rename(out)
    except OSError as err:
        raise CheckpointError(f"cannot write {out}: {err}; choose another folder") from err
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [f"{out}: weights, heads and spec; `seco evaluate {out}` and `seco.load_encoder` take it"]


def to_timm(encoder: Encoder, out: Path, _options: Options) -> list[str]:
    """Write the backbone as a plain state dictionary with timm's names, and its spec beside it."""
    spec = encoder.spec
    spec_file = out.with_suffix(".json")
    require_new(spec_file)
    state = backbone_state(encoder)
    save_torch(state, out)
    try:
        net = timm.create_model(
            spec.arch, pretrained=False, num_classes=0, in_chans=len(spec.bands), checkpoint_path=str(out)
        )
        compare(encoder, net.eval(), what=str(out))
        write_json(spec_file, spec.to_json())
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    lines = [
        f"{out}: {len(state)} entries; features equal bit for bit",
        f'load it: timm.create_model("{spec.arch}", num_classes=0, in_chans={len(spec.bands)}, checkpoint_path="{out}")',
        f"{spec_file}: what to feed it (bands, units, mean, deviation)",
    ]
    if spec.heads:
        lines.append(f"left out: projection heads {', '.join(spec.heads)} (format safetensors keeps them)")
    return lines


def to_torchgeo(encoder: Encoder, out: Path, options: Options) -> list[str]:
    """Write the backbone for `torchgeo.models`, whose models are timm's, names included."""
    spec = encoder.spec
    if spec.arch not in TORCHGEO:
        raise CheckpointError(
            f"torchgeo.models has no {spec.arch} that seco knows ({', '.join(TORCHGEO)}); use --format timm"
        )
    lines = to_timm(encoder, out, options)
    lines[1] = (
        f"load it: model = torchgeo.models.{spec.arch}(in_chans={len(spec.bands)}, num_classes=0); "
        f'model.load_state_dict(torch.load("{out}", weights_only=True))'
    )
    try:
        models = importlib.import_module("torchgeo.models")
    except ImportError:
        return [*lines, "torchgeo is not installed: checked with timm's model of that name, which it builds"]
    try:
        model = getattr(models, spec.arch)(in_chans=len(spec.bands), num_classes=0)
        model.load_state_dict(torch.load(out, weights_only=True))
        compare(encoder, model.eval(), what=str(out))
    except BaseException:
        for file in (out, out.with_suffix(".json")):
            file.unlink(missing_ok=True)
        raise
    return [*lines, "checked with torchgeo's own model"]


def backbone_state(encoder: Encoder) -> dict[str, Tensor]:
    """Return the backbone's weights under timm's names, on the CPU, in plain memory order."""
    state = encoder.net["backbone"].state_dict()
    return {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}


def compare(encoder: Encoder, net: torch.nn.Module, *, what: str) -> None:
    """Compare the features of a network with the encoder's, bit for bit.

    Raises:
        CheckpointError: they differ.
    """
    x = sample(encoder, px=usual_px(encoder))
    own = encoder.net["backbone"]
    net = net.to(device=encoder.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        if not torch.equal(own(x), net(x)):
            raise CheckpointError(f"{what} gives other features than the encoder; please report this")


def usual_px(encoder: Encoder) -> int:
    """Return the size that a timm model takes without settings: its own where it is fixed, else the patches'."""
    config = timm.get_pretrained_cfg(encoder.spec.arch)
    if config is not None and config.fixed_input_size:
        return int(config.input_size[-1])
    return encoder.spec.patch_px


def sample(encoder: Encoder, *, px: int, num: int = 2) -> Tensor:
    """Return seeded normalised input for a comparison."""
    shape = (num, len(encoder.spec.bands), px, px)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(encoder.device)
    return x.contiguous(memory_format=torch.channels_last)
