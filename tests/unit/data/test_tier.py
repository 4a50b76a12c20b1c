"""The training tier: the same pixels, statistics as plain NumPy has them, made once."""

import hashlib
import json
import os
import resource
import signal

import numpy as np
import pytest

from seco.data import tier as tier_module
from seco.data.dataset import open_dataset
from seco.data.writer import DatasetWriter, Patch
from seco.errors import DatasetError
from seco.sensors import sentinel2
from seco.sensors.bands import Band


def write(out, blocks, bands):
    with DatasetWriter(
        out, bands=bands, patch_px=blocks[0].shape[-1], licence="none", provenance={}
    ) as writer:
        for i, block in enumerate(blocks):
            writer.add(Patch(place=f"{i:03d}", pixels=block))
    return open_dataset(out)


def bands(units="reflectance", **settings):
    return tuple(Band(name=n, units=units, **settings) for n in ("a", "b"))


def random_blocks(dtype, num=9, nodata=None):
    rng = np.random.default_rng(5)
    low, high = (0, 255) if dtype == "uint8" else (-2000, 9000) if dtype == "int16" else (0, 9000)
    out = []
    for _ in range(num):
        block = rng.integers(low, high, (2, 8, 8)).astype(dtype)
        if nodata is not None:
            block[rng.random(block.shape) < 0.2] = nodata
        out.append(block)
    return out


class TestStatistics:
    @pytest.mark.parametrize(
        ("dtype", "nodata"),
        [("uint8", None), ("uint16", 0.0), ("int16", -10000.0), ("float32", None), ("int32", -7.0)],
    )
    def test_against_numpy(self, tmp_path, monkeypatch, dtype, nodata):
        monkeypatch.setattr(tier_module, "CHUNK_PATCHES", 4)  # several chunks, the last one short
        blocks = random_blocks(dtype, nodata=nodata)
        tier = write(tmp_path / "a", blocks, bands(nodata=nodata)).training()
        for i in range(2):
            values = np.stack(blocks)[:, i].astype(np.float64).ravel()
            values = values if nodata is None else values[values != nodata]
            assert tier.mean[i] == pytest.approx(values.mean(), rel=1e-9)
            assert tier.std[i] == pytest.approx(values.std(), rel=1e-6)
            low, high = np.quantile(values, (0.02, 0.98), method="inverted_cdf")
            slack = 0 if dtype in ("uint8", "uint16", "int16") else 100
            assert tier.low[i] == pytest.approx(low, abs=slack)
            assert tier.high[i] == pytest.approx(high, abs=slack)

    def test_nan_counts_as_nodata(self, tmp_path):
        blocks = [np.ones((2, 4, 4), np.float32), np.full((2, 4, 4), 3, np.float32)]
        blocks[0][0, :2] = np.nan
        tier = write(tmp_path / "a", blocks, bands()).training()
        assert tier.mean[0] == pytest.approx((8 * 1 + 16 * 3) / 24)

    def test_nodata_that_32_bits_hold_as_another_number_than_64(self, tmp_path):
        blocks = [np.full((2, 4, 4), 3, np.float32), np.full((2, 4, 4), -9999.9, np.float32)]
        tier = write(tmp_path / "a", blocks, bands(nodata=-9999.9)).training()
        assert (tier.mean[0], tier.std[0], tier.low[0]) == (3, 0, 3)

    def test_nothing_but_nodata(self, tmp_path):
        data = write(tmp_path / "a", [np.zeros((2, 4, 4), np.uint16)], bands(nodata=0.0))
        with pytest.raises(DatasetError, match="band a holds nothing but nodata"):
            data.training()
        assert not list((tmp_path / "a" / "training").glob("*"))


class TestPixels:
    def test_are_the_archive_s(self, small_dataset):
        data = open_dataset(small_dataset)
        tier = data.training()
        np.testing.assert_array_equal(tier.pixels, data.planes(0, len(data))[0])
        assert tier.pixels.dtype == np.uint8
        assert isinstance(tier.pixels, np.memmap)
        assert (len(tier), tier.patch_px) == (96, 16)
        assert tier.dataset is data

    def test_chosen_bands_in_the_order_asked(self, small_dataset):
        data = open_dataset(small_dataset)
        tier = data.training(["blue", "red"])
        assert [b.name for b in tier.bands] == ["blue", "red"]
        np.testing.assert_array_equal(tier.pixels, data.planes(0, len(data))[0][:, [2, 0]])
        assert tier.fingerprint != data.training().fingerprint

    def test_coarser_bands_are_repeated(self, tmp_path):
        names = ("B01", "B02", "B8A")
        rng = np.random.default_rng(0)
        planes = {
            n: rng.integers(1, 9, (px, px)).astype(np.uint16) for n, px in zip(names, (2, 12, 6), strict=True)
        }
        with DatasetWriter(
            tmp_path / "a", bands=[sentinel2.band(n) for n in names], patch_px=12, licence="", provenance={}
        ) as writer:
            writer.add(Patch(place="p", pixels=planes))
        pixels = open_dataset(tmp_path / "a").training().pixels[0]
        np.testing.assert_array_equal(pixels[0], planes["B01"].repeat(6, 0).repeat(6, 1))
        np.testing.assert_array_equal(pixels[1], planes["B02"])
        np.testing.assert_array_equal(pixels[2], planes["B8A"].repeat(2, 0).repeat(2, 1))


class TestMaking:
    def test_once(self, make_dataset, monkeypatch):
        data = open_dataset(make_dataset())
        first = data.training()
        monkeypatch.setattr(tier_module, "_make", lambda *_: pytest.fail("made again"))
        again = open_dataset(data.path).training()
        assert again.fingerprint == first.fingerprint
        np.testing.assert_array_equal(again.mean, first.mean)

    def test_interrupted(self, make_dataset, monkeypatch):
        data = open_dataset(make_dataset())
        with monkeypatch.context() as patch:
            patch.setattr(tier_module, "read_block", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                data.training()
        assert list((data.path / "training").iterdir()) == []
        assert len(data.training()) == 96

    def test_full_disk(self, make_dataset):
        """A real failed write: the system refuses files beyond some bytes, as it would on a full disk."""
        data = open_dataset(make_dataset())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
            with pytest.raises(DatasetError, match="File too large; free disk space"):
                data.training()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert list((data.path / "training").iterdir()) == []
        assert len(data.training()) == 96

    @pytest.mark.parametrize("damage", ["cut", "json", "list", "key", "shape"])
    def test_damaged(self, make_dataset, damage):
        data = open_dataset(make_dataset())
        data.training()
        folder = next((data.path / "training").iterdir())
        pixels = folder / "pixels.npy"
        if damage == "cut":
            pixels.write_bytes(pixels.read_bytes()[:100])
        elif damage == "json":
            (folder / "tier.json").write_text("{")
        elif damage == "list":
            (folder / "tier.json").write_text("[]")
        elif damage == "key":
            (folder / "tier.json").write_text("{}")
        else:
            np.save(pixels, np.zeros((1, 3, 16, 16), np.uint8))
        with pytest.raises(DatasetError, match="remove it, it is made again"):
            open_dataset(data.path).training()

    def test_read_only_dataset(self, make_dataset, monkeypatch, tmp_path):
        monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))
        data = open_dataset(make_dataset())
        # Asked, since the tests may run as root, who may write anywhere.
        monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (data.path, os.W_OK))
        assert len(data.training()) == 96
        assert not (data.path / "training").exists()
        assert (tmp_path / "cache" / data.fingerprint / "training").is_dir()

    def test_says_what_it_is(self, make_dataset):
        data = open_dataset(make_dataset())
        tier = data.training(["green"])
        told = json.loads((data.path / "training" / tier.fingerprint / "tier.json").read_text())
        assert (told["version"], told["dataset"], told["bands"]) == (2, data.fingerprint, ["green"])
        assert told["mean"] == tier.mean.tolist()

    def test_how_much_is_read_at_once_changes_nothing_but_the_memory(self, tmp_path, monkeypatch):
        blocks = random_blocks("uint16", nodata=0.0)
        at_once = write(tmp_path / "a", blocks, bands(nodata=0.0)).training()
        read, sizes = tier_module.read_block, []

        def look(*args):
            block = read(*args)
            sizes.append(block.nbytes)
            return block

        monkeypatch.setattr(tier_module, "read_block", look)
        monkeypatch.setattr(tier_module, "CHUNK_BYTES", 3 * blocks[0].nbytes + 1)
        in_parts = write(tmp_path / "b", blocks, bands(nodata=0.0)).training()
        assert len(sizes) > 2
        assert max(sizes) == 3 * blocks[0].nbytes
        np.testing.assert_array_equal(in_parts.pixels, at_once.pixels)
        for name in ("mean", "std", "low", "high"):
            np.testing.assert_array_equal(getattr(in_parts, name), getattr(at_once, name))

    def test_checksums_are_of_what_is_on_the_disk(self, make_dataset, monkeypatch):
        monkeypatch.setattr(tier_module, "CHUNK_PATCHES", 7)  # several chunks, the last one short
        data = open_dataset(make_dataset())
        folder = data.path / "training" / data.training().fingerprint
        told = json.loads((folder / "tier.json").read_text())
        digest = hashlib.blake2b((folder / "pixels.npy").read_bytes(), digest_size=8).hexdigest()
        assert told["files"] == {"pixels.npy": digest}
        text = json.dumps({k: told[k] for k in sorted(told) if k != "checksum"}, separators=(",", ":"))
        assert told["checksum"] == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
