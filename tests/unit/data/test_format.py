"""The names and checks of the format: what `dataset.json` may say, checksums, seasons, groups of bands."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from seco.data import format as fmt
from seco.errors import DatasetError
from seco.sensors.bands import Band

DOCS = Path(__file__).resolve().parents[3] / "docs" / "dataset-format.md"


def edit(path, **values):
    file = path / fmt.META_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class TestReadMeta:
    def test_reads_what_was_written(self, small_dataset):
        meta = fmt.read_meta(small_dataset)
        again = json.loads((small_dataset / fmt.META_NAME).read_text())
        assert meta.to_json() == again
        assert (meta.num_places, meta.num_patches, meta.patch_px) == (24, 96, 16)

    def test_newer_version(self, make_dataset):
        path = make_dataset()
        edit(path, version=fmt.FORMAT_VERSION + 1)
        with pytest.raises(DatasetError, match=r"version 2; this seco reads up to 1: upgrade seco"):
            fmt.read_meta(path)

    @pytest.mark.parametrize("version", [None, "1", 1.5])
    def test_version_of_another_kind(self, make_dataset, version):
        path = make_dataset()
        edit(path, version=version)
        with pytest.raises(DatasetError, match="version"):
            fmt.read_meta(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "other"}, "is not a seco-dataset file"),
            ({"bands": [{"name": "red"}]}, "is damaged"),
            ({"bands": [{"name": "red", "units": "display", "colour": 1}]}, "unknown field colour"),
            ({"groups": [{"name": "g0"}]}, "is damaged"),
            ({"num_patches": "many"}, "is damaged"),
            ({"provenance": 3}, "is damaged"),
        ],
    )
    def test_other_contents(self, make_dataset, change, message):
        path = make_dataset()
        edit(path, **change)
        with pytest.raises(DatasetError, match=message):
            fmt.read_meta(path)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"null"])
    def test_no_json_object(self, tmp_path, content):
        (tmp_path / fmt.META_NAME).write_bytes(content)
        with pytest.raises(DatasetError, match="is damaged"):
            fmt.read_meta(tmp_path)

    def test_no_dataset(self, tmp_path):
        with pytest.raises(DatasetError, match="is not a dataset"):
            fmt.read_meta(tmp_path / "nowhere")

    def test_never_finished(self, tmp_path):
        (tmp_path / "a.seco.partial").mkdir()
        with pytest.raises(DatasetError, match=r"never finished.*run its import again"):
            fmt.read_meta(tmp_path / "a.seco")


class TestChecksum:
    def test_is_blake2b_of_little_endian_bytes_group_by_group(self):
        first = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
        second = np.arange(4, dtype=np.int8).reshape(1, 2, 2)
        wanted = hashlib.blake2b(first.astype("<u2").tobytes() + second.tobytes(), digest_size=8).hexdigest()
        assert fmt.checksum([first, second]) == wanted
        assert fmt.checksum([first.astype(">u2"), second]) == wanted
        assert fmt.checksum([np.asfortranarray(first), second]) == wanted

    def test_one_bit_changes_it(self):
        plane = np.zeros((1, 4, 4), np.uint8)
        before = fmt.checksum([plane])
        plane[0, 3, 3] ^= 1
        assert fmt.checksum([plane]) != before

    def test_of_json_is_the_same_after_reading_it_back(self):
        meta = fmt.DatasetMeta(
            bands=(), groups=(), patch_px=1, num_patches=0, num_places=0, licence="ä",
            provenance={"path": Path("a"), "by": {10: 1, 9: (1, 2)}, "share": 0.1},
        )  # fmt: skip
        written = json.loads(json.dumps(meta.to_json(), indent=2))
        assert written["checksum"] == fmt.json_checksum(written)


@pytest.mark.parametrize(
    ("month", "lat", "season"),
    [
        (12, 50.0, 0),
        (2, 50.0, 0),
        (3, 50.0, 1),
        (8, 50.0, 2),
        (11, 0.0, 3),
        (12, -30.0, 2),
        (4, -30.0, 3),
        (7, -30.0, 0),
    ],
)
def test_season(month, lat, season):
    assert fmt.season_of(month, lat) == season


class TestGroupBands:
    bands = tuple(Band(name=n, units="reflectance") for n in ("a", "b", "c", "d"))

    def test_finest_first_and_by_type(self):
        pixels = {
            "a": np.zeros((2, 2), np.uint16), "b": np.zeros((6, 6), np.uint16), "c": np.zeros((6, 6), np.uint8),
            "d": np.zeros((6, 6), np.uint16),
        }  # fmt: skip
        groups = fmt.group_bands(self.bands, pixels)
        assert [g.bands for g in groups] == [("b", "d"), ("c",), ("a",)]
        assert [(g.height_px, g.dtype) for g in groups] == [(6, "uint16"), (6, "uint8"), (2, "uint16")]

    def test_missing_band(self):
        with pytest.raises(DatasetError, match="band b is declared but the patch has only a"):
            fmt.group_bands(self.bands, {"a": np.zeros((2, 2))})

    def test_not_a_plane(self):
        with pytest.raises(DatasetError, match="shape"):
            fmt.group_bands(self.bands[:1], {"a": np.zeros((1, 2, 2))})


def test_every_column_is_documented():
    assert set(fmt.INDEX_DOCS) == set(fmt.INDEX_SCHEMA.names)
    text = DOCS.read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\w<>]+)", text, re.MULTILINE)
    told = {name: kind for name, kind in rows if name in fmt.INDEX_DOCS}
    names = {"string": "string", "double": "float64", "date32[day]": "date32", "float": "float32"}
    wanted = {
        f.name: {"transform": "list<float64>", "labels": "list<string>"}.get(f.name)
        or names.get(str(f.type), str(f.type))
        for f in fmt.INDEX_SCHEMA
    }
    assert told == wanted


def test_every_key_of_dataset_json_is_documented(small_dataset):
    text = DOCS.read_text()
    values = json.loads((small_dataset / fmt.META_NAME).read_text())
    keys = {*values, *values["groups"][0], *(f for f in Band.__dataclass_fields__)}
    assert [k for k in sorted(keys) if f"`{k}`" not in text] == []


def test_the_reader_in_the_docs_reads(small_dataset, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    (tmp_path / "mydata").symlink_to(small_dataset)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(code, "docs/dataset-format.md", "exec"), found)
    from seco.data.dataset import open_dataset

    last = open_dataset(small_dataset).read(95)
    assert {k: v.tolist() for k, v in found["bands"].items()} == {k: v.tolist() for k, v in last.items()}
