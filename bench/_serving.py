"""Files served with a delay, as from far away: by nginx, which costs little processor, else by the planet's server."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
"""What lets nginx wait; Debian's package libnginx-mod-http-echo has it."""
OWN = """
import sys
from pathlib import Path
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer
root = Path(sys.argv[1])
server = PixelServer(lambda path: root / path.lstrip("/"), faults=FaultSchedule.parse(sys.argv[2], seed=0)).start()
print(server.url, flush=True)
server.wait()
"""
NGINX = """
load_module {echo};
daemon off; pid {work}/pid; error_log {work}/error.log; worker_processes 1; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; sendfile on; tcp_nopush on; default_type image/tiff;
  {temporary}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /_stats {{ stub_status; }}
    location /now/ {{ internal; alias {root}/; }}
    location / {{ echo_sleep {delay}; echo_exec /now$uri; }}
  }}
}}
"""


class Served:
    """A server that runs.

    Attributes:
        url: its address.
        program: `nginx`, or `seco` for the planet's own.
    """

    def __init__(self, url: str, program: str) -> None:
        self.url, self.program = url, program

    def num_requests(self) -> int:
        """Return how many requests it had, this one not among them."""
        with urllib.request.urlopen(f"{self.url}/_stats", timeout=10) as answer:  # noqa: S310 - our own server
            text = answer.read().decode()
        if self.program == "seco":
            return int(json.loads(text)["requests"])
        # The third number of the third line; asking counts too, and is taken away by whoever compares two answers.
        return int(text.splitlines()[2].split()[2])


def best_program() -> str:
    """Return `nginx` where it and its module are installed, else `seco`."""
    return "nginx" if shutil.which("nginx") and ECHO.is_file() else "seco"


@contextlib.contextmanager
def served(root: Path, *, delay_s: float, program: str) -> Iterator[Served]:
    """Serve the files of a folder; each answer begins after a delay."""
    with tempfile.TemporaryDirectory() as work:
        if program == "nginx":
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            text = NGINX.format(
                echo=ECHO, work=work, port=port, root=root.resolve(), delay=delay_s,
                temporary=" ".join(f"{n}_temp_path {work}/{n};" for n in kinds),
            )  # fmt: skip
            (Path(work) / "nginx.conf").write_text(text)
            command = ["nginx", "-e", f"{work}/error.log", "-c", f"{work}/nginx.conf"]
            process = subprocess.Popen(command)
            url = f"http://127.0.0.1:{port}"
        else:
            process = subprocess.Popen(
                [sys.executable, "-c", OWN, str(root), f"delay={delay_s}"], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            url = process.stdout.readline().strip()
        found = Served(url, program)
        try:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    found.num_requests()
                    break
                time.sleep(0.1)
            yield found
        finally:
            process.terminate()
            process.wait(10)
