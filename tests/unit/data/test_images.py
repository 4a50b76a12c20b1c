"""Folders and zip files of pictures: labels, splits, sizes, colours, and all that can be wrong with a picture."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from seco.config import build
from seco.data import decoding, pictures
from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.data.importers import images as importer
from seco.errors import ConfigError, DatasetError


def do(source, out, **options):
    """Import, check, and return the dataset and the report."""
    report = importer.run(source, out, build(importer.Options, options))
    data = open_dataset(out)
    assert check(data) == []
    assert (report.num_places, report.num_patches) == (data.meta.num_places, len(data))
    assert data.meta.num_places == len(data)
    assert data.meta.provenance["notes"] == list(report.notes)
    return data, report


def image(seed, size=(16, 16), mode="RGB"):
    width, height = size
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 255, (height, width, bands)).astype(np.uint8)
    return Image.fromarray(values[:, :, 0] if bands == 1 else values, mode if mode != "P" else None)


def put(folder, name, picture, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.fixture
def classes(tmp_path):
    """Three classes of two pictures, lossless."""
    for c, name in enumerate(("field", "lake", "town")):
        for i in range(2):
            put(tmp_path / "in", f"set/{name}/{name}_{i}.png", image(10 * c + i))
    return tmp_path / "in"


def rgb(data, row):
    return np.stack(list(data.read(row).values()))


def plain(seed, **options):
    return np.asarray(image(seed, **options)).transpose(2, 0, 1)


class TestFolders:
    def test_labels_places_and_pixels(self, classes, tmp_path):
        data, report = do(classes, tmp_path / "out")
        assert data.place_ids == [f"{c}/{c}_{i}" for c in ("field", "lake", "town") for i in range(2)]
        assert data.labels == ["field"] * 2 + ["lake"] * 2 + ["town"] * 2
        assert data.index["item"][0].as_py() == "set/field/field_0.png"
        np.testing.assert_array_equal(rgb(data, 3), plain(11))
        assert [(b.name, b.units, b.stretch) for b in data.meta.bands] == [
            ("red", "display", "unknown"), ("green", "display", "unknown"), ("blue", "display", "unknown")
        ]  # fmt: skip
        assert report.notes == ("3 classes",)

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_a_zip_is_read_in_place(self, classes, tmp_path, method):
        with zipfile.ZipFile(tmp_path / "in.zip", "w", method) as archive:
            for file in classes.rglob("*.png"):
                archive.write(file, file.relative_to(classes))
        zipped, _ = do(tmp_path / "in.zip", tmp_path / "a")
        folder, _ = do(classes, tmp_path / "b")
        assert zipped.fingerprint == folder.fingerprint
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "in", "in.zip"]

    @pytest.mark.parametrize("suffix", ["jpg", "webp", "tif", "bmp", "gif", "jpeg"])
    def test_formats(self, tmp_path, suffix):
        path = put(tmp_path / "in", f"a.{suffix}", image(3))
        data, report = do(tmp_path / "in", tmp_path / "out")
        with Image.open(path) as opened:
            wanted = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(rgb(data, 0), wanted)
        assert report.notes[0] == "no labels"

    def test_published_split_by_folder(self, tmp_path):
        for i, split in enumerate(("train", "val", "test")):
            for c in "AB":
                put(tmp_path / "in", f"{split}/{c}/{i}.png", image(i))
        data, report = do(tmp_path / "in", tmp_path / "out")
        assert set(zip(data.index["split"].to_pylist(), data.labels, strict=True)) == {
            (s, c) for s in ("train", "val", "test") for c in "AB"
        }
        assert "the source's own split: 2 test, 2 train, 2 val" in report.notes

    def test_split_files(self, classes, tmp_path):
        (tmp_path / "my-train.txt").write_text("field_0.jpg\nlake/lake_0.png\n\n")
        (classes / "test.txt").write_text("town_1.png\n")
        data, report = do(classes, tmp_path / "out", split_files=f"{tmp_path / 'my-train.txt'},test.txt")
        splits = dict(zip(data.place_ids, data.index["split"].to_pylist(), strict=True))
        assert {k: v for k, v in splits.items() if v} == {
            "field/field_0": "train",
            "lake/lake_0": "train",
            "town/town_1": "test",
        }
        assert "3 pictures are in no split file and have no split" in report.notes

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ("nowhere-train.txt", "is neither here nor, once, in"),
            ("set/field/field_0.png", "its name must say|is no text"),
        ],
    )
    def test_split_files_refused(self, classes, tmp_path, files, message):
        with pytest.raises(DatasetError, match=message):
            do(classes, tmp_path / "out", split_files=files)

    def test_no_labels(self, classes, tmp_path):
        data, report = do(classes, tmp_path / "out", labels="none")
        assert data.labels == [None] * 6
        assert report.notes == ("no labels",)


class TestSizes:
    def mixed(self, tmp_path):
        for i, size in enumerate([(16, 16), (16, 16), (16, 16), (32, 32), (8, 8), (24, 16)]):
            put(tmp_path / "in", f"{i}.png", image(i, size=size))
        return tmp_path / "in"

    def test_the_most_common_one(self, tmp_path):
        data, report = do(self.mixed(tmp_path), tmp_path / "out")
        assert data.meta.patch_px == 16
        np.testing.assert_array_equal(rgb(data, 2), plain(2))
        # Halved by the mean of four pixels.
        large = plain(3, size=(32, 32)).astype(float).reshape(3, 16, 2, 16, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(rgb(data, 3), large, atol=1.01)  # Pillow rounds twice
        # The oblong one is cut in the middle.
        np.testing.assert_array_equal(rgb(data, 5), plain(5, size=(24, 16))[:, :, 4:20])
        assert "2 pictures resized to 16 px" in report.notes
        assert "1 pictures cropped to the square in their middle" in report.notes

    def test_asked_for(self, tmp_path):
        data, report = do(self.mixed(tmp_path), tmp_path / "out", size=8)
        assert data.meta.patch_px == 8
        np.testing.assert_array_equal(rgb(data, 4), plain(4, size=(8, 8)))
        assert "5 pictures resized to 8 px" in report.notes

    def test_error(self, tmp_path):
        with pytest.raises(DatasetError, match=r"3\.png is 32 x 32 px, not 16 x 16; say --on-size resize"):
            do(self.mixed(tmp_path), tmp_path / "out", on_size="error")
        assert not list(tmp_path.glob("out*"))

    @pytest.mark.parametrize("size", [0, 8193])
    def test_out_of_range(self, size):
        with pytest.raises(ConfigError):
            build(importer.Options, {"size": size})


class TestOnePass:
    """Pictures that seem alike are read once; the dataset is the one that reading every header first gives."""

    def twice(self, tmp_path, monkeypatch, num_sampled, **options):
        """Import with the guess and without, and compare every file; return how often all headers were read."""
        surveys = []
        real = importer._survey
        monkeypatch.setattr(importer, "_survey", lambda *a: surveys.append(1) or real(*a))
        monkeypatch.setattr(importer, "NUM_SAMPLED", num_sampled)
        do(tmp_path / "in", tmp_path / "once", **options)
        monkeypatch.setattr(importer, "_guess", lambda *_: None)
        do(tmp_path / "in", tmp_path / "twice", **options)
        for file in sorted((tmp_path / "twice").rglob("*")):
            other = tmp_path / "once" / file.relative_to(tmp_path / "twice")
            assert file.is_dir() or other.read_bytes() == file.read_bytes(), file
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "once", "twice"]
        return len(surveys) - 1

    def test_alike(self, tmp_path, monkeypatch):
        for i in range(6):
            put(tmp_path / "in", f"{'ab'[i % 2]}/{i}.png", image(i))
        assert self.twice(tmp_path, monkeypatch, num_sampled=2) == 0

    def test_alike_rasters(self, tmp_path, monkeypatch, raster):
        for i in range(4):
            raster(tmp_path / f"in/{'ab'[i % 2]}/{i}.tif", np.full((4, 8, 8), i, np.uint16))
        options = {"band_names": "a,b,c,d", "units": "dn", "scale": 1e-4, "offset": 0.0}
        assert self.twice(tmp_path, monkeypatch, num_sampled=2, **options) == 0

    @pytest.mark.parametrize("odd", ["size", "mode", "bad", "cut"])
    def test_one_that_was_not_sampled_is_not(self, tmp_path, monkeypatch, odd):
        for i in range(6):
            put(tmp_path / "in", f"{'ab'[i % 2]}/{i}.png", image(i))
        last = tmp_path / "in/b/5.png"
        if odd in ("size", "mode"):
            put(
                tmp_path / "in",
                "b/5.png",
                image(5, **({"size": (9, 24)} if odd == "size" else {"mode": "L"})),
            )
        else:
            # One fails at its header, the other (its header is whole) where it is decoded.
            last.write_bytes(b"no picture" if odd == "bad" else last.read_bytes()[:-400])
        assert self.twice(tmp_path, monkeypatch, num_sampled=2, on_bad="skip") == 1

    def test_turned_by_exif(self, tmp_path, monkeypatch):
        """Neither way turns a picture."""
        turned = Image.Exif()
        turned[0x0112] = 6
        for i in range(6):
            put(
                tmp_path / "in", f"a/{i}.jpg", image(i, size=(24, 16)), **({"exif": turned} if i == 5 else {})
            )
        assert self.twice(tmp_path, monkeypatch, num_sampled=2) == 0

    def test_palettes(self, tmp_path, monkeypatch):
        for i in range(6):
            put(tmp_path / "in", f"a/{i}.png", image(i).quantize(8))
        assert self.twice(tmp_path, monkeypatch, num_sampled=2) == 0

    def test_a_bad_one_in_no_class_folder(self, tmp_path, monkeypatch):
        """What is left out has no say in how the others are arranged."""
        for i in range(6):
            put(tmp_path / "in", f"{'ab'[i % 2]}/{i}.png", image(i))
        (tmp_path / "in/c.png").write_bytes(b"no picture")
        options = {"labels": "folder", "on_bad": "skip"}
        assert self.twice(tmp_path, monkeypatch, num_sampled=2, **options) == 1

    def test_a_zip_of_which_one_member_is_damaged(self, tmp_path, monkeypatch):
        for i in range(6):
            put(tmp_path / "files", f"{'ab'[i % 2]}/{i}.png", image(i))
        with zipfile.ZipFile(tmp_path / "in", "w") as archive:
            for file in sorted((tmp_path / "files").rglob("*.png")):
                archive.write(file, file.relative_to(tmp_path / "files"))
        data = bytearray((tmp_path / "in").read_bytes())
        at = data.rindex(b"IDAT")
        data[at + 8 : at + 12] = b"????"
        (tmp_path / "in").with_suffix(".zip").write_bytes(data)
        found, _ = do(tmp_path / "in.zip", tmp_path / "once", on_bad="skip")
        monkeypatch.setattr(importer, "_guess", lambda *_: None)
        wanted, _ = do(tmp_path / "in.zip", tmp_path / "twice", on_bad="skip")
        assert len(found) == 5
        assert found.fingerprint == wanted.fingerprint
        assert found.meta.provenance == wanted.meta.provenance

    @pytest.mark.parametrize("kind", ["odd bands", "bad file"])
    def test_the_error_is_the_same(self, tmp_path, monkeypatch, raster, kind):
        for i in range(6):
            bands = 5 if (i, kind) == (5, "odd bands") else 4
            raster(tmp_path / f"in/{'ab'[i % 2]}/{i}.tif", np.full((bands, 8, 8), i, np.uint16))
        if kind == "bad file":
            (tmp_path / "in/b/5.tif").write_bytes(b"no picture")
        said = []
        for _ in range(2):
            with pytest.raises(DatasetError) as caught:
                do(tmp_path / "in", tmp_path / "out", band_names="a,b,c")
            said.append(str(caught.value))
            monkeypatch.setattr(importer, "_guess", lambda *_: None)
        assert said[0] == said[1]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


class TestColours:
    def test_all_grey(self, tmp_path):
        for i in range(2):
            put(tmp_path / "in", f"{i}.png", image(i, mode="L"))
        data, _ = do(tmp_path / "in", tmp_path / "a")
        assert [b.name for b in data.meta.bands] == ["grey"]
        np.testing.assert_array_equal(rgb(data, 0)[0], np.asarray(image(0, mode="L")))
        data, report = do(tmp_path / "in", tmp_path / "b", colour="rgb")
        assert "2 grey pictures repeated to three bands" in report.notes
        assert (rgb(data, 0)[0] == rgb(data, 0)[2]).all()

    def test_grey_alpha_palette_and_cmyk_among_colour(self, tmp_path):
        put(tmp_path / "in", "1.png", image(1))
        put(tmp_path / "in", "2.png", image(2, mode="L"))
        put(tmp_path / "in", "3.png", image(3, mode="RGBA"))
        put(tmp_path / "in", "4.png", image(4).quantize(16))
        put(tmp_path / "in", "5.jpg", image(5, mode="CMYK"))
        data, report = do(tmp_path / "in", tmp_path / "out")
        np.testing.assert_array_equal(rgb(data, 1), np.repeat(np.asarray(image(2, mode="L"))[None], 3, 0))
        np.testing.assert_array_equal(rgb(data, 2), np.asarray(image(3, mode="RGBA")).transpose(2, 0, 1)[:3])
        assert {
            "1 grey pictures repeated to three bands", "1 pictures have an alpha channel, which is dropped",
            "2 pictures of other colour models converted to RGB",
        } <= set(report.notes)  # fmt: skip

    def test_made_grey(self, classes, tmp_path):
        data, report = do(classes, tmp_path / "out", colour="grey")
        np.testing.assert_array_equal(rgb(data, 0)[0], np.asarray(image(0).convert("L")))
        assert "6 colour pictures made grey" in report.notes

    def test_a_known_stretch_and_resolution(self, classes, tmp_path):
        data, _ = do(classes, tmp_path / "out", stretch_range="0,0.275", gsd=10)
        band = data.meta.bands[0]
        assert (band.stretch, band.stretch_range, band.gsd_m) == ("linear", (0.0, 0.275), 10.0)

    def test_sixteen_bits_of_no_meaning(self, tmp_path):
        put(tmp_path / "in", "1.png", Image.fromarray(np.zeros((8, 8), np.uint16)))
        with pytest.raises(
            DatasetError, match=r"1\.png has pixels of mode I;16; known: 8-bit grey and colour"
        ):
            do(tmp_path / "in", tmp_path / "out")


class TestTiff:
    def test_many_bands(self, tmp_path, raster):
        pixels = np.random.default_rng(0).integers(0, 9000, (4, 16, 16)).astype(np.uint16)
        for c in "AB":
            raster(tmp_path / "in" / c / f"{c}1.tif", pixels + (c == "B"))
        with pytest.raises(DatasetError, match="nothing says how the uint16 numbers of band band1"):
            do(tmp_path / "in", tmp_path / "a")
        data, _ = do(tmp_path / "in", tmp_path / "b", band_names="B02,B03,B04,B08")
        assert [(b.name, b.scale, b.wavelength_nm) for b in data.meta.bands][3] == ("B08", 1e-4, 842.0)
        np.testing.assert_array_equal(rgb(data, 1), pixels + 1)
        assert data.labels == ["A", "B"]
        assert data.index["crs"][0].as_py() == "EPSG:32631"
        assert data.lonlat[0].tolist() == pytest.approx([3.00109, 48.7530], abs=1e-3)
        with pytest.raises(DatasetError, match="has 4 bands; --band-names names 3"):
            do(tmp_path / "in", tmp_path / "c", band_names="B02,B03,B04")

    def test_names_in_the_file(self, tmp_path, raster):
        raster(tmp_path / "in" / "1.tif", np.ones((2, 8, 8), np.float32), names=("vv", "vh"))
        data, _ = do(tmp_path / "in", tmp_path / "out")
        assert [(b.name, b.units) for b in data.meta.bands] == [("vv", "reflectance"), ("vh", "reflectance")]

    def test_rgb_keeps_its_place_only_where_its_pixels_are_kept(self, tmp_path, raster):
        pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 16)).astype(np.uint8)
        raster(tmp_path / "in" / "1.tif", pixels)
        raster(tmp_path / "in" / "2.tif", pixels)
        raster(tmp_path / "in" / "3.tif", pixels[:, :8, :8])
        data, _ = do(tmp_path / "in", tmp_path / "out")
        assert [t is not None for t in data.index["transform"].to_pylist()] == [True, True, False]
        np.testing.assert_array_equal(rgb(data, 0), pixels)

    def test_kinds_do_not_mix(self, tmp_path, raster):
        raster(tmp_path / "in" / "1.tif", np.ones((5, 8, 8), np.uint16))
        put(tmp_path / "in", "2.png", image(0, size=(8, 8)))
        with pytest.raises(
            DatasetError,
            match="of 2 pictures, 1 of 5 bands of uint16, the others otherwise; import each kind",
        ):
            do(tmp_path / "in", tmp_path / "out")


def huge_png():
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def jpeg(seed=0):
    out = io.BytesIO()
    image(seed, size=(64, 64)).save(out, "JPEG", quality=90)
    return out.getvalue()


def bad_crc(path):
    raw = path.read_bytes()
    at = raw.index(b"bad/3.jpg") + 400
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])


class TestBad:
    @pytest.mark.parametrize("where", ["folder", "zip"])
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (jpeg()[:1500], r"bad/3\.jpg cannot be read as a picture: image file is truncated"),
            (b"", r"bad/3\.jpg cannot be read as a picture: its format is not known"),
            (b"no picture", r"bad/3\.jpg cannot be read as a picture: its format is not known"),
            (huge_png(), r"bad/3\.jpg .*(60000 x 60000 px; the limit is|exceeds limit)"),
        ],
        ids=["truncated", "empty", "text", "bomb"],
    )
    def test_picture(self, tmp_path, where, content, message):
        files = {f"good/{i}.jpg": jpeg(i) for i in range(5)} | {"bad/3.jpg": content}
        if where == "folder":
            source = tmp_path / "in"
            for name, data in files.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes(data)
        else:
            source = tmp_path / "in.zip"
            with zipfile.ZipFile(source, "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
        with pytest.raises(DatasetError, match=message):
            do(source, tmp_path / "a")
        assert not list(tmp_path.glob("a*"))
        data, report = do(source, tmp_path / "b", on_bad="skip")
        assert len(data) == 5
        assert "1 pictures left out that cannot be read" in report.notes

    def test_damaged_member_of_a_zip(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for name in ("bad/3.jpg", "good/1.jpg"):
                archive.writestr(name, jpeg())
        bad_crc(tmp_path / "in.zip")
        with pytest.raises(DatasetError, match=r"cannot read bad/3\.jpg in .*: Bad CRC-32.*--on-bad skip"):
            do(tmp_path / "in.zip", tmp_path / "a")
        assert len(do(tmp_path / "in.zip", tmp_path / "b", on_bad="skip")[0]) == 1

    def test_truncated_tiff(self, tmp_path, raster):
        file = raster(tmp_path / "in" / "1.tif", np.ones((3, 64, 64), np.uint8))
        file.write_bytes(file.read_bytes()[:2000])
        with pytest.raises(DatasetError, match=r"1\.tif cannot be read as a picture"):
            do(tmp_path / "in", tmp_path / "out")

    def test_none_can_be_read(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "1.jpg").write_bytes(b"")
        with pytest.raises(DatasetError, match=r"none of the 1 pictures in .* can be read, such as 1\.jpg"):
            do(tmp_path / "in", tmp_path / "out", on_bad="skip")

    def test_truncated_zip(self, classes, tmp_path):
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for file in classes.rglob("*.png"):
                archive.write(file, file.name)
        raw = (tmp_path / "in.zip").read_bytes()
        (tmp_path / "in.zip").write_bytes(raw[: len(raw) // 2])
        with pytest.raises(DatasetError, match="is not a whole zip file"):
            do(tmp_path / "in.zip", tmp_path / "out")

    def test_folder_without_pictures(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "readme.txt").write_text("")
        with pytest.raises(DatasetError, match=r"holds no picture among 1 files; known: \.jpg, "):
            do(tmp_path / "in", tmp_path / "out")

    def test_encrypted(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            archive.writestr("1.jpg", jpeg())
        raw = bytearray((tmp_path / "in.zip").read_bytes())
        raw[6] |= 1
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
        (tmp_path / "in.zip").write_bytes(raw)
        with pytest.raises(DatasetError, match="encrypted"):
            do(tmp_path / "in.zip", tmp_path / "out")


class TestStreaming:
    def test_few_pictures_are_held_at_once(self, tmp_path, monkeypatch):
        """Decoded pictures wait in a queue of fixed length, however many there are."""
        monkeypatch.setattr(decoding, "BATCH_PX", 4 * 8 * 8)
        for i in range(40):
            put(tmp_path / "in", f"{i:02d}.png", image(i, size=(8, 8)))
        started, handed, most = [], [], []
        decode = pictures.decode

        def counting(source, name, **settings):
            started.append(name)
            return decode(source, name, **settings)

        class Writer(importer.DatasetWriter):
            def add(self, patch):
                handed.append(patch.place)
                most.append(len(started) - len(handed))
                super().add(patch)

        monkeypatch.setattr(pictures, "decode", counting)
        monkeypatch.setattr(importer, "DatasetWriter", Writer)
        do(tmp_path / "in", tmp_path / "out")
        assert handed == [f"{i:02d}" for i in range(40)]
        assert max(most) <= 4

    def test_large_files_of_an_archive_wait_in_small_number(self, tmp_path, monkeypatch):
        """However small they are stored."""
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for i in range(40):
                archive.write(put(tmp_path, f"{i:02d}.bmp", image(i)), f"{i:02d}.bmp")
        size = (tmp_path / "00.bmp").stat().st_size
        monkeypatch.setattr(decoding, "BATCH_BYTES", 3 * size - 1)
        together = []
        decode = decoding._decode

        def watched(batch, **more):
            together.append(sum(len(source) for _, source in batch))
            return decode(batch, **more)

        monkeypatch.setattr(decoding, "_decode", watched)
        assert do(tmp_path / "in.zip", tmp_path / "out", size=1)[1].num_patches == 40
        assert together == [3 * size] * 13 + [size]

    def test_interrupted(self, classes, tmp_path, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(importer, "_patch", stop)
            with pytest.raises(KeyboardInterrupt):
                do(classes, tmp_path / "out")
        assert not list(tmp_path.glob("out*"))
        assert len(do(classes, tmp_path / "out")[0]) == 6


class TestRealData:
    def some(self, whole, out, step):
        """A zip of every `step`-th member."""
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(out, "w") as archive:
            for name in [n for n in source.namelist() if not n.endswith("/")][::step]:
                archive.writestr(name, source.read(name))
        return out

    def test_eurosat(self, seco_data, tmp_path):
        data, report = do(self.some(seco_data("EuroSAT.zip"), tmp_path / "some.zip", 50), tmp_path / "out")
        assert len(data) == 540
        assert data.meta.patch_px == 64
        assert report.notes == ("10 classes",)
        with zipfile.ZipFile(tmp_path / "some.zip") as archive:
            for row in range(0, 540, 60):
                name = data.index["item"][row].as_py()
                with Image.open(io.BytesIO(archive.read(name))) as opened:
                    np.testing.assert_array_equal(rgb(data, row), np.asarray(opened).transpose(2, 0, 1))
                assert name == f"2750/{data.place_ids[row]}.jpg"
                assert data.labels[row] == name.split("/")[1]

    def test_uc_merced(self, seco_data, tmp_path):
        data, _ = do(
            self.some(seco_data("UCMerced_LandUse_128px.zip"), tmp_path / "some.zip", 30), tmp_path / "out"
        )
        assert (len(data), data.meta.patch_px, len(set(data.labels))) == (70, 128, 21)
        with (
            zipfile.ZipFile(tmp_path / "some.zip") as archive,
            Image.open(io.BytesIO(archive.read(data.index["item"][7].as_py()))) as opened,
        ):
            np.testing.assert_array_equal(rgb(data, 7), np.asarray(opened).transpose(2, 0, 1))

    def test_processes_make_the_same_dataset(self, tmp_path):
        """Order, labels, pixels and what is left out do not depend on how many decode."""
        for i in range(30):
            put(tmp_path / "in", f"{'ab'[i % 2]}/{i:02d}.jpg", image(i, size=(9, 8 + i % 3)))
        (tmp_path / "in" / "a" / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
        (tmp_path / "in" / "b" / "cut.jpg").write_bytes(jpeg()[:-40])
        made = [
            importer.run(tmp_path / "in", tmp_path / f"out{jobs}", importer.Options(on_bad="skip", jobs=jobs))
            for jobs in (1, 2)
        ]
        assert made[0] == made[1]
        assert made[0].num_patches == 30
        one, two = (open_dataset(tmp_path / f"out{jobs}") for jobs in (1, 2))
        assert one.index.equals(two.index)
        assert one.fingerprint == two.fingerprint
        assert one.meta.provenance == two.meta.provenance

    def test_an_error_of_one_of_many_processes_is_one_error(self, tmp_path):
        for i in range(30):
            put(tmp_path / "in", f"{i:02d}.png", image(i))
        (tmp_path / "in" / "17.png").write_bytes(b"no picture")
        with pytest.raises(DatasetError, match=r"17\.png cannot be read.*--on-bad skip"):
            importer.run(tmp_path / "in", tmp_path / "out", importer.Options(jobs=2))
        assert not list(tmp_path.glob("out*"))

    @pytest.mark.parametrize(
        ("num", "edge", "many"), [(3000, 64, False), (27_000, 64, True), (200, 1000, True)]
    )
    def test_many_pixels_are_worth_processes(self, monkeypatch, num, edge, many):
        monkeypatch.setattr(decoding, "num_cores", lambda: 5)
        assert decoding.jobs_for({edge: num}) == (5 if many else 1)

    def test_no_processes(self, tmp_path):
        with pytest.raises(ConfigError, match="jobs 0; give at least 1"):
            importer.Options(jobs=0)
