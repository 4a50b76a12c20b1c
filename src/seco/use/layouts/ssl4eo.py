"""SSL4EO-S12's checkpoints: MoCo v2 (ResNet), MoCo v3 (ViT) and DINO (both), on Sentinel-2 bands."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seco.errors import CheckpointError
from seco.use.foreign import Foreign, tensors
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


def read(foreign: Foreign, arch: str | None) -> Parts:
    """Take DINO's teacher, MoCo v3's base encoder, MoCo v2's query encoder, or a plain backbone."""
    if isinstance(foreign.content.get("teacher"), Mapping):
        return _dino(foreign)
    names = names_of(foreign)
    if moco.prefix_of(names) is not None:
        return moco.read(foreign, arch)
    state, dropped = state_of(foreign)
    for prefix in ("module.", ""):
        if any(n.startswith(f"{prefix}base_encoder.") for n in names):
            return _moco_v3(state, dropped, prefix)
    return Parts(backbone=_plain(state, dropped), dropped=dropped)


def _dino(foreign: Foreign) -> Parts:
    beside = {
        f"{k} ({'the other network' if k == 'student' else 'not weights'})": len(v) if isinstance(v, Mapping) else 1
        for k, v in foreign.content.items()
        if k != "teacher"
    }
    state = tensors(foreign.content["teacher"], what=f"{foreign.path}: teacher")
    state = {k.removeprefix("module."): v for k, v in state.items()}
    rest_is_unknown(state, ("backbone.", "head."), layout=NAME)
    backbone = under(state, "backbone.")
    head = len(under(state, "head."))
    if not backbone:
        raise CheckpointError(f"{foreign.path}: the teacher has no backbone.*; no DINO checkpoint")
    dropped = {"teacher's head.* (DINO's prototypes)": head, **beside} if head else beside
    return Parts(backbone=_plain(backbone, dropped), dropped=dropped, about={"method": "dino"})


def _moco_v3(state: dict[str, Tensor], dropped: dict[str, int], prefix: str) -> Parts:
    parts = {"momentum_encoder.": "momentum encoder", "predictor.": "predictor"}
    rest_is_unknown(state, [prefix + n for n in ("base_encoder.", *parts)], layout=NAME)
    for name, what in parts.items():
        lost = [k for k in state if k.startswith(prefix + name)]
        if lost:
            dropped[f"{prefix}{name}* ({what})"] = len(lost)
    backbone = _plain(under(state, f"{prefix}base_encoder."), dropped)
    return Parts(backbone=backbone, dropped=dropped, about={"method": "moco_v3"})


def _plain(state: dict[str, Tensor], dropped: dict[str, int]) -> dict[str, Tensor]:
    """Drop the classifier or projection of a backbone."""
    state = dict(state)
    heads = [k for k in state if k.startswith(("fc.", "head."))]
    if heads:
        dropped[f"{some(heads)} (projection or classifier)"] = take(state, heads)
    if not state:
        raise CheckpointError(f"no backbone is left beside {count(heads, 'name')} of a projection")
    return state


def feed(foreign: Foreign, arch: str, num_bands: int) -> str:
    """Return Sentinel-2 numbers divided by 10,000."""
    return "sentinel2"
