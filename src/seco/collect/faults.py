"""What goes wrong with pixels on their way, by kind; and how long to wait before the next try. Pure."""

from __future__ import annotations

import dataclasses
import email.utils
import random
import time

TRANSIENT = frozenset(
    ("408", "425", "429", "500", "502", "503", "504", "connect", "reset", "timeout", "truncated", "changed", "corrupt",
     "protocol")
)  # fmt: skip
"""Kinds that the next try may not meet."""
EXPIRED = frozenset({"401", "403"})
"""Kinds that a new signature may mend."""
SLOW_DOWN = frozenset({"429", "503"})
"""Kinds with which a server asks for fewer requests."""
UNANSWERED = frozenset({"connect", "reset", "timeout"})
"""Kinds that are no answer: perhaps the file, perhaps the host, perhaps the network."""


class PixelFault(Exception):  # noqa: N818 - it is counted by kind, and no error of the user
    """Bytes or pixels could not be had.

    Attributes:
        kind: an HTTP status, or `connect`, `reset`, `timeout`, `truncated`, `changed` (the file changed while it was
            read), `corrupt` (a block that cannot be decoded), `protocol`, `refused` (an address that may not be asked),
            `missing` (no such file or asset), `mismatch` (not the raster that the catalogue speaks of), `unsupported`,
            `too-large`.
        host: whom was asked.
        retry_after_s: what the server asked to wait.
    """

    def __init__(self, kind: str, host: str, words: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{kind} from {host}: {words}" if words else f"{kind} from {host}")
        self.kind, self.host, self.retry_after_s = kind, host, retry_after_s
        self._words = words

    def anew(self) -> PixelFault:
        """Return the same fault as a new exception: one that is raised over and over keeps all that it went through."""
        return PixelFault(self.kind, self.host, self._words, retry_after_s=self.retry_after_s)

    @property
    def is_transient(self) -> bool:
        """Whether another try may work."""
        return self.kind in TRANSIENT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """How often and how long to try again.

    Attributes:
        tries: of one request, the first included.
        first_s: wait before the second try, about; doubles from try to try.
        longest_s: longest wait of that kind.
        slow_down_s: wait after 429 or 503 where the server does not say how long; doubles too.
        longest_asked_s: longest `Retry-After` that is obeyed; beyond it the request has failed.
        connect_s, read_s: how long a connection and an answer may take.
        seed: of the jitter.
    """

    tries: int = 6
    first_s: float = 0.5
    longest_s: float = 30.0
    slow_down_s: float = 10.0
    longest_asked_s: float = 600.0
    connect_s: float = 10.0
    read_s: float = 60.0
    seed: int = 0

    def wait_s(self, fault: PixelFault, attempt: int, *, what: str) -> float:
        """Return how long to wait after a failed try.

        Args:
            fault: what went wrong.
            attempt: number of the try that failed, from 1.
            what: names the request, for its own jitter: requests that fail together do not come back together.
        """
        if fault.retry_after_s is not None:
            return fault.retry_after_s
        first = self.slow_down_s if fault.kind in SLOW_DOWN else self.first_s
        longest = max(self.longest_s, self.slow_down_s)
        share = random.Random(f"{self.seed} {what} {attempt}").uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
        return min(first * 2 ** (attempt - 1), longest) * share


def retry_after_s(value: str | None) -> float | None:
    """Read a `Retry-After` header: seconds or a date (RFC 9110, section 10.2.3); None where it says nothing."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
