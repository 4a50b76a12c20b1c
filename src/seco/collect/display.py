"""What is shown while collecting: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from seco.collect.collecting import View

EVERY_S = 30.0
"""From plain line to plain line."""
_REFRESH_S = 0.5
_TOP = 4


class Display:
    """Shows how a collection stands; give `show` to `collect`.

    Args:
        say: prints a plain line.
        is_live: whether standard error is a terminal.
        clock: gives seconds.
    """

    def __init__(
        self, say: Callable[[str], None], *, is_live: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._say, self._clock = say, clock
        self._is_live = sys.stderr.isatty() if is_live is None else is_live
        self._live: Any = None
        self._next = clock() + EVERY_S

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, view: View) -> None:
        """Show it, where it is time to."""
        now = self._clock()
        if now < self._next and not (self._is_live and self._live is None):
            return
        if self._is_live:
            self._next = now + _REFRESH_S
            self._show_live(view)
        else:
            self._next = now + EVERY_S
            self._say("; ".join(f"{name} {value}" for name, value in facts(view)))

    def _show_live(self, view: View) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.markup import escape
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, value in facts(view):
            table.add_row(f"[bold]{name}[/]", escape(value))
        if self._live is None:
            # Started with the first place: before, the searches have a bar of their own.
            self._live = Live(table, console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(table, refresh=True)


def facts(view: View) -> list[tuple[str, str]]:
    """Return what is shown, in words."""
    standing, counts = view.standing, view.counts
    rate = view.num_new / view.seconds if view.seconds > 0 else 0.0
    out = [
        ("places", _places(view)),
        ("patches", f"{standing.num_patches}, {rate:.1f} a second"),
        ("fetched", f"{counts.num_bytes / 1e6:.1f} MB in {counts.requests} requests"),
        ("left", _left(view)),
    ]
    if standing.tally.rejected:
        out.append(("turned down", _most(Counter(standing.tally.rejected))))
    if counts.faults:
        out.append(("faults", _most(Counter({f"{k} at {h}": n for (h, k), n in counts.faults.items()}))))
    return out


def _places(view: View) -> str:
    standing = view.standing
    missed = sum(standing.tally.missed.values())
    of = f" of {view.wanted}" if view.wanted is not None else ""
    return f"{standing.num_places}{of} taken, {missed} missed, {standing.in_flight} in flight"


def _left(view: View) -> str:
    done = view.standing.num_places if view.wanted is not None else view.standing.tally.looked_at
    num_new = view.num_new / max(view.standing.num_patches, 1) * done
    if num_new <= 0 or view.seconds <= 0:
        return "unknown"
    seconds = (view.total - done) * view.seconds / num_new
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _most(counts: Counter[str]) -> str:
    shown = [f"{n} {name}" for name, n in counts.most_common(_TOP)]
    rest = sum(n for _, n in counts.most_common()[_TOP:])
    return ", ".join([*shown, *([f"{rest} other"] if rest else [])])
