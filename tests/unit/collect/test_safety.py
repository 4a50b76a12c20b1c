"""What strangers' addresses and servers may not do: each is refused."""

import asyncio
import http.server
import os
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from seco.collect import rasters
from seco.collect.catalogs import PRESETS
from seco.collect.collecting import _key
from seco.collect.faults import Patience, PixelFault
from seco.collect.fetching import _s3
from seco.collect.hrefs import Allowed
from seco.collect.model import Asset, PixelWindow
from seco.collect.wire import Wire
from seco.errors import FetchError
from seco.planet.serving.pixels import PixelServer

sys.path.insert(0, str(Path(__file__).parent))
import collect_child as child

QUICK = Patience(tries=2, first_s=0.001, longest_s=0.002, connect_s=2, read_s=3)
HERE = Allowed(private="allow")
SECRET = "top-secret-key"


def get(href: str, **settings):
    async def go():
        async with Wire(**{"patience": QUICK, "allowed": HERE, **settings}) as wire:
            return await wire.get(href, 0, 10)

    return asyncio.run(go())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_certificates_are_verified(tmp_path):
    """A server with a certificate that nobody signed: refused, unless that certificate is trusted."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(206)
            self.send_header("Content-Range", "bytes 0-9/100")
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"0123456789")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{server.server_address[1]}/a.tif"
    try:
        with pytest.raises(FetchError, match=r"(?i)certificate"):
            get(url)
        kept = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(certificate)
        try:
            assert get(url).data == b"0123456789"
        finally:
            os.environ.pop("SSL_CERT_FILE") if kept is None else os.environ.update(SSL_CERT_FILE=kept)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32631</SRS>
<GeoTransform>399960, 10, 0, 4900020, 0, -10</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("name", ["a.tif", "a.vrt", "a.jp2"])
@pytest.mark.parametrize("reader", rasters.names())
def test_no_file_leads_to_another(tmp_path, name, reader):
    """A VRT that points to a raster outside the catalogue's folder, under any name: nothing of that raster is read."""
    hidden = tmp_path / "hidden.tif"
    with rasterio.open(
        hidden, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint16", crs="EPSG:32631",
        transform=from_origin(399960, 4900020, 10, 10),
    ) as out:  # fmt: skip
        out.write(np.full((64, 64), 4242, np.uint16), 1)
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / name).write_text(VRT.format(hidden))
    with rasterio.open(folder / name) as through:
        assert (through.read(1) == 4242).all(), "GDAL itself would follow it"
    asset = Asset(
        band="B04", href=name, pixel_m=10.0, shape=(64, 64), transform=(10.0, 0.0, 399960.0, 0.0, -10.0, 4900020.0),
        dtype="uint16", nodata=0.0, scale=1e-4, offset=-0.1,
    )  # fmt: skip

    async def go():
        async with Wire(patience=QUICK, allowed=Allowed(files_below=folder)) as wire:
            raster = await rasters.find(reader).open(asset, wire)
            return await raster.read(PixelWindow(column=0, row=0, width=64, height=64))

    with pytest.raises(PixelFault) as caught:
        asyncio.run(go())
    assert caught.value.kind in ("corrupt", "unsupported")


def test_s3_is_read_and_keys_do_not_show(capfd):
    """Objects of s3 by ranges; errors and counts do not hold the keys."""
    data = bytes(range(256))
    with PixelServer({"/bucket/a.tif": data}.get) as server:
        s3 = {
            "endpoint": server.url, "access_key_id": "id", "secret_access_key": SECRET, "region": "r",
            "virtual_hosted_style_request": False, "client_options": {"allow_http": True},
        }  # fmt: skip
        assert get("s3://bucket/a.tif", s3=s3).data == data[:10]
        with pytest.raises(PixelFault) as caught:
            get("s3://bucket/none.tif", s3=s3)
        assert caught.value.kind == "missing"
    with pytest.raises((PixelFault, FetchError)) as gone:
        get("s3://bucket/a.tif", s3=s3)
    told = f"{caught.value} {gone.value} {gone.value.__cause__} {capfd.readouterr()}"
    assert SECRET not in told


def test_keys_are_not_among_what_is_stored(monkeypatch, tmp_path):
    cdse = PRESETS["cdse"]
    for name in cdse.keys:
        monkeypatch.setenv(name, SECRET)
    places = tmp_path / "places.csv"
    places.write_text(child.POINTS)
    assert SECRET in str(_s3(cdse)), "they are used"
    assert SECRET not in str(_key(child.settings(places, Path("cdse")), cdse))
    assert SECRET not in repr(cdse)


def test_a_name_that_turns_out_to_be_private_is_refused():
    """Whatever a name says, the address that it leads to decides; nothing is sent there."""
    asked = []
    with PixelServer(asked.append) as server:
        with pytest.raises(PixelFault, match="no public address") as caught:
            get(server.url.replace("127.0.0.1", "localhost") + "/a.tif", allowed=Allowed())
        assert caught.value.kind == "refused"
    assert not asked
