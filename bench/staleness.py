"""How easy are the negatives of a queue? MoCo's accuracy against keys of this step, of the last steps, and of long ago.

Each query is compared with its positive and with as many negatives as the batch has other places: the batch's own keys, then
the queue's newest, then its oldest. What makes keys of the queue easier is nothing about places: the encoder has moved on.

  python bench/staleness.py --data places.seco --steps 300 --optimiser sgd
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seco.data.dataset import open_dataset
from seco.methods import _contract as methods
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.devices import pick_device, pick_precision
from seco.runs import print_table, write_rows
from seco.train.places import batches, choose_places
from seco.train.settings import Pretrain, augmentation, resolve
from seco.views.augment import colour_space
from seco.views.batch import Viewer


def accuracy(q: Tensor, positive: Tensor, negatives: Tensor) -> float:
    """Return the share of queries nearer to their positive than to every negative, (batch, negatives)."""
    return float(((q * positive).sum(1) > negatives.amax(1)).float().mean())


def main() -> None:
    """Train, and print a line every so many steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset of places")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--every", type=int, default=50, help="steps a line is the mean of")
    parser.add_argument("--momentum", type=float, help="of the key encoder; default: chosen from the steps")
    parser.add_argument("--optimiser", choices=("sgd", "adamw"), default="sgd")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    options = {"negatives": "queue", "optimiser": args.optimiser}
    if args.momentum is not None:
        options["momentum"] = args.momentum
    asked = Pretrain(
        data=args.data, method="moco", steps=args.steps, batch_size=args.batch_size, method_options=options
    )
    dataset = open_dataset(asked.data)
    module = methods.find(asked.method)
    places = choose_places(dataset, asked, num_seasons=module.PLAN.num_seasons)
    config = resolve(asked, num_places=len(places.train), patch_px=dataset.meta.patch_px)
    tier, device = dataset.training(config.bands), pick_device(config.device)
    space = colour_space(tier.bands, low=tier.low, high=tier.high, mean=tier.mean, std=tier.std)
    viewer = Viewer(plan=module.PLAN, augment=augmentation(config), space=space.to(device), seed=config.seed)
    backbone = build_backbone(config.encoder, len(tier.bands), seed=config.seed)
    setup = methods.Setup(
        backbone=backbone, feature_dim=feature_dim(backbone), num_places=len(places.train), num_steps=args.steps,
        batch_size=config.batch_size, seed=config.seed, precision=pick_precision(config.precision, device),
    )  # fmt: skip
    method = module.build(setup, config.options())
    method.to(device)
    net = method.net  # type: ignore[attr-defined]
    sums: dict[str, list[float]] = defaultdict(list)
    plain = net.logits

    def logits(head: object, q: Tensor, keys: dict[str, Tensor]) -> Tensor:
        """Return the method's own logits, after a look at what it compares with."""
        with torch.no_grad():
            positive, queue = keys["k0"], net.queues["z0"]
            num, size = len(q) - 1, len(queue.keys)
            age = (int(queue.position) - 1 - torch.arange(size, device=q.device)) % size
            other = ~torch.eye(len(q), dtype=torch.bool, device=q.device)
            sums["this step"].append(accuracy(q, positive, (q @ positive.T)[other].view(len(q), num)))
            sums["newest of the queue"].append(accuracy(q, positive, q @ queue.keys[age < num].T))
            sums["oldest of the queue"].append(accuracy(q, positive, q @ queue.keys[age >= size - num].T))
        return plain(head, q, keys)

    net.logits = logits
    rows = []
    reading = batches(
        tier, places, viewer, batch_size=config.batch_size, first=0, last=args.steps, seed=config.seed
    )
    for step, batch in enumerate(reading, start=1):
        views = viewer.views(batch.seasons.to(device), batch.epoch, batch.places)
        sums["loss"].append(method.update(views, step=step - 1)["loss"])
        if step % args.every == 0:
            rows.append({"step": step, **{k: float(np.mean(v)) for k, v in sums.items()}})
            sums.clear()
            print(rows[-1], flush=True)
    columns = ("step", "this step", "newest of the queue", "oldest of the queue", "loss")
    print_table(rows, columns, title=f"{asked.method}, {config.options()}")
    if args.json:
        write_rows(args.json, rows)


if __name__ == "__main__":
    main()
