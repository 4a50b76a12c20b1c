"""Hrefs come from strangers."""

import pytest

from seco.collect.faults import PixelFault
from seco.collect.hrefs import Allowed, target_of, without_query


@pytest.mark.parametrize(
    "href",
    [
        "ftp://example.org/a.tif",
        "gopher://example.org/",
        "file:///etc/passwd",
        "/etc/passwd",
        "a.tif",
        "data:image/tiff;base64,AAAA",
        "/vsicurl/http://example.org/a.tif",
        "https://user:secret@example.org/a.tif",
        "https:///a.tif",
        "https://example.org:99999/a.tif",
        "https://example.org/a b.tif",
        "https://example.org/a\r\nHost: evil",
        "s3:///key",
        "file://elsewhere/share/a.tif",
        "",
    ],
)
def test_refused(href):
    with pytest.raises(PixelFault) as caught:
        target_of(href, Allowed())
    assert caught.value.kind == "refused"
    assert "secret" not in str(caught.value)


def test_what_is_asked():
    web = target_of("HTTPS://Example.org/a.tif?sig=1#x", Allowed())
    assert (web.kind, web.host) == ("http", "example.org")
    assert web.href.endswith("/a.tif?sig=1")
    assert target_of("http://example.org:81/a", Allowed()).host == "example.org:81"
    assert target_of("s3://bucket/key/a.tif", Allowed()).host == "s3://bucket"


def test_files_below_the_catalogue_only(tmp_path):
    (tmp_path / "in").mkdir()
    allowed = Allowed(files_below=tmp_path / "in")
    assert target_of("x/a.tif", allowed).href == str((tmp_path / "in/x/a.tif").resolve())
    assert target_of(f"file://{tmp_path}/in/a%20b.tif", allowed).href.endswith("/a b.tif")
    (tmp_path / "in" / "link").symlink_to("/etc")
    for href in ("../a.tif", "/etc/passwd", f"file://{tmp_path}/a.tif", "x/../../a.tif", "link/passwd"):
        with pytest.raises(PixelFault, match="below"):
            target_of(href, allowed)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0",
     "224.0.0.1"],
)  # fmt: skip
def test_private_peers_are_refused(address):
    with pytest.raises(PixelFault, match="no public address"):
        Allowed().check_peer(address, host="evil.example")
    Allowed(private="allow").check_peer(address, host="mine")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_peers_are_not(address):
    Allowed().check_peer(address, host="example.org")


def test_secrets_do_not_show():
    assert without_query("https://u:p@example.org/a.tif?sig=secret#f") == "https://example.org/a.tif"
