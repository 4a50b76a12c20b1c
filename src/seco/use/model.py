"""A fine-tuned model as a folder: an encoder with its spec, the head, its classes and how it is applied."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from seco.data.areas import Class
from seco.errors import CheckpointError
from seco.nets.backbones import read_tensors
from seco.nets.encoder import Encoder, load_folder
from seco.nets.feed import Feed
from seco.nets.predictor import Kind, Predictor
from seco.nets.spec import EncoderSpec
from seco.runs import ENCODER_NAME, write_json
from seco.sensors.bands import Band, match
from seco.train.dense import Fed
from seco.views.augment import deviation

HEAD_NAME = "head.safetensors"
MODEL_NAME = "model.json"
MODEL_KEY = "model"
"""Name of the description, JSON as text, in the metadata of the head's file."""
MODEL_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """What `seco predict` applies.

    Attributes:
        net: in evaluation mode, on its device.
        spec: how the encoder is fed.
        classes: by number.
        tile: edge of the windows that it was trained on, pixels of the imagery.
        device: where it computes.
        name: the folder's.
    """

    net: Predictor
    spec: EncoderSpec
    classes: tuple[Class, ...]
    tile: int
    device: torch.device
    name: str

    @property
    def kind(self) -> Kind:
        """What it predicts."""
        return self.net.kind

    def feed(self, bands: tuple[Band, ...]) -> Feed:
        """Return what turns stored pixels of some imagery into the encoder's input.

        Raises:
            DatasetError: a band is missing, or its units cannot be converted.
        """
        return Feed(self.spec, bands, normalise="spec", device=self.device)


def fed_spec(spec: EncoderSpec, source: Fed, bands: tuple[Band, ...]) -> EncoderSpec:
    """Return the spec that feeds an encoder as `source` does: imagery of other units or offsets is then converted to it."""
    if source.normalise == "spec":
        return spec
    order = match(bands, spec.bands)
    picked = tuple(bands[i] for i in order)
    if source.normalise == "paper":
        mean, std = np.zeros(len(order)), np.full(len(order), 255.0)
    else:
        mean = source.stats[0][order]
        std = deviation(mean, source.stats[1][order])
    return dataclasses.replace(
        spec, bands=picked, mean=tuple(mean.tolist()), std=tuple(std.tolist()), normalise="spec", clip=None
    )


def save_model(folder: Path, model: Model, *, about: dict[str, Any]) -> None:
    """Write a model. The head is written last and under another name first: a folder with a head is whole.

    Args:
        folder: where; it is made.
        model: the net with its best weights.
        about: how it was trained, kept for people.

    Raises:
        CheckpointError: it cannot be written.
    """
    backbone, head = model.net.parts
    # Projection heads were trained on the features of other weights than a tuned encoder's.
    spec = dataclasses.replace(model.spec, heads=())
    encoder = Encoder(
        spec=spec, backbone=backbone, heads=nn.ModuleDict(), name=model.name, device=model.device
    )
    encoder.save(folder / ENCODER_NAME)
    values = {
        "format": "seco-model", "version": MODEL_VERSION, "kind": model.kind, "tile": model.tile, "size": model.net.size,
        "classes": [dataclasses.asdict(c) for c in model.classes], "tuning": model.net.tuning, "about": about,
    }  # fmt: skip
    temporary = folder / f".{HEAD_NAME}.partial"
    try:
        tensors = {k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}
        save_file(tensors, temporary, metadata={MODEL_KEY: json.dumps(values)})
        temporary.replace(folder / HEAD_NAME)
    except (OSError, SafetensorError) as err:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write {folder / HEAD_NAME}: {err}; free disk space or choose another folder"
        ) from err
    write_json(folder / MODEL_NAME, values)


def load_model(folder: Path, *, device: str = "auto") -> Model:
    """Load a model that `save_model` wrote.

    Raises:
        CheckpointError: there is none, or it is damaged, of a newer version or does not fit.
    """
    file = folder / HEAD_NAME
    if not file.is_file():
        kind = "an encoder without a head" if (folder / ENCODER_NAME).is_dir() else "no model"
        raise CheckpointError(
            f"{folder} holds {kind} ({HEAD_NAME} is missing); make a model with `seco finetune`"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            values = json.loads((opened.metadata() or {}).get(MODEL_KEY, "null"))
        if values["format"] != "seco-model":
            raise CheckpointError(f"{file} is no model of seco (format {values['format']!r})")
        if values["version"] > MODEL_VERSION:
            raise CheckpointError(
                f"{file} is of version {values['version']}; this seco reads up to {MODEL_VERSION}: upgrade"
            )
        classes = tuple(Class(name=str(c["name"]), colour=str(c["colour"])) for c in values["classes"])
        kind, tile, size = values["kind"], int(values["tile"]), values["size"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as err:
        raise CheckpointError(f"{file} is damaged or of another program: {err}; fine-tune again") from err
    if kind not in get_args(Kind):
        raise CheckpointError(f"{file}: kind {kind!r}; known: {', '.join(get_args(Kind))}")
    encoder = load_folder(folder / ENCODER_NAME, name=folder.name, device=device)
    net = Predictor(encoder.net["backbone"], kind=kind, num_classes=len(classes), size=size)
    try:
        net.parts[1].load_state_dict(read_tensors(file))
    except RuntimeError as err:
        raise CheckpointError(f"{file} does not fit its encoder: {' '.join(str(err).split())[:200]}") from err
    net = net.requires_grad_(False).eval().to(encoder.device)
    return Model(
        net=net, spec=encoder.spec, classes=classes, tile=tile, device=encoder.device, name=folder.name
    )
