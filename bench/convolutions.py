"""Where a matrix product beats oneDNN's convolution: the figures behind `seco.nets.small_maps.MAX_PIXELS`.

Processor time of forward and backward pass together, and of forward alone, ms a call, both ways in turn.

python bench/convolutions.py --repeats 5 --json convolutions.json
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from seco.nets import small_maps
from seco.nets.devices import keep_freed_memory
from seco.runs import environment, print_table, write_json

EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 14)
"""Of a result, pixels."""


def timed(function: Callable[[], object]) -> float:
    """Return milliseconds of processor time."""
    began = time.process_time()
    function()
    return 1000 * (time.process_time() - began)


def case(edge: int, *, stride: int, channels: int, batch: int, dtype: torch.dtype, repeats: int) -> dict:
    """Time one convolution of 3 x 3, both ways."""
    plain = nn.Conv2d(channels // stride, channels, 3, stride, 1, bias=False).to(
        dtype, memory_format=torch.channels_last
    )
    product = copy.deepcopy(plain)
    small_maps.multiply_small_maps(product)
    x = torch.randn(batch, channels // stride, edge * stride, edge * stride, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def forward(conv: nn.Module) -> Callable[[], Tensor]:
        return torch.no_grad()(lambda: conv(x))

    def both(conv: nn.Module) -> Callable[[], None]:
        y = conv(x)
        gradient = torch.ones_like(y)
        return lambda: conv(x).backward(gradient)

    taken: dict[str, list[float]] = {"forward": [], "both": []}
    for name, way in (("forward", forward), ("both", both)):
        a, b = way(plain), way(product)
        a(), b()
        taken[name] = [timed(a) / timed(b) for _ in range(repeats)]
        taken[f"{name} ms"] = [timed(a)]
    return {
        "result": f"{edge} x {edge}", "stride": stride, "channels": channels, "dtype": str(dtype).removeprefix("torch."),
        **{k: statistics.median(v) for k, v in taken.items()},
    }  # fmt: skip


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    small_maps.MAX_PIXELS, small_maps.MIN_CHANNELS = dict.fromkeys(small_maps.MAX_PIXELS, 10**6), 0
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        for channels, batch in ((512, 64), (256, 64), (128, 64), (64, 64)):
            for stride in (1, 2):
                for edge in EDGES:
                    if edge == 1 and dtype == torch.bfloat16 and stride == 1:
                        continue  # wrong in oneDNN (`seco.nets.devices.broken_in_bf16`)
                    rows.append(
                        case(
                            edge,
                            stride=stride,
                            channels=channels,
                            batch=batch,
                            dtype=dtype,
                            repeats=args.repeats,
                        )
                    )
    print_table(rows, tuple(rows[0]), title="time of oneDNN's convolution as a multiple of the product's")
    if args.json:
        write_json(args.json, {"rows": rows, "environment": environment()})


if __name__ == "__main__":
    main()
