"""The days on which a place is wanted: pure functions of the settings and the place's name."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections.abc import Sequence
from functools import lru_cache

from seco.collect.model import Place, Slot
from seco.collect.settings import Collect
from seco.errors import ConfigError

SEASONS = ("winter", "spring", "summer", "autumn")
_MIDDLES = ((1, 15), (4, 15), (7, 15), (10, 15))
"""Month and day in the middle of winter, spring, summer and autumn of the north; meteorological seasons."""
_DATES, _ORDER = "dates", "order"


def draw(seed: int, what: str, name: str) -> float:
    """Return a number from 0 up to 1 that depends on nothing but these three.

    Not a stream of random numbers, so that no place's draw depends on how many places came before it.
    """
    digest = hashlib.sha256(f"{seed}\n{what}\n{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def in_order(places: Sequence[Place], *, seed: int) -> list[Place]:
    """Return the places in the order in which they are taken: shuffled by the seed and their names alone."""
    return sorted(places, key=lambda p: (draw(seed, _ORDER, p.id), p.id, p.index))


def slots_of(place: Place, settings: Collect) -> tuple[Slot, ...]:
    """Return the seasons of a place: the days aimed at, and the days around each that will do.

    The days of two seasons never overlap: between two targets the middle divides them.

    Raises:
        ConfigError: the range of dates holds too few of the seasons.

    Source: Mañas et al. 2021, section 3.1, for `spaced`: dates about three months apart, a random one to begin with.
    """
    targets = _spaced(place, settings) if settings.rule == "spaced" else _calendar(place, settings)
    return _slots(tuple(targets), *settings.days, settings.window_days)


@lru_cache(maxsize=4096)
def _slots(targets: tuple[dt.date, ...], first: dt.date, last: dt.date, window_days: int) -> tuple[Slot, ...]:
    """Return the days around each target; many places share their targets."""
    width = dt.timedelta(days=window_days)
    bounds = {t: [max(t - width, first), min(t + width, last)] for t in targets}
    for earlier, later in itertools.pairwise(sorted(targets)):
        middle = earlier + (later - earlier) // 2
        bounds[earlier][1] = min(bounds[earlier][1], middle)
        bounds[later][0] = max(bounds[later][0], middle + dt.timedelta(days=1))
    return tuple(
        Slot(index=i, target=t, first=bounds[t][0], last=bounds[t][1]) for i, t in enumerate(targets)
    )


def _spaced(place: Place, settings: Collect) -> list[dt.date]:
    slack = settings.num_days - 1 - (settings.seasons - 1) * settings.spacing_days
    shift = int(draw(settings.seed, _DATES, place.id) * (slack + 1))
    first = settings.days[0] + dt.timedelta(days=shift)
    return [first + dt.timedelta(days=i * settings.spacing_days) for i in range(settings.seasons)]


def _calendar(place: Place, settings: Collect) -> list[dt.date]:
    """Slot 0 is winter wherever the place is, slot 4 another winter; one draw decides the year of all."""
    first, last = settings.days
    share = draw(settings.seed, _DATES, place.id)
    chosen: dict[int, list[dt.date]] = {}
    for season, name in enumerate(SEASONS[: settings.seasons]):
        month, day = _MIDDLES[season if place.lat >= 0 else (season + 2) % 4]
        there = [dt.date(y, month, day) for y in range(first.year, last.year + 1)]
        there = [d for d in there if first <= d <= last]
        needed = len(range(season, settings.seasons, 4))
        if len(there) < needed:
            raise ConfigError(
                f"{settings.seasons} calendar seasons need {needed} times the middle of {name} (day {day} of month {month} "
                f"at latitude {place.lat:.1f}); from {first} to {last} are {len(there)}: widen the range"
            )
        start = int(share * (len(there) - needed + 1))
        chosen[season] = there[start : start + needed]
    return [chosen[i % 4][i // 4] for i in range(settings.seasons)]
