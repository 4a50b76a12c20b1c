"""Folders, zip files and single files, read in place."""

import io
import zipfile

import pytest

from seco.data import listing as module
from seco.data.listing import Listing
from seco.errors import DatasetError

FILES = {"b/x.txt": b"bx", "b/a.txt": b"ba", "a.txt": b"a", "b/c/deep.txt": b"deep"}
HIDDEN = ("__MACOSX/b/._x.txt", ".DS_Store", "b/.thumbs/x.txt", "b/._x.txt")


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
    files = FILES | dict.fromkeys(HIDDEN, b"junk")
    if request.param == "folder":
        for name, content in files.items():
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(content)
        return tmp_path / "in"
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/", "")
        for name, content in files.items():
            archive.writestr(name, content)
    return tmp_path / "in.zip"


def test_names_folders_and_contents(source):
    with Listing(source) as listing:
        assert listing.names == sorted(FILES)
        assert dict(listing.folders()) == {"": ["a.txt"], "b": ["a.txt", "x.txt"], "b/c": ["deep.txt"]}
        assert {n: listing.read(n) for n in listing.names} == FILES
        assert listing.stem == "in"
        assert listing.is_zip == (source.suffix == ".zip")


def test_odd_names_of_an_archive_are_read_by_them(tmp_path):
    odd = ["/a.txt", "./b.txt", "c//d.txt", "/e/./f.txt", "g\\h.txt"]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in [*odd, "../up.txt", "a/../up.txt"]:
            archive.writestr(name, name)
    with Listing(tmp_path / "in.zip") as listing:
        assert listing.names == sorted(odd)
        assert [listing.read(n).decode() for n in odd] == odd


def test_limit_and_missing_file(source):
    with Listing(source) as listing:
        with pytest.raises(DatasetError, match=r"b/c/deep\.txt .* unpacks to 4 bytes; the limit is 3"):
            listing.read("b/c/deep.txt", 3)
        with pytest.raises(DatasetError, match="cannot read none"):
            listing.read("none")


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").write_text("")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "far").symlink_to(tmp_path / "other")
    (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "sub" / "y.txt").write_text("")
    with Listing(tmp_path / "in") as listing:
        assert listing.names == ["far/x.txt", "sub/y.txt"]


def test_single_file(tmp_path):
    (tmp_path / "one.tif").write_bytes(b"x")
    (tmp_path / "two.tif").write_bytes(b"y")
    with Listing(tmp_path / "one.tif") as listing:
        assert (listing.names, listing.stem, listing.read("one.tif")) == (["one.tif"], "one", b"x")


def test_names_that_leave_the_archive_are_only_names(tmp_path):
    """Nothing is unpacked, so that a name with `..` can overwrite nothing."""
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        archive.writestr("../../evil.txt", b"evil")
        archive.writestr("/etc/evil.txt", b"evil")
    before = set(tmp_path.rglob("*"))
    with Listing(tmp_path / "slip.zip") as listing:
        assert [listing.read(n) for n in listing.names] == [b"evil"]
    assert set(tmp_path.rglob("*")) == before


def test_damaged_member(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", b"some contents")
    raw = buffer.getvalue().replace(b"some contents", b"some CONTENTS")
    (tmp_path / "a.zip").write_bytes(raw)
    with (
        Listing(tmp_path / "a.zip") as listing,
        pytest.raises(DatasetError, match=r"cannot read a\.txt in .*: Bad CRC"),
    ):
        listing.read("a.txt")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 and no more"])
def test_no_zip(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DatasetError, match="is not a whole zip file"):
        Listing(tmp_path / "a.zip")


def test_missing(tmp_path):
    with pytest.raises(DatasetError, match="does not exist; give a folder or a zip file"):
        Listing(tmp_path / "none")


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBER_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(2**21))
    with (
        Listing(tmp_path / "a.zip") as listing,
        pytest.raises(DatasetError, match="unpacks to 2097152 bytes"),
    ):
        listing.read("a.txt", module.MAX_MEMBER_BYTES)
