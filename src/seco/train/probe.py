"""What a run can tell of itself without labels: does the encoder know a held-out place again, and its season?"""

from __future__ import annotations

import dataclasses

import numpy as np

from seco.data.tier import TrainingTier
from seco.nets.encoder import Encoder
from seco.probes.knn import predict_knn
from seco.train.places import Places
from seco.views.draws import uniforms

MAX_PLACES = 256
NEIGHBOURS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineProbe:
    """A fixed set of held-out patches: up to 256 places, two dates each (one where places have one)."""

    rows: np.ndarray
    place: np.ndarray
    labels: np.ndarray | None
    tier: TrainingTier

    def run(self, encoder: Encoder) -> dict[str, float]:
        """Return accuracies 0-1.

        `probe_place`: share of patches whose nearest neighbour among all patches of other dates is its own place.
        `probe_label`: kNN accuracy of the dataset's own labels, the same place left out of the neighbours.
        """
        features = encoder.encode(self.tier.pixels[self.rows], bands=self.tier.bands)["features"]
        out = {}
        half = len(self.rows) // 2
        if len(np.unique(self.place)) < len(self.place):
            unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
            near = (unit[:half] @ unit[half:].T).argmax(1)
            out["probe_place"] = float((self.place[half:][near] == self.place[:half]).mean())
        if self.labels is not None:
            guess = predict_knn(features[half:], self.labels[half:], features[:half], k=min(NEIGHBOURS, half))
            out["probe_label"] = float((guess == self.labels[:half]).mean())
        return out


def online_probe(tier: TrainingTier, places: Places, *, seed: int) -> OnlineProbe | None:
    """Choose the held-out patches, or None where nothing is held out or there is nothing to ask."""
    held = places.held_out
    dated = held[places.num_dates[held] > 1] if len(held) else held
    held = dated if len(dated) > 1 else held
    if len(held) < 2:
        return None
    draw = uniforms(seed=seed, epoch=0, samples=held, view=0, num=3)
    drawn = held[np.argsort(draw[:, 0], kind="stable")[:MAX_PLACES]]
    chosen = np.sort(drawn)
    draw = uniforms(seed=seed, epoch=0, samples=chosen, view=0, num=3)
    num = places.num_dates[chosen]
    first = np.floor(draw[:, 1] * num).astype(np.int64)
    second = (first + 1 + np.floor(draw[:, 2] * np.maximum(num - 1, 1)).astype(np.int64)) % num
    named = tier.dataset.labels
    if (num > 1).all():
        rows = np.concatenate([places.first_row[chosen] + first, places.first_row[chosen] + second])
        place = np.concatenate([chosen, chosen])
        return OnlineProbe(rows=rows, place=place, labels=None, tier=tier)
    # As drawn, not sorted: pictures come class by class, and halves of them would have no class in common.
    drawn = drawn[: len(drawn) // 2 * 2]
    rows = places.first_row[drawn]
    if any(named[r] is None for r in rows):
        return None
    labels = np.unique([str(named[r]) for r in rows], return_inverse=True)[1]
    return OnlineProbe(rows=rows, place=drawn, labels=labels, tier=tier)
