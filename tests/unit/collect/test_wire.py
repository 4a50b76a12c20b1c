"""Bytes over the wire: politely, tried again within bounds, signed anew; and answers that no honest server gives."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from seco.collect.catalogs import Signer
from seco.collect.faults import Patience, PixelFault
from seco.collect.hrefs import Allowed
from seco.collect.wire import STREAK, Wire
from seco.errors import FetchError
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer

DATA = bytes(range(256)) * 400
QUICK = Patience(tries=4, first_s=0.001, longest_s=0.004, slow_down_s=0.002, connect_s=2, read_s=2)
HERE = Allowed(private="allow")


def serve(faults: str = "", data: bytes = DATA) -> PixelServer:
    return PixelServer(
        {"/a.tif": data, "/b.tif": data}.get, faults=FaultSchedule.parse(faults, seed=0) if faults else None
    )


def get(href: str, start: int = 100, length: int = 50, *, times: int = 1, **settings):
    """Get a range so many times at once; the parts, and the wire's counts."""

    async def go():
        async with Wire(**{"patience": QUICK, "allowed": HERE, **settings}) as wire:
            parts = await asyncio.gather(*[wire.get(href, start + i, length) for i in range(times)])
            return parts, wire.counts

    return asyncio.run(go())


def test_ranges_and_kept_connections():
    with serve() as server:
        parts, counts = get(f"{server.url}/a.tif", times=5)
        assert [p.data for p in parts] == [DATA[100 + i : 150 + i] for i in range(5)]
        assert parts[0].size == len(DATA)
        assert (counts.requests, counts.num_bytes) == (5, 250)
        (part,), _ = get(f"{server.url}/a.tif", len(DATA) - 10, 50)
        assert part.data == DATA[-10:]


@pytest.mark.parametrize(
    "faults", ["500 times=3", "reset times=3", "truncate times=3", "408 times=3", "503 retry-after=0 times=3"]
)
def test_tries_again_up_to_the_limit(faults):
    with serve(faults) as server:
        (part,), counts = get(f"{server.url}/a.tif")
        assert part.data == DATA[100:150]
        assert counts.retries == 3
    with serve(faults.replace("times=3", "times=4")) as server, pytest.raises(PixelFault):
        get(f"{server.url}/a.tif")


@pytest.mark.parametrize(("faults", "kind"), [("404", "missing"), ("401", "401"), ("403", "403")])
def test_what_is_for_good_is_asked_once(faults, kind):
    with serve(faults) as server:
        with pytest.raises(PixelFault) as caught:
            get(f"{server.url}/a.tif")
        assert caught.value.kind == kind
        assert server.stats["requests"] == 1


def test_retry_after_is_obeyed_by_all_requests_to_the_host():
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        await asyncio.sleep(0.001)

    with serve("429:/a.tif retry-after=1 times=1") as server:

        async def go():
            async with Wire(patience=QUICK, allowed=HERE) as wire:
                loop = asyncio.get_running_loop()
                begun = loop.time()
                await wire.get(f"{server.url}/a.tif", 0, 10)
                return loop.time() - begun

        assert asyncio.run(go()) >= 1.0

    with serve("429 retry-after=9000") as server, pytest.raises(FetchError, match="asks to wait 9000 s"):
        get(f"{server.url}/a.tif", sleep=sleep)


def test_a_host_that_says_slow_down_is_left_alone():
    """While one request waits for its time, no other is sent to that host."""
    with serve("429:/a.tif retry-after=1 times=1") as server:

        async def go():
            async with Wire(patience=QUICK, allowed=HERE) as wire:
                clock = asyncio.get_running_loop().time
                begun = clock()
                slow = asyncio.create_task(wire.get(f"{server.url}/a.tif", 0, 10))
                await asyncio.sleep(0.3)
                await wire.get(f"{server.url}/b.tif", 0, 10)
                other = clock() - begun
                await slow
                return other

        assert asyncio.run(go()) >= 0.95


def test_requests_a_second_are_limited():
    with serve() as server:

        async def go():
            async with Wire(patience=QUICK, allowed=HERE, requests_a_second=20) as wire:
                begun = asyncio.get_running_loop().time()
                await asyncio.gather(*[wire.get(f"{server.url}/a.tif", i, 10) for i in range(11)])
                return asyncio.get_running_loop().time() - begun

        assert asyncio.run(go()) >= 0.5


def test_requests_at_once_are_limited():
    with serve("delay=0.1") as server:
        begun = time.monotonic()
        get(f"{server.url}/a.tif", times=6, concurrency=2)
        assert time.monotonic() - begun >= 0.3


def test_an_expired_signature_is_asked_anew_once():
    with serve("expire=3600:/*") as server:
        signed = {"href": f"{server.url}/a.tif?se=1&sig=old"}
        renewed = []

        def renew():
            renewed.append(1)
            signed["href"] = server.sign(f"{server.url}/a.tif")

        signer = Signer(sign=lambda href: signed["href"], renew=renew)
        (part, *_), counts = get(f"{server.url}/a.tif", times=8, signer=signer)
        assert part.data == DATA[100:150]
        assert len(renewed) == counts.signed == 1, "the requests share one new signature"

        signed["href"] = f"{server.url}/a.tif?se=1&sig=bad"
        useless = Signer(sign=lambda href: signed["href"], renew=lambda: None)
        with pytest.raises(PixelFault, match="403"):
            get(f"{server.url}/a.tif", signer=useless)


def test_a_file_that_changed_is_noticed():
    with serve() as server:

        async def go():
            async with Wire(patience=QUICK, allowed=HERE) as wire:
                part = await wire.get(f"{server.url}/a.tif", 0, 10)
                await wire.get(f"{server.url}/a.tif", 0, 10, etag=part.etag)
                await wire.get(f"{server.url}/a.tif", 0, 10, etag='"another"')

        with pytest.raises(PixelFault) as caught:
            asyncio.run(go())
        assert caught.value.kind == "changed"


def test_a_host_that_cannot_be_reached_ends_the_run():
    with serve() as server:
        url = server.url
    with pytest.raises(FetchError, match="run the same command again"):
        get(f"{url}/a.tif")


def test_a_dead_host_among_others_is_the_files_own_fault():
    with serve() as server:

        async def go():
            async with Wire(patience=QUICK, allowed=HERE) as wire:
                await wire.get(f"{server.url}/a.tif", 0, 10)
                with pytest.raises(PixelFault) as caught:
                    await wire.get("http://127.0.0.1:1/a.tif", 0, 10)
                return caught.value.kind

        assert asyncio.run(go()) == "connect"


def test_a_host_that_refuses_everything_ends_the_run():
    with serve("403") as server:

        async def go():
            async with Wire(patience=QUICK, allowed=HERE) as wire:
                for i in range(STREAK - 1):
                    with pytest.raises(PixelFault):
                        await wire.get(f"{server.url}/a.tif", i, 10)
                with pytest.raises(FetchError, match="in a row failed"):
                    await wire.get(f"{server.url}/a.tif", 0, 10)

        asyncio.run(go())


def test_local_files(tmp_path):
    (tmp_path / "a.tif").write_bytes(DATA)
    allowed = Allowed(files_below=tmp_path)
    (part,), _ = get("a.tif", allowed=allowed)
    assert part.data == DATA[100:150]
    for href, kind in (("b.tif", "missing"), (".", "unreadable"), ("../a.tif", "refused")):
        with pytest.raises(PixelFault) as caught:
            get(href, allowed=allowed)
        assert caught.value.kind == kind


@pytest.mark.parametrize("length", [0, -5, 2**40])
def test_sizes_out_of_bounds(length):
    with serve() as server, pytest.raises(PixelFault, match="too-large"):
        get(f"{server.url}/a.tif", 0, length)


@contextlib.contextmanager
def raw(*answers: bytes):
    """A server that sends these bytes, one answer a connection, the last for all that follow."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    left = list(answers)
    asked = []

    def run():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.close()


HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-149/999\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "reset"),
        (b"garbage\r\n\r\n", "protocol"),
        (b"SSH-2.0\r\n\r\n", "protocol"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 206 X\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", "protocol"),
        (HEAD + b"\r\n", "protocol"),
        (HEAD + b"Content-Length: 99\r\n\r\n" + b"x" * 99, "too-large"),
        (HEAD + b"Content-Length: 20\r\n\r\n" + b"x" * 20, "truncated"),
        (HEAD + b"Content-Length: 50\r\n\r\n" + b"x" * 20, "truncated"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n32\r\nxx", "truncated"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "truncated"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n99999999\r\n", "too-large"),
        (HEAD.replace(b"100-149", b"0-49") + b"Content-Length: 50\r\n\r\n" + b"x" * 50, "protocol"),
        (b"HTTP/1.1 206 X\r\nContent-Length: 50\r\n\r\n" + b"x" * 50, "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too-large"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n", "protocol"),
        (b"HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n", "mismatch"),
        (b"HTTP/1.1 418 X\r\nContent-Length: 0\r\n\r\n", "418"),
    ],
)
def test_answers_of_a_hostile_server(answer, kind):
    with raw(answer) as (url, _), pytest.raises(PixelFault) as caught:
        get(f"{url}/a.tif", patience=Patience(tries=1, connect_s=2, read_s=3))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 50\r\n\r\n" + b"y" * 50,
        HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n14\r\n"
        + b"y" * 20
        + b"\r\n1e;ext=1\r\n"
        + b"y" * 30
        + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"n" * 100 + b"y" * 50 + b"n" * 50,
        b"HTTP/1.0 206 X\r\nContent-Range: bytes 100-149/*\r\nContent-Length: 50\r\n\r\n" + b"y" * 50,
    ],
)
def test_honest_answers_of_every_shape(answer):
    with raw(answer) as (url, asked):
        (part,), _ = get(f"{url}/a.tif?sig=a%2Fb&x=1")
    assert part.data == b"y" * 50
    assert asked[0].startswith(b"GET /a.tif?sig=a%2Fb&x=1 HTTP/1.1\r\n")
    assert b"Range: bytes=100-149\r\n" in asked[0]


def test_redirects_are_followed_and_their_targets_checked():
    with serve() as server:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {server.url}/a.tif\r\nContent-Length: 0\r\n\r\n".encode()
        with raw(moved) as (url, _):
            (part,), _ = get(f"{url}/x")
            assert part.data == DATA[100:150]
            with pytest.raises(PixelFault, match="no public address"):
                get(f"{url}/x", allowed=Allowed())


def test_a_silent_server_is_given_up_in_time():
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        with pytest.raises(PixelFault) as caught:
            get(
                f"http://127.0.0.1:{listener.getsockname()[1]}/a",
                patience=Patience(tries=1, connect_s=0.2, read_s=0.3),
            )
        assert caught.value.kind == "timeout"
    finally:
        listener.close()
