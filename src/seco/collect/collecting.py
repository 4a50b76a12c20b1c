"""`seco collect`: settings to a dataset. Plans, fetches, and goes on where an earlier call was stopped."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from seco.collect.catalogs import Catalog, catalog_of
from seco.collect.estimate import Rate, estimate, read_rate, write_rate
from seco.collect.faults import Patience
from seco.collect.fetching import Fetching, opened
from seco.collect.model import PlacePlan
from seco.collect.planner import Planner, Survey, read_places
from seco.collect.radiometry import OFFSET, RULE
from seco.collect.remote import Job, RemoteFetcher, cluster
from seco.collect.runner import Standing, Stop, Tally, run
from seco.collect.settings import Collect
from seco.collect.wire import Counts
from seco.collect.words import notes_on, nothing_for
from seco.config import to_plain
from seco.data import format as fmt
from seco.data.ledger import LedgerWriter, forget, held, ledger_of
from seco.data.writer import disk_errors, require_new
from seco.errors import ConfigError, DatasetError, SecoError
from seco.planet.catalogue.items import COLLECTION as PLANET
from seco.runs import write_json
from seco.sensors.sentinel2 import band

REPORT_FOLDER, REPORT_NAME, MISSED_NAME = "collection", "report.json", "missed.jsonl"
_HOW = ("concurrency", "retries", "timeout_s", "hosts", "scheduler")
"""Settings that say how to fetch and not what: they may change from call to call."""
_PACKAGES = ("seasonal-contrast", "async-tiff", "obstore", "rasterio", "numpy", "zarr", "pyarrow")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedCollectionError(SecoError):
    """The user stopped a collection; what was whole is committed. It is no error: the exit code is 130."""

    interrupted = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collected:
    """What a call of `collect` did.

    Attributes:
        num_places, num_patches: of the dataset.
        tally: what was counted over all calls that made it.
        dropped: items of the catalogue that were left out, by reason.
        counts: what went over the wire in this call.
        seconds: of this call.
        num_new: patches that this call fetched.
        notes: what to know of the result.
        was_whole: the dataset was there already, and nothing was done.
    """

    num_places: int
    num_patches: int
    tally: Tally
    dropped: dict[str, int]
    counts: Counts
    seconds: float
    num_new: int
    notes: tuple[str, ...] = ()
    was_whole: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What is shown while collecting.

    Attributes:
        standing: how the run stands.
        counts: what went over the wire in this call.
        total: places to come to, taken or looked at; None where that is not known.
        num_new: patches of this call.
        seconds: of this call.
    """

    standing: Standing
    counts: Counts
    total: int
    wanted: int | None
    num_new: int
    seconds: float


def collect(
    settings: Collect, out: Path, *, show: Callable[[View], None] = lambda _: None, patience: Patience | None = None,
) -> Collected:  # fmt: skip
    """Collect a dataset at `out`, or go on with one that was begun there.

    Args:
        settings: what to collect, and how.
        out: folder of the dataset.
        show: is told how it stands, after each place.
        patience: tries and waits; from the settings unless given.

    Raises:
        InterruptedCollectionError: SIGINT or SIGTERM came; the same call goes on.
        SecoError: of settings, catalogue, network or disk; what was whole before is committed.
    """
    if settings.places is None:
        raise ConfigError("no places; give a file of them (--places), such as `seco places` makes")
    catalog = catalog_of(settings.catalog, collection=settings.collection)
    key = _key(settings, catalog)
    was = _finished(out, key)
    if was is not None:
        return was
    places = read_places(settings.places)
    names = settings.band_names(level="L1C" if "l1c" in (catalog.collection or "") else "L2A")
    bands = [band(n, offset=OFFSET) for n in names]
    finest = min(int(b.gsd_m or 0) for b in bands)
    _make_parent(out)
    with LedgerWriter(
        out, bands=bands, patch_px=settings.size * 10 // finest, licence=_licence(catalog), settings=key
    ) as writer:
        planner = Planner(places, catalog, settings=settings, folder=ledger_of(out))
        begun, had = time.monotonic(), writer.num_patches
        total = settings.num_places or len(places)

        def shown(standing: Standing, counts: Counts) -> None:
            show(
                View(
                    standing=standing, counts=counts, total=total, wanted=settings.num_places,
                    num_new=standing.num_patches - had, seconds=time.monotonic() - begun,
                )
            )  # fmt: skip

        tally, counts, was_stopped = asyncio.run(
            _fetch(planner, writer, settings, catalog, names, patience=patience, show=shown)
        )
        if was_stopped:
            raise InterruptedCollectionError(
                f"stopped after {writer.num_places} places, {writer.num_patches} patches; all of them are kept: run the "
                "same command to go on"
            )
        if not writer.num_patches:
            # Nothing is lost by it, and whoever mends what was wrong need not remove anything by hand.
            writer.abandon()
            raise DatasetError(nothing_for(out, tally, planner.search.dropped))
        done = Collected(
            num_places=writer.num_places, num_patches=writer.num_patches, tally=tally,
            dropped=dict(planner.search.dropped.most_common()), counts=counts, seconds=time.monotonic() - begun,
            num_new=writer.num_patches - had, notes=notes_on(settings, writer.num_places, tally),
        )  # fmt: skip
        _write_report(writer, done, key)
        provenance = {
            "importer": "collect", "source": catalog.url, "options": key, "radiometry": RULE, "counts": tally.to_json(),
            "notes": list(done.notes),
        }  # fmt: skip
        writer.finish(provenance)
    return done


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """A plan without pixels: what it holds, and what collections of several sizes would cost."""

    survey: Survey
    rate: Rate
    rows: list[dict[str, Any]]


def forecast(settings: Collect, out: Path, *, windows_a_second: float | None = None) -> Forecast:
    """Plan a collection at `out` without fetching pixels; its searches are kept, and `collect` goes on with them.

    Args:
        settings: what would be collected.
        out: folder of the dataset to be.
        windows_a_second: to reckon with; measured by an earlier call of `collect` there, else usual, unless given.

    Raises:
        SecoError: of settings, catalogue or disk; the dataset is there already.
    """
    if settings.places is None:
        raise ConfigError("no places; give a file of them (--places), such as `seco places` makes")
    catalog = catalog_of(settings.catalog, collection=settings.collection)
    places = read_places(settings.places)
    require_new(out)
    _make_parent(out)
    folder = ledger_of(out)
    with disk_errors(out):
        folder.mkdir(parents=True, exist_ok=True)
    with held(out):
        planner = Planner(places, catalog, settings=settings, folder=folder)
        survey = planner.survey()
        rate = read_rate(folder, told=windows_a_second)
        return Forecast(survey=survey, rate=rate, rows=estimate(planner, survey, rate))


async def _fetch(
    planner: Planner, writer: LedgerWriter, settings: Collect, catalog: Catalog, names: Sequence[str], *,
    patience: Patience | None, show: Callable[[Standing, Counts], None],
) -> tuple[Tally, Counts, bool]:  # fmt: skip
    patience = patience or Patience(tries=settings.retries + 1, read_s=settings.timeout_s, seed=settings.seed)
    stop, begun = Stop(), time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        source: Fetching | RemoteFetcher
        if settings.scheduler is None:
            source = await stack.enter_async_context(opened(settings, catalog, names, patience=patience))
            in_flight = max(2, settings.concurrency // 4)
        else:
            job = Job(settings=settings, catalog=catalog, bands=tuple(names), patience=patience)
            place_bytes = settings.seasons * sum(
                (settings.size * 10 // int(band(n).gsd_m or 10)) ** 2 * 2 for n in names
            )
            source, in_flight = await stack.enter_async_context(
                cluster(job, settings.scheduler, place_bytes=place_bytes)
            )
        with _signals(stop):
            try:
                tally = await run(
                    _plans(planner, writer.mark.position), writer, source.fetch, wanted=settings.num_places,
                    in_flight=in_flight, stop=stop, show=lambda standing: show(standing, source.counts),
                )  # fmt: skip
            finally:
                seconds = time.monotonic() - begun
                write_rate(ledger_of(writer.out), windows=source.num_windows, seconds=seconds)
    whole = settings.num_places is not None and writer.num_places >= settings.num_places
    return tally, source.counts, stop.is_asked and not whole


def _plans(planner: Planner, skip: int) -> Iterator[PlacePlan]:
    """Yield plans in the one order in which places are taken, from the `skip`-th on."""
    for wave in planner.waves():
        # A wave has one plan for each of its places; waves that are behind need no planning.
        if skip >= len(wave):
            skip -= len(wave)
            continue
        yield from itertools.islice(planner.in_turn(wave), skip, None)
        skip = 0


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM ask for an end, and the second one have its way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def ask() -> None:
        stop.ask()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _key(settings: Collect, catalog: Catalog) -> dict[str, Any]:
    """Return all that decides what the dataset will be, as far as it is known beforehand."""
    assert settings.places is not None
    options = {k: v for k, v in to_plain(settings).items() if k not in _HOW}
    try:
        options["places_checksum"] = fmt.file_checksum(settings.places)
    except OSError as err:
        raise DatasetError(
            f"cannot read places {settings.places}: {err}; give the file that `seco places` made"
        ) from err
    named = {"catalog": catalog.name, "catalog_url": catalog.url, "collection": catalog.collection}
    return json.loads(json.dumps({**options, **named}, default=str))


def _finished(out: Path, key: dict[str, Any]) -> Collected | None:
    """Return what is said of a dataset that is whole already, if it is the one that is asked for."""
    if not (out / fmt.META_NAME).is_file():
        return None
    forget(out)
    meta = fmt.read_meta(out)
    if meta.provenance.get("importer") != "collect" or meta.provenance.get("options") != key:
        return None  # the writer says that something else is there
    return Collected(
        num_places=meta.num_places, num_patches=meta.num_patches, tally=Tally(**meta.provenance["counts"]), dropped={},
        counts=Counts(), seconds=0.0, num_new=0, notes=tuple(meta.provenance["notes"]), was_whole=True,
    )  # fmt: skip


def _make_parent(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DatasetError(f"cannot make {out.parent}: {err}; choose another folder (--out)") from err
    if not os.access(out.parent, os.W_OK):
        raise DatasetError(f"no permission to write to {out.parent}; choose another folder (--out)")


def _licence(catalog: Catalog) -> str:
    if catalog.collection == PLANET:
        return "Simulated by seco, no real imagery"
    return (
        f"Contains modified Copernicus Sentinel data, by {catalog.name}; its own terms and attributions hold"
    )


def _write_report(writer: LedgerWriter, done: Collected, key: dict[str, Any]) -> None:
    """Write what a reader of the dataset may want to know and what its checksums must not depend on."""
    folder = writer.partial / REPORT_FOLDER
    write_json(
        folder / REPORT_NAME,
        {
            "settings": key, "radiometry": RULE, "num_places": done.num_places, "num_patches": done.num_patches,
            "counts": done.tally.to_json(), "items_left_out": done.dropped, "notes": list(done.notes),
            "last_call": {
                "seconds": round(done.seconds, 3), "patches": done.num_new, "wire": done.counts.to_json(),
            },
            "versions": {name: _version(name) for name in _PACKAGES},
        },
    )  # fmt: skip
    writer.copy_missed(folder / MISSED_NAME)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
