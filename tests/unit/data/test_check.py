"""`seco dataset check`: whole datasets pass, and whatever is damaged is found."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seco.data import format as fmt
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.errors import DatasetError


def found(path):
    """What check says: its problems, or the one error that stops it."""
    try:
        return [f"{p.where}: {p.what}" for p in check(open_dataset(path))]
    except DatasetError as err:
        return [str(err)]


def flip(file, position):
    raw = bytearray(file.read_bytes())
    raw[position] ^= 0x10
    file.write_bytes(raw)


def test_a_whole_dataset_has_no_problem(small_dataset):
    assert found(small_dataset) == []


def test_a_flipped_byte_of_pixels_names_the_patch(make_dataset):
    path = make_dataset(num_places=3, num_dates=2)
    before = open_dataset(path).planes(0, 6)[0]
    flip(next(f for f in (path / "archive" / "g0").rglob("*") if f.is_file() and f.name != "zarr.json"), 200)
    problems = found(path)
    assert len(problems) == 1
    assert problems[0].startswith("patch 0: ")
    # The other patches can still be read.
    np.testing.assert_array_equal(open_dataset(path).planes(1, 6)[0], before[1:])


@pytest.mark.parametrize(
    "name", ["index.parquet", "dataset.json", "archive/zarr.json", "archive/g0/zarr.json", "shard"]
)
def test_a_flipped_byte_anywhere_is_found(make_dataset, name):
    path = make_dataset(num_places=2, num_dates=2)
    shard = next(f for f in (path / "archive" / "g0").rglob("*") if f.is_file() and f.name != "zarr.json")
    file = shard if name == "shard" else path / name
    whole = file.read_bytes()
    # Of a chunk's first bytes, some (type size, flags) can change and leave the pixels as they were.
    first = 64 if name == "shard" else 0
    for position in np.random.default_rng(3).integers(first, len(whole), 25).tolist():
        flip(file, position)
        assert found(path), f"byte {position} of {name}"
        file.write_bytes(whole)
    assert found(path) == []


def test_a_lost_shard(make_dataset):
    path = make_dataset(num_places=2, num_dates=2)
    next(f for f in (path / "archive" / "g0").rglob("*") if f.is_file() and f.name != "zarr.json").unlink()
    assert len(found(path)) == 4


def test_a_lost_file(make_dataset):
    path = make_dataset()
    (path / "archive" / "zarr.json").unlink()
    assert any("zarr.json" in p for p in found(path))


def test_a_shard_cut_short(make_dataset):
    path = make_dataset(num_places=2, num_dates=2)
    shard = next(f for f in (path / "archive" / "g0").rglob("*") if f.is_file() and f.name != "zarr.json")
    shard.write_bytes(shard.read_bytes()[:-100])
    assert len(found(path)) == 4


class TestTrainingTiers:
    """A tier is a cache: what is damaged in it is said, and that it can be removed."""

    def tiers(self, make_dataset):
        path = make_dataset(num_places=2, num_dates=2)
        data = open_dataset(path)
        return path, [path / "training" / data.training(n).fingerprint for n in (None, ["green"])]

    def test_whole_ones_and_no_more_than_that(self, make_dataset):
        path, folders = self.tiers(make_dataset)
        (path / "training" / "0123.partial-99").mkdir()  # another process is making it, or was killed
        old = path / "training" / "old"
        old.mkdir()
        told = json.loads((folders[0] / "tier.json").read_text())
        del told["checksum"], told["files"]
        (old / "tier.json").write_text(json.dumps({**told, "version": 1}))
        assert found(path) == []
        (old / "tier.json").write_text(json.dumps(told))  # today's version has a checksum
        assert len(found(path)) == 1

    @pytest.mark.parametrize("name", ["pixels.npy", "tier.json"])
    def test_a_flipped_byte(self, make_dataset, name):
        path, folders = self.tiers(make_dataset)
        file = folders[1] / name
        whole = file.read_bytes()
        positions = [0, len(whole) - 1, *np.random.default_rng(3).integers(0, len(whole), 20).tolist()]
        for position in positions:
            flip(file, position)
            problems = found(path)
            assert len(problems) == 1, f"byte {position} of {name}"
            assert problems[0].startswith(f"training/{folders[1].name}: ")
            assert problems[0].endswith("remove this folder, it is made again")
            file.write_bytes(whole)
        assert found(path) == []

    @pytest.mark.parametrize("name", ["pixels.npy", "tier.json"])
    def test_a_lost_file(self, make_dataset, name):
        path, folders = self.tiers(make_dataset)
        (folders[0] / name).unlink()
        assert len(found(path)) == 1
        assert found(path)[0].startswith(f"training/{folders[0].name}: cannot be read (FileNotFoundError")

    def test_one_in_the_cache_where_those_of_a_read_only_dataset_lie(
        self, make_dataset, tmp_path, monkeypatch
    ):
        path, folders = self.tiers(make_dataset)
        monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
        kept = tmp_path / "cache" / open_dataset(path).fingerprint / "training" / folders[0].name
        kept.parent.mkdir(parents=True)
        folders[0].rename(kept)
        assert found(path) == []
        flip(kept / "pixels.npy", 200)
        (problem,) = found(path)
        assert problem.startswith(f"{kept}: ")


class TestIndex:
    """The index against itself and against dataset.json, whatever checksums say."""

    def change(self, path, **columns):
        table = pq.read_table(path / "index.parquet")
        for name, values in columns.items():
            at = table.column_names.index(name)
            table = table.set_column(
                at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
            )
        pq.write_table(table, path / "index.parquet")
        file = path / fmt.META_NAME
        values = json.loads(file.read_text())
        values["files"]["index.parquet"] = fmt.file_checksum(path / "index.parquet")
        file.write_text(json.dumps(values | {"checksum": fmt.json_checksum(values)}))
        return found(path)

    def test_rows(self, make_dataset):
        path = make_dataset(num_places=2, num_dates=2)
        assert self.change(path, row=[0, 1, 3, 2]) == ["index: column row is not 0, 1, 2, ..."]

    def test_places_apart(self, make_dataset):
        path = make_dataset(num_places=2, num_dates=2)
        assert self.change(path, place=["a", "b", "a", "b"]) == [
            "index: patches of a place do not stand together"
        ]

    def test_number_of_places(self, make_dataset):
        path = make_dataset(num_places=2, num_dates=2)
        assert self.change(path, place=["a"] * 4)[0].startswith("index: 1 places")

    def test_dates_out_of_order(self, make_dataset):
        path = make_dataset(num_places=1, num_dates=3)
        dates = open_dataset(path).dates[[0, 2, 1]].tolist()
        assert self.change(path, date=dates) == ["patch 2: dates of its place are not in order"]

    def test_checksum(self, make_dataset):
        path = make_dataset(num_places=1, num_dates=2)
        problems = self.change(path, checksum=["0" * 16, open_dataset(path).index["checksum"][1].as_py()])
        assert len(problems) == 1
        assert problems[0].startswith("patch 0: checksum")

    def test_edited_by_hand(self, make_dataset):
        path = make_dataset()
        file = path / fmt.META_NAME
        file.write_text(json.dumps(json.loads(file.read_text()) | {"licence": "mine"}))
        assert "damaged, or edited by hand" in found(path)[0]


def test_datasets_written_before_files_had_checksums(make_dataset):
    path = make_dataset()
    file = path / fmt.META_NAME
    values = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("files", "checksum")}
    file.write_text(json.dumps(values))
    assert found(path) == []
