"""One of several processes that train methods on the same global batches; process 0 keeps what came out.

    python many_child.py FOLDER RANK SIZE

FOLDER/cases.json: name -> method and options. All in fp64, so that what differs is arithmetic and not rounding.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from seco.config import build
from seco.methods import _contract as contract
from seco.methods._contract import Setup
from seco.nets.backbones import build_backbone, feature_dim
from seco.nets.processes import Processes

BATCH, STEPS = 16, 3


def train(name: str, options: dict[str, object], processes: Processes) -> tuple[dict, list[dict[str, float]]]:
    """Train three steps on this process's rows of random views; return the state and the numbers logged."""
    module = contract.find(name)
    resolved = module.derive(
        build(module.Options, {"optimiser": "sgd", "lr": 0.1, "warmup_steps": 0, **options}), num_places=32,
        num_steps=STEPS, batch_size=BATCH, num_processes=processes.size,
    )  # fmt: skip
    backbone = build_backbone("test_resnet", 3, seed=0)
    setup = Setup(
        backbone=backbone, feature_dim=feature_dim(backbone), num_places=32, num_steps=STEPS, batch_size=BATCH, seed=0,
        precision="fp32", processes=processes,
    )  # fmt: skip
    method = module.build(setup, resolved)
    method.net.double()
    rows = torch.from_numpy(processes.rows(BATCH, parts=resolved.accumulate))
    logged = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        shape = (BATCH, 3, 16, 16)
        views = {
            v.name: torch.randn(shape, generator=generator, dtype=torch.float64)[rows]
            for v in module.PLAN.views
        }
        logged.append(method.update(views, step=step))
    return {k: v.contiguous().clone() for k, v in method.state_dict().items()}, logged


def main() -> None:
    """Run every case, with or without others."""
    folder, rank, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meet-{size}", rank=rank, world_size=size
        )
    for name, case in json.loads((folder / "cases.json").read_text()).items():
        if size not in case["sizes"]:
            continue
        state, logged = train(case["method"], case["options"], Processes(rank=rank, size=size))
        if rank == 0:
            save_file(state, folder / f"{name}-{size}.safetensors")
            (folder / f"{name}-{size}.json").write_text(json.dumps(logged))
    if size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
