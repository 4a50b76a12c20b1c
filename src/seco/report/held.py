"""Patches of held-out places and what the run's encoder makes of them: what neighbours and the embedding are drawn from."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32

from seco.errors import CheckpointError, DatasetError
from seco.probes.features import FeatureStore
from seco.probes.options import EvaluationOptions
from seco.report.facts import Run
from seco.report.ground import HELD_OUT, TRAIN, Ground
from seco.report.markup import count
from seco.use.load import load_encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """Some patches with their features.

    Attributes:
        rows: of the dataset's index, place by place.
        features: a line a patch.
        words: which places these are, for captions.
        encoder: whose features.
    """

    ground: Ground
    rows: np.ndarray
    features: Float32[np.ndarray, "patches dim"]
    words: str
    encoder: str

    @property
    def place(self) -> np.ndarray:
        """Position of each patch's place in the dataset."""
        return self.ground.dataset.place[self.rows]


def encode_held(run: Run, ground: Ground, *, num_places: int, seed: int, device: str) -> Held:
    """Encode patches of up to `num_places` held-out places (of training places where nothing was held out).

    Raises:
        CheckpointError: the run holds no encoder, or one that cannot be loaded.
        DatasetError: it is not known which places were held out, or there are none.
    """
    if run.spec is None:
        raise CheckpointError(
            "the run's encoder cannot be read" if run.has_encoder
            else "the run holds no encoder yet; it is written with the first checkpoint"
        )  # fmt: skip
    rows, words = choose_rows(ground, num_places=num_places, seed=seed)
    encoder = load_encoder(run.path, device=device)
    store = FeatureStore(encoder, ground.dataset, EvaluationOptions())
    features = store.get(rows, ("features",))["features"]
    if not run.is_finished:
        words += f", seen by the encoder of step {run.spec.num_steps:,}"
    return Held(ground=ground, rows=rows, features=features, words=words, encoder=run.label)


def encode_baselines(held: Held, run: Run, *, device: str) -> list[Held]:
    """Encode the same patches by what has learned nothing: random weights of the run's architecture, and colour statistics.

    Raises:
        CheckpointError: the architecture is not known here.
    """
    assert run.spec is not None
    out = []
    for name in (f"random:{run.spec.arch}", "colour"):
        encoder = load_encoder(name, bands=held.ground.tier.bands, device=device)
        store = FeatureStore(encoder, held.ground.dataset, EvaluationOptions())
        features = store.get(held.rows, ("features",))["features"]
        out.append(dataclasses.replace(held, features=features, encoder=name))
    return out


def choose_rows(ground: Ground, *, num_places: int, seed: int) -> tuple[np.ndarray, str]:
    """Choose patches of held-out places, and say which these are.

    Raises:
        DatasetError: no place is known to be held out or trained on.
    """
    part = HELD_OUT if (ground.part == HELD_OUT).any() else TRAIN
    total = int((ground.part == part).sum())
    if not total:
        raise DatasetError("it is not known which places of the dataset the run trained on or held out")
    chosen = ground.draw(part, num_places, seed=seed)
    rows = np.concatenate([ground.rows_of(p) for p in chosen])
    kind = "held-out place" if part == HELD_OUT else "training place (nothing was held out)"
    kind = ground.simulated + kind
    which = count(total, kind, kind.replace("place", "places", 1))
    if len(chosen) < total:
        which = f"{len(chosen):,} of {which}, drawn with seed {seed}"
    whole = int(ground.num_dates[chosen].sum())
    some = (
        f"{len(rows):,} of their {whole:,} patches"
        if len(rows) < whole
        else count(len(rows), "patch", "patches")
    )
    return rows, f"{some} of {which}" if len(rows) == whole else f"{which}: {some}, evenly over the dates"
