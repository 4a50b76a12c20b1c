"""The folder layout of SeCo and SSL4EO-S12: real patches of the second, made ones of the first."""

import datetime
import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import rasterio

from seco.config import build
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.data.importers import seco as importer
from seco.errors import ConfigError, DatasetError

DATES = ("20200604", "20200830", "20201123")
SIZES = {"B1": 4, "B2": 24, "B3": 24, "B4": 24, "B8A": 12, "B12": 12}


def do(source, out, **options):
    """Import, check, and return the dataset and the report."""
    report = importer.run(source, out, build(importer.Options, options))
    data = open_dataset(out)
    assert check(data) == []
    assert (report.num_places, report.num_patches) == (data.meta.num_places, len(data))
    assert data.meta.provenance["notes"] == list(report.notes)
    return data, report


def item_name(day, tile="T43RCL"):
    return f"{day}T054639_{day}T054831_{tile}"


@pytest.fixture
def place(tmp_path, raster):
    """Write one place; each band's number goes with the date, the band and the pixel."""

    def write(
        name="000000", days=DATES, *, dtype=np.uint16, baseline="02.09", bands=tuple(SIZES), crs=None, **meta
    ):
        for d, day in enumerate(days):
            folder = tmp_path / "in" / name / (item_name(day) if day.isdigit() else day)
            for b, band in enumerate(bands):
                size = SIZES[band]
                pixels = (np.arange(size * size).reshape(size, size) % 50 + 60 * d + b + 1).astype(dtype)
                metres = 240 / size
                where = (
                    {"pixel_m": metres, "crs": crs}
                    if crs
                    else {"pixel_m": metres * 9e-6, "west": 77.0, "north": 28.0, "crs": "EPSG:4326"}
                )
                raster(folder / f"{band}.tif", pixels, **where)
            if baseline is not None:
                values = {"id": "COPERNICUS/S2/x", "properties": {"PROCESSING_BASELINE": baseline}} | meta
                (folder / "metadata.json").write_text(json.dumps(values))
        return tmp_path / "in"

    return write


class TestPixels:
    def test_native_resolutions_dates_and_baselines(self, place, tmp_path):
        place("000001")
        data, report = do(place("000000"), tmp_path / "out")
        assert data.place_ids == ["000000", "000001"]
        assert data.dates[:3].tolist() == [
            datetime.date(2020, 6, 4),
            datetime.date(2020, 8, 30),
            datetime.date(2020, 11, 23),
        ]
        assert [(g.bands, g.height_px) for g in data.meta.groups] == [
            (("B02", "B03", "B04"), 24), (("B8A", "B12"), 12), (("B01",), 4)
        ]  # fmt: skip
        assert [(b.name, b.gsd_m) for b in data.meta.bands] == [
            ("B01", 60.0), ("B02", 10.0), ("B03", 10.0), ("B04", 10.0), ("B8A", 20.0), ("B12", 20.0)
        ]  # fmt: skip
        assert set(data.index["baseline"].to_pylist()) == {"02.09"}
        with rasterio.open(tmp_path / "in" / "000001" / item_name(DATES[1]) / "B8A.tif") as source:
            np.testing.assert_array_equal(data.read(4)["B8A"], source.read(1))
        assert "places by number of dates: 2 with 3" in report.notes

    def test_dates_are_sorted_even_where_names_are_not(self, place, tmp_path):
        source = place(days=("20201123", "20200604"))
        data, _ = do(source, tmp_path / "out")
        assert np.diff(data.dates)[0] > np.timedelta64(0)

    def test_display_bytes_of_seco(self, place, tmp_path):
        data, report = do(place(dtype=np.uint8, baseline=None), tmp_path / "out")
        band = data.meta.bands[1]
        assert (band.units, band.stretch_range, band.common_name) == ("display", (0.0, 1.0), "blue")
        assert band.to_reflectance == (1 / 255, 0.0)
        assert any("8-bit pixels are display bytes" in n for n in report.notes)
        assert data.meta.groups[0].dtype == "uint8"

    def test_zip_and_folder_are_alike(self, place, tmp_path):
        source = place()
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for file in source.rglob("*.*"):
                archive.write(file, f"wrapper/{file.relative_to(source)}")
        zipped, _ = do(tmp_path / "in.zip", tmp_path / "a")
        plain, _ = do(source, tmp_path / "b")
        assert zipped.fingerprint == plain.fingerprint
        assert zipped.place_ids == plain.place_ids

    def test_chosen_bands(self, place, tmp_path):
        data, report = do(place(), tmp_path / "out", bands="red,B2,B03")
        assert [b.name for b in data.meta.bands] == ["B04", "B02", "B03"]
        assert "3 dates have band B12 too, which is not imported" in report.notes


class TestOffsets:
    def test_baselines_are_shifted_to_one(self, place, tmp_path):
        place("000000", baseline="03.01")
        data, report = do(place("000001", baseline="04.00"), tmp_path / "out")
        assert {b.offset for b in data.meta.bands} == {-0.1}
        first, second = data.read(0)["B02"].astype(int), data.read(3)["B02"].astype(int)
        np.testing.assert_array_equal(first - 1000, second)
        assert any("shifted to one, without loss" in n for n in report.notes)

    def test_harmonised_collections_have_none(self, place, tmp_path):
        data, _ = do(place(baseline="05.00", id="COPERNICUS/S2_SR_HARMONIZED/x"), tmp_path / "out")
        assert {b.offset for b in data.meta.bands} == {0.0}

    def test_without_metadata_none_is_assumed_and_that_is_told(self, place, tmp_path):
        data, report = do(place(baseline=None), tmp_path / "out")
        assert data.index["baseline"].null_count == 3
        assert any(n.startswith("3 dates without metadata") for n in report.notes)

    @pytest.mark.parametrize("text", ["{", "[]", '{"properties": {"PROCESSING_BASELINE": "new"}}'])
    def test_damaged_metadata(self, place, tmp_path, text):
        source = place()
        (source / "000000" / item_name(DATES[1]) / "metadata.json").write_text(text)
        with pytest.raises(DatasetError, match=r"metadata\.json is damaged"):
            do(source, tmp_path / "out")


class TestPosition:
    def test_a_box_in_degrees_is_not_trusted(self, place, tmp_path):
        data, report = do(place(), tmp_path / "out")
        assert data.index["transform"].null_count == data.index["crs"].null_count == 3
        np.testing.assert_allclose(data.lonlat[0], (77.00108, 27.99892), atol=1e-5)
        assert any(n.startswith("3 patches without a grid") for n in report.notes)
        # The size is known, so a footprint is too.
        assert data.index["geometry"].null_count == 0

    def test_a_projected_grid_is_kept(self, place, tmp_path):
        data, report = do(place(crs="EPSG:32643"), tmp_path / "out")
        assert data.index["crs"][0].as_py() == "EPSG:32643"
        assert data.index["transform"][0].as_py() == [10.0, 0.0, 5e5, 0.0, -10.0, 5.4e6]
        assert not any("without a grid" in n for n in report.notes)

    def test_bands_shifted_against_each_other_are_not_trusted(self, place, tmp_path, raster):
        source = place(crs="EPSG:32643", days=DATES[:1])
        raster(
            source / "000000" / item_name(DATES[0]) / "B12.tif",
            np.ones((12, 12), np.uint16),
            pixel_m=20.0,
            west=5e5 - 10,
            crs="EPSG:32643",
        )
        data, _ = do(source, tmp_path / "out")
        assert data.index["transform"].null_count == 1
        assert not np.isnan(data.lonlat).any()

    def test_nothing_known(self, place, tmp_path, raster):
        source = place(days=DATES[:1], bands=("B2",))
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            raster(source / "000000" / item_name(DATES[0]) / "B2.tif", np.ones((24, 24), np.uint16), crs=None)
        data, _ = do(source, tmp_path / "out")
        assert np.isnan(data.lonlat).all()


class TestMissing:
    def test_band(self, place, tmp_path):
        source = place()
        (source / "000000" / item_name(DATES[1]) / "B3.tif").unlink()
        with pytest.raises(
            DatasetError, match=rf"000000/{item_name(DATES[1])} lacks band B03; .*--on-missing skip"
        ):
            do(source, tmp_path / "a")
        assert not list(tmp_path.glob("a*"))
        data, report = do(source, tmp_path / "b", on_missing="skip")
        assert len(data) == 2
        assert "1 dates left out for missing bands" in report.notes
        data, _ = do(source, tmp_path / "c", bands="B02,B04")
        assert len(data) == 3

    def test_band_of_the_very_first_date(self, place, tmp_path):
        source = place()
        (source / "000000" / item_name(DATES[0]) / "B3.tif").unlink()
        with pytest.raises(DatasetError, match="lacks band B03"):
            do(source, tmp_path / "a")
        data, _ = do(source, tmp_path / "b", on_missing="skip")
        assert [b.name for b in data.meta.bands][2] == "B03"
        assert len(data) == 2

    def test_band_that_no_date_has(self, place, tmp_path):
        with pytest.raises(DatasetError, match="band B05 is missing"):
            do(place(), tmp_path / "out", bands="B02,B05")

    def test_no_date_is_complete(self, place, tmp_path):
        source = place(days=DATES[:2])
        (source / "000000" / item_name(DATES[0]) / "B3.tif").unlink()
        (source / "000000" / item_name(DATES[1]) / "B4.tif").unlink()
        with pytest.raises(DatasetError, match=r"none of the first 2 dates is whole .*some lack B03, B04"):
            do(source, tmp_path / "out", on_missing="skip")

    def test_dates_of_a_place(self, place, tmp_path):
        place("000000")
        source = place("000001", days=DATES[:2])
        with pytest.raises(DatasetError, match="place 000001 has 2 dates, not 3"):
            do(source, tmp_path / "a", num_dates=3)
        data, report = do(source, tmp_path / "b", num_dates=3, on_missing="skip")
        assert data.place_ids == ["000000"]
        assert "1 places left out for their number of dates" in report.notes
        _, report = do(source, tmp_path / "c")
        assert "places by number of dates: 1 with 2, 1 with 3" in report.notes

    def test_date_from_metadata_where_the_name_has_none(self, place, tmp_path):
        moment = datetime.datetime(2018, 7, 10, 12, tzinfo=datetime.UTC).timestamp() * 1000
        source = place(days=("first",), properties={"system:time_start": moment})
        data, _ = do(source, tmp_path / "out")
        assert data.dates.tolist() == [datetime.date(2018, 7, 10)]

    def test_no_date_anywhere(self, place, tmp_path):
        place("000001")
        source = place(days=("first",))
        with pytest.raises(
            DatasetError, match="000000/first has a date neither in its name nor in its metadata"
        ):
            do(source, tmp_path / "a")
        data, report = do(source, tmp_path / "b", on_missing="skip")
        assert data.place_ids == ["000001"]
        assert "1 dates left out, for nothing says when they were taken" in report.notes


class TestBad:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("size", r"band B02 is uint16 \(20, 20\); the first date's is uint16 \(24, 24\)"),
            ("cut", r"cannot read .*B2\.tif"),
            ("two", "has 2 bands; this layout has one a file"),
        ],
    )
    def test_file(self, place, tmp_path, raster, content, message):
        source = place()
        file = source / "000000" / item_name(DATES[1]) / "B2.tif"
        if content == "cut":
            file.write_bytes(file.read_bytes()[:300])
        else:
            raster(file, np.ones((20, 20) if content == "size" else (2, 24, 24), np.uint16))
        with pytest.raises(DatasetError, match=message):
            do(source, tmp_path / "a")
        assert not list(tmp_path.glob("a*"))
        data, report = do(source, tmp_path / "b", on_bad="skip")
        assert len(data) == 2
        assert "1 dates left out that cannot be read or have another size" in report.notes

    def test_first_date(self, place, tmp_path):
        source = place()
        file = source / "000000" / item_name(DATES[0]) / "B2.tif"
        file.write_bytes(b"no")
        with pytest.raises(DatasetError, match="cannot read"):
            do(source, tmp_path / "a")
        assert len(do(source, tmp_path / "b", on_bad="skip")[0]) == 2

    def test_oblong(self, place, tmp_path, raster):
        source = place(days=DATES[:1])
        raster(source / "000000" / item_name(DATES[0]) / "B2.tif", np.ones((24, 20), np.uint16))
        with pytest.raises(DatasetError, match=r"B02 uint16 20 x 24.* they must be square, of 8 or 16 bits"):
            do(source, tmp_path / "out")

    def test_a_file_that_asks_for_too_much(self, place, tmp_path, monkeypatch):
        monkeypatch.setattr(importer, "MAX_PIXELS", 500)
        with pytest.raises(DatasetError, match="24 x 24 px; the limit is 500 px"):
            do(place(), tmp_path / "out")

    def test_two_places_of_one_name(self, place, tmp_path):
        source = place("s2a/000000")
        place("s2c/000000")
        with pytest.raises(
            DatasetError, match=r"s2a/000000 and s2c/000000 are both called place 000000; import one"
        ):
            do(source, tmp_path / "out")

    def test_other_folders(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.tif").write_text("")
        with pytest.raises(DatasetError, match=r"no folder of the layout place/item/B2\.tif"):
            do(tmp_path / "in", tmp_path / "out")

    def test_truncated_zip(self, place, tmp_path):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for file in place().rglob("*.*"):
                archive.write(file, file.name)
        (tmp_path / "cut.zip").write_bytes(buffer.getvalue()[:-100])
        with pytest.raises(DatasetError, match="is not a whole zip file"):
            do(tmp_path / "cut.zip", tmp_path / "out")

    def test_settings_out_of_range(self):
        with pytest.raises(ConfigError):
            build(importer.Options, {"num_dates": -1})


def test_memory_does_not_grow_with_the_source(place, tmp_path, monkeypatch):
    monkeypatch.setattr("seco.data.layout.SHARD_BYTES", 2**16)
    monkeypatch.setattr("seco.data.layout.INDEX_BATCH", 16)
    monkeypatch.setattr(importer, "LOOK_AHEAD", 4)

    def peak(num, out):
        for i in range(num):
            source = place(f"{i:06d}", days=DATES[:1], bands=("B2", "B3", "B4"))
        tracemalloc.start()
        try:
            importer.run(source, out, build(importer.Options, {}))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2, tmp_path / "first")
    small, large = peak(40, tmp_path / "a"), peak(160, tmp_path / "b")
    assert large < small + 2e5  # pixels alone differ by 415 kB


class TestRealData:
    def test_ssl4eo(self, seco_data, tmp_path):
        file = seco_data("sentinel2/ssl4eo_2patches.zip")
        data, report = do(file, tmp_path / "out")
        assert data.place_ids == ["000000", "000001"]
        assert data.dates.tolist() == [datetime.date(2018, 7, 10), datetime.date(2018, 3, 2)]
        assert data.column("baseline").tolist()[1] == "02.06"
        assert [(len(g.bands), g.height_px, g.dtype) for g in data.meta.groups] == [
            (4, 264, "uint16"), (6, 132, "uint16"), (3, 44, "uint16")
        ]  # fmt: skip
        assert {(b.units, b.scale, b.offset) for b in data.meta.bands} == {("dn", 1e-4, 0.0)}
        assert any(n.startswith("2 patches without a grid") for n in report.notes)
        for row, item in enumerate(data.index["item"].to_pylist()):
            got = data.read(row)
            assert len(got) == 13
            for name, plane in got.items():
                short = name.replace("B0", "B")
                with rasterio.open(
                    f"/vsizip/{file}/sig_ssl4eo/{data.place_ids[row]}/{item}/{short}.tif"
                ) as source:
                    np.testing.assert_array_equal(plane, source.read(1))
                    if name == "B02":
                        centre = (
                            (source.bounds.left + source.bounds.right) / 2,
                            (source.bounds.top + source.bounds.bottom) / 2,
                        )
            np.testing.assert_allclose(data.lonlat[row], centre)
