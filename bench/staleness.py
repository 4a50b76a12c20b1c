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
from _ready import ready
from torch import Tensor

from seco.config import to_plain
from seco.runs import environment, print_table, write_json
from seco.train.settings import Pretrain


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
    trial = ready(asked)
    method = trial.method
    net = method.net  # type: ignore[attr-defined]
    sums: dict[str, list[float]] = defaultdict(list)
    seen = {"steps": 0}
    plain = net.logits

    def logits(head: object, q: Tensor, keys: dict[str, Tensor], rows: Tensor) -> Tensor:
        """Return the method's own logits, after a look at what it compares with."""
        with torch.no_grad():
            positive, queue = keys["k0"], net.queues["z0"]
            num, size = len(q) - 1, len(queue.keys)
            age = (int(queue.position) - 1 - torch.arange(size, device=q.device)) % size
            other = ~torch.eye(len(q), dtype=torch.bool, device=q.device)
            sums["this step"].append(accuracy(q, positive, (q @ positive.T)[other].view(len(q), num)))
            sums["newest of the queue"].append(accuracy(q, positive, q @ queue.keys[age < num].T))
            seen["steps"] += 1
            if (
                seen["steps"] * args.batch_size > size
            ):  # before, the oldest are the random vectors it starts with
                sums["oldest of the queue"].append(accuracy(q, positive, q @ queue.keys[age >= size - num].T))
        return plain(head, q, keys, rows)

    net.logits = logits
    rows = []
    for step, batch in enumerate(trial.batches(), start=1):
        sums["loss"].append(method.update(trial.views(batch), step=step - 1)["loss"])
        if step % args.every == 0:
            rows.append({"step": step, **{k: float(np.mean(v)) for k, v in sums.items()}})
            sums.clear()
            print(rows[-1], flush=True)
    columns = ("step", "this step", "newest of the queue", "oldest of the queue", "loss")
    print_table(rows, columns, title=f"{asked.method}, {trial.config.method_options}")
    if args.json:
        write_json(args.json, {"rows": rows, "config": to_plain(trial.config), "environment": environment()})


if __name__ == "__main__":
    main()
