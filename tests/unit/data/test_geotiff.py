"""The user's own rasters: small ones made here, and the three real Sentinel-2 sources, pixel by pixel."""

import dataclasses
import datetime
import math
import shutil
import tracemalloc
import zipfile

import netCDF4
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from seco.config import build
from seco.data import cutting
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.data.grids import Grid
from seco.data.importers import geotiff
from seco.data.netcdf import netcdf_planes
from seco.data.rasters import PixelReader
from seco.errors import ConfigError, DatasetError

DATES = ("20210105", "20210410", "20210715")


def do(source, out, **options):
    """Import, check, and return the dataset and the report."""
    report = geotiff.run(source, out, build(geotiff.Options, options))
    data = open_dataset(out)
    assert check(data) == []
    assert (report.num_places, report.num_patches) == (data.meta.num_places, len(data))
    assert data.meta.provenance["notes"] == list(report.notes)
    return data, report


def dn(seed, size=64, dtype=np.uint16, low=300, high=4000):
    return np.random.default_rng(seed).integers(low, high, (size, size)).astype(dtype)


def stack(seed, bands=3, size=64):
    return np.stack([dn(seed + i, size) for i in range(bands)])


NAMES = ("B02", "B03", "B04")


@pytest.fixture
def sites(tmp_path, raster):
    """Two places of three dates, 64 px of three bands a file."""
    for p, place in enumerate(("north", "south")):
        for d, day in enumerate(DATES):
            raster(
                tmp_path / "in" / place / f"{day}_x.tif",
                stack(100 * p + 10 * d),
                names=NAMES,
                west=5e5 + 640 * p,
            )
    return tmp_path / "in"


PATTERN = {"pattern": "{place}/{date}*.tif", "patch": 32}


class TestPattern:
    def test_pixels_dates_places_and_grid(self, sites, tmp_path):
        data, _ = do(sites, tmp_path / "out", **PATTERN)
        assert len(data.place_ids) == 8
        assert len(data) == 24
        row = data.place_ids.index("south_r001_c000") * 3 + 2
        record = data.index.slice(row, 1).to_pylist()[0]
        assert record["date"] == datetime.date(2021, 7, 15)
        assert record["crs"] == "EPSG:32631"
        assert record["transform"] == [10.0, 0.0, 500_640.0, 0.0, -10.0, 5_400_000.0 - 320]
        with rasterio.open(sites / "south" / "20210715_x.tif") as source:
            wanted = source.read(window=Window(0, 32, 32, 32))
        np.testing.assert_array_equal(np.stack(list(data.read(row).values())), wanted)
        assert next((b.name, b.common_name, b.gsd_m) for b in data.meta.bands) == ("B02", "blue", 10.0)

    def test_patches_of_one_place_do_not_overlap_another(self, sites, tmp_path):
        data, _ = do(sites, tmp_path / "out", **PATTERN)
        corners = {tuple(data.index["transform"][i].as_py()) for i in data.first_row.tolist()}
        assert len(corners) == 8

    def test_stride(self, sites, tmp_path):
        data, _ = do(sites, tmp_path / "out", **PATTERN, stride=16)
        assert len(data.place_ids) == 2 * 9

    def test_the_edge_that_fills_no_patch_is_told(self, sites, tmp_path):
        data, report = do(sites, tmp_path / "out", pattern=PATTERN["pattern"], patch=48)
        assert len(data.place_ids) == 2
        assert "up to 16 px at the right and bottom edges fill no patch" in report.notes

    def test_a_band_a_file(self, tmp_path, raster):
        for day in DATES:
            for i, name in enumerate(NAMES):
                raster(tmp_path / "in" / f"x_{day}_{name}.tif", dn(i))
        data, _ = do(tmp_path / "in", tmp_path / "out", pattern="{place}_{date}_{band}.tif", patch=64)
        assert len(data) == 3
        np.testing.assert_array_equal(data.read(1)["B03"], dn(1))
        assert data.index["item"][0].as_py() == "x_20210105_B0"

    def test_dates_from_metadata(self, tmp_path, raster):
        for i, when in enumerate(("2021:07:15 10:00:00", "2021:01:05 10:00:00")):
            raster(tmp_path / "in" / "p" / f"{i}.tif", stack(i), names=NAMES, tags={"TIFFTAG_DATETIME": when})
        data, _ = do(tmp_path / "in", tmp_path / "out", pattern="{place}/*.tif", patch=64)
        assert data.dates.tolist() == [datetime.date(2021, 1, 5), datetime.date(2021, 7, 15)]

    def test_chosen_bands_by_common_name_in_the_order_asked(self, sites, tmp_path):
        data, _ = do(sites, tmp_path / "out", **PATTERN, bands="red,B02")
        assert [b.name for b in data.meta.bands] == ["B04", "B02"]

    def test_names_for_files_without_names(self, tmp_path, raster):
        raster(tmp_path / "in" / "p" / "20210105.tif", stack(0))
        options = {"pattern": "{place}/{date}.tif", "patch": 64}
        data, _ = do(tmp_path / "in", tmp_path / "a", **options, band_names="B02,B03,B04")
        assert [b.name for b in data.meta.bands] == list(NAMES)
        data, _ = do(tmp_path / "in", tmp_path / "b", **options, scale=0.001)
        assert [(b.name, b.scale) for b in data.meta.bands] == [(f"band{i}", 0.001) for i in (1, 2, 3)]

    def test_zipped(self, sites, tmp_path):
        with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sites.rglob("*.tif"):
                archive.write(file, file.relative_to(sites))
        zipped, _ = do(tmp_path / "in.zip", tmp_path / "a", **PATTERN)
        plain, _ = do(sites, tmp_path / "b", **PATTERN)
        assert zipped.fingerprint == plain.fingerprint

    def test_colours_by_the_file_s_own_word_and_alpha_as_mask(self, tmp_path, raster):
        pixels = np.stack([dn(i, dtype=np.uint8, low=0, high=255) for i in range(4)])
        pixels[3] = 255
        pixels[3, :16] = 0
        raster(tmp_path / "in" / "p" / "20210105.tif", pixels, photometric="RGB", alpha="YES")
        data, report = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif")
        assert [(b.name, b.common_name) for b in data.meta.bands] == [
            (c, c) for c in ("red", "green", "blue")
        ]
        assert data.column("clear_fraction").tolist() == [0.75]
        assert "clear fractions by mask alpha" in report.notes

    def test_a_single_file(self, tmp_path, raster):
        file = raster(tmp_path / "site_20210105.tif", stack(0), names=NAMES)
        data, _ = do(file, tmp_path / "out", pattern="{place}_{date}.tif", patch=64)
        assert data.place_ids == ["site_r000_c000"]

    def test_pictures_without_crs(self, tmp_path, raster):
        for day in DATES:
            raster(tmp_path / "in" / "p" / f"{day}.tif", stack(0).astype(np.uint8), crs=None)
        data, _ = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif", patch=64)
        assert np.isnan(data.lonlat).all()
        assert [b.units for b in data.meta.bands] == ["display"] * 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"no known layout .* such as north/20210105_x\.tif; say .*--pattern"),
            ({"pattern": "{place}/{date}.tif"}, r"no file in .* matches --pattern .*, such as north/20210105_x\.tif"),
            ({"pattern": "{place}/*.tif"}, r"north/20210105_x\.tif has a date neither .*put \{date\}"),
            (PATTERN | {"bands": "B05"}, "band B05 is in no file; there are B02, B03, B04"),
            (PATTERN | {"patch": 65}, r"2 places are smaller than a patch of 65 px \(north: 64 x 64 px\); choose a smaller"),
            (PATTERN | {"min_clear": 0.5}, "no cloud mask is among the files, which --min-clear needs"),
            (PATTERN | {"mask": "clouds"}, "there is no mask 'clouds' among the bands B02, B03, B04"),
            (PATTERN | {"mask": "{place}/{date}_mask.tif"}, "no file .* matches --mask"),
            (PATTERN | {"min_dates": 4}, "no patch is left of .*: 8 places dropped for fewer than 4 dates"),
            (PATTERN | {"band_names": "a,b"}, r"has 3 bands; --band-names names 2: a, b"),
            (PATTERN | {"sensor": "other"}, "nothing says how the uint16 numbers of band B02 become reflectance"),
        ],
    )  # fmt: skip
    def test_refused(self, sites, tmp_path, options, message):
        with pytest.raises(DatasetError, match=message):
            do(sites, tmp_path / "out", **options)
        assert not list(tmp_path.glob("out*"))

    @pytest.mark.parametrize(
        "options",
        [
            {"patch": 0},
            {"stride": 0},
            {"min_clear": 1.5},
            {"min_dates": 0},
            {"mask": "none", "min_clear": 0.5},
        ],
    )
    def test_settings_out_of_range(self, options):
        with pytest.raises(ConfigError):
            build(geotiff.Options, options)

    def test_two_files_for_one_band(self, sites, tmp_path):
        shutil.copy(sites / "north" / "20210105_x.tif", sites / "north" / "20210105_y.tif")
        with pytest.raises(
            DatasetError,
            match=r"20210105_x\.tif and .*20210105_y\.tif both hold band B02 of north on 2021-01-05",
        ):
            do(sites, tmp_path / "out", **PATTERN)

    def test_truncated_file(self, sites, tmp_path):
        file = sites / "south" / "20210410_x.tif"
        file.write_bytes(file.read_bytes()[:3000])
        with pytest.raises(DatasetError, match=r"cannot read .*20210410_x\.tif: .*; fetch the file again"):
            do(sites, tmp_path / "out", **PATTERN)
        assert not list(tmp_path.glob("out*"))

    def test_no_raster_at_all(self, sites, tmp_path):
        (sites / "north" / "20210105_x.tif").write_text("no picture")
        with pytest.raises(DatasetError, match="cannot read"):
            do(sites, tmp_path / "out", **PATTERN)


class TestMissingBands:
    def files(self, tmp_path, raster):
        for day in DATES:
            for i, name in enumerate(NAMES[: 2 if day == DATES[1] else 3]):
                raster(tmp_path / "in" / "p" / f"{day}_{name}.tif", dn(i))
        return {"pattern": "{place}/{date}_{band}.tif", "patch": 64}

    def test_error(self, tmp_path, raster):
        options = self.files(tmp_path, raster)
        with pytest.raises(
            DatasetError, match=r"1 of 3 dates lack bands: p on 2021-04-10 lacks band B04; choose bands"
        ):
            do(tmp_path / "in", tmp_path / "out", **options)

    def test_skip(self, tmp_path, raster):
        options = self.files(tmp_path, raster)
        data, report = do(tmp_path / "in", tmp_path / "out", **options, on_missing="skip")
        assert len(data) == 2
        assert "1 dates left out for missing bands, such as p on 2021-04-10 lacks band B04" in report.notes

    def test_bands_that_all_have(self, tmp_path, raster):
        options = self.files(tmp_path, raster)
        data, _ = do(tmp_path / "in", tmp_path / "out", **options, bands="B02,B03")
        assert len(data) == 3


class TestResolutions:
    def files(self, tmp_path, raster):
        fine, coarse, coarsest = dn(0, 96), dn(1, 48), dn(2, 16)
        for day in DATES[:1]:
            where = tmp_path / "in" / "p"
            raster(where / f"{day}_B02.tif", fine)
            raster(where / f"{day}_B11.tif", coarse, pixel_m=20.0)
            raster(where / f"{day}_B01.tif", coarsest, pixel_m=60.0)
        return fine, coarse, coarsest

    def test_native_where_pixels_divide_the_patch(self, tmp_path, raster):
        fine, coarse, coarsest = self.files(tmp_path, raster)
        data, report = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}_{band}.tif", patch=48)
        assert [(g.bands, g.height_px) for g in data.meta.groups] == [
            (("B02",), 48),
            (("B11",), 24),
            (("B01",), 8),
        ]
        assert [b.gsd_m for b in data.meta.bands] == [60.0, 10.0, 20.0]
        got = data.read(data.place_ids.index("p_r001_c001"))
        np.testing.assert_array_equal(got["B02"], fine[48:, 48:])
        np.testing.assert_array_equal(got["B11"], coarse[24:, 24:])
        np.testing.assert_array_equal(got["B01"], coarsest[8:, 8:])
        assert not any("repeated" in n for n in report.notes)

    def test_repeated_where_they_do_not(self, tmp_path, raster):
        _, coarse, coarsest = self.files(tmp_path, raster)
        data, report = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}_{band}.tif", patch=32)
        assert [(g.bands, g.height_px) for g in data.meta.groups] == [(("B01", "B02"), 32), (("B11",), 16)]
        assert any(n.startswith("bands B01 are repeated onto the finest grid") for n in report.notes)
        got = data.read(data.place_ids.index("p_r001_c002"))
        np.testing.assert_array_equal(got["B01"], coarsest.repeat(6, 0).repeat(6, 1)[32:64, 64:96])
        np.testing.assert_array_equal(got["B11"], coarse[16:32, 32:48])
        assert data.meta.bands[0].gsd_m == 10.0


class TestAlignment:
    def files(self, tmp_path, raster, **other):
        raster(tmp_path / "in" / "p" / f"{DATES[0]}.tif", stack(0), names=NAMES, nodata=0)
        raster(tmp_path / "in" / "p" / f"{DATES[1]}.tif", stack(9), names=NAMES, nodata=0, **other)
        return {"pattern": "{place}/{date}.tif", "patch": 32}

    def test_error(self, tmp_path, raster):
        options = self.files(tmp_path, raster, west=500_003.0)
        with pytest.raises(
            DatasetError,
            match=r"place p on 2021-04-10: band B02 is 64 x 64 px of 10 in EPSG:32631 from \(500003, .*; the place's "
            r"grid is .*\(500000, .*--on-misaligned resample",
        ):
            do(tmp_path / "in", tmp_path / "out", **options)

    def test_resample_by_whole_pixels_is_exact(self, tmp_path, raster):
        options = self.files(tmp_path, raster, west=500_020.0)
        data, _ = do(tmp_path / "in", tmp_path / "out", **options, on_misaligned="resample")
        row = data.place_ids.index("p_r000_c001") * 2 + 1
        np.testing.assert_array_equal(data.read(row)["B02"][:, :30], stack(9)[0][:32, 30:60])
        # Beyond the western edge of the second date there is nothing.
        assert (data.read(1)["B02"][:, :2] == 0).all()

    def test_resample_another_projection(self, tmp_path, raster):
        from pyproj import Transformer

        x, y = Transformer.from_crs("EPSG:32631", "EPSG:3857", always_xy=True).transform(5e5, 5.4e6)
        options = self.files(tmp_path, raster, crs="EPSG:3857", west=x - 300, north=y + 300, pixel_m=30.0)
        data, _ = do(tmp_path / "in", tmp_path / "out", **options, on_misaligned="resample")
        assert set(data.index["crs"].to_pylist()) == {"EPSG:32631"}
        assert (data.read(1)["B02"] > 0).all()

    @pytest.mark.parametrize("nodata", [-9999.0, None])
    def test_nodata_of_floats_does_not_mix_with_its_neighbours(self, tmp_path, raster, nodata):
        for day, west in zip(DATES, (5e5, 500_003.0), strict=False):
            pixels = np.full((64, 64), 0.25, np.float32)
            pixels[20:24, 20:24] = np.nan if nodata is None else nodata
            raster(tmp_path / "in" / "p" / f"{day}.tif", pixels, west=west, nodata=nodata)
        data, _ = do(
            tmp_path / "in",
            tmp_path / "out",
            pattern="{place}/{date}.tif",
            patch=64,
            on_misaligned="resample",
        )
        (moved,) = data.read(1).values()
        empty = np.isnan(moved) | (moved == -9999)
        assert np.unique(moved[~empty]).tolist() == [0.25]
        assert empty[21:23, 21:23].all()
        assert not empty[30:, 30:].any()

    def test_resampling_needs_nodata(self, tmp_path, raster):
        for day, west in zip(DATES, (5e5, 500_003.0), strict=False):
            raster(tmp_path / "in" / "p" / f"{day}.tif", stack(0).astype(np.uint8), west=west)
        with pytest.raises(
            DatasetError, match="declares no nodata number, which resampling needs; give --nodata"
        ):
            do(
                tmp_path / "in",
                tmp_path / "out",
                pattern="{place}/{date}.tif",
                patch=32,
                on_misaligned="resample",
            )

    def test_another_size_is_misaligned(self, tmp_path, raster):
        raster(tmp_path / "in" / "p" / f"{DATES[0]}.tif", stack(0), names=NAMES)
        raster(tmp_path / "in" / "p" / f"{DATES[1]}.tif", stack(9, size=70), names=NAMES)
        with pytest.raises(DatasetError, match="give aligned files"):
            do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif", patch=32)


class TestMasks:
    def files(self, tmp_path, raster, mask, name="SCL", pixel_m=20.0, **profile):
        for i, day in enumerate(DATES):
            for b in ("B02", "B03"):
                raster(tmp_path / "in" / "p" / f"{day}_{b}.tif", dn(i))
            raster(tmp_path / "in" / "p" / f"{day}_{name}.tif", mask(i), pixel_m=pixel_m, **profile)
        return {"pattern": "{place}/{date}_{band}.tif", "patch": 32}

    @staticmethod
    def half(i):
        """Scene classes at 20 m: all clear, upper half cloud, all cloud."""
        scl = np.full((32, 32), 4, np.uint8)
        scl[: 16 * i] = 9
        return scl

    def test_scene_classes(self, tmp_path, raster):
        data, report = do(tmp_path / "in", tmp_path / "out", **self.files(tmp_path, raster, self.half))
        assert "clear fractions by mask SCL" in report.notes
        assert [b.name for b in data.meta.bands] == ["B02", "B03"]
        upper, lower = (data.place_ids.index(f"p_r00{r}_c000") for r in (0, 1))
        clear = data.column("clear_fraction").reshape(4, 3)
        np.testing.assert_array_equal(clear[upper], [1, 0, 0])
        np.testing.assert_array_equal(clear[lower], [1, 1, 0])

    def test_min_clear_and_min_dates(self, tmp_path, raster):
        options = self.files(tmp_path, raster, self.half)
        data, report = do(tmp_path / "in", tmp_path / "a", **options, min_clear=0.9)
        assert np.bincount(data.place).tolist() == [1, 1, 2, 2]
        assert "6 patches dropped for a clear fraction below 0.9" in report.notes
        data, report = do(tmp_path / "in", tmp_path / "b", **options, min_clear=0.9, min_dates=2)
        assert data.place_ids == ["p_r001_c000", "p_r001_c001"]
        assert "2 places dropped for fewer than 2 dates" in report.notes

    def test_part_of_a_coarse_mask_pixel(self, tmp_path, raster):
        def mask(i):
            scl = np.full((11, 11), 4, np.uint8)
            scl[0, 0] = 8
            return scl

        options = self.files(tmp_path, raster, mask, pixel_m=60.0)
        data, _ = do(tmp_path / "in", tmp_path / "out", **options)
        assert data.column("clear_fraction")[0] == pytest.approx(1 - 36 / 1024)

    def test_none(self, tmp_path, raster):
        options = self.files(tmp_path, raster, self.half)
        data, report = do(tmp_path / "in", tmp_path / "out", **options, mask="none")
        assert data.index["clear_fraction"].null_count == len(data)
        assert "no cloud mask found: clear fractions are unknown" in report.notes

    def test_the_user_s_own_band_and_numbers(self, tmp_path, raster):
        options = self.files(tmp_path, raster, lambda i: np.full((32, 32), 7 + i, np.uint8), name="quality")
        data, _ = do(tmp_path / "in", tmp_path / "out", **options, mask="quality", mask_hidden="8,99")
        np.testing.assert_array_equal(data.column("clear_fraction")[:3], [1, 0, 1])

    def test_the_user_s_own_files(self, tmp_path, raster):
        for i, day in enumerate(DATES):
            raster(tmp_path / "in" / "p" / f"{day}.tif", stack(i), names=NAMES)
            raster(tmp_path / "in" / "masks" / f"p-{day}.tif", np.full((64, 64), i == 1, np.uint8))
        data, _ = do(
            tmp_path / "in",
            tmp_path / "out",
            pattern="{place}/{date}.tif",
            patch=64,
            mask="masks/{place}-{date}.tif",
        )
        np.testing.assert_array_equal(data.column("clear_fraction"), [1, 0, 1])

    def test_a_mask_that_declares_0_as_nodata_still_calls_it_clear(self, tmp_path, raster):
        options = self.files(tmp_path, raster, lambda i: np.zeros((32, 32), np.uint8), name="CLM", nodata=0)
        data, _ = do(tmp_path / "in", tmp_path / "out", **options)
        assert (data.column("clear_fraction") == 1).all()

    def test_dates_without_a_mask(self, tmp_path, raster):
        options = self.files(tmp_path, raster, self.half)
        (tmp_path / "in" / "p" / f"{DATES[0]}_SCL.tif").unlink()
        data, _ = do(tmp_path / "in", tmp_path / "a", **options)
        assert data.index["clear_fraction"].null_count == 4
        data, report = do(tmp_path / "in", tmp_path / "b", **options, min_clear=0.5)
        assert "4 patches dropped for want of a cloud mask" in report.notes

    def test_misaligned_mask(self, tmp_path, raster):
        options = self.files(tmp_path, raster, self.half, west=500_007.0)
        with pytest.raises(DatasetError, match="of the cloud mask is"):
            do(tmp_path / "in", tmp_path / "a", **options)


class TestNodata:
    def test_empty_patches_are_skipped_and_counted(self, tmp_path, raster):
        for i, day in enumerate(DATES):
            pixels = stack(i)
            pixels[:, :32, :32] = 0
            pixels[:, :, : 64 * (i == 1)] = 0
            raster(tmp_path / "in" / "p" / f"{day}.tif", pixels, names=NAMES)
        data, report = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif", patch=32)
        assert np.bincount(data.place).tolist() == [2, 2, 2]
        assert "6 patches hold nothing but nodata" in report.notes

    def test_counts_against_the_clear_fraction(self, tmp_path, raster):
        pixels = stack(0)
        pixels[0, :16] = 0  # one band is enough
        raster(tmp_path / "in" / "p" / "20210105.tif", pixels, names=NAMES)
        raster(tmp_path / "in" / "p" / "20210105_m.tif", np.zeros((64, 64), np.uint8))
        data, _ = do(
            tmp_path / "in",
            tmp_path / "out",
            pattern="{place}/{date}.tif",
            patch=64,
            mask="{place}/{date}_m.tif",
        )
        assert data.column("clear_fraction")[0] == 0.75

    def test_given_by_the_user(self, tmp_path, raster):
        raster(tmp_path / "in" / "p" / "20210105.tif", np.full((1, 64, 64), 255, np.uint8))
        with pytest.raises(DatasetError, match="1 patches hold nothing but nodata"):
            do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif", nodata=255)

    def test_nan(self, tmp_path, raster):
        pixels = np.full((1, 64, 64), 0.25, np.float32)
        pixels[0, :32] = np.nan
        raster(tmp_path / "in" / "p" / "20210105.tif", pixels, nodata=np.nan)
        data, _ = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif", patch=32)
        assert len(data) == 2
        assert data.meta.bands[0].units == "reflectance"


class TestNumbers:
    def test_scale_and_offset_of_the_file(self, tmp_path, raster):
        raster(tmp_path / "in" / "p" / "20210105.tif", stack(0), names=NAMES, scale=(2e-4, -0.05))
        data, _ = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif")
        assert [(b.scale, b.offset) for b in data.meta.bands] == [(2e-4, -0.05)] * 3
        np.testing.assert_array_equal(data.read(0)["B02"], stack(0)[0])

    def test_floats_that_are_no_reflectance(self, tmp_path, raster):
        raster(tmp_path / "in" / "p" / "20210105.tif", stack(0).astype(np.float32), names=NAMES)
        options = {"pattern": "{place}/{date}.tif"}
        with pytest.raises(
            DatasetError, match=r"floats of band B02 average .* no reflectance .*give --scale"
        ):
            do(tmp_path / "in", tmp_path / "a", **options)
        data, _ = do(tmp_path / "in", tmp_path / "b", **options, scale=1e-4)
        assert [(b.units, b.scale) for b in data.meta.bands] == [("dn", 1e-4)] * 3
        data, _ = do(tmp_path / "in", tmp_path / "c", **options, units="reflectance")
        assert data.meta.bands[0].units == "reflectance"

    @pytest.mark.parametrize(
        ("low", "high", "offset", "word"),
        [
            (50, 3000, 0.0, "carry no offset"),
            (1010, 3000, -0.1, r"carry \+1000"),
            (3000, 9000, 0.0, "too bright to tell"),
        ],
    )
    def test_without_a_baseline_the_dark_pixels_decide(self, tmp_path, raster, low, high, offset, word):
        import re

        pixels = np.stack([dn(i, low=low, high=high) for i in range(3)])
        raster(tmp_path / "in" / "p" / "20210105.tif", pixels, names=NAMES)
        data, report = do(tmp_path / "in", tmp_path / "out", pattern="{place}/{date}.tif")
        assert data.meta.bands[0].offset == offset
        assert any(re.search(word, n) for n in report.notes)
        data, report = do(tmp_path / "in", tmp_path / "own", pattern="{place}/{date}.tif", offset=0.0)
        assert data.meta.bands[0].offset == 0.0


def safe(tmp_path, raster, day, baseline, pixels, *, level="L2A", gsd=(10,)):
    product = f"S2A_MSI{level}_{day}T105431_N{baseline}_R051_T31UFQ_{day}T140000"
    folder = tmp_path / "in" / f"{product}.SAFE" / "GRANULE" / "x" / "IMG_DATA"
    for i, name in enumerate(NAMES):
        for m in gsd:
            raster(
                folder / f"R{m}m" / f"T31UFQ_{day}T105431_{name}_{m}m.jp2",
                pixels[i][:: m // 10, :: m // 10],
                pixel_m=float(m),
            )
    scl = np.full((32, 32), 4, np.uint8)
    scl[:16] = 9
    raster(folder / "R20m" / f"T31UFQ_{day}T105431_SCL_20m.jp2", scl, pixel_m=20.0)
    return product


class TestSafe:
    def test_baselines_on_one_scale(self, tmp_path, raster):
        old = safe(tmp_path, raster, "20210105", "0301", stack(0))
        new = safe(tmp_path, raster, "20220410", "0400", stack(9) + 1000)
        data, report = do(tmp_path / "in", tmp_path / "out", patch=64)
        assert data.place_ids == ["T31UFQ_r000_c000"]
        assert data.index["item"].to_pylist() == [old, new]
        assert data.index["baseline"].to_pylist() == ["03.01", "04.00"]
        assert [(b.scale, b.offset) for b in data.meta.bands] == [(1e-4, -0.1)] * 3
        reflectance = [data.read(i)["B03"] * 1e-4 - 0.1 for i in (0, 1)]
        np.testing.assert_allclose(reflectance[0], stack(0)[1] / 1e4, atol=1e-9)
        np.testing.assert_allclose(reflectance[1], stack(9)[1] / 1e4, atol=1e-9)
        assert "band B02: files of 2 offsets are shifted to one, without loss" in report.notes
        assert data.column("clear_fraction").tolist() == [0.5, 0.5]
        assert "Copernicus" in data.meta.licence

    def test_pixels_that_contradict_the_baseline_are_told(self, tmp_path, raster):
        safe(tmp_path, raster, "20220410", "0400", stack(9))
        _, report = do(tmp_path / "in", tmp_path / "out", patch=64)
        assert any(
            "baseline 04.00 means offset -0.1, but its dark pixels say otherwise" in n for n in report.notes
        )

    def test_the_newest_processing_and_the_finest_pixels(self, tmp_path, raster):
        safe(tmp_path, raster, "20210105", "0214", stack(0))
        new = safe(tmp_path, raster, "20210105", "0500", stack(9) + 1000, gsd=(10, 20, 60))
        data, report = do(tmp_path / "in", tmp_path / "out", patch=64)
        assert data.index["item"].to_pylist() == [new]
        np.testing.assert_array_equal(data.read(0)["B04"], stack(9)[2] + 1000)
        assert "1 older processings of the same acquisition left out" in report.notes

    def test_levels_do_not_mix(self, tmp_path, raster):
        safe(tmp_path, raster, "20210105", "0301", stack(0))
        safe(tmp_path, raster, "20210410", "0301", stack(0), level="L1C")
        with pytest.raises(DatasetError, match="levels L1C and L2A lie together"):
            do(tmp_path / "in", tmp_path / "out")

    def test_place_from_the_folder(self, tmp_path, raster):
        for site in ("siteA", "siteB"):
            safe(tmp_path / site, raster, "20210105", "0301", stack(0))
            (tmp_path / "all").mkdir(exist_ok=True)
            shutil.move(tmp_path / site / "in", tmp_path / "all" / site)
        with pytest.raises(DatasetError, match="both hold band B02 of T31UFQ"):
            do(tmp_path / "all", tmp_path / "a", patch=64)
        data, _ = do(tmp_path / "all", tmp_path / "b", patch=64, place_from="folder")
        assert data.place_ids == ["siteA_r000_c000", "siteB_r000_c000"]


def cube(
    path,
    *,
    south_up=False,
    days=(0, 5),
    step=1.0,
    time_units="days since 2021-05-10",
    dims=("time", "lat", "lon"),
):
    with netCDF4.Dataset(path, "w") as out:
        for name, size in zip(dims, (len(days), 6, 8), strict=True):
            out.createDimension(name, size)
        out.createVariable(dims[0], "i8", (dims[0],))[:] = days
        out[dims[0]].units = time_units
        lat = 50.0 - 0.1 * np.arange(6)
        out.createVariable(dims[1], "f8", (dims[1],))[:] = lat[::-1] if south_up else lat
        out.createVariable(dims[2], "f8", (dims[2],))[:] = 5.0 + 0.1 * np.cumsum(
            np.r_[0, np.full(6, 1.0), step]
        )
        band = out.createVariable("s2_B02", "i2", dims, fill_value=-32767)
        band.set_auto_maskandscale(False)
        band.scale_factor, band.add_offset = 2e-5, 0.6
        values = np.arange(len(days) * 48).reshape(len(days), 6, 8).astype(np.int16)
        band[:] = values[:, ::-1] if south_up else values
        mask = out.createVariable("s2_dlmask", "i2", dims, fill_value=-32767)
        mask[:] = 0
        mask[1, 5 if south_up else 0, :4] = 1
    return values


class TestNetcdf:
    def test_north_up_and_south_up_are_alike(self, tmp_path):
        values = cube(tmp_path / "a.nc")
        cube(tmp_path / "b.nc", south_up=True)
        for name in ("a", "b"):
            data, _ = do(tmp_path / f"{name}.nc", tmp_path / name, patch=4)
            assert data.place_ids == [f"{name}_r000_c000", f"{name}_r000_c001"]
            np.testing.assert_array_equal(data.read(1)["B02"], values[1, :4, :4])
            assert data.column("clear_fraction").tolist() == [1, 0.75, 1, 1]
            transform = data.index["transform"][2].as_py()
            assert transform == pytest.approx([0.1, 0, 5.35, 0, -0.1, 50.05])
            assert data.dates[:2].tolist() == [datetime.date(2021, 5, 10), datetime.date(2021, 5, 15)]
            assert (data.meta.bands[0].scale, data.meta.bands[0].offset, data.meta.bands[0].nodata) == (
                2e-5,
                0.6,
                -32767,
            )

    def test_zipped(self, tmp_path):
        cube(tmp_path / "a.nc")
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.write(tmp_path / "a.nc", "deep/a.nc")
        assert (
            do(tmp_path / "z.zip", tmp_path / "x", patch=4)[0].fingerprint
            == do(tmp_path / "a.nc", tmp_path / "y", patch=4)[0].fingerprint
        )

    def test_place_by_pattern(self, tmp_path):
        (tmp_path / "in").mkdir()
        cube(tmp_path / "in" / "site-2021.nc")
        data, _ = do(tmp_path / "in", tmp_path / "out", pattern="{place}-*.nc", patch=4)
        assert data.place_ids[0] == "site_r000_c000"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"step": 1.5}, "coordinate lon is not evenly spaced"),
            ({"time_units": "fortnights since 2021"}, "time axis time .* cannot be read"),
            ({"time_units": "m"}, r"has no variable of \(time, y, x\)"),
        ],
    )
    def test_refused(self, tmp_path, change, message):
        cube(tmp_path / "a.nc", **change)
        with pytest.raises(DatasetError, match=message):
            do(tmp_path / "a.nc", tmp_path / "out", patch=4)

    def test_damaged(self, tmp_path):
        cube(tmp_path / "a.nc")
        (tmp_path / "a.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:2000])
        with pytest.raises(DatasetError, match=r"cannot read .*a\.nc"):
            do(tmp_path / "a.nc", tmp_path / "out", patch=4)


def moved_cube(path, pixels, *, west, north, step, mask=None, south_up=False):
    """One date of (lat, lon) pixels whose north-western corner is (west, north)."""
    height, width = pixels.shape
    turned = slice(None, None, -1 if south_up else 1)
    with netCDF4.Dataset(path, "w") as out:
        for name, size in (("time", 1), ("lat", height), ("lon", width)):
            out.createDimension(name, size)
        out.createVariable("time", "i8", ("time",))[:] = int(DATES.index(path.stem[-8:]))
        out["time"].units = "days since 2021-01-01"
        out.createVariable("lat", "f8", ("lat",))[:] = (north - step * (np.arange(height) + 0.5))[turned]
        out.createVariable("lon", "f8", ("lon",))[:] = west + step * (np.arange(width) + 0.5)
        fill = -9999 if pixels.dtype.kind == "i" else np.nan
        band = out.createVariable("s2_B02", pixels.dtype, ("time", "lat", "lon"), fill_value=fill)
        band.set_auto_maskandscale(False)
        if pixels.dtype.kind == "i":
            band.scale_factor, band.add_offset = 1e-4, 0.0
        band[0] = pixels[turned]
        if mask is not None:
            flags = out.createVariable("s2_dlmask", "i1", ("time", "lat", "lon"), fill_value=-1)
            flags.set_auto_maskandscale(False)
            flags[0] = mask[turned]
    return path


class TestResampledNetcdf:
    """Against GDAL's own resampling of a GeoTIFF that holds the same pixels."""

    PX = 40

    def pixels(self, dtype):
        y, x = np.mgrid[: self.PX, : self.PX]
        out = 2000 + 40 * x + 25 * y + 300 * np.sin(x / 4)
        out = (out if dtype == "int16" else out / 1e4).astype(dtype)
        out[20:25, 16:20] = -9999 if dtype == "int16" else np.nan
        return out

    @pytest.mark.parametrize("nearest", [False, True])
    @pytest.mark.parametrize("dtype", ["int16", "float32"])
    @pytest.mark.parametrize(
        ("crs", "transform"),
        [("EPSG:4326", (0.01, 0, 5.103, 0, -0.01, 49.897)), ("EPSG:32631", (900, 0, 650_000, 0, -900, 5_520_000))],
        ids=["shifted", "projected"],
    )  # fmt: skip
    @pytest.mark.parametrize("window", [(0, 0, 50, 30), (7, 3, 20, 16)])
    def test_windows(self, tmp_path, raster, window, crs, transform, dtype, nearest):
        pixels, step, where = self.pixels(dtype), 0.01, {"west": 5.0, "north": 50.0}
        nodata = -9999.0 if dtype == "int16" else math.nan
        tif = raster(tmp_path / "a.tif", pixels, crs="EPSG:4326", pixel_m=step, nodata=nodata, **where)
        onto = Grid(crs=crs, transform=tuple(map(float, transform)), height=50, width=30)
        row, col, height, width = window
        with (
            rasterio.open(tif) as source,
            WarpedVRT(
                source, crs=crs, transform=rasterio.Affine(*transform), height=50, width=30, src_nodata=nodata,
                nodata=nodata, resampling=Resampling.nearest if nearest else Resampling.bilinear,
            ) as warped,
        ):  # fmt: skip
            wanted = warped.read(1, window=Window(col, row, width, height))
        assert 0 < (np.isnan(wanted) | (wanted == nodata)).mean() < 0.6  # the hole, and beyond the source
        for south_up in (False, True):
            file = tmp_path / f"{south_up}-{DATES[0]}.nc"
            (plane,) = netcdf_planes(str(moved_cube(file, pixels, step=step, south_up=south_up, **where)))
            with PixelReader() as reader:
                got = reader.read(
                    plane, row, col, height, width, onto=onto, nodata=nodata, nearest=nearest, ahead=False
                )
            assert got.dtype == dtype
            # Coordinates of pixel centres give the corner back to the last bit but one.
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1 if dtype == "int16" else 1e-6)

    def test_a_place_of_two_grids_is_imported(self, tmp_path):
        (tmp_path / "in").mkdir()
        pixels = self.pixels("int16")
        mask = np.zeros(pixels.shape, np.int8)
        mask[:10], mask[-1] = 1, -1  # cloud, and not looked at
        for day, west in zip(DATES[:2], (5.0, 5.03), strict=True):
            moved_cube(tmp_path / "in" / f"p-{day}.nc", pixels, west=west, north=50.0, step=0.01, mask=mask)
        options = {"pattern": "{place}-*.nc", "patch": self.PX}
        with pytest.raises(DatasetError, match="--on-misaligned resample"):
            do(tmp_path / "in", tmp_path / "a", **options)
        data, _ = do(tmp_path / "in", tmp_path / "b", **options, on_misaligned="resample")
        first, moved = data.read(0)["B02"], data.read(1)["B02"]
        np.testing.assert_array_equal(first, pixels)
        np.testing.assert_array_equal(moved[:, 3:], pixels[:, :-3])  # by whole pixels: exact
        assert (moved[:, :3] == -9999).all()
        hidden = np.ones(pixels.shape, bool)
        hidden[10:-1, 3:] = False
        hidden |= moved == -9999
        assert data.column("clear_fraction")[1] == pytest.approx(1 - hidden.mean(), abs=1e-6)

    def test_without_a_crs_it_cannot_be_done(self, tmp_path):
        file = moved_cube(
            tmp_path / f"a-{DATES[0]}.nc", self.pixels("int16"), west=5.0, north=50.0, step=0.01
        )
        (plane,) = netcdf_planes(str(file))
        onto = plane.grid
        bare = dataclasses.replace(plane, grid=dataclasses.replace(onto, crs=None, transform=None))
        with (
            PixelReader() as reader,
            pytest.raises(DatasetError, match="has no CRS, so it cannot be resampled"),
        ):
            reader.read(bare, 0, 0, 8, 8, onto=onto, nodata=-9999.0)


class TestMemory:
    def test_batches_give_the_same_dataset(self, sites, tmp_path, monkeypatch):
        one, _ = do(sites, tmp_path / "a", **PATTERN)
        monkeypatch.setattr(cutting, "HOLD_BYTES", 1)
        other, _ = do(sites, tmp_path / "b", **PATTERN)
        assert one.fingerprint == other.fingerprint

    def test_does_not_grow_with_the_raster(self, tmp_path, raster, monkeypatch):
        monkeypatch.setattr(cutting, "HOLD_BYTES", 2**18)
        monkeypatch.setattr("seco.data.rasters.BLOCK_PX", 128)
        monkeypatch.setattr("seco.data.rasters.BLOCK_BYTES", 2**18)
        monkeypatch.setattr("seco.data.layout.SHARD_BYTES", 2**18)

        def peak(size):
            name = f"r{size}"
            raster(
                tmp_path / name / "p" / "20210105.tif",
                stack(0, size=size),
                names=NAMES,
                tiled=True,
                blockxsize=64,
                blockysize=64,
            )
            tracemalloc.start()
            try:
                options = build(geotiff.Options, {"pattern": "{place}/{date}.tif", "offset": 0.0})
                geotiff.run(tmp_path / name, tmp_path / f"out{size}", options)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        peak(64)
        small, large = peak(256), peak(768)
        assert large < small + 1.5e6  # the difference in pixels is 3.1 MB, and more in work


class TestRealData:
    """Against rasterio and netCDF4, which read the same files directly."""

    def test_greenearthnet(self, seco_data, tmp_path):
        folder = seco_data("sentinel2/greenearthnet")
        data, report = do(folder, tmp_path / "out", patch=64)
        assert data.meta.num_places == 12
        assert len(data) == 345
        assert any("s2_dlmask" in n for n in report.notes)
        bands = {b.name: b for b in data.meta.bands}
        assert list(bands) == ["B02", "B03", "B04", "B8A"]
        for file in sorted(folder.glob("*.nc")):
            with netCDF4.Dataset(file) as source:
                days = netCDF4.num2date(source["time"][:], source["time"].units)
                place = data.place_ids.index(f"{file.stem}_r001_c000")
                rows = np.flatnonzero(data.place == place)
                for row in rows[:: len(rows) // 4]:
                    step = [d.strftime("%Y-%m-%d") for d in days].index(str(data.dates[row]))
                    window = (step, slice(64, 128), slice(0, 64))
                    for name, band in bands.items():
                        wanted = source[f"s2_{name}"][window]
                        stored = data.read(int(row))[name]
                        np.testing.assert_array_equal(stored == 0, np.ma.getmaskarray(wanted))
                        got = stored * band.scale + band.offset
                        np.testing.assert_allclose(
                            got[~np.ma.getmaskarray(wanted)], wanted.compressed(), atol=0.52 * band.scale
                        )
                    hidden = np.isin(source["s2_dlmask"][window].filled(4), (1, 2, 3, 4))
                    empty = np.zeros((64, 64), bool)
                    for name in bands:
                        empty |= np.ma.getmaskarray(source[f"s2_{name}"][window])
                    assert data.column("clear_fraction")[row] == pytest.approx(
                        1 - (hidden | empty).mean(), abs=1e-6
                    )

    def test_one_cube_keeps_its_numbers(self, seco_data, tmp_path):
        file = next(iter(sorted(seco_data("sentinel2/greenearthnet").glob("*.nc"))))
        data, _ = do(file, tmp_path / "out", patch=64, min_clear=0.8, min_dates=3)
        assert data.meta.groups[0].dtype == "int16"
        assert (data.column("clear_fraction") >= 0.8).all()
        assert np.bincount(data.place).min() >= 3
        with netCDF4.Dataset(file) as source:
            source.set_auto_maskandscale(False)
            first = np.datetime64(
                netCDF4.num2date(source["time"][0], source["time"].units).strftime("%Y-%m-%d")
            )
            step = int((data.dates[0] - first).astype(int))
            np.testing.assert_array_equal(data.read(0)["B8A"], source["s2_B8A"][step, :64, :64])
            band = data.meta.bands[0]
            assert (band.scale, band.offset) == (source["s2_B02"].scale_factor, source["s2_B02"].add_offset)
            lon, lat = source["lon"][:64].mean(), source["lat"][:64].mean()
        np.testing.assert_allclose(data.lonlat[0], (lon, lat), atol=1e-6)

    def test_theia_in_a_zip(self, seco_data, tmp_path):
        whole = seco_data("sentinel2/zonetest_T31UFQ.zip")
        # Every eighth of 187 dates: all of them take seconds to open, and are alike.
        with (
            zipfile.ZipFile(whole) as source,
            zipfile.ZipFile(tmp_path / "some.zip", "w", zipfile.ZIP_DEFLATED) as some,
        ):
            names = [n for n in source.namelist() if "SENTINEL2" in n and not n.endswith("/")]
            items = sorted({n.split("/")[3] for n in names})[::8]
            for name in names:
                if name.split("/")[3] in items:
                    some.writestr(name, source.read(name))
        data, report = do(tmp_path / "some.zip", tmp_path / "out", patch=40)
        assert [(g.bands, g.height_px, g.dtype) for g in data.meta.groups] == [
            (("B02", "B03", "B04"), 40, "int16"), (("B8A", "B11", "B12"), 20, "int16")
        ]  # fmt: skip
        assert {(b.scale, b.offset, b.nodata) for b in data.meta.bands} == {(1e-4, 0.0, -10000.0)}
        root = f"/vsizip/{whole}/fordead_zonetest/SENTINEL/ZoneTest"
        rows = iter(np.flatnonzero(data.place == data.place_ids.index("T31UFQ_r001_c001")).tolist())
        empty = 0
        for item in sorted(items, key=lambda i: i.split("_")[1]):
            planes = {}
            for name, px in (("B2", 40), ("B4", 40), ("B8A", 20), ("B12", 20)):
                with rasterio.open(f"{root}/{item}/{item}_FRE_{name}.tif") as source:
                    planes[name] = source.read(1, window=Window(px, px, px, px))
            if all((p == -10000).all() for p in planes.values()):
                empty += 1
                continue
            row = next(rows)
            assert data.index["item"][row].as_py() == item
            assert str(data.dates[row]).replace("-", "") == item.split("_")[1][:8]
            got = data.read(row)
            for name, plane in planes.items():
                np.testing.assert_array_equal(got["B8A" if name == "B8A" else f"B{int(name[1:]):02d}"], plane)
            with rasterio.open(f"{root}/{item}/MASKS/{item}_CLM_R2.tif") as source:
                clear = source.read(1, window=Window(20, 20, 20, 20)) == 0
            assert data.column("clear_fraction")[row] <= clear.mean() + 1e-6
        assert next(rows, None) is None
        assert f"{4 * empty} patches hold nothing but nodata" in report.notes

    def test_jpeg_2000_tile(self, seco_data, tmp_path):
        folder = seco_data("sentinel2/T29UNU_20221005")
        data, report = do(folder, tmp_path / "out", patch=192, bands="B04,B11")
        with rasterio.open(folder / "T29UNU_20221005T115411_B04_60m.jp2") as source:
            red, transform = source.read(1), source.transform
        with rasterio.open(folder / "T29UNU_20221005T115411_SCL_60m.jp2") as source:
            scl = source.read(1)
        whole = {
            (r, c)
            for r in range(9)
            for c in range(9)
            if red[192 * r : 192 * r + 192, 192 * c : 192 * c + 192].any()
        }
        assert len(data) == len(whole) < 81
        assert f"{81 - len(whole)} patches hold nothing but nodata" in report.notes
        assert any("carry +1000" in n for n in report.notes)
        assert {(b.scale, b.offset, b.gsd_m) for b in data.meta.bands} == {(1e-4, -0.1, 60.0)}
        assert set(data.dates.tolist()) == {datetime.date(2022, 10, 5)}
        for i in range(0, len(data), 11):
            r, c = (int(part[1:]) for part in data.place_ids[i].split("_")[1:])
            window = slice(192 * r, 192 * r + 192), slice(192 * c, 192 * c + 192)
            np.testing.assert_array_equal(data.read(i)["B04"], red[window])
            hidden = np.isin(scl[window], (0, 1, 3, 8, 9, 10))
            assert data.column("clear_fraction")[i] == pytest.approx(1 - hidden.mean(), abs=2e-3)
            corner = data.index["transform"][i].as_py()
            assert (corner[2], corner[5]) == (transform.c + 60 * 192 * c, transform.f - 60 * 192 * r)
