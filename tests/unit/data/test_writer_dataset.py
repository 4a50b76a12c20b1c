"""Writing and reading a dataset: nothing is changed on the way, nothing half-written is taken for whole."""

import datetime
import errno
import itertools
import json
import resource
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import zarr

from seco.data import format as fmt
from seco.data import layout as layouts
from seco.data import writer as writer_module
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.data.writer import DatasetWriter, Patch
from seco.errors import DatasetError
from seco.sensors import sentinel2
from seco.sensors.bands import Band
from seco.sensors.rgb import BANDS as RGB

DAY = datetime.date(2021, 6, 1)
SOURCES = Path(writer_module.__file__).parents[2]


def begin(out, bands=RGB, px=8):
    return DatasetWriter(out, bands=bands, patch_px=px, licence="none", provenance={"importer": "test"})


def noise(i, shape=(3, 8, 8), dtype=np.uint8):
    return np.random.default_rng(i).integers(0, 250, shape).astype(dtype)


def mixed(i):
    """A patch of three resolutions, as Sentinel-2's."""
    return {
        "B01": noise(i, (2, 2), np.uint16), "B02": noise(i + 1, (12, 12), np.uint16),
        "B04": noise(i + 2, (12, 12), np.uint16), "B8A": noise(i + 3, (6, 6), np.uint16),
    }  # fmt: skip


MIXED = tuple(sentinel2.band(n) for n in ("B01", "B02", "B04", "B8A"))


class TestRoundTrip:
    @pytest.mark.parametrize("rows", [1, 3, 4, 100])
    def test_first_rows_found_some_at_a_time(self, tmp_path, monkeypatch, rows):
        order = np.repeat([3, 0, 5, 1, 2, 4], [2, 4, 1, 1, 3, 5])
        with begin(tmp_path / "a") as writer:
            for i, place in enumerate(order):
                writer.add(Patch(place=f"p{place}", pixels=noise(i), lon=10.0, lat=45.0))
        monkeypatch.setattr("seco.data.dataset.ROWS", rows)
        found = open_dataset(tmp_path / "a").first_row
        assert found.dtype == np.int64
        assert found.tolist() == [0, 2, 6, 7, 8, 11]

    def test_pixels_and_columns(self, tmp_path):
        with begin(tmp_path / "a") as writer:
            for place, month in itertools.product("pq", (1, 7)):
                writer.add(
                    Patch(
                        place=place, pixels=noise(month), date=datetime.date(2021, month, 3), lon=10.0, lat=-45.0,
                        item=f"i{month}", baseline="05.09", clear_fraction=0.5, label="forest", split="train",
                        crs="EPSG:32632", transform=(10.0, 0.0, 5e5, 0.0, -10.0, 5e6),
                    )
                )  # fmt: skip
        data = open_dataset(tmp_path / "a")
        assert len(data) == 4
        assert data.place_ids == ["p", "q"]
        assert data.place.tolist() == [0, 0, 1, 1]
        assert data.first_row.tolist() == [0, 2]
        assert data.dates.tolist() == [datetime.date(2021, 1, 3), datetime.date(2021, 7, 3)] * 2
        assert data.months.tolist() == [1, 7, 1, 7]
        assert data.column("season").tolist() == [2, 0, 2, 0]  # south
        assert data.labels == ["forest"] * 4
        row = data.index.slice(1, 1).to_pylist()[0]
        assert {k: row[k] for k in ("item", "baseline", "split", "clear_fraction", "crs", "transform")} == {
            "item": "i7", "baseline": "05.09", "split": "train", "clear_fraction": 0.5, "crs": "EPSG:32632",
            "transform": [10.0, 0.0, 5e5, 0.0, -10.0, 5e6],
        }  # fmt: skip
        found = data.read(3)
        assert list(found) == ["red", "green", "blue"]
        np.testing.assert_array_equal(np.stack(list(found.values())), noise(7))
        assert not (tmp_path / "a.partial").exists()

    def test_unknown_values_stay_unknown(self, tmp_path):
        with begin(tmp_path / "a") as writer:
            writer.add(Patch(place="p", pixels=noise(0)))
            writer.add(Patch(place="q", pixels=noise(1), date=DAY))
        data = open_dataset(tmp_path / "a")
        assert np.isnat(data.dates).tolist() == [True, False]
        assert data.months.tolist() == [0, 6]
        assert np.isnan(data.lonlat).all()
        assert data.labels == [None, None]
        nulls = ("lon", "crs", "transform", "season", "baseline", "clear_fraction", "geometry")
        assert [data.index[n].null_count for n in nulls] == [2] * len(nulls)

    def test_bands_of_three_resolutions_stay_native(self, tmp_path):
        with begin(tmp_path / "a", MIXED, 12) as writer:
            for i in range(5):
                writer.add(Patch(place=str(i), pixels=mixed(i)))
        data = open_dataset(tmp_path / "a")
        assert [(g.bands, g.height_px) for g in data.meta.groups] == [
            (("B02", "B04"), 12), (("B8A",), 6), (("B01",), 2)
        ]  # fmt: skip
        for i in range(5):
            found = data.read(i)
            for name, plane in mixed(i).items():
                np.testing.assert_array_equal(found[name], plane)
                assert found[name].dtype == np.uint16
        assert check(data) == []

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
    def test_types_stay(self, tmp_path, dtype):
        pixels = (noise(1).astype(np.float64) - 100).astype(dtype)
        if dtype == "float32":
            pixels[0, 0, 0] = np.nan
        with begin(tmp_path / "a") as writer:
            writer.add(Patch(place="p", pixels=pixels))
        found = np.stack(list(open_dataset(tmp_path / "a").read(0).values()))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, pixels)

    def test_shards_and_index_batches(self, tmp_path, monkeypatch):
        monkeypatch.setattr(layouts, "SHARD_BYTES", 5 * 3 * 64)
        monkeypatch.setattr(layouts, "INDEX_BATCH", 4)
        with begin(tmp_path / "a") as writer:
            for i in range(17):
                writer.add(Patch(place=f"{i:02d}", pixels=noise(i)))
        data = open_dataset(tmp_path / "a")
        assert data.arrays[0].shards == (5, 3, 8, 8)
        np.testing.assert_array_equal(data.planes(0, 17)[0], np.stack([noise(i) for i in range(17)]))
        assert data.column("row").tolist() == list(range(17))
        assert check(data) == []

    def test_a_reader_that_knows_only_the_specification(self, tmp_path):
        with begin(tmp_path / "a", MIXED, 12) as writer:
            for i in range(3):
                writer.add(Patch(place=str(i), pixels=mixed(i)))
        meta = json.loads((tmp_path / "a" / "dataset.json").read_text())
        index = pq.read_table(tmp_path / "a" / "index.parquet").to_pylist()
        arrays = [zarr.open_array(tmp_path / "a" / "archive" / g["name"], mode="r") for g in meta["groups"]]
        assert [a.metadata.zarr_format for a in arrays] == [3, 3, 3]
        for row in index:
            planes = [a[row["row"]] for a in arrays]
            assert fmt.checksum(planes) == row["checksum"]
            for group, plane in zip(meta["groups"], planes, strict=True):
                for name, pixels in zip(group["bands"], plane, strict=True):
                    np.testing.assert_array_equal(pixels, mixed(int(row["place"]))[name])


class TestFootprints:
    def add(self, tmp_path, crs, transform, bands=RGB, **where):
        with begin(tmp_path / "a", bands) as writer:
            writer.add(Patch(place="p", pixels=noise(0), crs=crs, transform=transform, **where))
        wkb = open_dataset(tmp_path / "a").index["geometry"][0].as_py()
        return None if wkb is None else shapely.from_wkb(wkb)

    def test_is_the_grid(self, tmp_path):
        box = self.add(tmp_path, "EPSG:4326", (0.5, 0.0, 10.0, 0.0, -0.5, 50.0))
        assert box.bounds == pytest.approx((10, 46, 14, 50))

    def test_projected(self, tmp_path):
        from pyproj import Transformer

        box = self.add(tmp_path, "EPSG:32632", (10.0, 0.0, 4e5, 0.0, -10.0, 5e6))
        corner = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(4e5 + 80, 5e6 - 80)
        assert shapely.Point(corner).distance(box.boundary) < 1e-9

    def test_over_the_antimeridian_it_stays_one_small_ring(self, tmp_path):
        # UTM zone 1's western edge lies just beyond 180 degrees.
        box = self.add(tmp_path, "EPSG:32660", (2000.0, 0.0, 826_000.0, 0.0, -2000.0, 1e6))
        west, _, east, _ = box.bounds
        assert west < 180 < east
        assert east - west < 0.2

    def test_longitudes_from_0_to_360(self, tmp_path):
        box = self.add(tmp_path, "EPSG:4326", (0.5, 0.0, 270.0, 0.0, -0.5, 50.0))
        assert box.bounds == pytest.approx((-90, 46, -86, 50))

    def test_of_a_centre_alone_it_is_a_box_that_holds_the_patch(self, tmp_path):
        bands = [Band(name=n, units="display", gsd_m=10.0) for n in ("r", "g", "b")]
        box = self.add(tmp_path, None, None, bands, lon=20.0, lat=60.0)
        west, south, east, north = box.bounds
        metres = 111_195 * (north - south), 111_195 * (east - west) * 0.5  # cos 60 = 0.5
        assert metres == pytest.approx((88, 88), rel=1e-3)
        assert ((west + east) / 2, (south + north) / 2) == pytest.approx((20, 60))

    def test_none_without_a_position(self, tmp_path):
        assert self.add(tmp_path, None, None) is None

    def test_unknown_crs(self, tmp_path):
        with pytest.raises(DatasetError, match="CRS 'EPSG:1' is not known"):
            self.add(tmp_path, "EPSG:1", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))

    def test_index_is_geoparquet(self, small_dataset):
        geo = json.loads(pq.read_schema(small_dataset / "index.parquet").metadata[b"geo"])
        assert geo["primary_column"] == "geometry"
        assert geo["columns"]["geometry"]["encoding"] == "WKB"


class TestRefusals:
    def test_existing_folder(self, tmp_path):
        (tmp_path / "a").mkdir()
        with pytest.raises(DatasetError, match="exists already"):
            begin(tmp_path / "a")

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            ({"pixels": noise(1, (2, 8, 8))}, r"shape \(2, 8, 8\); give \(3, height, width\)"),
            (
                {"pixels": noise(1, (3, 8, 9))},
                r"band red is uint8 \(8, 9\); this dataset holds uint8 \(8, 8\)",
            ),
            ({"pixels": noise(1, dtype=np.uint16)}, "band red is uint16"),
            ({"pixels": {"red": noise(1)[0], "green": noise(1)[1]}}, "band blue is missing"),
            (
                {"pixels": {"red": noise(1)[0], "green": noise(1)[1], "blue": np.zeros((4, 4), np.uint8)}},
                r"band blue is uint8 \(4, 4\)",
            ),
        ],
    )
    def test_patch_that_does_not_fit(self, tmp_path, second, message):
        with pytest.raises(DatasetError, match=message), begin(tmp_path / "a") as writer:  # noqa: PT012
            writer.add(Patch(place="p", pixels=noise(0)))
            writer.add(Patch(place="q", **second))
        assert list(tmp_path.iterdir()) == []

    def test_patch_of_another_size_than_declared(self, tmp_path):
        with (
            pytest.raises(DatasetError, match="8 x 8 px; this dataset's patches are 16"),
            begin(tmp_path / "a", px=16) as w,
        ):
            w.add(Patch(place="p", pixels=noise(0)))

    def test_places_that_come_back(self, tmp_path):
        with pytest.raises(DatasetError, match="place p: its patches do not"), begin(tmp_path / "a") as w:  # noqa: PT012
            for place in "pqp":
                w.add(Patch(place=place, pixels=noise(0)))

    def test_no_patch_at_all(self, tmp_path):
        with pytest.raises(DatasetError, match="the source gave no patch"), begin(tmp_path / "a"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_row_out_of_range(self, small_dataset):
        with pytest.raises(DatasetError, match="patch 96 is not in"):
            open_dataset(small_dataset).read(96)

    def test_unknown_band(self, small_dataset):
        with pytest.raises(DatasetError, match="band nir is missing"):
            open_dataset(small_dataset).bands(["nir"])


def fill(out, num=40):
    with begin(out) as writer:
        for i in range(num):
            writer.add(Patch(place=f"{i:03d}", pixels=noise(i)))


class TestInterruptions:
    """Whatever goes wrong, no dataset and no partial folder stays behind, and the same command goes on."""

    def whole(self, out):
        fill(out)
        assert check(open_dataset(out)) == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
    def test_inside_the_block(self, tmp_path, error):
        with pytest.raises(error), begin(tmp_path / "a") as writer:  # noqa: PT012
            writer.add(Patch(place="p", pixels=noise(0)))
            raise error
        assert list(tmp_path.iterdir()) == []
        self.whole(tmp_path / "a")

    def test_while_finishing(self, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(fmt, "file_checksum", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                fill(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []
        self.whole(tmp_path / "a")

    @pytest.mark.parametrize("moment", ["flush", "index", "rename"])
    def test_full_disk(self, tmp_path, monkeypatch, moment):
        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            if moment == "flush":
                patch.setattr(Path, "write_bytes", full)
            elif moment == "index":
                patch.setattr(writer_module.pq.ParquetWriter, "write_table", full)
            else:
                patch.setattr(Path, "rename", full)
            with pytest.raises(
                DatasetError, match="No space left on device; free disk space or choose another folder"
            ):
                fill(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []
        self.whole(tmp_path / "a")

    def test_a_limit_that_the_system_sets(self, tmp_path):
        """A real failed write: the system refuses files beyond some bytes."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
            with pytest.raises(DatasetError, match="File too large; free disk space"):
                fill(tmp_path / "a")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert list(tmp_path.iterdir()) == []
        self.whole(tmp_path / "a")

    def test_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DatasetError, match="cannot write"):
            fill(tmp_path / "file" / "a")

    def test_killed(self, tmp_path):
        """Nothing can tidy up after SIGKILL: what is left is no dataset, and the next run replaces it."""
        script = (
            f"import sys, os, signal; sys.path.insert(0, {str(SOURCES)!r})\n"
            "import numpy as np; from pathlib import Path\n"
            "from seco.data.writer import DatasetWriter, Patch; from seco.sensors.rgb import BANDS\n"
            f"out = Path({str(tmp_path / 'a')!r})\n"
            "with DatasetWriter(out, bands=BANDS, patch_px=8, licence='', provenance={}) as w:\n"
            "    w.add(Patch(place='p', pixels=np.zeros((3, 8, 8), np.uint8)))\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=60)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert [p.name for p in tmp_path.iterdir()] == ["a.partial"]
        with pytest.raises(DatasetError, match="never finished"):
            open_dataset(tmp_path / "a")
        self.whole(tmp_path / "a")
        assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_memory_does_not_grow_with_the_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "SHARD_BYTES", 2**18)
    monkeypatch.setattr(layouts, "INDEX_BATCH", 64)

    def peak(num):
        tracemalloc.start()
        try:
            with begin(tmp_path / str(num), px=64) as writer:
                for i in range(num):
                    writer.add(Patch(place=f"{i:05d}", pixels=noise(0, (3, 64, 64))))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(32)  # what is imported on first use
    small, large = peak(64), peak(320)
    assert large < small + 0.5e6  # the difference in pixels is 3.1 MB


class TestDamage:
    def test_index_with_other_rows(self, make_dataset):
        path = make_dataset()
        table = pq.read_table(path / "index.parquet")
        pq.write_table(table.slice(0, 5), path / "index.parquet")
        with pytest.raises(DatasetError, match=r"has 5 rows; dataset.json says 96"):
            _ = open_dataset(path).index

    def test_index_without_a_column(self, make_dataset):
        path = make_dataset()
        pq.write_table(pq.read_table(path / "index.parquet").drop(["checksum"]), path / "index.parquet")
        with pytest.raises(DatasetError, match="lacks column checksum"):
            _ = open_dataset(path).index

    def test_index_cut_short(self, make_dataset):
        file = make_dataset() / "index.parquet"
        file.write_bytes(file.read_bytes()[:-20])
        with pytest.raises(DatasetError, match="cannot read"):
            _ = open_dataset(file.parent).index

    def test_archive_gone(self, make_dataset):
        import shutil

        path = make_dataset()
        shutil.rmtree(path / "archive")
        with pytest.raises(DatasetError, match="cannot read the archive"):
            open_dataset(path).read(0)

    def test_archive_of_another_shape(self, make_dataset):
        path = make_dataset()
        file = path / "archive" / "g0" / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"shape": [95, 3, 16, 16]}))
        with pytest.raises(DatasetError, match=r"archive g0 is uint8 \(95, 3, 16, 16\); expected"):
            open_dataset(path).read(0)

    @pytest.mark.parametrize(
        "text", ["", "{", '{"zarr_format": 3, "node_type": "array"}', '{"qarr_format": 3}']
    )
    def test_archive_metadata(self, make_dataset, text):
        path = make_dataset()
        (path / "archive" / "g0" / "zarr.json").write_text(text)
        with pytest.raises(DatasetError, match="cannot read the archive"):
            open_dataset(path).read(0)


def test_fingerprint_goes_with_pixels_and_bands(make_dataset):
    first = open_dataset(make_dataset("a"))
    assert open_dataset(make_dataset("b")).fingerprint == first.fingerprint
    assert open_dataset(make_dataset("c", seed=1)).fingerprint != first.fingerprint
    other = tuple(Band(name=b.name, units="display", stretch="another") for b in RGB)
    assert open_dataset(make_dataset("d", bands=other)).fingerprint != first.fingerprint
