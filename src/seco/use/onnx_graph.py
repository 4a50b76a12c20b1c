"""An encoder as an ONNX graph, checked with onnxruntime."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seco.errors import CheckpointError, ConfigError
from seco.nets.encoder import SPEC_KEY, Encoder

if TYPE_CHECKING:
    from seco.use.export import Options

OPSET = 20
MOST_DIFFERENCE = 1e-3
"""Of the largest feature: fused operations differ in the last bits, and more is another network."""


class Graph(nn.Module):
    """Backbone and heads as one function, with or without normalisation before them."""

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: Encoder, preprocess: str) -> None:
        """Copy an encoder's networks in plain memory order."""
        super().__init__()
        # A copy: the encoder keeps its own memory order and device.
        self.net = copy.deepcopy(encoder.net).cpu().to(memory_format=torch.contiguous_format)
        self.heads = encoder.spec.heads
        self.preprocess = preprocess
        mean, std = (
            np.array(v, np.float64).reshape(1, -1, 1, 1) for v in (encoder.spec.mean, encoder.spec.std)
        )
        self.register_buffer("scale", torch.tensor(1 / std, dtype=torch.float32))
        self.register_buffer("shift", torch.tensor(-mean / std, dtype=torch.float32))
        self.clip = encoder.spec.clip

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return features and the projections, these of unit length."""
        x = image
        if self.preprocess == "inside":
            if self.clip is not None:
                x = torch.clamp(x, *self.clip)
            x = x * self.scale + self.shift
        features = self.net["backbone"](x)
        heads = dict(self.net["heads"].named_children())
        projected = [functional.normalize(heads[h](features), dim=1) for h in self.heads]
        return (features, *projected)


def to_onnx(encoder: Encoder, out: Path, options: Options) -> list[str]:
    """Write one file with dynamic batch size; the spec is in its metadata.

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: the graph cannot be made, or onnxruntime gives other features.
    """
    try:
        importlib.import_module("onnxscript")  # torch.onnx needs it
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as err:
        raise ConfigError(f"{err.name} is not installed; pip install 'seasonal-contrast[export]'") from err
    graph = Graph(encoder, options.preprocess).eval()
    px = options.size or encoder.spec.patch_px
    images = _images(encoder, options.preprocess, px=px, num=3)
    program = _program(graph, images, encoder)
    temporary = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        program.save(str(temporary), external_data=False)
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        worst = _largest_difference(session, graph, images)
        temporary.replace(out)
    except OSError as err:
        raise CheckpointError(f"cannot write {out}: {err}; free disk space or choose another folder") from err
    finally:
        with contextlib.suppress(OSError):  # there is none, or no folder that could hold it
            temporary.unlink()
    bands = ", ".join(b.name for b in encoder.spec.bands)
    units = encoder.spec.bands[0].units
    fed = (
        f"stored numbers ({units})"
        if options.preprocess == "inside"
        else "normalised numbers: (stored - mean) / std"
    )
    return [
        f"{out}: opset {OPSET}; input image float32 (any, {len(encoder.spec.bands)}, {px}, {px}): {bands}, {fed}",
        f"outputs: {', '.join(encoder.outputs)}; the encoder's spec is in the metadata",
        f"largest difference to onnxruntime {onnxruntime.__version__}, batches of 1 and 3: {worst:.2g}",
    ]


def _images(encoder: Encoder, preprocess: str, *, px: int, num: int) -> Tensor:
    x = torch.randn((num, len(encoder.spec.bands), px, px), generator=torch.Generator().manual_seed(0))
    if preprocess == "outside":
        return x
    mean, std = (
        torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (encoder.spec.mean, encoder.spec.std)
    )
    return x * std + mean


def _program(graph: Graph, images: Tensor, encoder: Encoder) -> Any:
    names = list(encoder.outputs)
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph, (images,), dynamo=True, opset_version=OPSET, input_names=["image"], output_names=names,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), verbose=False,
            )  # fmt: skip
    except Exception as err:  # torch.export fails in as many ways as there are models
        raise CheckpointError(
            f"{encoder.spec.arch} cannot be written as ONNX ({type(err).__name__}: {' '.join(str(err).split())[:160]})"
        ) from err
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
    assert program is not None
    program.model.metadata_props[SPEC_KEY] = json.dumps(encoder.spec.to_json())
    return program


def _largest_difference(session: Any, graph: Graph, images: Tensor) -> float:
    """Compare onnxruntime with torch at two batch sizes.

    Raises:
        CheckpointError: they differ by more than rounding explains.
    """
    worst = 0.0
    for batch in (images[:1], images):
        with torch.inference_mode():
            wanted = graph(batch)
        got = session.run(None, {"image": batch.numpy()})
        for w, g in zip(wanted, got, strict=True):
            difference = float(np.abs(w.numpy() - g).max())
            if not difference <= MOST_DIFFERENCE * max(1.0, float(w.abs().max())):
                raise CheckpointError(
                    f"onnxruntime gives other features: largest difference {difference:.3g}, features up to "
                    f"{float(w.abs().max()):.3g}; nothing was written"
                )
            worst = max(worst, difference)
    return worst
