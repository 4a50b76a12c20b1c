"""SSL4EO-S12's checkpoints: MoCo v2 (ResNet), MoCo v3 (ViT) and DINO (both), on Sentinel-2 bands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from seco.errors import CheckpointError
from seco.use.foreign import Foreign
from seco.use.layouts import moco
from seco.use.layouts._contract import Parts, count, names_of, rest_is_unknown, some, state_of, take, under

NAME = "ssl4eo"
HELP = "SSL4EO-S12: MoCo v2 and v3, DINO; 13 bands of Sentinel-2 or RGB"
METHOD = "ssl4eo"
SOURCE = "SSL4EO-S12 (Wang et al. 2023, arXiv 2211.07044, https://github.com/zhu-xlab/SSL4EO-S12)"
LICENCE = "CC-BY-4.0"


def matches(foreign: Foreign) -> bool:
    """Tell by DINO's teacher, MoCo v3's base encoder, or MoCo v2 names with other than three bands."""
    if isinstance(foreign.content.get("teacher"), Mapping):
        return True
    names = names_of(foreign)
    if any(n.removeprefix("module.").startswith("base_encoder.") for n in names):
        return True
    return moco.prefix_of(names) is not None and not moco.matches(foreign)


def read(foreign: Foreign) -> Parts:
    """Take DINO's teacher, MoCo v3's base encoder, MoCo v2's query encoder, or a plain backbone."""
    if isinstance(foreign.content.get("teacher"), Mapping):
        return _dino(foreign)
    names = names_of(foreign)
    if moco.prefix_of(names) is not None:
        return dataclasses.replace(moco.read(foreign), feed="sentinel2")
    state, dropped = state_of(foreign)
    for prefix in ("module.", ""):
        if any(n.startswith(f"{prefix}base_encoder.") for n in names):
            return _moco_v3(state, dropped, prefix)
    return Parts(backbone=_plain(state, dropped), dropped=dropped, feed="sentinel2")


def _dino(foreign: Foreign) -> Parts:
    state, dropped = state_of(foreign, ("teacher",))
    state = {k.removeprefix("module."): v for k, v in state.items()}
    rest_is_unknown(state, ("backbone.", "head."), layout=NAME)
    backbone = under(state, "backbone.")
    head = len(under(state, "head."))
    if not backbone:
        raise CheckpointError(f"{foreign.path}: the teacher has no backbone.*; no DINO checkpoint")
    if head:
        dropped["teacher's head.* (DINO's prototypes)"] = head
    return Parts(
        backbone=_plain(backbone, dropped), dropped=dropped, about={"method": "dino"}, feed="sentinel2"
    )


def _moco_v3(state: dict[str, Tensor], dropped: dict[str, int], prefix: str) -> Parts:
    parts = {"momentum_encoder.": "momentum encoder", "predictor.": "predictor"}
    rest_is_unknown(state, [prefix + n for n in ("base_encoder.", *parts)], layout=NAME)
    for name, what in parts.items():
        lost = [k for k in state if k.startswith(prefix + name)]
        if lost:
            dropped[f"{prefix}{name}* ({what})"] = len(lost)
    backbone = _plain(under(state, f"{prefix}base_encoder."), dropped)
    patches = backbone.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim == 4 and tuple(patches.shape[:2]) == (384, 3):
        # Its features would be wrong without an error: 6 heads of 64 channels have the same shapes.
        raise CheckpointError(
            "MoCo v3's own ViT-S has 12 attention heads of 32 channels, which timm's vit_small has not; it cannot be read"
        )
    return Parts(backbone=backbone, dropped=dropped, about={"method": "moco_v3"}, feed="sentinel2")


def _plain(state: dict[str, Tensor], dropped: dict[str, int]) -> dict[str, Tensor]:
    """Drop the classifier or projection of a backbone."""
    state = dict(state)
    heads = [k for k in state if k.startswith(("fc.", "head."))]
    if heads:
        dropped[f"{some(heads)} (projection or classifier)"] = take(state, heads)
    if not state:
        raise CheckpointError(f"no backbone is left beside {count(heads, 'name')} of a projection")
    return state
