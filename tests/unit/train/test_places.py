"""Which places are trained on, and their patches as batches."""

import mmap
import threading
import time

import numpy as np
import pytest
import torch

from seco.data.dataset import open_dataset
from seco.data.split import DROPPED, TEST, TRAIN, place_boxes, split_by_block, write_split
from seco.errors import DatasetError
from seco.methods import _contract as methods
from seco.train import places as module
from seco.train.places import batches, choose_places
from seco.train.settings import Pretrain
from seco.views import draws
from seco.views.augment import Augment, colour_space
from seco.views.batch import Viewer


def choose(path, *, num_seasons=3, **settings):
    return choose_places(open_dataset(path), Pretrain(**settings), num_seasons=num_seasons)


def test_places_with_a_position_are_held_out_by_block(small_dataset):
    chosen = choose(small_dataset, test_share=0.25, split_seed=3)
    boxes = place_boxes(open_dataset(small_dataset))
    split = split_by_block(boxes, seed=3, test_share=0.25, block_deg=10.0)
    assert chosen.train.tolist() == split.places(TRAIN).tolist()
    assert len(chosen.held_out) == 6
    assert not set(chosen.train) & set(chosen.held_out)
    assert chosen.boxes == pytest.approx(boxes[chosen.train])
    assert chosen.how == "blocks of 10 degrees, seed 3, share 0.25"
    assert chosen.num_short == 0
    assert chosen.num_dates.tolist() == [4] * 24
    assert chosen.first_row.tolist() == [4 * i for i in range(24)]
    assert (
        choose(small_dataset, split_seed=4).train.tolist()
        != choose(small_dataset, split_seed=3).train.tolist()
    )


def test_a_split_of_the_user_s_own_takes_the_place_of_drawn_blocks(make_dataset):
    path = make_dataset()
    dataset = open_dataset(path)
    split = split_by_block(place_boxes(dataset), seed=7, test_share=0.4)
    split.part[split.places(TRAIN)[:3]] = DROPPED
    file = write_split(dataset, split, "mine")
    for settings in (
        {"split": "mine"},
        {"split": str(file)},
        {"split": "mine", "split_seed": 3, "test_share": 0.0},
    ):
        chosen = choose(path, **settings)
        assert chosen.train.tolist() == split.places(TRAIN).tolist()
        assert chosen.held_out.tolist() == split.places(TEST).tolist()
        assert len(chosen.train) + len(chosen.held_out) == 21
        assert chosen.boxes == pytest.approx(place_boxes(dataset)[chosen.train])
        assert chosen.how == f"split mine ({split.fingerprint()}), seed 7"
    with pytest.raises(DatasetError, match="no split 'his', it has: mine"):
        choose(path, split="his")


def test_nothing_is_held_out_where_nothing_is_asked(small_dataset):
    chosen = choose(small_dataset, test_share=0.0)
    assert chosen.train.tolist() == list(range(24))
    assert len(chosen.held_out) == 0
    assert len(chosen.boxes) == 24


def test_places_without_a_position_follow_the_source_s_own_split(make_dataset):
    splits = ["train", "test", "val", "test", "train", "train"]
    chosen = choose(make_dataset(num_places=6, positions=False, splits=splits))
    assert chosen.train.tolist() == [0, 2, 4, 5]
    assert chosen.held_out.tolist() == [1, 3]
    assert chosen.how == "the source's own test split"
    assert chosen.boxes.shape == (0, 4)


def test_places_without_position_or_split_are_held_out_at_random_by_the_seed(make_dataset):
    path = make_dataset(num_places=20, num_dates=3, px=8, positions=False)
    a, again, b = (choose(path, split_seed=s) for s in (0, 0, 1))
    assert len(a.held_out) == 4
    assert sorted([*a.train, *a.held_out]) == list(range(20))
    assert a.held_out.tolist() == again.held_out.tolist() != b.held_out.tolist()
    assert a.how.startswith("at random, seed 0")


def test_places_with_too_few_dates_are_left_out_and_counted(make_dataset):
    path = make_dataset(num_places=10, num_dates=[4, 2, 3, 1, 4, 4, 2, 4, 4, 4], px=8)
    chosen = choose(path, test_share=0.0)
    assert chosen.train.tolist() == [0, 2, 4, 5, 7, 8, 9]
    assert chosen.num_short == 3
    assert len(chosen.boxes) == 7
    assert chosen.first_row[2] == 6
    assert choose(path, test_share=0.0, num_seasons=1).num_short == 0


@pytest.mark.parametrize(("method", "needs"), [("seco", 3), ("moco-tp", 2)])
def test_one_date_a_place_with_a_method_that_needs_more_is_a_clear_error(make_dataset, method, needs):
    path = make_dataset(num_places=10, num_dates=1, px=8)
    with pytest.raises(DatasetError, match=rf"method {method} needs {needs} dates.*at most 1.*--method moco"):
        choose(path, method=method, num_seasons=methods.find(method).PLAN.num_seasons)
    assert len(choose(path, method="moco", num_seasons=1).train) > 5


def test_a_share_that_leaves_nothing_to_train_on_is_told_as_such(make_dataset):
    with pytest.raises(DatasetError, match=r"all 3 places .* held out .*--test-share"):
        choose(make_dataset(num_places=3, px=8, positions=False), test_share=0.99)
    with pytest.raises(DatasetError, match=r"all 2 places .* own test split"):
        choose(make_dataset("own.seco", num_places=2, px=8, positions=False, splits=["test", "test"]))


# --- batches ------------------------------------------------------------------------------------------------------------


def reader(path, *, batch_size=5, first=0, last=8, seed=1, tier=None):
    dataset = open_dataset(path)
    tier = tier or dataset.training()
    space = colour_space(tier.bands, low=tier.low, high=tier.high, mean=tier.mean, std=tier.std)
    viewer = Viewer(plan=methods.find("seco").PLAN, augment=Augment(out_px=16), space=space, seed=seed)
    places = choose_places(dataset, Pretrain(test_share=0.0), num_seasons=3)
    return (
        viewer,
        places,
        batches(tier, places, viewer, batch_size=batch_size, first=first, last=last, seed=seed),
    )


def test_batches_hold_the_patches_of_their_places(small_dataset):
    dataset = open_dataset(small_dataset)
    tier = dataset.training()
    viewer, places, got = reader(small_dataset)
    for batch in got:
        rows = viewer.rows(batch.epoch, batch.places, places.first_row, places.num_dates)
        assert (dataset.place[rows] == batch.places).all()
        assert batch.seasons.shape == (3, 5, 3, 16, 16)
        assert batch.seasons.dtype == torch.uint8
        assert (batch.seasons.numpy() == tier.pixels[rows.ravel()].reshape(3, 5, 3, 16, 16)).all()


def test_an_epoch_takes_every_place_at_most_once_and_drops_what_fills_no_batch(small_dataset):
    got = list(reader(small_dataset, last=12)[2])
    assert [b.epoch for b in got] == [0] * 4 + [1] * 4 + [2] * 4  # 24 places, 5 a batch
    orders = []
    for epoch in range(3):
        taken = np.concatenate([b.places for b in got[4 * epoch : 4 * epoch + 4]])
        assert len(set(taken)) == 20
        orders.append(taken.tolist())
    assert orders[0] != orders[1]
    assert set(orders[0]) != set(orders[1])  # those left out differ from epoch to epoch


def test_a_run_that_starts_in_the_middle_of_an_epoch_gets_the_same_batches(small_dataset):
    whole = list(reader(small_dataset, last=11)[2])
    for first in (1, 4, 6):
        part = list(reader(small_dataset, first=first, last=11)[2])
        assert len(part) == 11 - first
        for a, b in zip(whole[first:], part, strict=True):
            assert a.epoch == b.epoch
            assert (a.places == b.places).all()
            assert torch.equal(a.seasons, b.seasons)


def test_order_by_blocks_goes_on_in_the_middle_of_an_epoch_too(small_dataset, monkeypatch):
    dataset = open_dataset(small_dataset)
    tier = dataset.training()
    monkeypatch.setattr(module, "BLOCK_BYTES", 3 * 4 * tier.pixels[0].nbytes)
    monkeypatch.setattr(draws, "WINDOW", 2)
    viewer, places, _ = reader(small_dataset)
    assert module.block_places(tier, places) == 3

    def got(first):
        how = {"batch_size": 6, "first": first, "last": 8, "seed": 1, "shuffle": "blocks"}
        return list(batches(tier, places, viewer, **how))

    whole, part = got(0), got(6)
    for a, b in zip(whole[6:], part, strict=True):
        assert (a.places == b.places).all()
        assert torch.equal(a.seasons, b.seasons)
    for batch in whole:  # a batch is a window here: two blocks of three neighbours
        assert len({p // 3 for p in batch.places}) == 2
    assert sorted(np.concatenate([b.places for b in whole[:4]])) == list(range(24))
    assert [b.places.tolist() for b in whole[:4]] != [b.places.tolist() for b in whole[4:]]


def test_what_is_asked_for_are_the_pages_of_the_patches(tmp_path):
    """Patches of 5,000 bytes behind a header of 128."""
    np.save(tmp_path / "a.npy", np.zeros((40, 1, 50, 100), np.uint8))
    pixels = np.load(tmp_path / "a.npy", mmap_mode="r")
    rows = np.array([0, 39, 7])
    page = mmap.PAGESIZE
    for (start, length), row in zip(module.pages(rows, size=5000, offset=128), rows, strict=True):
        assert start % page == 0
        assert start <= 128 + 5000 * row < start + page
        assert start + length == 128 + 5000 * (row + 1)
    module.ask_for(pixels, rows)  # the kernel takes it
    with pytest.raises(ValueError, match="out of bounds"):  # so a map was asked
        module.ask_for(pixels, np.array([41]))
    module.ask_for(np.zeros((3, 2)), np.array([1]))  # what is in memory needs nothing


def test_nothing_left_gives_nothing(small_dataset):
    assert list(reader(small_dataset, first=8, last=8)[2]) == []


def test_numbers_of_16_bits_keep_their_values(make_dataset):
    from seco.sensors import sentinel2

    bands = [sentinel2.band(b) for b in ("B02", "B03", "B04", "B08")]
    path = make_dataset(num_places=6, bands=bands, dtype="uint16")
    tier = open_dataset(path).training()
    viewer, places, got = reader(path, last=1)
    (batch,) = got
    rows = viewer.rows(0, batch.places, places.first_row, places.num_dates)
    assert batch.seasons.dtype == torch.int32
    assert (batch.seasons.numpy().reshape(15, 4, 16, 16) == tier.pixels[rows.ravel()]).all()
    assert batch.seasons.max() > 255


def test_what_goes_wrong_while_reading_ahead_is_raised_to_the_caller(small_dataset):
    tier = open_dataset(small_dataset).training()

    class Failing:
        dtype = tier.pixels.dtype
        calls = 0

        def __getitem__(self, rows):
            Failing.calls += 1
            if Failing.calls == 3:
                raise OSError(5, "Input/output error")
            return tier.pixels[rows]

    class Tier:
        pixels = Failing()

    viewer, places, _ = reader(small_dataset)
    unchecked = getattr(batches, "__wrapped__", batches)  # a stand-in for the tier is no TrainingTier
    seen = []

    def take():
        try:
            seen.extend(unchecked(Tier(), places, viewer, batch_size=5, first=0, last=8, seed=1))
        except OSError as err:
            seen.append(err)

    taker = threading.Thread(
        target=take, daemon=True
    )  # an error that is not handed over would be waited for, for ever
    taker.start()
    taker.join(timeout=60)
    assert not taker.is_alive()
    assert len(seen) == 3
    assert str(seen[-1]) == "[Errno 5] Input/output error"
    assert not readers()


def readers():
    return [t for t in threading.enumerate() if t.name == "seco-reader"]


def test_closing_stops_the_reader_even_where_nobody_took_its_batches(small_dataset):
    _, _, got = reader(small_dataset, last=1000)
    next(got)
    time.sleep(0.3)  # the queue is full by now
    assert readers()
    got.close()
    assert not readers()


def test_reading_ahead_is_bounded(small_dataset, monkeypatch):
    calls = []
    original = module.shuffled
    monkeypatch.setattr(module, "shuffled", lambda **k: (calls.append(k["epoch"]), original(**k))[1])
    _, _, got = reader(small_dataset, last=4000)
    next(got)
    time.sleep(0.3)
    assert len(calls) <= 3  # a queue of three batches: the second epoch, not the thousandth
    got.close()
