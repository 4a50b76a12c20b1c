"""What file names say, as tables."""

import datetime

import pytest

from seco.data import naming
from seco.errors import ConfigError, DatasetError


def utc(*args):
    return datetime.datetime(*args, tzinfo=datetime.UTC)


class TestDates:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("20221005", utc(2022, 10, 5)),
            ("2022-10-05", utc(2022, 10, 5)),
            ("2022_10_05", utc(2022, 10, 5)),
            ("2022-10", utc(2022, 10, 1)),
            ("20221005T115411", utc(2022, 10, 5, 11, 54, 11)),
            ("20221005-115411", utc(2022, 10, 5, 11, 54, 11)),
            ("2022-10-05T11:54:11Z", utc(2022, 10, 5, 11, 54, 11)),
            ("2022:10:05 11:54:11", utc(2022, 10, 5, 11, 54, 11)),  # TIFF's own tag
            ("2022-10-05T11:54", utc(2022, 10, 5, 11, 54)),
        ],
    )
    def test_read(self, text, wanted):
        assert naming.parse_date(text) == wanted

    @pytest.mark.parametrize("text", ["20221305", "2022-02-30", "20220100", "spring", "", "20221005T256161"])
    def test_refused(self, text):
        with pytest.raises(DatasetError, match="is no date"):
            naming.parse_date(text)


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "name", "place", "day", "band"),
        [
            ("{place}/{date}*.tif", "siteA/20210301.tif", "siteA", "2021-03-01", None),
            ("{place}/{date}*.tif", "siteA/2021-03-01T101010_x.tif", "siteA", "2021-03-01", None),
            ("{place}/{date}_{band}.tif", "a b/20210301_B8A.TIF", "a b", "2021-03-01", "B8A"),
            ("{place}_{date}_{band}.tif", "my_site_20210301_B02.tif", "my_site", "2021-03-01", "B02"),
            ("{place}/{place}-{date}.tif", "x/x-20210301.tif", "x", "2021-03-01", None),
            ("**/{place}/{date}.tif", "top/sub/x/20210301.tif", "x", "2021-03-01", None),
            ("**/{place}/{date}.tif", "x/20210301.tif", "x", "2021-03-01", None),
            ("*/{place}/{date}/{band}.jp2", "t/x/2021-03-01/red.jp2", "x", "2021-03-01", "red"),
            ("{date}.tif", "siteA/20210301.tif", None, None, None),
            ("*/{date}.tif", "siteA/20210301.tif", "siteA", "2021-03-01", None),
            ("{date}.tif", "20210301.tif", None, "2021-03-01", None),
            ("{place}.nc", "cube.nc", "cube", None, None),
            ("img_{date}.ti?", "img_2021-03.tif", None, "2021-03-01", None),
        ],
    )
    def test_fields(self, pattern, name, place, day, band):
        members = naming.by_pattern([name], pattern)
        if place is None and day is None and band is None:
            assert members == []
            return
        (member,) = members
        assert (member.place, member.band) == (place, band)
        assert (member.when.date().isoformat() if member.when else None) == day

    @pytest.mark.parametrize(
        ("pattern", "name"),
        [
            ("{place}/{date}.tif", "deep/siteA/20210301.tif"),
            ("{place}/{place}-{date}.tif", "x/y-20210301.tif"),
            ("{place}/{date}.tif", "siteA/20210301xtif"),
            ("{place}/{date}.tif", "siteA/latest.tif"),
        ],
    )
    def test_other_files(self, pattern, name):
        assert naming.by_pattern([name], pattern) == []

    def test_impossible_date_names_the_file(self):
        with pytest.raises(DatasetError, match=r"file a/20211301\.tif: '20211301' is no date"):
            naming.by_pattern(["a/20211301.tif"], "{place}/{date}.tif")

    @pytest.mark.parametrize(
        ("pattern", "message"), [("{site}/{date}.tif", "unknown field {site}"), ("{place/x.tif", "brace")]
    )
    def test_wrong_pattern(self, pattern, message):
        with pytest.raises(ConfigError, match=message):
            naming.compile_pattern(pattern)


class TestEsa:
    SAFE = "S2B_MSIL2A_20221005T115359_N0400_R023_T29UNU_20221005T142425"

    def test_inside_safe(self):
        granule = f"{self.SAFE}.SAFE/GRANULE/L2A_T29UNU_A029153_20221005T115411"
        name = f"{granule}/IMG_DATA/R10m/T29UNU_20221005T115359_B02_10m.jp2"
        (member,) = naming.esa([name])
        assert (member.place, member.band, member.baseline, member.level) == ("T29UNU", "B02", "04.00", "L2A")
        assert (member.item, member.rank) == (self.SAFE, 10)
        assert member.when == utc(2022, 10, 5, 11, 53, 59)

    @pytest.mark.parametrize(
        ("name", "band", "rank", "level"),
        [
            ("T29UNU_20221005T115411_B8A_60m.jp2", "B8A", 60, None),
            ("x/T29UNU_20221005T115411_SCL_20m.jp2", "SCL", 20, None),
            ("T29UNU_20221005T115411_B10.jp2", "B10", 0, None),
            ("L2A_T29UNU_20170501T115411_B02_10m.jp2", "B02", 10, "L2A"),
            ("T29UNU_20221005T115411_B02.tif", "B02", 0, None),
        ],
    )
    def test_bare(self, name, band, rank, level):
        (member,) = naming.esa([name])
        assert (member.band, member.rank, member.level, member.baseline) == (band, rank, level, None)

    @pytest.mark.parametrize(
        "name",
        [
            "T29UNU_20221005T115411_TCI_10m.jp2", "T29UNU_20221005T115411_AOT_10m.jp2", "MSK_CLOUDS_B00.gml", "a.jp2",
            "T29UNU_20221005T115411_B02_60m.jp2.aux.xml",
        ],
    )  # fmt: skip
    def test_other_files(self, name):
        assert naming.esa([name]) == []


class TestTheia:
    ITEM = "SENTINEL2A_20171212-105436-462_L2A_T31UFQ_C_V2-2"

    @pytest.mark.parametrize(
        ("tail", "band", "rank"),
        [("_FRE_B2.tif", "B2", 0), ("_SRE_B8A.tif", "B8A", 1), ("_FRE_B11.tif", "B11", 0)],
    )
    def test_bands(self, tail, band, rank):
        (member,) = naming.theia([f"z/{self.ITEM}/{self.ITEM}{tail}"])
        assert (member.place, member.band, member.rank, member.item) == ("T31UFQ", band, rank, self.ITEM)
        assert member.when == utc(2017, 12, 12, 10, 54, 36)

    def test_the_finer_mask_goes_first(self):
        masks = naming.theia([f"{self.ITEM}/MASKS/{self.ITEM}_CLM_{r}.tif" for r in ("R1", "R2")])
        assert [(m.band, m.rank) for m in masks] == [("CLM", 1), ("CLM", 2)]

    @pytest.mark.parametrize("name", [f"{ITEM}_ATB_R1.tif", f"{ITEM}_QKL_ALL.jpg", f"{ITEM}_MTD_ALL.xml"])
    def test_other_files(self, name):
        assert naming.theia([name]) == []


class TestRecognise:
    def test_one_layout(self):
        assert naming.recognise(["a/cube.nc", "readme.txt"], source="x")[0] == "netcdf"
        assert naming.recognise(["T29UNU_20221005T115411_B02_60m.jp2"], source="x")[0] == "esa"

    def test_several(self):
        with pytest.raises(DatasetError, match=r"several layouts \(1 esa, 1 netcdf\)"):
            naming.recognise(["T29UNU_20221005T115411_B02_60m.jp2", "a.nc"], source="x")

    def test_none(self):
        with pytest.raises(
            DatasetError, match=r"such as b/c\.tif; say .*--pattern '\{place\}/\{date\}\*\.tif'"
        ):
            naming.recognise(["a.txt", "b/c.tif"], source="x")

    def test_no_raster(self):
        with pytest.raises(DatasetError, match=r"holds no raster \(1 files\)"):
            naming.recognise(["a.txt"], source="x")
