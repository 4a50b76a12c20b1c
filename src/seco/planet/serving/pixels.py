"""A range-capable HTTP server for pixels, on loopback, that can be told to misbehave."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from seco.errors import ConfigError
from seco.planet.bytecache import ByteCache
from seco.planet.serving.answers import Answer, Found, answer, plain, resource
from seco.planet.serving.connections import Listener, is_loopback
from seco.planet.serving.faults import BODY_KINDS, FaultSchedule, Verdict

CACHE_BYTES = 256 * 2**20
MAX_REMEMBERED = 250_000
"""Paths and ranges whose attempts are counted; beyond, the first ones start at one again."""
SIGNED_S = 3600.0
"""How long a signed href holds where no fault says otherwise."""
Find = Callable[[str], Found | None]


class PixelServer:
    """Serves what `find` gives for a path: HTTP/1.1, GET and HEAD, ranges, conditions, faults on schedule.

    Blocks of virtual COGs are kept in memory up to a bound, and made once when several clients ask. `/_stats` answers
    with the counts of `stats` as JSON, and `/_sign?href=...` with a signed href; these two are not counted and do not fail.

    Args:
        find: gives what stands behind a path (decoded, without its query), None where there is nothing. Called from
            many threads.
        host: address to listen on.
        port: 0 takes a free one.
        faults: what goes wrong; None for nothing.
        cache_bytes: bound on the blocks kept.
        reach: `network` allows a host that is not this machine's own loopback.
        clock: gives seconds since 1970, for signatures.

    Raises:
        ConfigError: the port is out of range, or the host not on loopback without `reach="network"`.
    """

    def __init__(
        self,
        find: Find,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: FaultSchedule | None = None,
        cache_bytes: int = CACHE_BYTES,
        reach: Literal["loopback", "network"] = "loopback",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigError(f"port {port}; it must be 1 to 65535, or 0 for a free one")
        if reach == "loopback" and not is_loopback(host):
            raise ConfigError(
                f"host {host} can be reached from other machines; use 127.0.0.1, or say that this is meant (network)"
            )
        self._find = find
        self._host, self._port = host, port
        self._faults = faults or FaultSchedule()
        self._clock = clock
        self._cache = ByteCache[bytes](cache_bytes, size=len)
        self._lock = threading.Lock()
        # By digest: a path may have 64 KiB, and is anyone's.
        self._attempts: dict[bytes, int] = {}
        self._num_requests = self._num_bytes = 0
        self._statuses: Counter[str] = Counter()
        self._hits: Counter[str] = Counter()
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """Address without a slash at its end; the port is known once the server was started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def stats(self) -> dict[str, Any]:
        """Counts so far: requests (GET and HEAD), body bytes, statuses, faults by kind, blocks made and found."""
        with self._lock:
            return {
                "requests": self._num_requests,
                "bytes": self._num_bytes,
                "statuses": dict(sorted(self._statuses.items())),
                "faults": dict(sorted(self._hits.items())),
                "blocks_made": self._cache.num_made,
                "blocks_found": self._cache.num_found,
                "kept_bytes": self._cache.kept_bytes,
            }

    def start(self) -> PixelServer:
        """Listen, and answer from threads of its own.

        Raises:
            ConfigError: the port is in use or not allowed, or the host unknown.
        """
        assert self._listener is None, "already started"
        try:
            self._listener = Listener(self, self._host, self._port)
        except OSError as err:
            where = f"port {self._port} on {self._host}"
            if err.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"{where} is in use; stop what holds it, choose another with --port, or 0 for a free one"
                ) from err
            raise ConfigError(
                f"cannot listen on {where}: {err}; choose another host or port (--port)"
            ) from err
        self._port = self._listener.server_address[1]
        self.stopping.clear()
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.1}, name="pixels", daemon=True
        )
        self._thread.start()
        return self

    def wait(self) -> None:
        """Wait until another thread stops the server."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def stop(self) -> None:
        """Listen no more and break open connections. Does nothing where it is stopped."""
        self.stopping.set()
        if self._listener is not None and self._thread is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener.break_connections()
            self._thread.join()
            self._listener = self._thread = None

    def __enter__(self) -> PixelServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def sign(self, href: str) -> str:
        """Return an href with a signature that holds as long as the schedule's `expire` says, else for an hour."""
        parts = urllib.parse.urlsplit(href)
        path = urllib.parse.unquote(parts.path)
        until = int(self._clock() + (self._faults.lifetime_s(path) or SIGNED_S))
        query = urllib.parse.urlencode({"se": until, "sig": self._signature(path, str(until))})
        return parts._replace(query=query).geturl()

    def _signature(self, path: str, until: str) -> str:
        # It keeps nobody out: it lets a client's own mistakes show.
        return hashlib.blake2b(f"{self._faults.seed}\n{path}\n{until}".encode(), digest_size=16).hexdigest()

    def _is_signed(self, path: str, query: str) -> bool:
        if self._faults.lifetime_s(path) is None:
            return True
        given = dict(urllib.parse.parse_qsl(query))
        until, signature = given.get("se", ""), given.get("sig", "")
        return (
            until.isascii()
            and until.isdigit()
            and signature == self._signature(path, until)
            and int(until[:15]) >= self._clock()
        )

    def respond(self, target: str, headers: Mapping[str, str]) -> tuple[Answer, Verdict]:
        """Decide what a request gets.

        Args:
            target: what stands in the request line.
            headers: those of `CONDITIONS` that the request has.
        """
        if target.lower().startswith("http://"):  # as a proxy's clients ask
            target = "/" + target[7:].partition("/")[2]
        raw, _, query = target.partition("?")
        path = urllib.parse.unquote(raw)
        if path in ("/_stats", "/_sign"):
            return dataclasses.replace(self._about_itself(path, query), counts=False), Verdict()
        asked = (headers.get("Range") or "").replace(" ", "").lower()
        verdict = self._verdict(path, asked)
        fault = verdict.fault
        if not self._is_signed(path, query):
            self.count(faults=("expire",))
            return plain(403, "signature missing, wrong or expired (simulated)\n"), Verdict(
                delay_s=verdict.delay_s
            )
        if fault is not None and fault.kind not in BODY_KINDS:
            self.count(faults=(fault.kind,))
            retry = () if fault.retry_after_s is None else (("Retry-After", str(fault.retry_after_s)),)
            return plain(int(fault.kind), f"{fault.kind} (simulated)\n", *retry), verdict
        return self._lookup(path, headers), verdict

    def _lookup(self, path: str, headers: Mapping[str, str]) -> Answer:
        missing = plain(404, "nothing is there\n")
        if "\0" in path or ".." in path.split("/"):
            return missing
        found = self._find(path)
        try:
            return (
                missing if found is None else answer(resource(found, path=path, cache=self._cache), headers)
            )
        except FileNotFoundError:
            return missing

    def _about_itself(self, path: str, query: str) -> Answer:
        if path == "/_stats":
            return plain(200, json.dumps(self.stats) + "\n", media_type="application/json")
        href = dict(urllib.parse.parse_qsl(query)).get("href", "")
        if not href:
            return plain(400, "no href; ask for /_sign?href=...\n")
        try:
            signed = self.sign(href)
        except ValueError as err:
            return plain(400, f"href {href!r}: {err}\n")
        until = int(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(signed).query))["se"])
        expiry = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return plain(
            200, json.dumps({"href": signed, "msft:expiry": expiry}) + "\n", media_type="application/json"
        )

    def _verdict(self, path: str, asked: str) -> Verdict:
        with self._lock:
            self._num_requests += 1
            number = self._num_requests
            if not self._faults.faults:
                return Verdict()
            key = hashlib.blake2b(
                f"{path}\n{asked}".encode("utf-8", "surrogatepass"), digest_size=16
            ).digest()
            attempt = self._attempts.get(key, 0) + 1
            self._attempts[key] = attempt
            if len(self._attempts) > MAX_REMEMBERED:
                del self._attempts[next(iter(self._attempts))]
        verdict = self._faults.decide(path=path, asked=asked, attempt=attempt, number=number)
        if verdict.delay_s:
            self.count(faults=("delay",))
        return verdict

    def count(self, *, status: int | None = None, num_bytes: int = 0, faults: tuple[str, ...] = ()) -> None:
        """Count what is about to be sent; no status means more of the same answer."""
        with self._lock:
            if status is not None:
                self._statuses[str(status)] += 1
            self._num_bytes += num_bytes
            self._hits.update(faults)
