"""Faults on schedule: what a server for tests does wrong, when, and always in the same way.

Whether a fault happens is decided by (seed, fault, path, range, attempt): a second run is equal to the first, and a
retry of the same bytes, being another attempt, can succeed. docs/planet-serving.md has the grammar of `parse`.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import math
import re

from seco.errors import ConfigError

STATUSES = ("401", "403", "404", "408", "429", "500", "502", "503", "504")
BODY_KINDS = ("reset", "truncate", "corrupt")
VALUE_KINDS = {"delay": "seconds", "trickle": "bytes a second", "expire": "seconds"}
KINDS = (*STATUSES, *BODY_KINDS, *VALUE_KINDS)
VALUE_RANGE = (1e-3, 1e9)
"""Of seconds and bytes a second: what lies beyond fits no clock and no date."""
_HEAD = re.compile(
    r"(?P<kind>[a-z0-9]+)(?:=(?P<value>[^@#:]*))?(?:@(?P<rate>[^@#:]*)|#(?P<numbers>[^@#:]*))?(?::(?P<path>.*))?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: an HTTP status that is answered instead; `reset` (the connection breaks within the body), `truncate` (the
            body ends early), `corrupt` (one byte is wrong), `delay`, `trickle` (a slow body), or `expire` (hrefs must
            carry a signature that is not older).
        value: seconds of `delay` and `expire`, bytes a second of `trickle`.
        rate: share of the requests that it hits, above 0 and up to 1.
        numbers: first and last of the requests that it hits, counted from 1 over all that the server gets.
        path: pattern of the paths that it hits; `*` stands for any text, slashes too.
        times: it hits only the first so many attempts at the same path and range.
        retry_after_s: what the answer asks the client to wait.

    Raises:
        ConfigError: a setting is unknown or out of range.
    """

    kind: str
    value: float | None = None
    rate: float = 1.0
    numbers: tuple[int, int] | None = None
    path: str = "*"
    times: int | None = None
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown kind {self.kind!r}; known: {', '.join(KINDS)}")
        needs = VALUE_KINDS.get(self.kind)
        low, high = VALUE_RANGE
        if needs and (self.value is None or not low <= self.value <= high):
            raise ConfigError(
                f"{self.kind} needs {needs} above 0, such as {self.kind}=2, from {low:g} to {high:g}; got {self.value}"
            )
        if needs is None and self.value is not None:
            raise ConfigError(
                f"{self.kind} takes no value (got {self.value}); only {', '.join(VALUE_KINDS)} do"
            )
        if not 0 < self.rate <= 1:
            raise ConfigError(f"rate {self.rate}; it must be above 0 and at most 1")
        if self.numbers is not None and not 1 <= self.numbers[0] <= self.numbers[1]:
            raise ConfigError(
                f"requests {self.numbers[0]}-{self.numbers[1]}; give #N or #FIRST-LAST, counted from 1"
            )
        if not self.path.startswith(("/", "*")) or set("@#") & set(self.path):
            raise ConfigError(
                f"path {self.path!r}; it must start with / or *, and the rate goes before it: 404@0.1:/tiles/*"
            )
        if self.times is not None and self.times < 1:
            raise ConfigError(f"times={self.times}; it must be 1 or more")
        if self.retry_after_s is not None and (self.retry_after_s < 0 or self.kind not in STATUSES):
            raise ConfigError(
                f"retry-after={self.retry_after_s}; it must be 0 or more, and goes with a status, not {self.kind}"
            )
        if self.kind == "expire" and (self.rate != 1 or self.numbers or self.times):
            raise ConfigError(
                "expire holds for every request: only a path goes with it, as in expire=60:/tiles/*"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What happens to one request.

    Attributes:
        delay_s: how long it waits before anything is answered.
        bytes_per_s: how fast its body goes out; None for as fast as may be.
        fault: what it gets instead of, or within, the answer; None for what it asked for.
        draw: a number of the request's own below 2**32, for where in the body the fault lies.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    fault: Fault | None = None
    draw: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultSchedule:
    """Faults in order: every `delay` and `trickle` that hits counts, of the others the first that hits."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    @classmethod
    def parse(cls, text: str, *, seed: int = 0) -> FaultSchedule:
        """Read a schedule such as `429@0.05 retry-after=1; reset@0.01; delay=0.2@0.1; 404:/31UFQ/2023-05-*/B04.tif`.

        Raises:
            ConfigError: names the part that cannot be read.
        """
        return cls(faults=tuple(_clause(c.strip()) for c in text.split(";") if c.strip()), seed=seed)

    def decide(self, *, path: str, asked: str, attempt: int, number: int) -> Verdict:
        """Say what happens to a request.

        Args:
            path: of the request, without its query.
            asked: the range it asks for, as text; empty for the whole.
            attempt: how often this path and range were asked for, this time included.
            number: how many requests the server got, this one included.
        """
        delay, speed, chosen, where = 0.0, None, None, 0
        for i, fault in enumerate(self.faults):
            if fault.kind == "expire" or not fnmatch.fnmatchcase(path, fault.path):
                continue
            if fault.numbers is not None and not fault.numbers[0] <= number <= fault.numbers[1]:
                continue
            if fault.times is not None and attempt > fault.times:
                continue
            draw = _draw(self.seed, i, path, asked, attempt)
            if (draw >> 32) >= fault.rate * 2**32:
                continue
            if fault.kind == "delay":
                delay += fault.value or 0.0
            elif fault.kind == "trickle":
                speed = min(fault.value or math.inf, speed or math.inf)
            elif chosen is None:
                chosen, where = fault, draw & 0xFFFFFFFF
        return Verdict(delay_s=delay, bytes_per_s=speed, fault=chosen, draw=where)

    def lifetime_s(self, path: str) -> float | None:
        """Return how long a signed href of this path holds; None where none is needed."""
        for fault in self.faults:
            if fault.kind == "expire" and fnmatch.fnmatchcase(path, fault.path):
                return fault.value
        return None


def _draw(seed: int, fault: int, path: str, asked: str, attempt: int) -> int:
    """Return a number below 2**64 that looks random and is not."""
    key = "\n".join((str(seed), str(fault), path, asked, str(attempt)))
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _clause(clause: str) -> Fault:
    head, *options = clause.split()
    match = _HEAD.fullmatch(head)
    if match is None:
        raise ConfigError(
            f"fault {clause!r}: cannot read {head!r}; write KIND[=VALUE][@RATE or #FIRST-LAST][:PATH] "
            "[times=N] [retry-after=S]"
        )
    try:
        return _fault(match, options)
    except ConfigError as err:
        raise ConfigError(f"fault {clause!r}: {err}") from err


def _fault(match: re.Match[str], options: list[str]) -> Fault:
    given = {}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in ("times", "retry-after") or not equals or name in given:
            raise ConfigError(f"cannot read {option!r}; known, once each: times=N, retry-after=S")
        given[name] = _whole(value, name)
    numbers = None
    if match["numbers"] is not None:
        first, dash, last = match["numbers"].partition("-")
        start = _whole(first, "number of a request")
        numbers = (start, _whole(last, "number of a request") if dash else start)
    kind = match["kind"]
    retry = given.get("retry-after", 1 if kind == "429" else None)
    return Fault(
        kind=kind, value=None if match["value"] is None else _real(match["value"], f"value of {kind}"),
        rate=1.0 if match["rate"] is None else _real(match["rate"], "rate"), numbers=numbers,
        path="*" if match["path"] is None else match["path"], times=given.get("times"), retry_after_s=retry,
    )  # fmt: skip


def _whole(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{what} {text!r} is no whole number")
    return int(text[:18])


def _real(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as err:
        raise ConfigError(f"{what} {text!r} is no number") from err
