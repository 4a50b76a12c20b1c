"""`seco dataset export seco`: the layout, the numbers, and that others read it."""

import csv
import datetime as dt
import json

import numpy as np
import pytest
import rasterio

from seco import cli
from seco.data import exporting
from seco.data.dataset import open_dataset
from seco.data.exporters import seco as exporter
from seco.data.importers import seco as importer
from seco.data.writer import DatasetWriter, Patch
from seco.errors import ConfigError, DatasetError
from seco.sensors import sentinel2
from seco.sensors.bands import Band

NAMES = tuple(b.name for b in sentinel2.BANDS if b.name != "B10")
DAYS = (dt.date(2021, 6, 1), dt.date(2022, 6, 1), dt.date(2022, 6, 1))
BASELINES = ("03.00", "04.00", None)


def size(name: str) -> int:
    return 264 * 10 // int(sentinel2.band(name).gsd_m or 10)


def numbers(place: int, date: int, band: int, px: int) -> np.ndarray:
    """Stored numbers of offset -0.1, one of them nodata, one dark, one too bright for a byte."""
    out = (1001 + (np.arange(px * px).reshape(px, px) * 7 + 1000 * band + 300 * date + place) % 9000).astype(
        np.uint16
    )
    out[0, :3] = 0, 1001, 12_500
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "d.seco"
    bands = [sentinel2.band(n, offset=-0.1) for n in NAMES]
    with DatasetWriter(out, bands=bands, patch_px=264, licence="none", provenance={}) as writer:
        for p, place in enumerate(("north/1", "south 2")):
            for d, (day, baseline) in enumerate(zip(DAYS, BASELINES, strict=True)):
                writer.add(
                    Patch(
                        place=place, date=day, item="S2A/one*", baseline=baseline, crs=f"EPSG:{32631 + 100 * p}",
                        pixels={n: numbers(p, d, i, size(n)) for i, n in enumerate(NAMES)}, lon=3.0, lat=45.0,
                        transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_900_020.0),
                    )
                )  # fmt: skip
    return open_dataset(out)


def test_exporters_keep_the_contract():
    assert exporting.names() == ["seco"]
    for name in exporting.names():
        assert isinstance(exporting.find(name), exporting.Exporter)
    with pytest.raises(ConfigError, match="known: seco"):
        exporting.find("other")


@pytest.fixture(scope="module")
def written(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("root") / "seasonal_contrast_100k"
    return exporter.run(dataset, out, exporter.Options()), out


def test_the_layout_and_its_bytes(dataset, written):
    report, out = written
    assert (report.num_places, report.num_patches, report.num_files) == (2, 6, 72)
    assert sorted(p.name for p in out.iterdir()) == ["000000", "000001", "README.txt", "places.csv"]
    assert [r["place"] for r in csv.DictReader((out / "places.csv").open())] == ["north/1", "south 2"]
    for p in range(2):
        items = sorted(i.name for i in (out / f"{p:06d}").iterdir())
        assert items == [
            "20210601T000000_S2A-one-",
            "20220601T000000_S2A-one-",
            f"20220601T000000_S2A-one-_{3 * p + 2}",
        ]
        for d, item in enumerate(items):
            files = {f.stem for f in (out / f"{p:06d}" / item).glob("*.tif")}
            assert files == {n.replace("B0", "B") for n in NAMES}
            for i, name in enumerate(NAMES):
                with rasterio.open(out / f"{p:06d}" / item / f"{name.replace('B0', 'B')}.tif") as source:
                    found = source.read(1)
                    assert source.crs == f"EPSG:{32631 + 100 * p}"
                    assert source.transform[:6] == (
                        2640 / size(name),
                        0,
                        500_000,
                        0,
                        -2640 / size(name),
                        4_900_020,
                    )
                stored = numbers(p, d, i, size(name))
                wanted = np.clip(np.rint((stored / 10_000 - 0.1) * 255), 1, 255)
                np.testing.assert_array_equal(found, np.where(stored == 0, 0, wanted).astype(np.uint8))


def test_numbers_survive_the_way_there_and_back(dataset, tmp_path):
    report = exporter.run(dataset, tmp_path / "out", exporter.Options(values="dn"))
    assert report.notes == ()
    about = json.loads(next((tmp_path / "out/000000").glob("2021*/metadata.json")).read_text())
    assert about["properties"]["PROCESSING_BASELINE"] == "03.00"
    importer.run(tmp_path / "out", tmp_path / "back.seco", importer.Options())
    back = open_dataset(tmp_path / "back.seco")
    assert {b.offset for b in back.meta.bands} == {-0.1}
    assert back.dates.tolist() == dataset.dates.tolist()
    for row in range(len(dataset)):
        for name in NAMES:
            np.testing.assert_array_equal(back.read(row)[name], dataset.read(row)[name])


def test_what_cannot_be_written_is_one_clear_error(dataset, tmp_path):
    with pytest.raises(DatasetError, match="exists already"):
        exporter.run(dataset, tmp_path, exporter.Options())
    bands = [Band(name="red", units="display", stretch="by hand")]
    with DatasetWriter(tmp_path / "d", bands=bands, patch_px=4, licence="none", provenance={}) as writer:
        writer.add(Patch(place="a", pixels={"red": np.ones((4, 4), np.uint8)}))
    other = open_dataset(tmp_path / "d")
    with pytest.raises(DatasetError, match="red is none of Sentinel-2's"):
        exporter.run(other, tmp_path / "out", exporter.Options())
    bands = [Band(name="B04", units="display", stretch="by hand")]
    with DatasetWriter(tmp_path / "e", bands=bands, patch_px=4, licence="none", provenance={}) as writer:
        writer.add(Patch(place="a", pixels={"B04": np.ones((4, 4), np.uint8)}))
    other = open_dataset(tmp_path / "e")
    with pytest.raises(DatasetError, match="unknown stretch"):
        exporter.run(other, tmp_path / "out", exporter.Options())
    with pytest.raises(ConfigError, match="--values display"):
        exporter.run(other, tmp_path / "out", exporter.Options(values="dn"))
    assert not (tmp_path / "out").exists()


def test_the_command(dataset, tmp_path, capsys):
    assert cli.main(["dataset", "export"]) == 0
    assert "seco dataset export seco places.seco" in capsys.readouterr().out
    assert (
        cli.main(["dataset", "export", "seco", str(dataset.path), str(tmp_path / "o"), "--bands", "B04"]) == 0
    )
    assert "2 places, 6 patches, 6 files" in capsys.readouterr().out
    assert (
        cli.main(["dataset", "export", "seco", str(dataset.path), str(tmp_path / "p"), "--bands", "B10"]) == 2
    )


def test_torchgeo_reads_it(dataset, written):
    """The real class of TorchGeo, where it is installed."""
    torchgeo = pytest.importorskip("torchgeo.datasets", reason="torchgeo is not installed")
    data = torchgeo.SeasonalContrastS2(
        root=written[1].parent, version="100k", seasons=3, bands=("B4", "B8A", "B1")
    )
    image = data[1]["image"].numpy().reshape(3, 3, 264, 264)
    reds = sorted(image[:, 0].sum(axis=(1, 2)).tolist())
    wanted = []
    for d in range(3):
        stored = numbers(1, d, NAMES.index("B04"), 264)
        bytes_ = np.clip(np.rint((stored / 10_000 - 0.1) * 255), 1, 255)
        wanted.append(float(np.where(stored == 0, 0, bytes_).sum()))
    assert reds == pytest.approx(sorted(wanted), rel=1e-6)
