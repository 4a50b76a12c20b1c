"""What all tests share: the real data, one thread a process, no network."""

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before anything imports numpy or torch, here or in a program that a test starts: `make test` runs several
# processes, and their threads would only fight for the same cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["MPLBACKEND"] = "Agg"

# What is made once (the land mask) is made once for all test runs, apart from the user's own cache.
os.environ.setdefault("SECO_CACHE", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "seco"))

# Clients written in C and Rust (GDAL, object stores) do not pass Python's sockets, but they honour these: the
# discard port refuses at once.
_NOWHERE = "http://127.0.0.1:9"
for _name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ[_name] = os.environ[_name.upper()] = _NOWHERE
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"

_REPO = Path(__file__).resolve().parents[1]


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket's path
    host = str(address[0])
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise OSError(f"tests may not use the network, and this one wants {address}")
            return original(self, address)

        return call

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))


@pytest.fixture(scope="session")
def seco_data() -> Callable[[str], Path]:
    """Give the path of a real data file or folder, or skip the test where it is absent.

    The folder is `$SECO_DATA`, else `../shared/data` beside the repository.
    """
    root = Path(os.environ.get("SECO_DATA") or _REPO.parent / "shared" / "data")

    def find(name: str = ".") -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(
                f"needs real data: {name} is not in {root} (set SECO_DATA to the folder that holds it)"
            )
        return path

    return find
