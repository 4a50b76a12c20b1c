"""Splitting by spatial block: no pixel of a test patch lies in any training patch."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from seco.data.dataset import open_dataset
from seco.data.split import (
    DROPPED,
    TEST,
    TRAIN,
    find_split,
    place_boxes,
    read_split,
    split_by_block,
    write_split,
)
from seco.data.writer import DatasetWriter, Patch
from seco.errors import ConfigError, DatasetError
from seco.sensors.rgb import BANDS

EDGE = 2.0


def test_one_place_is_no_split():
    with pytest.raises(DatasetError, match="1 place cannot be split"):
        split_by_block(np.array([[0.0, 0.0, 1.0, 1.0]]))


def boxes_at(points, edge=EDGE):
    return np.array([[lon, lat, lon + edge, lat + edge] for lon, lat in points], np.float64)


def overlaps(a, b, buffer=0.0):
    """Whether two boxes share an area, by plain comparison, one turn of the globe to either side."""
    tiny = 1e-7
    for turn in (-360, 0, 360):
        if (
            a[0] + turn < b[2] + buffer - tiny and b[0] - buffer + tiny < a[2] + turn
            and a[1] < b[3] + buffer - tiny and b[1] - buffer + tiny < a[3]
        ):  # fmt: skip
            return True
    return False


points = st.lists(
    # Quarter degrees make shared edges, overlaps and block borders common.
    st.tuples(st.integers(-720, 719).map(lambda n: n / 4), st.integers(-240, 230).map(lambda n: n / 4)),
    min_size=4, max_size=60, unique=True,
)  # fmt: skip


class TestNoPixelIsShared:
    @settings(max_examples=60, deadline=None)
    @given(
        points=points,
        seed=st.integers(0, 5),
        buffer=st.sampled_from([0.0, 0.5, 3.0]),
        block=st.sampled_from([5.0, 10.0]),
    )
    def test_property(self, points, seed, buffer, block):
        boxes = boxes_at(points)
        try:
            split = split_by_block(boxes, seed=seed, buffer_deg=buffer, block_deg=block, test_share=0.3)
        except DatasetError:
            return  # too few blocks: a part would be empty
        for test in boxes[split.part == TEST]:
            for train in boxes[split.part == TRAIN]:
                assert not overlaps(train, test, buffer)
        # Nothing is dropped without reason.
        tests = boxes[split.part == TEST]
        for dropped in boxes[split.part == DROPPED]:
            assert any(overlaps(dropped, t, buffer) for t in tests)
        assert sum(split.counts().values()) == len(boxes)

    def test_neighbours_that_share_an_edge_are_kept(self):
        # 9 and 11 meet at the border of two blocks; a row of such pairs.
        boxes = boxes_at([(x, 0.0) for x in (-30, -12, 8, 10, 28, 30, 48, 50)])
        split = split_by_block(boxes, seed=0)
        assert split.counts()["dropped"] == 0

    def test_overlap_over_the_antimeridian(self):
        # The first goes from 178.5 to 180.5, which is -179.5 in the second.
        boxes = boxes_at([(178.5, 0.0), (-180.0, 0.0), *[(x, 40.0) for x in range(-100, 100, 20)]])
        split = next(
            s
            for s in (split_by_block(boxes, seed=i) for i in range(50))
            if (s.part[0] == TEST) != (s.part[1] == TEST)
        )
        assert sorted(split.part[:2].tolist()) == [TEST, DROPPED]

    def test_patches_of_a_real_grid(self, tmp_path):
        """From CRS and transform to footprints to the split, across the antimeridian in UTM."""
        with DatasetWriter(tmp_path / "a", bands=BANDS, patch_px=8, licence="", provenance={}) as writer:
            for i in range(40):
                writer.add(
                    Patch(
                        place=f"{i:02d}", pixels=np.zeros((3, 8, 8), np.uint8), crs="EPSG:32660",
                        transform=(1000.0, 0.0, 700_000.0 + 4000 * i, 0.0, -1000.0, 1e6),
                    )
                )  # fmt: skip
        boxes = place_boxes(open_dataset(tmp_path / "a"))
        assert (boxes[:, 2] - boxes[:, 0]).max() < 0.1
        assert boxes[:, 2].max() > 180
        split = split_by_block(boxes, block_deg=0.5, test_share=0.3)
        assert split.counts()["dropped"] > 0
        for test in boxes[split.part == TEST]:
            assert not any(overlaps(train, test) for train in boxes[split.part == TRAIN])


class TestDraw:
    boxes = boxes_at([(x, y) for x in range(-170, 170, 7) for y in range(-50, 60, 7)])

    def test_share(self):
        split = split_by_block(self.boxes, test_share=0.2)
        share = (split.part == TEST).mean()
        assert 0.2 <= share < 0.25

    def test_blocks_are_whole_but_for_what_is_dropped(self):
        split = split_by_block(self.boxes)
        for block in np.unique(split.block):
            kinds = set(split.part[split.block == block].tolist())
            assert kinds == {TEST} or TEST not in kinds

    def test_seed(self):
        a, b, c = (split_by_block(self.boxes, seed=s) for s in (0, 0, 1))
        np.testing.assert_array_equal(a.part, b.part)
        assert (a.part != c.part).any()

    def test_buffer_drops_more(self):
        near, far = (split_by_block(self.boxes, buffer_deg=b).counts()["dropped"] for b in (0.0, 8.0))
        assert far > near

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"test_share": 0.0}, "test share 0.0"), ({"test_share": 1.0}, "test share 1.0"),
            ({"block_deg": 0.0}, "block 0.0"), ({"buffer_deg": -1.0}, "buffer -1.0"),
        ],
    )  # fmt: skip
    def test_values_out_of_range(self, change, message):
        with pytest.raises(ConfigError, match=message):
            split_by_block(self.boxes, **change)

    def test_places_of_one_region_get_smaller_blocks(self):
        grid = [(1.0 + 0.02 * i, 45.0 + 0.02 * j) for i in range(8) for j in range(8)]
        boxes = np.array([(x - 0.005, y - 0.005, x + 0.005, y + 0.005) for x, y in grid])
        split = split_by_block(boxes, seed=0)
        assert split.block_deg < 0.16
        assert len(np.unique(split.block)) >= 10
        assert 0.1 < (split.part == TEST).mean() < 0.5

    def test_places_on_one_spot_cannot_be_split(self):
        with pytest.raises(DatasetError, match="leave no training or no test place among 3"):
            split_by_block(boxes_at([(1.0, 1.0)] * 3))

    @pytest.mark.parametrize("wrong", [{"block_deg": float("nan")}, {"block_deg": 0.0}, {"buffer_deg": -1.0}])
    def test_edges_out_of_range(self, wrong):
        with pytest.raises(ConfigError, match="both at most 360"):
            split_by_block(boxes_at([(1.0, 1.0), (40.0, 1.0)]), **wrong)


class TestFile:
    def test_round_trip(self, make_dataset):
        data = open_dataset(make_dataset())
        split = split_by_block(place_boxes(data), seed=3, buffer_deg=0.5)
        file = write_split(data, split, "holdout")
        again = read_split(data, file)
        np.testing.assert_array_equal(again.part, split.part)
        np.testing.assert_array_equal(again.block, split.block)
        assert (again.seed, again.buffer_deg, again.block_deg, again.test_share) == (3, 0.5, 10.0, 0.2)
        assert [p.name for p in file.parent.iterdir()] == ["holdout.parquet"]

    def test_of_another_dataset(self, make_dataset):
        data, other = open_dataset(make_dataset("a")), open_dataset(make_dataset("b", num_places=20))
        file = write_split(data, split_by_block(place_boxes(data)), "s")
        with pytest.raises(DatasetError, match="other places"):
            read_split(other, file)

    @pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
    def test_unreadable(self, make_dataset, content):
        data = open_dataset(make_dataset())
        file = data.path / "s.parquet"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(DatasetError, match="make it with `seco dataset split`"):
            read_split(data, file)


def by_hand(file, **columns):
    """Edit a split as the docs say: columns in place, what the file says of itself kept."""
    table = pq.read_table(file)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    pq.write_table(table, file)


class TestByHand:
    @pytest.fixture
    def data(self, make_dataset):
        return open_dataset(make_dataset())

    @pytest.fixture
    def file(self, data):
        return write_split(data, split_by_block(place_boxes(data), seed=3, buffer_deg=0.5), "mine")

    def test_what_was_edited_is_read(self, data, file):
        before = read_split(data, file)
        parts = ["test", "dropped"] * 6 + ["train"] * 12
        by_hand(file, part=parts)
        after = read_split(data, file)
        assert after.places(TEST).tolist() == list(range(0, 12, 2))
        assert after.places(DROPPED).tolist() == list(range(1, 12, 2))
        assert (after.seed, after.buffer_deg) == (3, 0.5)
        assert after.fingerprint() != before.fingerprint() == read_split(data, file_again(data)).fingerprint()

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"part": ["train"] * 23 + ["Test"]}, "part 'Test', known are train, test, dropped"),
            ({"part": ["train"] * 23 + [None]}, "cannot read split"),
            ({"part": ["train"] * 24}, "24 places to train on and 0 to test on"),
            ({"part": ["test"] * 23 + ["dropped"]}, "0 places to train on and 23 to test on"),
            ({"block": ["a"] * 24}, "cannot read split"),
            ({"block": [None] * 24}, "cannot read split"),
            ({"place": [f"{i:06d}" for i in range(1, 25)]}, "other places"),
        ],
    )
    def test_damaged(self, data, file, columns, message):
        by_hand(file, **columns)
        with pytest.raises(DatasetError, match=message):
            read_split(data, file)

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": -1}, {"seed": 1.5}, {"seed": None}, {"block_deg": 0}, {"block_deg": "wide"}, {"buffer_deg": -1},
            {"test_share": 1.0}, {"test_share": float("nan")},
        ],
    )  # fmt: skip
    def test_what_it_says_of_itself_is_checked(self, data, file, change):
        table = pq.read_table(file)
        about = {**json.loads(table.schema.metadata[b"seco"]), **change}
        pq.write_table(table.replace_schema_metadata({"seco": json.dumps(about)}), file)
        with pytest.raises(DatasetError, match="cannot read split"):
            read_split(data, file)

    def test_without_what_it_says_of_itself_or_a_column(self, data, file):
        table = pq.read_table(file)
        for other in (table.replace_schema_metadata(None), table.drop_columns(["part"])):
            pq.write_table(other, file)
            with pytest.raises(DatasetError, match="make it with `seco dataset split`"):
                read_split(data, file)

    def test_a_training_place_that_shares_pixels_with_a_test_place(self, tmp_path):
        with DatasetWriter(tmp_path / "a", bands=BANDS, patch_px=8, licence="", provenance={}) as writer:
            for i in range(30):  # each overlaps the next by half, and 10 degrees lie between every third
                west = (10.0 * (i // 3)) + 0.4 * (i % 3)
                writer.add(
                    Patch(
                        place=f"{i:02d}", pixels=np.zeros((3, 8, 8), np.uint8), crs="EPSG:4326",
                        transform=(0.1, 0.0, west, 0.0, -0.1, 10.0),
                    )
                )  # fmt: skip
        data = open_dataset(tmp_path / "a")
        file = write_split(data, split_by_block(place_boxes(data)), "mine")
        by_hand(file, part=["test", "dropped", "train"] + ["train"] * 27)  # 0 and 2 share an edge
        assert read_split(data, file).counts() == {"train": 28, "test": 1, "dropped": 1}
        by_hand(file, part=["train"] * 5 + ["test"] + ["train"] * 24)
        with pytest.raises(
            DatasetError, match=r"1 training places share pixels .*the first is 04\); make them"
        ):
            read_split(data, file)


def file_again(data):
    return write_split(data, split_by_block(place_boxes(data), seed=3, buffer_deg=0.5), "again")


class TestFind:
    def test_by_name_or_by_path(self, make_dataset, tmp_path, monkeypatch):
        data = open_dataset(make_dataset())
        split = split_by_block(place_boxes(data), seed=3)
        file = write_split(data, split, "mine")
        found, words = find_split(data, "mine")
        np.testing.assert_array_equal(found.part, split.part)
        assert words == f"split mine ({split.fingerprint()}), seed 3"
        elsewhere = tmp_path / "other.parquet"
        file.rename(elsewhere)
        assert find_split(data, str(elsewhere))[1] == f"split other ({split.fingerprint()}), seed 3"

    def test_a_missing_name_lists_those_there_are(self, make_dataset):
        data = open_dataset(make_dataset())
        with pytest.raises(
            DatasetError, match=r"no split 'x', and no other; make one with `seco dataset split`"
        ):
            find_split(data, "x")
        for name in ("b", "a"):
            write_split(data, split_by_block(place_boxes(data)), name)
        with pytest.raises(DatasetError, match=r"no split 'x', it has: a, b; make"):
            find_split(data, "x")


class TestBoxes:
    def test_are_the_first_patch_s(self, make_dataset):
        data = open_dataset(make_dataset(num_places=5))
        boxes = place_boxes(data)
        wkb = [data.index["geometry"][i].as_py() for i in data.first_row.tolist()]
        np.testing.assert_allclose(boxes, shapely.bounds(shapely.from_wkb(wkb)))

    def test_without_a_position(self, make_dataset):
        with pytest.raises(DatasetError, match="patches have no position"):
            place_boxes(open_dataset(make_dataset(positions=False)))


def test_overlaps_found_some_at_a_time_are_those_found_at_once(monkeypatch):
    from seco.data import overlap

    rng = np.random.default_rng(0)
    west, south = rng.uniform(-180, 180, 300), rng.uniform(-80, 80, 300)
    boxes = np.stack([west, south, west + 4, south + 4], axis=1)  # some reach beyond 180 degrees
    whole = overlap.overlapping(boxes, boxes[:100], grow_deg=0.1)
    monkeypatch.setattr(overlap, "AT_A_TIME", 7)
    assert overlap.overlapping(boxes, boxes[:100], grow_deg=0.1).tolist() == whole.tolist()
    turned = (boxes[:, None, 0] - boxes[None, :100, 0] + 180) % 360 - 180
    near = (abs(turned) < 4.1) & (abs(boxes[:, None, 1] - boxes[None, :100, 1]) < 4.1)
    assert whole.tolist() == np.argwhere(near).tolist()
    assert (
        overlap.overlapping(boxes[:0], boxes).shape == overlap.overlapping(boxes, boxes[:0]).shape == (0, 2)
    )
