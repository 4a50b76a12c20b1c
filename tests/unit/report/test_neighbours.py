"""Nearest neighbours against a plain loop."""

import dataclasses

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.errors import TaskError
from seco.report.ground import HELD_OUT, Ground
from seco.report.held import Held, choose_rows
from seco.report.neighbours import NUM_NEAREST, NUM_SHOWN, find_neighbours


def held_of(path, features=None, *, dim=6):
    """All patches of a dataset as held out, with random features that know a little of their place."""
    dataset = open_dataset(path)
    num = len(dataset.place_ids)
    ground = Ground(
        dataset=dataset, tier=dataset.training(), part=np.full(num, HELD_OUT, object),
        num_dates=np.bincount(dataset.place, minlength=num),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    if features is None:
        of_place = rng.normal(size=(num, dim))
        features = (of_place[dataset.place] + 0.9 * rng.normal(size=(len(dataset), dim))).astype(np.float32)
    return Held(
        ground=ground, rows=np.arange(len(dataset)), features=features, words="all", encoder="made up"
    )


def by_loop(held):
    """For each patch the nearest of other days, in order."""
    unit = held.features / np.linalg.norm(held.features, axis=1, keepdims=True)
    dates, out = held.ground.dataset.dates, []
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if dates[j] != dates[i]]
        out.append(sorted(others, key=lambda j: (-float(unit[i] @ unit[j]), j))[:NUM_NEAREST])
    return out


def test_totals_and_answers_are_those_of_a_plain_loop(small_dataset):
    held = held_of(small_dataset)
    found, wanted = find_neighbours(held, seed=3), by_loop(held)
    first = [held.place[w[0]] == held.place[i] for i, w in enumerate(wanted)]
    some = [any(held.place[w] == held.place[i]) for i, w in enumerate(wanted)]
    assert 0 < sum(first) < len(first)
    assert (found.num_queries, found.num_first, found.num_any) == (len(first), sum(first), sum(some))
    assert found.num_places == 24
    for query in found.right + found.wrong:
        assert query.nearest.tolist() == wanted[query.row]
        assert query.right.tolist() == (held.place[query.nearest] == held.place[query.row]).tolist()
        assert (np.diff(query.similarity) <= 0).all()
    assert all(q.right[0] for q in found.right)
    assert not any(q.right[0] for q in found.wrong)
    assert len(found.right) == len(found.wrong) == NUM_SHOWN
    # 3 other dates of its place among 3 x 24 patches of other days
    assert found.chance == pytest.approx(1 / 24)


def test_queries_shown_are_of_different_places_and_depend_on_the_seed_alone(small_dataset):
    held = held_of(small_dataset)
    rows = [[q.row for q in find_neighbours(held, seed=s).right] for s in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]
    assert len({int(held.place[r]) for r in rows[0]}) == NUM_SHOWN


def test_a_collapsed_encoder_is_no_better_than_chance(small_dataset):
    held = held_of(small_dataset, np.ones((96, 4), np.float32))
    found = find_neighbours(held, seed=0)
    assert found.num_first <= 0.1 * found.num_queries


def test_places_that_overlap_are_neither_right_nor_wrong(make_dataset, monkeypatch):
    held = held_of(make_dataset(num_places=6))
    monkeypatch.setattr(
        "seco.report.neighbours.overlapping",
        lambda a, b: np.array([[i, i] for i in range(6)] + [[0, 1], [1, 0]]),
    )
    found = find_neighbours(held, seed=0)
    pairs = {
        (int(held.place[q.row]), int(held.place[n])) for q in found.right + found.wrong for n in q.nearest
    }
    assert {p for p, _ in pairs} & {0, 1}
    assert not pairs & {(0, 1), (1, 0)}


def test_two_places_with_two_dates_are_needed(make_dataset):
    for name, dates in (("one", 1), ("some", [3, *[1] * 5])):
        with pytest.raises(TaskError, match="two dates"):
            find_neighbours(held_of(make_dataset(name, num_places=6, num_dates=dates)), seed=0)


def test_places_are_drawn_by_seed_and_the_words_say_how_many(small_dataset):
    ground = held_of(small_dataset).ground
    rows, words = choose_rows(ground, num_places=5, seed=1)
    assert len(np.unique(ground.dataset.place[rows])) == 5
    assert words == "20 patches of 5 of 24 held-out places, drawn with seed 1"
    assert choose_rows(ground, num_places=5, seed=1)[0].tolist() == rows.tolist()
    assert choose_rows(ground, num_places=5, seed=2)[0].tolist() != rows.tolist()
    train = dataclasses.replace(ground, part=np.full(24, "train", object))
    assert "nothing was held out" in choose_rows(train, num_places=99, seed=0)[1]
