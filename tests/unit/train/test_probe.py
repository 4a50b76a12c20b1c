"""The probe while training: fixed patches of held-out places, scores against plain loops."""

import dataclasses

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.nets.baselines import untrained
from seco.nets.encoder import Encoder
from seco.train.places import choose_places
from seco.train.probe import online_probe
from seco.train.settings import Pretrain


def make(path, *, seed=0, num_seasons=1, **settings):
    dataset = open_dataset(path)
    places = choose_places(dataset, Pretrain(method="moco", **settings), num_seasons=num_seasons)
    return dataset, places, online_probe(dataset.training(), places, seed=seed)


def test_two_different_dates_of_each_held_out_place_by_the_seed_alone(small_dataset):
    dataset, places, probe = make(small_dataset)
    first, second = np.split(probe.rows, 2)
    assert dataset.place[first].tolist() == dataset.place[second].tolist() == sorted(places.held_out)
    assert (dataset.dates[first] != dataset.dates[second]).all()
    assert probe.place.tolist() == dataset.place[probe.rows].tolist()
    assert make(small_dataset)[2].rows.tolist() == probe.rows.tolist()
    assert make(small_dataset, seed=1)[2].rows.tolist() != probe.rows.tolist()


def test_at_most_256_places_are_asked(make_dataset, monkeypatch):
    from seco.train import probe as module

    monkeypatch.setattr(module, "MAX_PLACES", 3)
    dataset, places, probe = make(make_dataset(num_places=20, px=8))
    assert len(probe.rows) == 6
    assert len(set(dataset.place[probe.rows])) == 3
    assert set(dataset.place[probe.rows]) < set(places.held_out)


def test_place_accuracy_is_that_of_the_nearest_neighbour_among_the_other_dates(small_dataset):
    dataset, _, probe = make(small_dataset)
    encoder = untrained("test_resnet", init="random", device="cpu")
    encoder.spec = dataclasses.replace(encoder.spec, normalise="spec")
    scores = probe.run(encoder)
    features = encoder.encode(dataset.training().pixels[probe.rows], bands=dataset.meta.bands)["features"]
    first, second = np.split(features, 2)
    right = 0
    for i, query in enumerate(first):
        cosine = [query @ k / np.linalg.norm(query) / np.linalg.norm(k) for k in second]
        right += int(np.argmax(cosine)) == i
    assert scores == {"probe_place": right / len(first)}


class Told(Encoder):
    """An encoder whose features are told beforehand."""

    def __init__(self, features):
        self.features = features

    def encode(self, pixels, *, bands):
        return {"features": np.asarray(self.features, np.float32)}


def test_features_that_tell_the_place_score_1_and_those_that_do_not_score_by_chance(small_dataset):
    _, _, probe = make(small_dataset)
    num = len(probe.rows) // 2
    assert probe.run(Told(np.tile(np.eye(num), (2, 1)))) == {"probe_place": 1.0}
    wrong = np.concatenate([np.eye(num), np.roll(np.eye(num), 1, axis=0)])
    assert probe.run(Told(wrong)) == {"probe_place": 0.0}
    assert probe.run(Told(np.ones((2 * num, 4)))) == {"probe_place": 1 / num}


def test_labels_of_images_of_one_date(make_dataset):
    path = make_dataset(num_places=60, num_dates=1, px=8, labels=["a", "b"] * 30, positions=False)
    _, places, probe = make(path, test_share=0.5)
    assert len(probe.rows) == len(places.held_out) // 2 * 2
    assert len(set(probe.place)) == len(probe.place)
    half = len(probe.rows) // 2
    assert probe.run(Told(np.eye(2)[probe.labels])) == {"probe_label": 1.0}
    upside_down = np.concatenate([probe.labels[:half], 1 - probe.labels[half:]])
    assert probe.run(Told(np.eye(2)[upside_down])) == {"probe_label": 0.0}


def test_pictures_that_come_class_by_class(make_dataset):
    """Neighbours are looked for in one half and asked from the other: both need every class."""
    path = make_dataset(num_places=60, num_dates=1, px=8, labels=["a"] * 30 + ["b"] * 30, positions=False)
    probe = make(path, test_share=0.5)[2]
    assert all(set(half) == {0, 1} for half in np.split(probe.labels, 2))
    assert probe.run(Told(np.eye(2)[probe.labels])) == {"probe_label": 1.0}


@pytest.mark.parametrize(
    ("dataset", "settings"),
    [
        ({"num_places": 12, "num_dates": 1}, {}),  # one date and no label: nothing to ask
        ({"num_places": 12}, {"test_share": 0.0}),  # nothing held out
        (
            {"num_places": 6, "positions": False},
            {"test_share": 0.1},
        ),  # one place has nobody to be mistaken for
    ],
)
def test_no_probe_where_there_is_nothing_to_ask(make_dataset, dataset, settings):
    assert make(make_dataset(px=8, **dataset), **settings)[2] is None


def test_held_out_places_of_different_numbers_of_dates(make_dataset):
    dates = [2, 4, 3] * 8
    dataset, _, probe = make(make_dataset(num_places=24, num_dates=dates, px=8), test_share=0.4)
    first, second = np.split(probe.rows, 2)
    assert (dataset.place[first] == dataset.place[second]).all()
    assert (first != second).all()
