"""Fetching the mosaics from a server on loopback that cuts short, refuses, lies and recovers."""

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from seco.data import fetching
from seco.errors import FetchError


def jpeg(size):
    buffer = io.BytesIO()
    Image.new("RGB", size, (30, 90, 160)).save(buffer, "JPEG", quality=30)
    return buffer.getvalue()


GOOD = jpeg(fetching.SIZE_PX)


class Server:
    """Serves the good image under any name, but for the faults that a test puts in front."""

    def __init__(self):
        self.faults = []
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                fault = outer.faults.pop(0) if outer.faults else None
                outer.answer(self, fault)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}/months"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, handler, fault):
        if isinstance(fault, int):
            handler.send_response(fault)
            handler.send_header("Retry-After", "0")
            handler.end_headers()
            return
        body, start = GOOD, 0
        if isinstance(fault, bytes):
            body = fault
        asked = handler.headers.get("Range")
        if asked and fault != "no ranges":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        sent = body[start:]
        handler.wfile.write(sent[: len(sent) // 2] if fault == "cut" else sent)


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def two_months(monkeypatch):
    monkeypatch.setattr(fetching, "MONTHS", ("january", "february"))


def fetch(server, folder, said=None):
    return fetching.fetch_bluemarble(
        folder, base=server.base, pause_s=0, say=(said if said is not None else []).append
    )


def test_all_twelve_months_are_fetched_once(server, tmp_path):
    said = []
    fetch(server, tmp_path, said)
    names = sorted(f.name for f in tmp_path.iterdir())
    assert names == [f"world.2004{m:02d}.3x5400x2700.jpg" for m in range(1, 13)]
    assert all((tmp_path / n).read_bytes() == GOOD for n in names)
    assert server.requests[0][0] == "/months/january/world.200401.3x5400x2700.jpg"
    assert server.requests[11][0] == "/months/december/world.200412.3x5400x2700.jpg"
    assert len(said) == 12
    fetch(server, tmp_path)
    assert len(server.requests) == 12


def test_a_cut_connection_is_gone_on_with_where_it_stopped(server, tmp_path, two_months):
    server.faults = ["cut"]
    fetch(server, tmp_path)
    assert server.requests[1][1] == f"bytes={len(GOOD) // 2}-"
    assert (tmp_path / fetching.month_name(1)).read_bytes() == GOOD


def test_a_server_without_ranges_sends_the_whole_again(server, tmp_path, two_months):
    server.faults = ["cut", "no ranges"]
    fetch(server, tmp_path)
    assert (tmp_path / fetching.month_name(1)).read_bytes() == GOOD


@pytest.mark.parametrize("fault", [503, 429, b"<html>sorry</html>", jpeg((64, 32)), GOOD[:-9000]])
def test_passing_faults_are_tried_again(server, tmp_path, two_months, fault):
    server.faults = [fault]
    fetch(server, tmp_path)
    assert (tmp_path / fetching.month_name(1)).read_bytes() == GOOD


@pytest.mark.parametrize(
    ("faults", "num_requests", "said"),
    [
        ([404], 1, "404"),
        ([503, 503, 503], 3, "503"),
        ([jpeg((64, 32))] * 3, 3, "64 x 32"),
        ([b"<html>sorry</html>"] * 3, 3, "not a whole JPEG"),
    ],
)
def test_lasting_faults_are_one_clear_error_and_nothing_is_taken_for_whole(
    server, tmp_path, two_months, faults, num_requests, said
):
    server.faults = list(faults)
    with pytest.raises(FetchError, match=said) as caught:
        fetch(server, tmp_path)
    assert "--data" in str(caught.value)
    assert len(server.requests) == num_requests
    assert not list(tmp_path.glob("*.jpg"))
    fetch(server, tmp_path)
    assert len(list(tmp_path.glob("*.jpg"))) == 2


def test_a_file_without_end_is_refused(server, tmp_path, two_months, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    with pytest.raises(FetchError, match="larger than"):
        fetch(server, tmp_path)


def test_nobody_there(tmp_path, two_months):
    with pytest.raises(FetchError, match="check the network"):
        fetching.fetch_bluemarble(tmp_path, base="http://127.0.0.1:9/x", pause_s=0, say=lambda line: None)
