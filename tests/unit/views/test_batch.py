"""From places to views: the right patches, each view of its season, the same whenever it is made."""

import dataclasses

import numpy as np
import pytest
import torch

from seco.data.dataset import open_dataset
from seco.methods import _contract as methods
from seco.sensors.rgb import display_bands
from seco.views.augment import Augment, colour_space, make_view
from seco.views.batch import Viewer

PX = 16
UNIT = {"low": np.zeros(3), "high": np.full(3, 255.0), "mean": np.zeros(3), "std": np.ones(3)}


def make_viewer(method="seco", *, seed=0, **settings):
    space = colour_space(display_bands(), **UNIT)
    return Viewer(
        plan=methods.find(method).PLAN, augment=Augment(out_px=PX), space=space, seed=seed, **settings
    )


def flat_seasons(num_seasons, places):
    """Season s of place p is one grey: 10 * s + p."""
    values = torch.arange(num_seasons)[:, None] * 10 + torch.from_numpy(places)[None]
    return values[:, :, None, None, None].expand(-1, -1, 3, PX, PX).to(torch.uint8)


@pytest.mark.parametrize("method", methods.names())
def test_each_view_shows_the_season_its_plan_says(method):
    viewer = make_viewer(method)
    places = np.array([3, 7, 1])
    seasons = flat_seasons(viewer.plan.num_seasons, places)
    # Crop, blur, flip, hue, saturation, contrast and grey leave one grey as it is; brightness does not, so it is off.
    still = Viewer(
        plan=viewer.plan, augment=Augment(out_px=PX, jitter=(0.0, 0.4, 0.4, 0.1)), space=viewer.space, seed=0
    )  # fmt: skip
    views = still.views(seasons, 0, places)
    assert list(views) == [v.name for v in viewer.plan.views]
    for view in viewer.plan.views:
        expected = torch.from_numpy(10.0 * view.season + places)[:, None, None, None]
        assert (views[view.name] - expected).abs().max() < 0.05


def test_rows_are_patches_of_the_place_itself(small_dataset):
    dataset = open_dataset(small_dataset)
    num_dates = np.bincount(dataset.place)
    places = np.array([5, 0, 23])
    for replacement in (False, True):
        rows = make_viewer(replacement=replacement).rows(4, places, dataset.first_row, num_dates)
        assert rows.shape == (3, 3)
        assert (dataset.place[rows] == places).all()
    without = np.stack([make_viewer().rows(e, places, dataset.first_row, num_dates) for e in range(50)])
    assert all(len(set(column)) == 3 for rows in without for column in rows.T)
    assert len(np.unique(without[:, 0, 0])) == 4  # every date serves as t0 some time


def test_views_are_a_function_of_seed_epoch_and_place_alone():
    places = np.array([3, 7, 1])
    pixels = torch.randint(
        0, 255, (3, 3, 3, PX, PX), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    first = make_viewer().views(pixels, 2, places)
    again = make_viewer().views(pixels, 2, places)
    assert all((first[k] == again[k]).all() for k in first)
    for other in (make_viewer().views(pixels, 3, places), make_viewer(seed=1).views(pixels, 2, places)):
        assert all((first[k] != other[k]).any() for k in first)
    part = make_viewer().views(pixels[:, 1:2], 2, places[1:2])
    assert all((first[k][1:2] - part[k]).abs().max() < 1e-3 for k in first)


def test_views_carry_no_gradient():
    views = make_viewer().views(flat_seasons(3, np.array([1, 2])), 0, np.array([1, 2]))
    assert not any(v.requires_grad for v in views.values())


@pytest.mark.parametrize("method", ["seco", "moco"])
def test_smaller_keys_are_the_same_draws_on_fewer_pixels(method):
    """The crops, colours and flips of full size; a blur in pixels of the view shrinks with it."""
    places = np.array([3, 7, 1, 4])
    viewer = make_viewer(method, key_px=8)
    num = viewer.plan.num_seasons
    pixels = torch.randint(
        0, 255, (num, 4, 3, PX, PX), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    small, full = viewer.views(pixels, 0, places), make_viewer(method).views(pixels, 0, places)
    assert torch.equal(small["q"], full["q"])
    drawn = make_viewer(method).parameters(0, places, patch_px=PX)
    for view in viewer.plan.keys:
        assert small[view.name].shape == (4, 3, 8, 8)
        p = drawn[view.name]
        if viewer.plan.order == "crop-augment":
            p = dataclasses.replace(p, sigma=p.sigma / 2)
        plain = make_view(pixels[view.season], p, viewer.space, out_px=8, order=viewer.plan.order)
        assert torch.equal(small[view.name], plain)
