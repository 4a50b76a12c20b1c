"""Sockets of the pixel server: one thread a connection, answers sent as decided, faults within a body included."""

from __future__ import annotations

import contextlib
import http
import http.server
import ipaddress
import logging
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from seco.errors import SecoError
from seco.planet.serving.answers import CONDITIONS, Answer, Piece, plain
from seco.planet.serving.faults import BODY_KINDS, Verdict

IDLE_S = 60
"""A connection that says nothing for so long is closed."""
LOG = logging.getLogger("seco.planet")
_SMALL_BYTES = 64 * 1024
_TICK_S = 0.05
_METHODS = "GET, HEAD"


@runtime_checkable
class Owner(Protocol):
    """Whoever decides what is answered."""

    stopping: threading.Event

    def respond(self, target: str, headers: Mapping[str, str]) -> tuple[Answer, Verdict]:
        """Decide what a request gets."""

    def count(self, *, status: int | None = None, num_bytes: int = 0, faults: tuple[str, ...] = ()) -> None:
        """Count what is about to be sent; no status means more of the same answer."""


class Listener(socketserver.ThreadingTCPServer):
    """Takes connections, remembers the open ones, and can break them.

    Args:
        owner: decides what is answered.
        host, port: where to listen.

    Raises:
        OSError: the port is in use, or the host unknown.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: Owner, host: str, port: int) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; by a reset where its handler asked for that."""
        with self._lock:
            self._open.discard(request)
        lingering = struct.unpack("ii", request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))[0]
        if lingering:
            request.close()  # the base class would say an orderly farewell first
        else:
            super().shutdown_request(request)

    def break_connections(self) -> None:
        """End every open connection, so that no client waits for an answer that will not come."""
        with self._lock:
            for request in self._open:
                with contextlib.suppress(OSError):  # it just ended by itself
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave when they like; anything else is ours, and is logged."""
        err = sys.exception()
        if not isinstance(err, ConnectionError | TimeoutError):
            LOG.error("an answer broke off", exc_info=err)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    # Head and body of a small answer go out in one piece, and no piece waits for the client's word on the last.
    disable_nagle_algorithm = True
    server: Listener

    def do_GET(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body is not read, and must not be taken for the next request
        conditions = {name: value for name in CONDITIONS if (value := self.headers.get(name)) is not None}
        try:
            answer, verdict = self.server.owner.respond(self.path, conditions)
            if verdict.delay_s:
                self.server.owner.stopping.wait(verdict.delay_s)
            # The first piece is made before a status is sent: pixels that cannot be made are an honest 500.
            pieces = iter(()) if self.command == "HEAD" else answer.body()
            first = next(pieces, b"")
        except SecoError as err:
            self._say(plain(500, f"{err}\n"))
        except Exception:
            LOG.exception("%s cannot be served", self.path)
            self._say(plain(500, "this cannot be served; the server's log says why\n"))
        else:
            self._send(answer, verdict, first, pieces)

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses: other methods, and requests that are no HTTP."""
        self.close_connection = True
        if code == http.HTTPStatus.NOT_IMPLEMENTED:
            self._say(plain(405, f"only {_METHODS}\n", ("Allow", _METHODS)))
        else:
            self._say(plain(code, f"{message or 'request not understood'}\n"))

    def log_message(self, format: str, *args: Any) -> None:
        LOG.debug(format, *args)

    def _say(self, answer: Answer) -> None:
        pieces = iter(()) if self.command == "HEAD" else answer.body()
        self._send(answer, Verdict(), next(pieces, b""), pieces)

    def _send(self, answer: Answer, verdict: Verdict, first: Piece, rest: Iterator[Piece]) -> None:
        has_body = len(first) > 0
        fault = verdict.fault.kind if has_body and verdict.fault else None
        fault = fault if fault in BODY_KINDS else None
        slow = "trickle" if has_body and verdict.bytes_per_s else None
        if answer.counts:
            self.server.owner.count(status=answer.status, faults=tuple(k for k in (fault, slow) if k))
        body = _spoilt(_chain(first, rest), fault, verdict.draw % max(answer.length_bytes, 1))
        num_sent = self._out(answer, body, verdict.bytes_per_s)
        if has_body and num_sent < answer.length_bytes:
            # Cut off, or a file that became shorter. The head did not say so: only the client's own count can tell.
            self.close_connection = True
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _head(self, answer: Answer) -> bytes:
        status = http.HTTPStatus(answer.status)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        if status != http.HTTPStatus.NOT_MODIFIED:
            lines.append(f"Content-Length: {answer.length_bytes}")
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _out(self, answer: Answer, pieces: Iterator[Piece], bytes_per_s: float | None) -> int:
        """Send an answer; returns how many bytes its body had."""
        head, num_sent = self._head(answer), 0
        for piece in pieces:
            if answer.counts:
                self.server.owner.count(num_bytes=len(piece))
            num_sent += len(piece)
            if bytes_per_s is not None:
                self._trickle(head, piece, bytes_per_s)
            elif len(piece) <= _SMALL_BYTES:
                self.connection.sendall(head + piece if head else piece)
            else:
                self.connection.sendall(head)
                self.connection.sendall(piece)
            head = b""
        self.connection.sendall(head)
        return num_sent

    def _trickle(self, head: bytes, piece: Piece, bytes_per_s: float) -> None:
        stopping, view = self.server.owner.stopping, memoryview(piece)
        self.connection.sendall(head)
        step = max(1, int(bytes_per_s * _TICK_S))
        for start in range(0, len(view), step):
            part = view[start : start + step]
            if stopping.wait(len(part) / bytes_per_s):
                raise ConnectionAbortedError("the server stops")
            self.connection.sendall(part)


def _chain(first: Piece, rest: Iterator[Piece]) -> Iterator[Piece]:
    if len(first):
        yield first
    yield from rest


def _spoilt(pieces: Iterator[Piece], fault: str | None, at: int) -> Iterator[Piece]:
    """Give a body with its fault at byte `at`: cut off there, or that byte wrong."""
    if fault is None:
        yield from pieces
        return
    position = 0
    for piece in pieces:
        here = at - position
        position += len(piece)
        if not 0 <= here < len(piece):
            yield piece
        elif fault == "corrupt":
            wrong = bytearray(piece)
            wrong[here] ^= 0xFF
            yield bytes(wrong)
        else:
            if here:
                yield piece[:here]
            return


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own; names but `localhost` are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
