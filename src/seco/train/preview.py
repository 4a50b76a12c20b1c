"""Draw what a run will see, by the very draws that training makes with the same settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from seco.data.dataset import open_dataset
from seco.methods import _contract as methods
from seco.train.places import choose_places
from seco.train.settings import USUAL_BATCH, Pretrain, make_viewer, resolve
from seco.views.plan import Negatives, Siblings
from seco.views.sheet import draw_sheet, explain


def preview(config: Pretrain, out: Path, *, num_places: int = 4, epoch: int = 0) -> list[str]:
    """Draw the views of some training places of `config.data`.

    Returns:
        Lines that say for each head who is positive and who is negative.

    Raises:
        DatasetError: there is no such dataset, or no place with enough dates.
    """
    dataset = open_dataset(config.data)
    plan = methods.find(config.method).PLAN
    chosen = choose_places(dataset, config, num_seasons=plan.num_seasons)
    # A picture needs no full batch, so a dataset smaller than one can be looked at too.
    config = dataclasses.replace(
        config, batch_size=max(2, min(config.batch_size or USUAL_BATCH, len(chosen.train)))
    )
    config = resolve(config, num_places=max(2, len(chosen.train)), patch_px=dataset.meta.patch_px)
    tier = dataset.training(config.bands)
    viewer = make_viewer(config, tier, plan)
    num = min(max(1, num_places), len(chosen.train))
    shown = np.sort(np.random.default_rng(config.seed).permutation(chosen.train)[:num])
    options = config.options()
    siblings: Siblings = getattr(options, "siblings", "all")
    negatives: Negatives = getattr(options, "negatives", "batch")
    draw_sheet(
        tier, viewer, out, places=shown.tolist(), first_row=chosen.first_row, num_dates=chosen.num_dates, epoch=epoch,
        siblings=siblings, negatives=negatives,
        title=f"{config.method}: seed {config.seed}, epoch {epoch}, {plan.order.replace('-', ', then ')}",
    )  # fmt: skip
    lines = [line for line, _ in explain(plan, siblings=siblings, negatives=negatives)]
    num_keys = len(plan.keys)
    return [
        *lines,
        f"a step: the query forward and backward, {num_keys} key{'s' * (num_keys > 1)} forward only",
    ]
