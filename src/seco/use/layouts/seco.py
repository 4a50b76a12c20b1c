"""The checkpoints that SeCo's authors published (Lightning 1.1): `seco_resnet18_1m.ckpt` and its like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seco.errors import CheckpointError
from seco.nets.encoder import Encoder
from seco.use.foreign import Foreign
from seco.use.layouts._arch import RESNETS
from seco.use.layouts._contract import Parts, count, names_of, rest_is_unknown, some, state_of, take, under

NAME = "seco"
HELP = "checkpoints published with SeCo (encoder_q, heads_q, queue)"
METHOD = "seco"
SOURCE = (
    "published SeCo checkpoint (Mañas et al., ICCV 2021, https://github.com/ServiceNow/seasonal-contrast)"
)
LICENCE = "Apache-2.0 (the repository; the record of the checkpoints, Zenodo 4728033, may say more)"

STAGES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""The release wraps torchvision's children as a sequence; 2, 3 and 8 (ReLU, pooling) have no weights."""
HEAD_NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")
NUM_NEGATIVES = 16384


def matches(foreign: Foreign) -> bool:
    """Tell by `encoder_q.0.weight`."""
    return "encoder_q.0.weight" in names_of(foreign)


def read(foreign: Foreign) -> Parts:
    """Take the query encoder and its heads."""
    state, dropped = state_of(foreign, ("state_dict",))
    known = ("encoder_q.", "heads_q.", "encoder_k.", "heads_k.", "queue")
    rest_is_unknown(state, known, layout=NAME)
    backbone: dict[str, Tensor] = {}
    unknown = []
    for name, value in under(state, "encoder_q.").items():
        index, _, rest = name.partition(".")
        if index in STAGES:
            backbone[f"{STAGES[index]}.{rest}"] = value
        else:
            unknown.append(f"encoder_q.{name}")
    if unknown:
        raise CheckpointError(f"{count(unknown, 'name')} unknown to the layout {NAME}: {some(unknown)}")
    for prefix, what in (
        ("encoder_k.", "momentum encoder"),
        ("heads_k.", "heads of the momentum encoder"),
        ("queue", "queue of keys and its pointers"),
    ):
        names = [k for k in state if k.startswith(prefix)]
        if names:
            dropped[f"{prefix}* ({what})"] = take(state, names)
    steps = foreign.content.get("global_step")
    settings = foreign.content.get("hyper_parameters")
    about: dict[str, Any] = {"num_steps": steps} if isinstance(steps, int) else {}
    if isinstance(settings, Mapping) and isinstance(settings.get("base_encoder"), str):
        about["arch"] = settings["base_encoder"]
    heads = _heads(under(state, "heads_q."))
    return Parts(backbone=backbone, heads=heads, dropped=dropped, about=about, feed="seco")


def _heads(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    by_head: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        index, _, rest = name.partition(".")
        by_head.setdefault(index, {})[rest] = value
    wanted = [str(i) for i in range(len(by_head))]
    lost = [i for i in wanted if i not in by_head]
    if lost:
        raise CheckpointError(
            f"head {lost[0]} is missing: the checkpoint has heads_q {some(sorted(by_head))}"
        )
    for index in wanted:
        missing = [f"heads_q.{index}.{n}" for n in HEAD_NAMES if n not in by_head[index]]
        extra = [f"heads_q.{index}.{n}" for n in by_head[index] if n not in HEAD_NAMES]
        if missing or extra:
            raise CheckpointError(
                f"head {index} is no Linear, ReLU, Linear: missing {count(missing, 'name')} ({some(missing) or 'none'}), "
                f"unknown {count(extra, 'name')} ({some(extra) or 'none'})"
            )
    return tuple(by_head[i] for i in wanted)


def write(encoder: Encoder) -> dict[str, Any]:
    """Return an encoder as a checkpoint that the release's `MocoV2.load_from_checkpoint` takes.

    The release demands a momentum encoder, its heads and a queue: the first two are copies of the query side, the queue
    is noise of unit length, as at the start of its training.

    Raises:
        CheckpointError: the release has no such model.
    """
    spec = encoder.spec
    if spec.arch not in RESNETS.values() or len(spec.bands) != 3:
        raise CheckpointError(
            f"{encoder.name} is a {spec.arch} of {len(spec.bands)} bands; SeCo's layout holds ResNets of 3 bands only"
        )
    if not spec.heads:
        raise CheckpointError(
            f"{encoder.name} has no projection heads; SeCo's layout needs at least one: use `seco export --format timm`"
        )
    index = {v: k for k, v in STAGES.items()}
    own = {k: v.detach().cpu().contiguous() for k, v in encoder.net.state_dict().items()}
    state: dict[str, Tensor] = {}
    for side in ("q", "k"):
        for name, value in under(own, "backbone.").items():
            stage, _, rest = name.partition(".")
            state[f"encoder_{side}.{index[stage]}.{rest}"] = value.clone()
        for i, head in enumerate(spec.heads):
            for name, value in under(own, f"heads.{head}.").items():
                state[f"heads_{side}.{i}.{name}"] = value.clone()
    dims = {state[f"heads_q.{i}.2.weight"].shape[0] for i in range(len(spec.heads))}
    if len(dims) > 1:
        raise CheckpointError(
            f"{encoder.name} has heads of lengths {sorted(dims)}; SeCo's layout has one for all"
        )
    dim = dims.pop()
    noise = torch.randn(len(spec.heads), dim, NUM_NEGATIVES, generator=torch.Generator().manual_seed(0))
    state["queue"] = functional.normalize(noise, dim=1)
    state["queue_ptr"] = torch.zeros(len(spec.heads), 1, dtype=torch.long)
    settings = {
        "base_encoder": spec.arch, "emb_dim": dim, "num_negatives": NUM_NEGATIVES, "emb_spaces": len(spec.heads),
        "encoder_momentum": 0.999, "softmax_temperature": 0.07, "learning_rate": 0.03, "momentum": 0.9,
        "weight_decay": 1e-4, "batch_size": 256, "data_mode": "seco" if len(spec.heads) == 3 else "moco",
    }  # fmt: skip
    return {
        "epoch": 0, "global_step": spec.num_steps, "pytorch-lightning_version": "1.1.0",
        "state_dict": state, "hparams_name": "kwargs", "hyper_parameters": settings,
    }  # fmt: skip
