"""Miniature folders in the exact layouts of BigEarthNet 1 and 2."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from seco.data.dataset import open_dataset
from seco.data.importers import bigearthnet
from seco.data.nomenclature import CLASSES_19, CLASSES_43, DROPPED, TO_19, in_nomenclature, nomenclature_of
from seco.errors import DatasetError, TaskError

RGB = ("B04", "B03", "B02")


def run(source: Path, out: Path, **options: object) -> object:
    return bigearthnet.run(source, out, bigearthnet.Options(**options))  # type: ignore[arg-type]


class TestNomenclature:
    def test_sizes_and_what_is_dropped(self):
        assert (len(CLASSES_19), len(CLASSES_43), len(DROPPED)) == (19, 43, 11)
        assert len(set(CLASSES_43)) == 43
        assert set(TO_19.values()) == set(CLASSES_19)
        kept = [n for n in CLASSES_19 if list(TO_19.values()).count(n) == 1]
        assert len(kept) == 10
        # Bare rock is dropped, not merged into sparse vegetation; road networks are not industry.
        assert {"Bare rock", "Burnt areas", "Road and rail networks and associated land"} <= set(DROPPED)

    def test_mapping(self):
        found = in_nomenclature(
            ["Rice fields", "Salines", "Water bodies", "Sea and ocean", "Airports"],
            num_classes=19,
            known=CLASSES_43,
        )
        assert found == ["Arable land", "Coastal wetlands", "Inland waters", "Marine waters"]
        assert in_nomenclature(["Airports"], num_classes=43, known=CLASSES_43) == ["Airports"]
        assert in_nomenclature(["Urban fabric"], num_classes=19, known=CLASSES_19) == ["Urban fabric"]

    def test_which_nomenclature(self):
        assert nomenclature_of(["Pastures", "Airports"], num_classes=19) == CLASSES_43
        assert nomenclature_of(["Pastures", "Urban fabric"], num_classes=19) == CLASSES_19
        with pytest.raises(TaskError, match="of the 19 classes"):
            nomenclature_of(["Urban fabric"], num_classes=43)
        with pytest.raises(TaskError, match="labels lake are not of BigEarthNet's"):
            nomenclature_of(["lake"], num_classes=19)


LABELS_43 = [("Rice fields", "Airports"), ("Pastures",), ("Sea and ocean",), ("Airports",)]


class TestVersion1:
    def test_everything_is_kept(self, tmp_path: Path, ben: SimpleNamespace) -> None:
        names = ben.write_v1(tmp_path / "BigEarthNet-v1.0", LABELS_43)
        report = run(tmp_path / "BigEarthNet-v1.0", tmp_path / "out")
        data = open_dataset(tmp_path / "out")
        assert report.num_patches == 4
        by_name = dict(zip(data.index["item"].to_pylist(), data.label_sets, strict=True))
        assert by_name == {n: sorted(found) for n, found in zip(names, LABELS_43, strict=True)}
        assert [(g.height_px, g.bands) for g in data.meta.groups] == [
            (120, ("B02", "B03", "B04", "B08")), (60, ("B05", "B06", "B07", "B8A", "B11", "B12")), (20, ("B01", "B09"))
        ]  # fmt: skip
        assert {str(d) for d in data.dates} == {"2017-06-13", "2017-06-14"}
        with rasterio.open(tmp_path / "BigEarthNet-v1.0" / names[0] / f"{names[0]}_B03.tif") as file:
            row = data.index["item"].to_pylist().index(names[0])
            np.testing.assert_array_equal(data.read(row)["B03"], file.read(1))
            assert data.index["transform"][row].as_py() == list(file.transform)[:6]
        assert not data.index["geometry"].null_count
        assert data.index["split"].null_count == 4

    def test_the_lists_beside_it_are_found(self, tmp_path: Path, ben: SimpleNamespace) -> None:
        root = tmp_path / "BigEarthNet-v1.0"
        names = ben.write_v1(root, LABELS_43, bands=RGB)
        (tmp_path / "train.csv").write_text(f"patch\n{names[0]},S1A_x\n{names[1]},S1A_y\n")
        (tmp_path / "test.csv").write_text(f"{names[2]}\n")
        (root / "patches_with_seasonal_snow.csv").write_text(f"{names[3]}\n")
        report = run(root, tmp_path / "out", bands=RGB)
        data = open_dataset(tmp_path / "out")
        assert dict(
            zip(data.index["item"].to_pylist(), data.index["split"].to_pylist(), strict=True)
        ) == dict(zip(names, ("train", "train", "test"), strict=False))
        assert "1 left out under snow or cloud" in report.notes
        assert [b.name for b in data.meta.bands] == list(RGB)
        kept = run(root, tmp_path / "all", bands=RGB, on_cloudy="keep")
        assert kept.num_patches == 4

    def test_the_pixels_are_read_as_they_are_walked(
        self, tmp_path: Path, ben: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At most IN_FLIGHT patches are under way: neither names nor pixels of the whole are ever held."""
        ben.write_v1(tmp_path / "ben", [("Pastures",)] * 12, bands=RGB)
        monkeypatch.setattr(bigearthnet, "IN_FLIGHT", 3)
        walked: list[int] = []
        written: list[int] = []
        wanted, add = bigearthnet._wanted, bigearthnet.DatasetWriter.add

        def watched(*args: object) -> object:
            for found in wanted(*args):  # type: ignore[arg-type]
                walked.append(len(written))
                yield found

        monkeypatch.setattr(bigearthnet, "_wanted", watched)
        monkeypatch.setattr(
            bigearthnet.DatasetWriter, "add", lambda self, patch: (written.append(1), add(self, patch))[1]
        )
        run(tmp_path / "ben", tmp_path / "out", bands=RGB)
        assert len(walked) == len(written) == 12
        assert all(i - done <= 3 for i, done in enumerate(walked))


class TestVersion2:
    def test_table_split_snow_and_cloud(self, tmp_path: Path, ben: SimpleNamespace) -> None:
        names = ben.write_v2(
            tmp_path, [("Urban fabric",), ("Pastures",), ("Pastures",), ("Marine waters", "Pastures")]
        )
        report = run(tmp_path, tmp_path / "out")
        data = open_dataset(tmp_path / "out")
        assert data.index["item"].to_pylist() == [names[0], names[3]]
        assert data.label_sets == [["Urban fabric"], ["Marine waters", "Pastures"]]
        assert data.index["split"].to_pylist() == ["train", "train"]
        assert "2 left out under snow or cloud" in report.notes
        # The table lies beside the folder too, where that alone is given.
        run(tmp_path / "BigEarthNet-S2", tmp_path / "again", on_cloudy="keep", bands=RGB)
        assert open_dataset(tmp_path / "again").index["split"].to_pylist() == [
            "train",
            "val",
            "test",
            "train",
        ]


def _cut(root: Path, names: list[str], ben: SimpleNamespace) -> None:
    file = root / names[0] / f"{names[0]}_B03.tif"
    file.write_bytes(file.read_bytes()[:300])


def _no_band(root: Path, names: list[str], ben: SimpleNamespace) -> None:
    (root / names[0] / f"{names[0]}_B04.tif").unlink()


def _no_labels(root: Path, names: list[str], ben: SimpleNamespace) -> None:
    (root / names[0] / f"{names[0]}_labels_metadata.json").unlink()


def _bad_labels(root: Path, names: list[str], ben: SimpleNamespace) -> None:
    (root / names[0] / f"{names[0]}_labels_metadata.json").write_text('{"labels": ["Volcano"]}')


def _hostile_labels(root: Path, names: list[str], ben: SimpleNamespace) -> None:
    (root / names[0] / f"{names[0]}_labels_metadata.json").write_text("[" * 100_000)


def _other_size(root: Path, names: list[str], ben: SimpleNamespace) -> None:
    (root / names[0] / f"{names[0]}_B02.tif").unlink()
    (root / names[0] / f"{names[0]}_B05.tif").unlink(missing_ok=True)
    ben.write_patch(root / "x", names[0], bands=("B05",))
    (root / "x" / names[0] / f"{names[0]}_B05.tif").rename(root / names[0] / f"{names[0]}_B02.tif")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, "cannot read .*B03.tif"),
        (_no_band, "lacks .*_B04.tif; choose other --bands"),
        (_no_labels, "lacks .*_labels_metadata.json; version 2 wants"),
        (_bad_labels, "'Volcano' is none of BigEarthNet's"),
        (_hostile_labels, "is damaged"),
        (_other_size, r"B02.tif is uint16 \(1, 60, 60\); it should be uint16 \(1, 120, 120\)"),
    ],
)
def test_a_spoilt_patch_is_an_error_or_left_out(
    tmp_path: Path,
    spoil: Callable[[Path, list[str], SimpleNamespace], None],
    message: str,
    ben: SimpleNamespace,
) -> None:
    names = ben.write_v1(tmp_path / "ben", LABELS_43[:2], bands=RGB)
    spoil(tmp_path / "ben", names, ben)
    with pytest.raises(DatasetError, match=message):
        run(tmp_path / "ben", tmp_path / "out", bands=RGB)
    report = run(tmp_path / "ben", tmp_path / "out", bands=RGB, on_bad="skip")
    assert report.num_patches == 1
    assert "1 left out, incomplete or not readable" in report.notes


def test_lists_and_tables_that_do_not_fit(tmp_path: Path, ben: SimpleNamespace) -> None:
    root = tmp_path / "ben"
    names = ben.write_v1(root, LABELS_43[:2], bands=RGB)
    bad = tmp_path / "ben-train.csv"
    bad.write_text(f"{names[0]}\nrm -rf\n")
    with pytest.raises(DatasetError, match="line 2: 'rm -rf' is no patch"):
        run(root, tmp_path / "out", split_files=(str(bad),))
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot read the list"):
        run(root, tmp_path / "out", split_files=(str(bad),))
    bad.write_text(f"{names[0]}\n")
    (tmp_path / "ben-test.csv").write_text(f"{names[0]}\n")
    with pytest.raises(DatasetError, match="stands in the lists of train and test"):
        run(root, tmp_path / "out", split_files=(str(bad), str(tmp_path / "ben-test.csv")))
    table = tmp_path / "metadata.parquet"
    table.write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match=r"cannot read .*metadata.parquet"):
        run(root, tmp_path / "out")
    pq.write_table(pa.table({"patch_id": names}), table)
    with pytest.raises(DatasetError, match="lacks column labels, split"):
        run(root, tmp_path / "out")
    pq.write_table(
        pa.table({"patch_id": names, "labels": [["Pastures"]] * 2, "split": ["train", "extra"]}), table
    )
    with pytest.raises(DatasetError, match="split extra of"):
        run(root, tmp_path / "out")
    with pytest.raises(DatasetError, match="of BigEarthNet's twelve"):
        run(root, tmp_path / "out", bands=("B10",))
    (tmp_path / "empty").mkdir()
    table.unlink()
    with pytest.raises(DatasetError, match="holds no patch of BigEarthNet"):
        run(tmp_path / "empty", tmp_path / "out")


def test_datasets_from_before_label_sets_read_as_unknown(make_dataset: Callable[..., Path]) -> None:
    path = make_dataset(num_places=3, num_dates=1)
    table = pq.read_table(path / "index.parquet")
    pq.write_table(table.drop_columns(["labels"]), path / "index.parquet")
    assert open_dataset(path).label_sets == [None, None, None]
