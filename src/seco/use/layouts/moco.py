"""MoCo's own checkpoints (v1 and v2): `module.encoder_q.*` beside the momentum encoder and the queue."""

from __future__ import annotations

from seco.errors import CheckpointError
from seco.use.foreign import Foreign
from seco.use.layouts._contract import Parts, names_of, rest_is_unknown, state_of, take, under
from seco.use.layouts.seco import HEAD_NAMES

NAME = "moco"
HELP = "MoCo v1 and v2 (module.encoder_q.*), trained on photographs"
METHOD = "moco"
SOURCE = "MoCo checkpoint (He et al. 2020, Chen et al. 2020, https://github.com/facebookresearch/moco)"
LICENCE = "CC-BY-NC-4.0 (the repository)"


def prefix_of(names: list[str]) -> str | None:
    """Return what stands before the query encoder's names, None where there is none."""
    for prefix in ("module.", ""):
        if f"{prefix}encoder_q.conv1.weight" in names:
            return prefix
    return None


def matches(foreign: Foreign) -> bool:
    """Tell by `encoder_q.conv1.weight` with three bands; SSL4EO-S12 stores other bands under the same names."""
    prefix = prefix_of(names_of(foreign))
    if prefix is None:
        return False
    weight = state_of(foreign)[0][f"{prefix}encoder_q.conv1.weight"]
    return weight.ndim == 4 and weight.shape[1] == 3


def read(foreign: Foreign) -> Parts:
    """Take the query encoder, and the projection head where it is v2's."""
    state, dropped = state_of(foreign)
    prefix = prefix_of(list(state))
    if prefix is None:
        raise CheckpointError(f"{foreign.path} has no encoder_q.conv1.weight; choose another --layout")
    known = [prefix + n for n in ("encoder_q.", "encoder_k.", "queue")]
    rest_is_unknown(state, known, layout=NAME)
    backbone = under(state, f"{prefix}encoder_q.")
    head = under(backbone, "fc.")
    take(backbone, [f"fc.{n}" for n in head])
    if set(head) == set(HEAD_NAMES):
        heads: tuple = (head,)
    elif set(head) <= {"weight", "bias"}:
        heads = ()
        if head:
            dropped[f"{prefix}encoder_q.fc.* (MoCo v1's projection)"] = len(head)
    else:
        raise CheckpointError(
            f"{foreign.path}: encoder_q.fc has entries {', '.join(sorted(head)[:4])}; no head of MoCo's"
        )
    for name, what in (("encoder_k.", "momentum encoder"), ("queue", "queue of keys and its pointer")):
        lost = [k for k in state if k.startswith(prefix + name)]
        if lost:
            dropped[f"{prefix}{name}* ({what})"] = len(lost)
    return Parts(backbone=backbone, heads=heads, dropped=dropped, about={"method": "moco"}, feed="imagenet")
