"""Draws by coordinates: pure, uniform, independent of what else is drawn."""

import numpy as np
import pytest
import torch

from seco.views.draws import draw_seasons, shuffled, uniforms

BASE = {"seed": 3, "epoch": 5, "view": 2, "num": 24}


def test_a_draw_is_a_function_of_its_coordinates_and_not_of_the_batch():
    samples = np.array([4, 9, 2, 700_000])
    whole = uniforms(samples=samples, **BASE)
    for i, sample in enumerate(samples):
        alone = uniforms(samples=np.array([sample]), **BASE)
        assert (alone[0] == whole[i]).all()
    fewer = uniforms(samples=samples, **{**BASE, "num": 7})
    assert (fewer == whole[:, :7]).all()


@pytest.mark.parametrize("changed", [{"seed": 4}, {"epoch": 6}, {"view": 3}])
def test_every_coordinate_matters(changed):
    samples = np.arange(50)
    assert not np.isin(
        uniforms(samples=samples, **BASE), uniforms(samples=samples, **{**BASE, **changed})
    ).any()


def test_coordinates_do_not_stand_in_for_each_other():
    seen = {
        tuple(uniforms(seed=s, epoch=e, samples=np.array([p]), view=v, num=2)[0])
        for s in range(3) for e in range(3) for p in range(3) for v in range(3)
    }  # fmt: skip
    assert len(seen) == 81


def test_numbers_are_uniform_and_unrelated_between_neighbours():
    u = uniforms(samples=np.arange(20_000), **BASE)
    assert u.min() >= 0
    assert u.max() < 1
    # 20,000 draws: the mean's standard error is 0.002, a decile's share 0.0021.
    assert np.abs(u.mean(0) - 0.5).max() < 0.01
    assert np.abs(u.std(0) - 12**-0.5).max() < 0.005
    for column in u.T:
        assert np.abs(np.histogram(column, 10, (0, 1))[0] / len(u) - 0.1).max() < 0.01
    assert np.abs(np.corrcoef(u.T) - np.eye(24)).max() < 0.04
    assert abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < 0.04


def test_no_global_generator_is_touched_or_read():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = uniforms(samples=np.arange(4), **BASE)
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert (torch.get_rng_state() == before[1]).all()
    np.random.seed(1)  # noqa: NPY002
    assert (uniforms(samples=np.arange(4), **BASE) == first).all()


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    orders = [shuffled(seed=0, epoch=e, num=100) for e in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(100))
    assert (orders[0] != orders[1]).any()
    assert (orders[0] == shuffled(seed=0, epoch=0, num=100)).all()
    assert (orders[0] != shuffled(seed=1, epoch=0, num=100)).any()
    firsts = [shuffled(seed=0, epoch=e, num=10)[0] for e in range(2000)]
    assert np.abs(np.bincount(firsts, minlength=10) / 2000 - 0.1).max() < 0.03


def seasons(*, num=20_000, dates=5, replacement=False, num_seasons=3, epoch=0):
    num_dates = np.full(num, dates) if isinstance(dates, int) else dates
    return draw_seasons(
        seed=1,
        epoch=epoch,
        samples=np.arange(num),
        num_dates=num_dates,
        num_seasons=num_seasons,
        replacement=replacement,
    )


def repeats(drawn):
    return np.array([len(set(row)) < len(row) for row in drawn.tolist()])


def test_without_replacement_no_season_repeats_and_all_orders_are_alike_likely():
    drawn = seasons()
    assert not repeats(drawn).any()
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(kinds) == 60
    # 20,000 / 60 = 333 of each, standard deviation 18
    assert counts.min() > 333 - 90
    assert counts.max() < 333 + 90


def test_with_replacement_52_percent_of_triples_of_five_dates_repeat_one():
    drawn = seasons(replacement=True)
    assert repeats(drawn).mean() == pytest.approx(
        1 - 5 * 4 * 3 / 5**3, abs=0.015
    )  # 0.52; standard error 0.0035
    assert np.abs(np.bincount(drawn.ravel(), minlength=5) / drawn.size - 0.2).max() < 0.01
    assert repeats(seasons(replacement=True, num_seasons=2)).mean() == pytest.approx(
        0.2, abs=0.012
    )  # TP's 20%


@pytest.mark.parametrize("replacement", [False, True])
def test_seasons_lie_within_the_dates_of_each_place_whatever_the_batch(replacement):
    dates = np.array([3, 12, 5, 3, 7] * 200)
    drawn = seasons(num=1000, dates=dates, replacement=replacement)
    assert (drawn >= 0).all()
    assert (drawn < dates[:, None]).all()
    for i in (0, 1, 2):
        alone = draw_seasons(
            seed=1,
            epoch=0,
            samples=np.array([i]),
            num_dates=dates[i : i + 1],
            num_seasons=3,
            replacement=replacement,
        )
        assert (alone[0] == drawn[i]).all()
    assert (drawn != seasons(num=1000, dates=dates, replacement=replacement, epoch=1)).any(1).mean() > 0.7


def test_shuffling_by_blocks_mixes_within_windows_and_keeps_every_sample():
    block, num = 10, 2_005
    order = shuffled(seed=1, epoch=0, num=num, block=block)
    assert sorted(order) == list(range(num))
    assert (order == shuffled(seed=1, epoch=0, num=num, block=block)).all()
    assert (order != shuffled(seed=1, epoch=1, num=num, block=block)).any()
    assert (shuffled(seed=1, epoch=0, num=num) != order).any()
    # A window of 64 blocks is all that is read from while its samples last.
    windows = [set(order[i : i + 640] // block) for i in range(0, 1_280, 640)]
    assert [len(w) for w in windows] in ([64, 64], [64, 65], [65, 64])  # the last block is short
    assert max(windows[0]) - min(windows[0]) > 100  # from everywhere
    # Within a window neighbours do not stay together.
    assert (np.diff(order[:640]) == 1).mean() < 0.02
    assert len(set(order[:64] // block)) > 35


def test_one_block_of_all_is_a_whole_shuffle():
    assert (shuffled(seed=1, epoch=3, num=50, block=50) == shuffled(seed=1, epoch=3, num=50)).all()
