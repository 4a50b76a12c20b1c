"""The pixel server, as plain HTTP clients, GDAL and many clients at once see it."""

import contextlib
import dataclasses
import email
import http.client
import importlib.util
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from seco.errors import ConfigError, DatasetError
from seco.planet.serving.cog import VirtualCog
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer


def oracle(decimation: int, col: int, row: int, width: int, height: int) -> np.ndarray:
    """Nearest decimation of value(row, col) = (row * 7919 + col * 104729) % 65521."""
    rows = (row + np.arange(height, dtype=np.int64)[:, None]) * decimation
    cols = (col + np.arange(width, dtype=np.int64)[None]) * decimation
    return ((rows * 7919 + cols * 104729) % 65521).astype(np.uint16)


def make(width: int, height: int, **more: Any) -> VirtualCog:
    settings: dict[str, Any] = {"block_px": 64, "read": oracle} | more
    return VirtualCog(
        width_px=width,
        height_px=height,
        epsg=32631,
        left_m=399960.0,
        top_m=4900020.0,
        pixel_m=10.0,
        **settings,
    )


COG = make(300, 217)
WHOLE = COG.read_bytes(0, COG.size_bytes)


def serve(faults: str = "", *, seed: int = 0, **more: Any) -> PixelServer:
    settings: dict[str, Any] = {"find": lambda path: COG if path.endswith(".tif") else None} | more
    return PixelServer(**settings, faults=FaultSchedule.parse(faults, seed=seed))


@dataclasses.dataclass(frozen=True)
class Got:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def get(server: PixelServer, path: str, method: str = "GET", **headers: str) -> Got:
    """Ask once, on a connection of its own; names are written with underscores."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return Got(response.status, response.headers, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PixelServer]:
    with serve() as running:
        yield running


def test_the_whole(server: PixelServer) -> None:
    got = get(server, "/a.tif")
    assert (got.status, got.body) == (200, WHOLE)
    assert got.headers["Content-Type"] == "image/tiff"
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["Last-Modified"] == "Mon, 01 Jan 2024 00:00:00 GMT"
    head = get(server, "/a.tif", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(WHOLE)))
    assert head.headers["ETag"] == got.headers["ETag"]


def test_many_ranges(server: PixelServer) -> None:
    rng = np.random.default_rng(5)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    for start, stop in np.sort(rng.integers(0, COG.size_bytes, (200, 2)), axis=1).tolist():
        connection.request("GET", "/a.tif", headers={"Range": f"bytes={start}-{stop}"})
        response = connection.getresponse()
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {start}-{stop}/{len(WHOLE)}"
        assert response.read() == WHOLE[start : stop + 1]
    connection.close()


@pytest.mark.parametrize(
    ("value", "wanted"), [("bytes=-100", WHOLE[-100:]), ("bytes=1000-", WHOLE[1000:]), ("bytes=0-0", b"I")]
)
def test_open_ranges(server: PixelServer, value: str, wanted: bytes) -> None:
    got = get(server, "/a.tif", Range=value)
    assert (got.status, got.body) == (206, wanted)


def test_several_ranges_come_as_parts(server: PixelServer) -> None:
    got = get(server, "/a.tif", Range="bytes=0-9,70000-90000,-7")
    assert got.status == 206
    message = email.message_from_bytes(
        b"Content-Type: " + got.headers["Content-Type"].encode() + b"\r\n\r\n" + got.body
    )
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [p["Content-Range"] for p in parts] == [
        f"bytes {a}-{b}/{len(WHOLE)}" for a, b in ((0, 9), (70000, 90000), (len(WHOLE) - 7, len(WHOLE) - 1))
    ]
    boundary = message.get_boundary()
    assert boundary is not None
    raw = [p.split(b"\r\n\r\n", 1)[1] for p in got.body.split(b"\r\n--" + boundary.encode())[1:-1]]
    assert raw == [WHOLE[:10], WHOLE[70000:90001], WHOLE[-7:]]


def test_what_cannot_be_had(server: PixelServer) -> None:
    got = get(server, "/a.tif", Range=f"bytes={len(WHOLE)}-")
    assert (got.status, got.headers["Content-Range"]) == (416, f"bytes */{len(WHOLE)}")
    assert get(server, "/absent").status == 404
    assert get(server, "/x/../a.tif").status == 404
    assert get(server, "/%2e%2e/a.tif").status == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        got = get(server, "/a.tif", method)
        assert (got.status, got.headers["Allow"]) == (405, "GET, HEAD")


def test_conditions(server: PixelServer) -> None:
    etag = get(server, "/a.tif", "HEAD").headers["ETag"]
    assert get(server, "/b.tif", "HEAD").headers["ETag"] != etag
    got = get(server, "/a.tif", If_None_Match=f'"other", {etag}')
    assert (got.status, got.body, got.headers["ETag"]) == (304, b"", etag)
    assert get(server, "/a.tif", If_None_Match='"other"').status == 200
    assert get(server, "/a.tif", Range="bytes=0-9", If_Range=etag).status == 206
    assert get(server, "/a.tif", Range="bytes=0-9", If_Range="Mon, 01 Jan 2024 00:00:00 GMT").status == 206
    got = get(server, "/a.tif", Range="bytes=0-9", If_Range='"older"')
    assert (got.status, len(got.body)) == (200, len(WHOLE))


def test_bytes_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"0123456789")
    known = {
        "/a.json": tmp_path / "a.json",
        "/b.json": b"{}",
        "/folder": tmp_path,
        "/gone": tmp_path / "gone",
    }
    with PixelServer(known.get) as server:
        got = get(server, "/a.json", Range="bytes=2-4")
        assert (got.status, got.body, got.headers["Content-Type"]) == (206, b"234", "application/json")
        assert get(server, "/b.json").body == b"{}"
        assert get(server, "/b.json", Range="bytes=-1").body == b"}"
        assert get(server, "/folder").status == 404
        assert get(server, "/gone").status == 404
        before = get(server, "/a.json", "HEAD").headers["ETag"]
        (tmp_path / "a.json").write_bytes(b"01234567")
        assert get(server, "/a.json", "HEAD").headers["ETag"] != before


def talk(server: PixelServer, data: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(data)
        parts = []
        with contextlib.suppress(ConnectionResetError):  # it closes without having read all of this
            while part := raw.recv(65536):
                parts.append(part)
        return b"".join(parts)


def test_requests_that_are_no_http(server: PixelServer) -> None:
    assert b" 400 " in talk(server, b"\x00\x01 nonsense x y z\r\n\r\n")
    assert b" 414 " in talk(server, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n")
    assert b" 431 " in talk(server, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n")
    assert get(server, "//[/a.tif", Range="bytes=0-1").status == 206  # no host that could be malformed
    assert b" 404 " in talk(server, b"GET /%00%ff[ HTTP/1.0\r\n\r\n")
    assert talk(server, b"GET http://x/a.tif HTTP/1.0\r\nRange: bytes=0-1\r\n\r\n").endswith(b"\r\n\r\nII")
    # The body of a GET is not taken for the next request.
    data = talk(
        server, b"GET /a.tif HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nContent-Length: 4\r\n\r\nGET "
    )
    assert data.count(b"HTTP/1.1") == 1
    assert data.endswith(b"II")
    assert get(server, "/a.tif", Range="bytes=0-1").body == b"II"


def test_gdal_reads_any_window_over_http() -> None:
    cog = make(1000, 700, scale=0.0001, offset=-0.1)
    rng = np.random.default_rng(1)
    with serve(find={"/scene/B04.tif": cog}.get) as server:
        url = f"/vsicurl/{server.url}/scene/B04.tif"
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_HTTP_MULTIRANGE="YES"):
            assert cog_validate(url, strict=True, quiet=True) == (True, [], [])
            with rasterio.open(url) as d:
                assert (d.crs.to_epsg(), d.overviews(1), d.scales, d.offsets) == (
                    32631,
                    [2, 4, 8, 16],
                    (0.0001,),
                    (-0.1,),
                )
                for _ in range(20):
                    col, row = int(rng.integers(900)), int(rng.integers(600))
                    window = Window(col, row, 100, 90)
                    np.testing.assert_array_equal(d.read(1, window=window), oracle(1, col, row, 100, 90))
            for i in range(4):
                with rasterio.open(url, overview_level=i) as d:
                    np.testing.assert_array_equal(d.read(1), oracle(2 ** (i + 1), 0, 0, d.width, d.height))
        assert set(server.stats["statuses"]) <= {"200", "206"}


def test_opening_makes_no_pixels() -> None:
    known = {"/fine.tif": make(10980, 10980, block_px=512), "/coarse.tif": make(1830, 1830, block_px=256)}
    with serve(find=known.get) as server, rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        for path in known:
            with rasterio.open(f"/vsicurl/{server.url}{path}") as d:
                assert d.crs.to_epsg() == 32631
                assert len(d.overviews(1)) >= 3
        assert server.stats["blocks_made"] == 0


def test_gdal_reads_a_window_of_a_bigtiff_over_http() -> None:
    cog = make(60000, 60000, block_px=512)
    with serve(find={"/big.tif": cog}.get) as server:
        with (
            rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            rasterio.open(f"/vsicurl/{server.url}/big.tif") as d,
        ):
            got = d.read(1, window=Window(51000, 59500, 600, 500))
        np.testing.assert_array_equal(got, oracle(1, 51000, 59500, 600, 500))
        assert server.stats["blocks_made"] < 20  # of 18,587
        assert server.stats["bytes"] < 20e6


@pytest.mark.skipif(
    importlib.util.find_spec("async_geotiff") is None or importlib.util.find_spec("obstore") is None,
    reason="needs async-geotiff and obstore",
)
def test_async_geotiff_reads_a_window() -> None:
    import asyncio

    from async_geotiff import GeoTIFF
    from async_geotiff import Window as AsyncWindow
    from obstore.store import HTTPStore

    async def read(url: str) -> np.ndarray:
        store = HTTPStore.from_url(url, client_options={"allow_http": True})
        picture = await GeoTIFF.open("a.tif", store=store)
        return (await picture.read(window=AsyncWindow(col_off=30, row_off=20, width=200, height=150))).data

    with serve() as server:
        np.testing.assert_array_equal(asyncio.run(read(server.url))[0], oracle(1, 30, 20, 200, 150))


def test_many_clients_get_the_right_bytes_and_a_block_is_made_once() -> None:
    made: list[tuple[int, ...]] = []

    def read(*window: int) -> np.ndarray:
        made.append(window)
        time.sleep(0.002)  # so that clients meet at the same block
        return oracle(*window)

    cog = make(300, 217, read=read)
    with serve(find={"/a.tif": cog}.get) as server:

        def client(seed: int) -> bool:
            rng = np.random.default_rng(seed % 4)  # several ask for the same at the same time
            ok = True
            for start in rng.integers(0, len(WHOLE) - 9000, 30).tolist():
                ok = (
                    ok
                    and get(server, "/a.tif", Range=f"bytes={start}-{start + 8999}").body
                    == WHOLE[start : start + 9000]
                )
            return ok

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(client, range(16)))
        assert len(made) == len(set(made)) == server.stats["blocks_made"]
        assert server.stats["requests"] == 16 * 30
        assert server.stats["bytes"] == 16 * 30 * 9000


def test_the_memory_of_blocks_is_bounded() -> None:
    with serve(cache_bytes=3 * COG.slot_bytes) as server:
        assert get(server, "/a.tif").body == WHOLE
        assert get(server, "/a.tif").body == WHOLE
        assert 0 < server.stats["kept_bytes"] <= 3 * COG.slot_bytes


def test_pixels_that_cannot_be_made_are_a_500(caplog: pytest.LogCaptureFixture) -> None:
    def read(*window: int) -> np.ndarray:
        raise ValueError("a mistake in the renderer")

    def find(path: str) -> VirtualCog:
        if path == "/damaged.tif":
            raise DatasetError("the planet is damaged; build it again")
        return make(
            300, 217, read=read if path == "/broken.tif" else lambda *window: np.zeros((1, 1), np.uint16)
        )

    with PixelServer(find) as server, caplog.at_level(logging.CRITICAL + 1, logger="seco.planet"):
        assert get(server, "/broken.tif", Range="bytes=0-99").status == 206  # its header needs no pixels
        assert get(server, "/broken.tif", Range="bytes=69000-69999").status == 500
        got = get(server, "/damaged.tif")
        assert (got.status, got.body) == (500, b"the planet is damaged; build it again\n")
        got = get(server, "/wrong.tif", Range="bytes=69000-69999")
        assert got.status == 500
        assert b"must be uint16 (28, 38)" in got.body
        with pytest.raises(http.client.IncompleteRead):  # the header went out before the first block failed
            get(server, "/broken.tif")


def test_stopping_frees_clients_and_the_port() -> None:
    server = serve("delay=60").start()
    port = int(server.url.rsplit(":", 1)[1])
    ends: list[object] = []

    def ask() -> None:
        try:
            ends.append(get(server, "/a.tif", Range="bytes=0-9"))
        except (OSError, http.client.HTTPException) as err:
            ends.append(err)

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.stats["requests"]:
        time.sleep(0.01)
    began = time.monotonic()
    server.stop()
    server.stop()
    thread.join(5)
    assert ends
    assert time.monotonic() - began < 5
    with PixelServer(lambda path: None, port=port) as again:
        assert again.url == server.url
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use; stop"):
            PixelServer(lambda path: None, port=port).start()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 70000}, "port 70000"),
        ({"port": -1}, "port -1"),
        ({"host": "0.0.0.0"}, "host 0.0.0.0 can be reached from other machines"),
        ({"host": "::"}, "host :: can"),
        ({"host": "example.org"}, "host example.org can"),
        ({"host": ""}, "host  can"),
        ({"cache_bytes": -1}, "cache of -1 bytes"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PixelServer(lambda path: None, **settings)


def test_the_network_is_asked_for() -> None:
    with PixelServer(lambda path: COG, host="0.0.0.0", reach="network") as server:
        port = int(server.url.removeprefix("http://0.0.0.0:"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/a.tif", headers={"Range": "bytes=0-1"})
        assert connection.getresponse().read() == b"II"
        connection.close()


def test_an_address_that_is_not_this_machines() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on port 0 on 203\.0\.113\.7"):
        PixelServer(lambda path: None, host="203.0.113.7", reach="network").start()


def test_ipv6_loopback() -> None:
    server = PixelServer(lambda path: COG, host="::1")
    try:
        server.start()
    except ConfigError:
        pytest.skip("no IPv6 loopback here")
    try:
        assert server.url.startswith("http://[::1]:")
        assert get(server, "/a.tif", Range="bytes=0-1").body == b"II"
    finally:
        server.stop()


def outcome(server: PixelServer, path: str = "/a.tif", value: str = "bytes=100000-100999") -> str:
    """Say in one word what a client got."""
    wanted = WHOLE[100000:101000]
    try:
        got = get(server, path, Range=value)
    except http.client.IncompleteRead as err:
        return "truncate" if len(err.partial) < 1000 and wanted.startswith(err.partial) else "wrong bytes"
    except ConnectionResetError:
        return "reset"
    if got.status != 206:
        return str(got.status)
    wrong = [i for i, (a, b) in enumerate(zip(got.body, wanted, strict=True)) if a != b]
    assert len(wrong) <= 1
    return "corrupt" if wrong else "ok"


@pytest.mark.parametrize(
    "kind", ["401", "403", "404", "408", "429", "500", "502", "503", "504", "reset", "truncate", "corrupt"]
)
def test_every_fault_is_seen_and_counted(kind: str) -> None:
    with serve(f"{kind} times=2") as server:
        assert [outcome(server) for _ in range(4)] == [kind, kind, "ok", "ok"]
        assert outcome(server, value="bytes=100000-100999,") == kind  # another range, its first attempt
        stats = json.loads(get(server, "/_stats").body)
        assert stats["faults"] == {kind: 3}
        assert stats["requests"] == 5
        assert stats == server.stats


def test_retry_after() -> None:
    with serve("429:/a*; 503:/b* retry-after=7; 503:/c*; 429:/d* retry-after=0") as server:
        waits = [
            get(server, path).headers["Retry-After"] for path in ("/a.tif", "/b.tif", "/c.tif", "/d.tif")
        ]
    assert waits == ["1", "7", None, "0"]


def test_faults_by_path_are_for_good() -> None:
    with serve("404:/31UFQ/2023-05-*/B04.tif") as server:
        assert [outcome(server, "/31UFQ/2023-05-17/B04.tif") for _ in range(3)] == ["404"] * 3
        assert outcome(server, "/31UFQ/2023-05-17/B03.tif") == "ok"


def test_faults_by_number() -> None:
    with serve("500#2-3") as server:
        assert [outcome(server) for _ in range(5)] == ["ok", "500", "500", "ok", "ok"]


def test_slow_answers() -> None:
    with serve("delay=0.3:/late*; trickle=4000:/slow*") as server:

        def seconds(path: str) -> float:
            began = time.monotonic()
            assert get(server, path, Range="bytes=100000-100999").body == WHOLE[100000:101000]
            return time.monotonic() - began

        assert seconds("/late.tif") >= 0.3
        assert seconds("/slow.tif") >= 0.2  # 1,000 bytes, less the waits that the last part may save
        assert seconds("/a.tif") < 0.2
        assert server.stats["faults"] == {"delay": 1, "trickle": 1}


def test_a_broken_answer_does_not_announce_it() -> None:
    with serve("truncate times=1") as server:
        data = talk(server, b"GET /a.tif HTTP/1.1\r\nHost: x\r\nRange: bytes=100000-100999\r\n\r\n")
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"Content-Length: 1000" in head
        assert b"Connection: close" not in head
        assert len(body) < 1000


def test_without_a_body_there_is_nothing_to_spoil() -> None:
    with serve("truncate; corrupt; trickle=1") as server:
        assert get(server, "/a.tif", "HEAD").status == 200
        assert server.stats["faults"] == {}


def test_signatures_expire() -> None:
    now = [1_000_000.0]
    with serve("expire=60:/s/*", clock=lambda: now[0]) as server:
        assert get(server, "/a.tif", Range="bytes=0-0").status == 206
        assert get(server, "/s/a.tif").status == 403
        signed = server.sign(f"{server.url}/s/a.tif").removeprefix(server.url)
        assert get(server, signed, Range="bytes=0-1").body == b"II"
        assert get(server, signed.replace("/a.tif", "/b.tif")).status == 403
        assert get(server, signed.replace("se=1000060", "se=2000060")).status == 403
        answered = json.loads(get(server, f"/_sign?href={server.url}/s/a.tif").body)
        assert answered == {"href": server.url + signed, "msft:expiry": "1970-01-12T13:47:40Z"}
        now[0] += 60
        assert get(server, signed, Range="bytes=0-1").status == 206
        now[0] += 1
        assert get(server, signed, Range="bytes=0-1").status == 403
        assert server.stats["faults"] == {"expire": 4}
        assert get(server, "/_sign").status == 400
        assert get(server, "/_sign?href=http://[").status == 400


def test_attempts_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seco.planet.serving.pixels.MAX_REMEMBERED", 2)
    with serve("500 times=1") as server:
        paths = ["/1.tif", "/2.tif", "/1.tif", "/2.tif", "/3.tif", "/2.tif", "/1.tif"]
        assert [outcome(server, path) for path in paths] == ["500", "500", "ok", "ok", "500", "ok", "500"]


def test_gdal_retries_its_way_through() -> None:
    cog = make(1000, 700)
    settings = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": "10",
        "GDAL_HTTP_RETRY_DELAY": "0.01",
    }
    with serve("503@0.3; 429@0.2 retry-after=0", seed=2, find={"/retried.tif": cog}.get) as server:
        with rasterio.Env(**settings), rasterio.open(f"/vsicurl/{server.url}/retried.tif") as d:
            for row in range(0, 700, 100):
                window = Window(30, row, 900, 100)
                np.testing.assert_array_equal(d.read(1, window=window), oracle(1, 30, row, 900, 100))
        assert set(server.stats["faults"]) == {"429", "503"}


def test_two_runs_are_equal_and_retries_get_through() -> None:
    text = "429@0.1 retry-after=0; reset@0.1; truncate@0.1; corrupt@0.1; 503@0.1"

    def run(seed: int, order: Callable[[range], Any]) -> dict[int, list[str]]:
        out: dict[int, list[str]] = {}
        with serve(text, seed=seed) as server:
            for i in order(range(40)):
                tries = [outcome(server, f"/{i}.tif")]
                while tries[-1] != "ok":
                    tries.append(outcome(server, f"/{i}.tif"))
                    assert len(tries) < 20
                out[i] = tries
        return out

    first = run(3, iter)
    assert first == run(3, reversed)
    assert first != run(4, iter)
    assert {kind for tries in first.values() for kind in tries} == {
        "ok",
        "429",
        "reset",
        "truncate",
        "corrupt",
        "503",
    }
