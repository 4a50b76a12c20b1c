"""Takes places in order, several in flight, and commits them in order: the result does not depend on who was faster."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from seco.collect.model import PlacePlan
from seco.collect.place import Outcome
from seco.data.ledger import LedgerWriter

COMMIT_S = 60.0
"""A stop costs the fetching of this long at most, and of the shard that is being filled where that is less."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """What a collection has so far; goes through the ledger, so that a resumed run counts on.

    Attributes:
        looked_at: places whose turn it was.
        missed: places that gave nothing, by reason.
        rejected: scenes turned down, by reason.
        num_saturated: pixels at the top of the scale.
        num_unjudged: patches without scene classes.
        num_incomplete: places that lack a season and were kept.
    """

    looked_at: int = 0
    missed: dict[str, int] = dataclasses.field(default_factory=dict)
    rejected: dict[str, int] = dataclasses.field(default_factory=dict)
    num_saturated: int = 0
    num_unjudged: int = 0
    num_incomplete: int = 0

    def after(self, outcome: Outcome) -> Tally:
        """Return the counts with one more place."""
        missed, rejected = Counter(self.missed), Counter(self.rejected)
        if outcome.reason is not None:
            missed[outcome.reason] += 1
        rejected.update(outcome.rejected)
        lacks = bool(outcome.patches) and len(outcome.patches) < len(outcome.plan.seasons)
        return Tally(
            looked_at=self.looked_at + 1, missed=dict(sorted(missed.items())), rejected=dict(sorted(rejected.items())),
            num_saturated=self.num_saturated + outcome.num_saturated,
            num_unjudged=self.num_unjudged + outcome.num_unjudged, num_incomplete=self.num_incomplete + lacks,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands, for whoever shows it."""

    tally: Tally
    num_places: int
    num_patches: int
    in_flight: int
    is_committed: bool


class Stop:
    """Asks a run to stop after what is whole."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ask(self) -> None:
        """Ask; the run commits what is whole and ends."""
        self._event.set()

    @property
    def is_asked(self) -> bool:
        """Whether it was asked."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return once it is asked."""
        await self._event.wait()


async def run(
    plans: Iterator[PlacePlan], writer: LedgerWriter, fetch: Callable[[PlacePlan], Awaitable[Outcome]], *,
    wanted: int | None, in_flight: int, stop: Stop, show: Callable[[Standing], None] = lambda _: None,
    commit_s: float = COMMIT_S,
) -> Tally:  # fmt: skip
    """Fetch places until enough are there or no more are planned.

    Args:
        plans: what comes next, from `writer.mark.position` on; drawn in a thread, since it may search.
        writer: where they go.
        fetch: fetches one place.
        wanted: places that are asked for; None for all.
        in_flight: places at once.
        stop: asks the run to end early.
        show: is told how it stands, after each place.
        commit_s: longest time between two commits.

    Returns:
        What was counted; whether the run was asked to stop, `stop` tells.

    Raises:
        SecoError: of planning, fetching or writing; what was whole before is committed.
    """
    waiting: deque[tuple[PlacePlan, asyncio.Future[Outcome]]] = deque()
    tally = Tally(**writer.mark.state)
    position = writer.mark.position
    stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    committed = time.monotonic()
    is_drained = False
    try:
        while wanted is None or writer.num_places < wanted:
            while not is_drained and not stop.is_asked and len(waiting) < in_flight:
                plan = await asyncio.to_thread(next, plans, None)
                if plan is None:
                    is_drained = True
                else:
                    waiting.append((plan, asyncio.ensure_future(fetch(plan))))
            if not waiting:
                break
            first: asyncio.Future[Any] = waiting[0][1]
            await asyncio.wait([first, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                break  # asked to stop, and what comes next is not whole
            outcome = first.result()
            waiting.popleft()
            position += 1
            tally = tally.after(outcome)
            # In a thread: a shard takes a while to compress, and the network need not wait for it.
            await asyncio.to_thread(
                writer.add, outcome.patches, position=position, state=tally.to_json(), missed=_missed(outcome)
            )
            if time.monotonic() - committed > commit_s:
                await asyncio.to_thread(writer.commit)
                committed = time.monotonic()
            show(_standing(writer, tally, len(waiting)))
    finally:
        stopped.cancel()
        for _, future in waiting:
            future.cancel()
        await asyncio.gather(stopped, *(f for _, f in waiting), return_exceptions=True)
        writer.commit()
    return tally


def _standing(writer: LedgerWriter, tally: Tally, in_flight: int) -> Standing:
    return Standing(
        tally=tally, num_places=writer.num_places, num_patches=writer.num_patches, in_flight=in_flight,
        is_committed=writer.mark.num_patches == writer.num_patches,
    )  # fmt: skip


def _missed(outcome: Outcome) -> dict[str, Any] | None:
    if outcome.reason is None:
        return None
    place = outcome.plan.place
    return {
        "place": place.id, "lon": place.lon, "lat": place.lat, "reason": outcome.reason,
        "rejected": dict(sorted(outcome.rejected.items())),
    }  # fmt: skip
