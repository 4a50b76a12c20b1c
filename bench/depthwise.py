"""What depthwise networks cost in fp32, in bf16, and in bf16 with `seco.nets.depthwise`: the figures of docs/speed.md.

Processor time, ms an image, of forward and backward pass, and of forward alone; the ways in turn, the median of repeats.

python bench/depthwise.py --encoders tf_efficientnet_lite0,mobilenetv3_large_100 --px 64,128 --json depthwise.json
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path

import timm
import torch
from torch import nn

from seco.nets.depthwise import train_depthwise_in_fp32
from seco.nets.devices import autocast, keep_freed_memory
from seco.nets.small_maps import multiply_small_maps
from seco.runs import environment, print_table, write_json

CPU = torch.device("cpu")


def passes(net: nn.Module, x: torch.Tensor, *, bf16: bool, gradient: bool) -> float:
    """Return milliseconds of processor time an image."""
    began = time.process_time()
    with autocast("bf16" if bf16 else "fp32", CPU), torch.set_grad_enabled(gradient):
        y = net(x)
    if gradient:
        y.float().square().mean().backward()
    return 1000 * (time.process_time() - began) / len(x)


def row(encoder: str, px: int, *, batch: int, repeats: int) -> dict:
    """Time one network at one size."""
    plain = timm.create_model(encoder, num_classes=0).to(memory_format=torch.channels_last).train()
    multiply_small_maps(plain)
    ours = copy.deepcopy(plain)
    train_depthwise_in_fp32(ours)
    x = torch.randn(batch, 3, px, px).contiguous(memory_format=torch.channels_last)
    taken: dict[str, list[float]] = {}
    for _ in range(repeats + 1):
        for gradient in (True, False):
            for name, net, bf16 in (("fp32", plain, False), ("bf16", plain, True), ("ours", ours, True)):
                key = f"{name}, {'forward and backward' if gradient else 'forward'}"
                taken.setdefault(key, []).append(passes(net, x, bf16=bf16, gradient=gradient))
    return {"encoder": encoder, "px": px, **{k: statistics.median(v[1:]) for k, v in taken.items()}}


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", default="tf_efficientnet_lite0,mobilenetv3_large_100,convnext_atto")
    parser.add_argument("--px", default="64,128")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    rows = [
        row(encoder, int(px), batch=args.batch, repeats=args.repeats)
        for encoder in args.encoders.split(",")
        for px in args.px.split(",")
    ]
    print_table(rows, tuple(rows[0]), title="processor time, ms an image")
    if args.json:
        write_json(args.json, {"rows": rows, "environment": environment()})


if __name__ == "__main__":
    main()
