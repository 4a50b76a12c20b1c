"""Load an encoder by path or name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seco.errors import CheckpointError
from seco.nets.baselines import ColourEncoder, untrained
from seco.nets.encoder import WEIGHTS_NAME, Encoder, load_folder
from seco.runs import ENCODER_NAME
from seco.sensors.bands import Band

SOURCES = "run or exported folder, random:resnet18 (random:resnet18@3: seed 3), imagenet:tf_efficientnet_lite0, colour"


def load_encoder(
    source: str | Path, *, bands: Sequence[Band] | None = None, device: str = "auto"
) -> Encoder | ColourEncoder:
    """Load an encoder.

    Args:
        source: a run folder, an exported encoder folder, `random:resnet18` (`random:resnet18@3` for another seed),
            `imagenet:tf_efficientnet_lite0`, or `colour`.
        bands: input bands of the named ones (RGB by default); folders know theirs.
        device: `auto`, `cpu`, `cuda`, ...

    Raises:
        CheckpointError: there is no encoder, or it is damaged.
    """
    text = str(source)
    if text == "colour":
        return ColourEncoder(bands)
    kind, _, arch = text.partition(":")
    if kind in ("random", "imagenet") and arch:
        arch, _, seed = arch.partition("@")
        if seed and not seed.isdigit():
            raise CheckpointError(f"encoder {text!r}: the seed after @ must be a whole number")
        return untrained(arch, init=kind, bands=bands, seed=int(seed or 0), device=device)
    path = Path(source)
    for folder in (path, path / ENCODER_NAME):
        if (folder / WEIGHTS_NAME).is_file():
            return load_folder(folder, name=path.name, device=device)
    if path.is_file():
        if path.name == WEIGHTS_NAME:
            return load_folder(path.parent, name=path.parent.name, device=device)
        raise CheckpointError(
            f"{path} is a file of another program's weights; make an encoder of it first: seco convert {path} OUT"
        )
    if path.is_dir():
        raise CheckpointError(
            f"{path} holds no encoder ({ENCODER_NAME}/{WEIGHTS_NAME}); is its run finished?"
        )
    raise CheckpointError(
        f"no encoder {text!r}: give a run or exported folder, random:ARCH, imagenet:ARCH or colour"
    )
