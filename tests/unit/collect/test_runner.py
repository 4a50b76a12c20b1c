"""Places are committed in their order, whoever was faster."""

import asyncio
import datetime
import random
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from seco.collect.model import Place, PlacePlan, SeasonPlan, Slot
from seco.collect.place import Outcome
from seco.collect.runner import Stop, run
from seco.data import format as fmt
from seco.data.layout import Patch
from seco.data.ledger import LedgerWriter
from seco.errors import FetchError
from seco.sensors.sentinel2 import band

DAY = datetime.date(2023, 5, 1)
SLOT = Slot(index=0, target=DAY, first=DAY, last=DAY)


def plan(i: int) -> PlacePlan:
    place = Place(index=i, id=f"p{i}", lon=float(i), lat=0.0)
    return PlacePlan(place=place, order=i, seasons=(SeasonPlan(slot=SLOT, candidates=()),) * 2)


def outcome(given: PlacePlan) -> Outcome:
    i = given.place.index
    if i % 4 == 3:
        return Outcome(plan=given, reason="no clear scene", rejected=Counter({"cloud": 2}))
    pixels = np.full((1, 6, 6), i + 1, np.uint16)
    patches = tuple(Patch(place=f"p{i}", pixels=pixels, date=DAY) for _ in range(1 if i % 5 == 0 else 2))
    return Outcome(plan=given, patches=patches, rejected=Counter({"cloud": 1}))


def collect(out, *, seed=0, num=20, fails_at=None, stops_at=None, **settings):
    """Fetch with random delays; give the tally."""
    rng = random.Random(seed)

    async def fetch(given):
        await asyncio.sleep(rng.random() * 0.01)
        if given.place.index == fails_at:
            raise FetchError("the network is gone")
        return outcome(given)

    kinds = {"bands": [band("B04")], "patch_px": 6, "licence": "", "settings": {}}
    with LedgerWriter(out, **kinds) as writer:

        async def go():
            stop = Stop()

            def show(standing):
                if standing.num_places == stops_at:
                    stop.ask()

            plans = iter([plan(i) for i in range(writer.mark.position, num)])
            return await run(
                plans,
                writer,
                fetch,
                **{"wanted": None, "in_flight": 6, "stop": stop, "show": show, **settings},
            )

        tally = asyncio.run(go())
        if stops_at is None:
            writer.finish({})
    return tally


def rows(out):
    return [(r["place"], r["checksum"]) for r in pq.read_table(out / fmt.INDEX_NAME).to_pylist()]


def test_order_does_not_depend_on_timing(tmp_path):
    found = []
    for seed, at_once in ((0, 1), (1, 6), (2, 40)):
        tally = collect(tmp_path / f"{seed}.seco", seed=seed, in_flight=at_once)
        found.append((rows(tmp_path / f"{seed}.seco"), tally))
    assert found[0] == found[1] == found[2]
    tally = found[0][1]
    assert (tally.looked_at, tally.missed, tally.rejected["cloud"]) == (20, {"no clear scene": 5}, 25)
    assert tally.num_incomplete == 3, (
        "of every fourth place that is missed, 15 is one of those with a patch less"
    )
    assert list(dict.fromkeys(p for p, _ in found[0][0])) == [f"p{i}" for i in range(20) if i % 4 != 3]


def test_no_more_than_asked(tmp_path):
    tally = collect(tmp_path / "d.seco", wanted=4, in_flight=10)
    assert list(dict.fromkeys(p for p, _ in rows(tmp_path / "d.seco"))) == ["p0", "p1", "p2", "p4"]
    assert tally.looked_at == 5


def test_an_error_comes_in_its_turn_and_what_was_before_is_kept(tmp_path):
    with pytest.raises(FetchError):
        collect(tmp_path / "d.seco", fails_at=9)
    tally = collect(tmp_path / "d.seco")
    collect(tmp_path / "whole.seco")
    assert rows(tmp_path / "d.seco") == rows(tmp_path / "whole.seco")
    assert tally.looked_at == 20


def test_a_stop_commits_and_the_next_call_goes_on(tmp_path):
    part = collect(tmp_path / "d.seco", stops_at=5)
    assert part.looked_at < 20
    tally = collect(tmp_path / "d.seco")
    assert tally == collect(tmp_path / "whole.seco")
    assert rows(tmp_path / "d.seco") == rows(tmp_path / "whole.seco")


def test_commits_with_the_clock(tmp_path):
    with pytest.raises(FetchError):
        collect(tmp_path / "d.seco", fails_at=12, commit_s=0.0)
    with LedgerWriter(
        tmp_path / "d.seco", bands=[band("B04")], patch_px=6, licence="", settings={}
    ) as writer:
        assert writer.mark.position == 12
