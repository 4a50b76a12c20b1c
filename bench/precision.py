"""Time an encoder's passes in fp32 and bf16: the figures behind `--precision auto` in docs/log.md and docs/training.md.

python bench/precision.py --encoder resnet18 --size 64 --batch 128
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import timm
import torch

from seco.nets.devices import autocast
from seco.runs import environment, write_json


def milliseconds(run: Callable[[], object], batch: int, repeats: int) -> str:
    """Return median and range of a pass in ms a sample, after two that are not counted."""
    times = []
    for i in range(repeats + 2):
        started = time.perf_counter()
        run()
        if i >= 2:
            times.append(1000 * (time.perf_counter() - started) / batch)
    return f"{statistics.median(times):.1f} ({min(times):.1f}-{max(times):.1f})"


def measure(
    net: torch.nn.Module, x: torch.Tensor, precision: Literal["fp32", "bf16"], repeats: int
) -> tuple[str, str]:
    """Return the times of a forward pass, and of a forward and backward pass."""

    def forward() -> torch.Tensor:
        with autocast(precision, x.device):
            return net(x).float()

    with torch.no_grad():
        alone = milliseconds(forward, len(x), repeats)
    return alone, milliseconds(lambda: forward().square().mean().backward(), len(x), repeats)


def main() -> None:
    """Print a line a precision."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="edge of an image, pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    net = timm.create_model(args.encoder, num_classes=0).to(memory_format=torch.channels_last).train()
    x = torch.randn(args.batch, 3, args.size, args.size).to(memory_format=torch.channels_last)
    forward32, both32 = measure(net, x, "fp32", args.repeats)
    forward16, both16 = measure(net, x, "bf16", args.repeats)
    print(f"fp32: forward {forward32}, forward and backward {both32} ms a sample")
    print(f"bf16: forward {forward16}, forward and backward {both16} ms a sample")
    if args.json:
        rows = [
            {"precision": "fp32", "forward_ms": forward32, "forward_backward_ms": both32},
            {"precision": "bf16", "forward_ms": forward16, "forward_backward_ms": both16},
        ]
        write_json(args.json, {"rows": rows, "settings": vars(args), "environment": environment()})


if __name__ == "__main__":
    main()
