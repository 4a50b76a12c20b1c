"""Draw what a run will see, by the very draws that training makes with the same settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from seco.data.dataset import open_dataset
from seco.data.tier import TrainingTier
from seco.methods import _contract as methods
from seco.train.places import Places, choose_places
from seco.train.settings import USUAL_BATCH, Pretrain, make_viewer, resolve
from seco.views.batch import Viewer
from seco.views.plan import Negatives, Siblings
from seco.views.sheet import draw_sheet, explain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """What a run would see of some places, before anything is drawn of it.

    Attributes:
        places: positions of the places to show.
        chosen: which places the run trains on, and where their patches are.
    """

    tier: TrainingTier
    viewer: Viewer
    places: np.ndarray
    chosen: Places
    siblings: Siblings
    negatives: Negatives


def prepare(config: Pretrain, *, num_places: int = 4, data: Path | None = None) -> Preview:
    """Choose some training places of `config.data` and make the viewer that training makes.

    Args:
        config: of the run, resolved or not.
        num_places: how many to show; bounded by those that there are.
        data: where the dataset lies, if not at `config.data`.

    Raises:
        DatasetError: there is no such dataset, or no place with enough dates.
    """
    dataset = open_dataset(data or config.data)
    plan = methods.find(config.method).PLAN
    chosen = choose_places(dataset, config, num_seasons=plan.num_seasons)
    # A picture needs no full batch, so a dataset smaller than one can be looked at too.
    config = dataclasses.replace(
        config, batch_size=max(2, min(config.batch_size or USUAL_BATCH, len(chosen.train)))
    )
    config = resolve(config, num_places=max(2, len(chosen.train)), patch_px=dataset.meta.patch_px)
    tier = dataset.training(config.bands)
    num = min(max(1, num_places), len(chosen.train))
    options = config.options()
    return Preview(
        tier=tier, viewer=make_viewer(config, tier, plan), chosen=chosen,
        places=np.sort(np.random.default_rng(config.seed).permutation(chosen.train)[:num]),
        siblings=getattr(options, "siblings", "all"), negatives=getattr(options, "negatives", "batch"),
    )  # fmt: skip


def preview(config: Pretrain, out: Path, *, num_places: int = 4, epoch: int = 0) -> list[str]:
    """Draw the views of some training places of `config.data`.

    Returns:
        Lines that say for each head who is positive and who is negative.

    Raises:
        DatasetError: there is no such dataset, or no place with enough dates.
    """
    seen = prepare(config, num_places=num_places)
    plan = seen.viewer.plan
    draw_sheet(
        seen.tier, seen.viewer, out, places=seen.places.tolist(), first_row=seen.chosen.first_row,
        num_dates=seen.chosen.num_dates, epoch=epoch, siblings=seen.siblings, negatives=seen.negatives,
        title=f"{config.method}: seed {config.seed}, epoch {epoch}, {plan.order.replace('-', ', then ')}",
    )  # fmt: skip
    lines = [line for line, _ in explain(plan, siblings=seen.siblings, negatives=seen.negatives)]
    num_keys = len(plan.keys)
    return [
        *lines,
        f"a step: the query forward and backward, {num_keys} key{'s' * (num_keys > 1)} forward only",
    ]
