"""What views and a step cost: views against PIL one at a time; a step against the bound of the bare encoder.

The bound is one forward and backward pass and three forward passes of the bare encoder, in the same precision and layout.
Processor time of one thread (on a shared machine the wall says little), what is compared made in turn.

python bench/speed.py --px 64 --batch-size 64 --key-px 48 --repeats 5 --json speed.json
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision import transforms

from seco.methods import _contract as methods
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.devices import autocast, keep_freed_memory, pick_precision
from seco.runs import environment, print_table, write_json
from seco.sensors import sentinel2
from seco.sensors.rgb import display_bands
from seco.views.augment import Augment, colour_space, draw_parameters, make_view

CPU = torch.device("cpu")


def in_turn(
    made: Mapping[str, tuple[Callable[[], Any], int]], repeats: int, base: str
) -> list[dict[str, Any]]:
    """Time functions in turn, after one call of each that does not count: ms of processor time a sample, and ratios."""
    taken: dict[str, list[float]] = {k: [] for k in made}
    for repeat in range(repeats + 1):
        for name, (function, num) in made.items():
            began = time.process_time()
            function()
            if repeat:
                taken[name].append(1000 * (time.process_time() - began) / num)
    rows = []
    for name, each in taken.items():
        ratios = [a / b for a, b in zip(each, taken[base], strict=True)]
        middle = {
            "ms": statistics.median(each),
            "least_ms": min(each),
            f"times_{base}": statistics.median(ratios),
        }
        rows.append({"what": name, **middle, "least": min(ratios), "most": max(ratios)})
    return rows


def views(px: int, out_px: int, num_bands: int, batch: int) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return our views, augmented and plain, and PIL's (of three bands, whatever is asked of ours)."""
    bands = display_bands() if num_bands == 3 else tuple(b for b in sentinel2.BANDS if b.name != "B10")
    numbers = {
        k: np.full(num_bands, v) for k, v in {"low": 0.0, "high": 255.0, "mean": 110.0, "std": 40.0}.items()
    }
    space = colour_space(bands, **numbers)
    stored = np.random.default_rng(0).integers(1, 256, (batch, num_bands, px, px))
    x = torch.from_numpy(stored.astype(np.uint8 if num_bands == 3 else np.int32))
    augment = Augment(out_px=out_px, blur_sigma=(0.1, 2.0 * px / 264))
    draw = {"patch_px": px, "seed": 0, "epoch": 0, "samples": np.arange(batch), "view": 1}
    full, plain = (draw_parameters(augment, augmented=a, **draw) for a in (True, False))
    theirs = transforms.Compose([
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(0.2),
        transforms.RandomApply([lambda im: im.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))], p=0.5),  # noqa: S311
        transforms.RandomHorizontalFlip(),
        transforms.RandomResizedCrop(out_px, scale=(0.2, 1.0)),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    images = [Image.fromarray(i[:3].transpose(1, 2, 0).astype(np.uint8)) for i in stored[:16]]
    return {
        "ours": (lambda: make_view(x, full, space, out_px=out_px, order="augment-crop"), batch),
        "ours, only cropped": (
            lambda: make_view(x, plain, space, out_px=out_px, order="augment-crop"),
            batch,
        ),
        "PIL": (lambda: [theirs(i) for i in images], len(images)),
    }


def steps(args: argparse.Namespace) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return the bound, the exact step, and the step with each option and with both."""
    precision, batch = pick_precision("auto", CPU), args.batch_size
    module = methods.find("seco")

    def made(num_px: int) -> Tensor:
        return torch.randn(batch, 3, num_px, num_px).contiguous(memory_format=torch.channels_last)

    large = {n: made(args.px) for n in ("q", "k0", "k1", "k2")}
    small = {n: v if n == "q" else made(args.key_px) for n, v in large.items()}
    bare = build_backbone(args.encoder, 3).to(memory_format=torch.channels_last).train()

    def bound() -> None:
        with autocast(precision, CPU), torch.no_grad():
            for key in ("k0", "k1", "k2"):
                bare(large[key])
        with autocast(precision, CPU):
            out = bare(large["q"])
        bare.zero_grad(set_to_none=True)
        out.float().sum().backward()

    def step(seen: Mapping[str, Tensor], **options: Any) -> Callable[[], Any]:
        sizes = {"num_places": 100_000, "num_steps": 10_000, "batch_size": batch}
        full = module.derive(module.Options(**options), **sizes)
        net = build_backbone(args.encoder, 3)
        setup = methods.Setup(
            backbone=net, feature_dim=feature_dim(net), seed=0, precision=precision, **sizes
        )
        method = module.build(setup, full)
        method.to(CPU)
        return lambda: method.update(seen, step=0)

    key_px = f"--key-px {args.key_px}"
    return {
        "bound": (bound, batch),
        "step": (step(large), batch),
        "step --key-norm ema": (step(large, key_norm="ema"), batch),
        f"step {key_px}": (step(small), batch),
        f"step {key_px} --key-norm ema": (step(small, key_norm="ema"), batch),
    }


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--px", type=int, default=64, help="edge of the views of a step")
    parser.add_argument("--key-px", type=int, default=48, help="edge of smaller keys")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["views", "step"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    tables = {}
    if args.only != "step":
        for px, out_px, num_bands, batch in (
            (264, 224, 3, 32),
            (64, 64, 3, 128),
            (264, 224, 12, 8),
            (64, 64, 12, 64),
        ):
            title = f"views {px} -> {out_px} px, {num_bands} bands"
            tables[title] = in_turn(views(px, out_px, num_bands, batch), args.repeats, "PIL")
    if args.only != "views":
        title = f"step, {args.encoder}, {args.px} px, batch {args.batch_size}"
        tables[title] = in_turn(steps(args), args.repeats, "bound")
    for title, rows in tables.items():
        print_table(rows, tuple(rows[0]), title=title)
    if args.json:
        write_json(args.json, {"tables": tables, "environment": environment()})


if __name__ == "__main__":
    main()
