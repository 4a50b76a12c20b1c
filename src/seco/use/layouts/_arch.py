"""Tell an architecture from the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seco.errors import CheckpointError

# (blocks a stage, has bottlenecks, width of the first block's middle, its input channels a group) -> timm's name.
# torchvision's models of these names have the same entries in the same order.
RESNETS = {
    ((2, 2, 2, 2), False, 64, 64): "resnet18",
    ((3, 4, 6, 3), False, 64, 64): "resnet34",
    ((3, 4, 6, 3), True, 64, 64): "resnet50",
    ((3, 4, 23, 3), True, 64, 64): "resnet101",
    ((3, 8, 36, 3), True, 64, 64): "resnet152",
    ((3, 4, 6, 3), True, 128, 128): "wide_resnet50_2",
    ((3, 4, 23, 3), True, 128, 128): "wide_resnet101_2",
    ((3, 4, 6, 3), True, 128, 4): "resnext50_32x4d",
    ((3, 4, 23, 3), True, 256, 8): "resnext101_32x8d",
}
# (width, depth, patch) -> timm's name. The number of attention heads leaves no trace in shapes: 64 channels a head.
VITS = {
    (192, 12, 16): "vit_tiny_patch16_224",
    (384, 12, 16): "vit_small_patch16_224",
    (384, 12, 8): "vit_small_patch8_224",
    (768, 12, 16): "vit_base_patch16_224",
    (768, 12, 8): "vit_base_patch8_224",
    (1024, 24, 16): "vit_large_patch16_224",
}


def detect(state: Mapping[str, Tensor]) -> str:
    """Return timm's name of a ResNet or plain vision transformer.

    Raises:
        CheckpointError: it is neither, or one that is not known here.
    """
    found = _resnet(state) if any(k.startswith("layer1.") for k in state) else _vit(state)
    if found is None:
        raise CheckpointError(
            "the architecture cannot be told from the weights (no plain ResNet or vision transformer); name it with --arch, "
            "and timm's names with --layout timm"
        )
    return found


def _resnet(state: Mapping[str, Tensor]) -> str | None:
    stages = []
    for stage in range(1, 5):
        blocks = {k.split(".")[1] for k in state if k.startswith(f"layer{stage}.")}
        stages.append(len(blocks))
    middle = state.get("layer1.0.conv2.weight")
    if middle is None or middle.ndim != 4:
        return None
    return RESNETS.get(
        (tuple(stages), "layer1.0.conv3.weight" in state, int(middle.shape[0]), int(middle.shape[1]))  # type: ignore[arg-type]
    )


def _vit(state: Mapping[str, Tensor]) -> str | None:
    patches = state.get("patch_embed.proj.weight")
    if patches is None or patches.ndim != 4 or "cls_token" not in state:
        return None
    depth = len({k.split(".")[1] for k in state if k.startswith("blocks.")})
    return VITS.get((int(patches.shape[0]), depth, int(patches.shape[-1])))
