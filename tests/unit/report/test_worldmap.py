"""The map: land where there is land, blocks where places were held out."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from seco.data.dataset import open_dataset
from seco.data.split import place_boxes, split_by_block, write_split
from seco.errors import DatasetError
from seco.report.facts import read_run
from seco.report.ground import HELD_OUT, TRAIN, find_ground
from seco.report.worldmap import WORLD, frame, held_out_blocks, land_picture, map_data


def opacity(uri, bounds, lon, lat):
    """How much land the picture shows at a point, 0-255."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    west, south, east, north = bounds
    row = int((north - lat) / (north - south) * image.shape[0])
    return int(image[row, int((lon - west) / (east - west) * image.shape[1]), 1])


@pytest.mark.parametrize("bounds", [WORLD, (-20.0, -10.0, 40.0, 40.0)])
def test_land_lies_where_it_should(bounds):
    uri = land_picture(bounds)
    assert len(uri) < 150_000
    assert opacity(uri, bounds, 20, 10) == 252  # Chad
    assert opacity(uri, bounds, -10, -5) == 0  # the Atlantic


def test_the_frame_holds_every_place_and_is_the_world_where_they_are_far_apart():
    assert frame(np.array([[-120.0, 40.0], [140.0, -30.0]])) == WORLD
    for places in ([[8.6, 39.3]], [[-8.6, 39.3], [22.0, 59.0]], [[179.0, 80.0]], [[-179.5, -59.0]]):
        points = np.array(places)
        west, south, east, north = frame(points)
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90
        assert ((points >= [west, south]) & (points <= [east, north])).all()
    assert frame(np.array([[0.0, -80.0], [100.0, 10.0]]))[1] == -90


def test_blocks_hold_all_held_out_places_and_no_training_place(finished):
    run = read_run(finished, label="run")
    ground = find_ground(run)
    blocks = np.array(held_out_blocks(run, ground))
    lonlat = ground.dataset.lonlat[ground.dataset.first_row]
    inside = ((lonlat[:, None] >= blocks[:, :2]) & (lonlat[:, None] < blocks[:, 2:])).all(2).any(1)
    assert (inside == (ground.part == HELD_OUT)).all()


def test_blocks_of_a_named_split_are_marked_where_no_place_in_them_was_trained_on(finished, make_dataset):
    run = read_run(finished, label="run")
    ground = find_ground(run)
    blocks = held_out_blocks(run, ground)
    assert blocks
    twin = open_dataset(make_dataset())
    file = write_split(twin, split_by_block(place_boxes(twin)), "apart")
    named = dataclasses.replace(run, config=run.config | {"split": str(file)})
    assert held_out_blocks(named, ground) == blocks
    # One place of a block is trained on after all: the block was not held out as a whole.
    part = ground.part.copy()
    part[np.flatnonzero(part == HELD_OUT)[0]] = TRAIN
    assert len(held_out_blocks(named, dataclasses.replace(ground, part=part))) == len(blocks) - 1
    gone = dataclasses.replace(run, config=run.config | {"split": "no such"})
    assert held_out_blocks(gone, ground) == []


@pytest.mark.parametrize("settings", [
    {"block_deg": 1e-300}, {"block_deg": "x"}, {"block_deg": [1]}, {"split_seed": -1}, {"split_seed": "x"},
    {"test_share": 0}, {"test_share": "x"}, {"split_seed": float("inf")}, {"split": ["a"]},
])  # fmt: skip
def test_settings_that_no_split_has_mark_no_block(finished, settings):
    run = read_run(finished, label="run")
    odd = dataclasses.replace(run, config=run.config | settings)
    assert held_out_blocks(odd, find_ground(run)) == []


def test_every_place_has_its_part_name_and_picture(finished):
    run = read_run(finished, label="run")
    ground = find_ground(run)
    data = map_data(run, ground, seed=0)
    assert data["num_known"] == data["num_shown"] == len(data["points"]["lon"]) == data["sprite"]["num"] == 24
    assert data["points"]["name"] == ground.dataset.place_ids
    assert [data["parts"][p] for p in data["points"]["part"]] == ground.part.tolist()
    assert dict(zip(data["parts"], data["counts"], strict=True))[TRAIN] == int((ground.part == TRAIN).sum())


def test_places_without_a_position_have_no_map(finished, make_dataset):
    run = read_run(finished, label="run")
    there = find_ground(run)
    with pytest.raises(DatasetError, match="no position"):
        map_data(run, dataclasses.replace(there, dataset=open_dataset(make_dataset(positions=False))), seed=0)
