"""Places fetched by the workers of a dask.distributed cluster; planned, committed and put in order here, as ever.

A task is pure: some places in, their patches out. So a worker that dies costs its tasks' time and nothing else, and the
dataset is the same as one machine's. docs/fetching.md says how to start workers, and whom a cluster has to trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from seco.collect.catalogs import Catalog
from seco.collect.faults import Patience
from seco.collect.fetching import Fetching, opened
from seco.collect.model import PlacePlan
from seco.collect.place import Outcome
from seco.collect.settings import Collect
from seco.collect.wire import Counts
from seco.errors import ConfigError, FetchError, SecoError

WAIT_S = 60.0
"""How long to wait for the scheduler, and for the first worker."""
_GATHER_S = 0.05
_MOST_BYTES = 512 * 2**20
"""Most bytes of patches that may wait here for their turn."""


def own_version() -> str:
    """Return the version of seco that runs here."""
    try:
        return version("seasonal-contrast")
    except PackageNotFoundError:
        return "not installed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know of a collection; no secrets: keys come from each worker's own environment."""

    settings: Collect
    catalog: Catalog
    bands: tuple[str, ...]
    patience: Patience
    version: str = dataclasses.field(default_factory=own_version)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Done:
    """What a task gives: places in the order asked, and what went over the wire since the worker's last answer."""

    outcomes: list[Outcome]
    counts: Counts
    num_windows: int


class _Worker:
    """What a worker process keeps for a job: an event loop in a thread, connections and headers."""

    def __init__(self, job: Job) -> None:
        self._loop = asyncio.new_event_loop()
        self._job = job
        self._here: Fetching | None = None
        self._lock = asyncio.Lock()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="seco-fetch").start()

    def fetch(self, plans: Sequence[PlacePlan]) -> _Done:
        """Fetch places, from any thread."""
        return asyncio.run_coroutine_threadsafe(self._fetch(plans), self._loop).result()

    async def _fetch(self, plans: Sequence[PlacePlan]) -> _Done:
        async with self._lock:
            if self._here is None:
                job = self._job
                manager = opened(job.settings, job.catalog, job.bands, patience=job.patience)
                self._here = await manager.__aenter__()  # open for as long as the process lives
        outcomes = await asyncio.gather(*[self._here.fetch(p) for p in plans])
        # Plans are with whoever asked; sending them back would be most of the answer.
        slim = [
            dataclasses.replace(o, plan=PlacePlan(place=o.plan.place, order=o.plan.order)) for o in outcomes
        ]
        counts, num_windows = self._here.take_counts()
        return _Done(outcomes=slim, counts=counts, num_windows=num_windows)

    def end(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)


_WORKERS: dict[str, _Worker] = {}
_WORKERS_LOCK = threading.Lock()


def fetch_on_worker(job: Job, plans: Sequence[PlacePlan]) -> _Done:
    """Fetch some places in a worker's process.

    Raises:
        ConfigError: the worker has another version of seco.
        FetchError: a host cannot be reached.
    """
    if job.version != own_version():
        raise ConfigError(
            f"a worker has seco {own_version()}, this is {job.version}; install the same everywhere"
        )
    with _WORKERS_LOCK:
        name = repr(job)
        if name not in _WORKERS:
            for old in _WORKERS.values():
                old.end()
            _WORKERS.clear()
            _WORKERS[name] = _Worker(job)
        worker = _WORKERS[name]
    return worker.fetch(plans)


class RemoteFetcher:
    """Hands places to a cluster in small groups of neighbours.

    Args:
        client: of dask.distributed, asynchronous.
        job: what is collected.
        batch: places a task.

    Attributes:
        counts: what went over the wire of all workers.
        num_windows: windows that they read.
    """

    def __init__(self, client: Any, job: Job, *, batch: int) -> None:
        self._client, self._job, self._batch = client, job, batch
        self._waiting: list[tuple[PlacePlan, asyncio.Future[Outcome]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts = Counts()
        self.num_windows = 0

    async def fetch(self, plan: PlacePlan) -> Outcome:
        """Fetch a place on some worker.

        Raises:
            FetchError: the cluster is gone, or a worker cannot reach a host.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((plan, found))
        if len(self._waiting) >= self._batch:
            self._send()
        elif len(self._waiting) == 1:
            loop.call_later(_GATHER_S, self._send)
        outcome = await found
        return dataclasses.replace(outcome, plan=plan)

    def _send(self) -> None:
        sent, self._waiting = self._waiting, []
        if sent:
            task = asyncio.ensure_future(self._ask(sent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, sent: list[tuple[PlacePlan, asyncio.Future[Outcome]]]) -> None:
        try:
            done: _Done = await self._client.submit(
                fetch_on_worker, self._job, [p for p, _ in sent], pure=False
            )
        except asyncio.CancelledError:
            raise
        except Exception as err:  # noqa: BLE001
            # Of the cluster anything may come: its own errors, and whatever its workers could not do.
            fault = err if isinstance(err, SecoError) else FetchError(
                f"the cluster failed ({type(err).__name__}: {' '.join(str(err).split())[:160]}); see to its workers and run "
                "the same command again: it goes on where it was"
            )  # fmt: skip
            for _, future in sent:
                if not future.done():
                    future.set_exception(fault)
            return
        self.counts.add(done.counts)
        self.num_windows += done.num_windows
        for (_, future), outcome in zip(sent, done.outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)

    async def close(self) -> None:
        """Wait for nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def cluster(job: Job, address: str, *, place_bytes: int) -> AsyncIterator[tuple[RemoteFetcher, int]]:
    """Connect to a scheduler; yield the fetcher, and how many places to have in flight.

    Args:
        job: what is collected.
        address: `tcp://host:8786`, or `tls://...` as dask is configured.
        place_bytes: size of a place's patches.

    Raises:
        ConfigError: dask.distributed is not installed.
        FetchError: the scheduler does not answer, or has no worker.
    """
    try:
        from distributed import Client
    except ImportError as err:
        raise ConfigError(
            "--scheduler needs dask.distributed; run `pip install 'seasonal-contrast[dask]'`, here and on every worker"
        ) from err
    try:
        client = await Client(address, asynchronous=True, timeout=WAIT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as err:
        raise FetchError(
            f"no scheduler at {address} ({type(err).__name__}); start one with `dask scheduler`, and workers with "
            f"`dask worker {address}`"
        ) from err
    try:
        try:
            await client.wait_for_workers(1, timeout=WAIT_S)
        except TimeoutError as err:
            raise FetchError(
                f"the scheduler at {address} has no workers; start some with `dask worker {address} --nthreads 1`"
            ) from err
        about = await client.scheduler.identity()
        threads = sum(w["nthreads"] for w in about["workers"].values())
        batch = max(1, min(job.settings.concurrency // 4, 16))
        in_flight = min(max(2 * threads, 2) * batch, max(_MOST_BYTES // max(place_bytes, 1), 2))
        fetcher = RemoteFetcher(client, job, batch=min(batch, in_flight))
        try:
            yield fetcher, in_flight
        finally:
            await fetcher.close()
    finally:
        await client.close()
