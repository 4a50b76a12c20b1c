"""Training end to end, data, views and step: ours against the original's data module and training step."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from seco.bench import original as originals
from seco.bench import ours, rivals
from seco.bench.family import Say, Settings
from seco.bench.imagery import RGB, made_dataset, original_layout
from seco.bench.table import Row, absent, rows_of
from seco.bench.timing import Contender, interleave, settle, threads
from seco.nets.devices import keep_freed_memory

HELP = "end to end on the same images: ours, the original's data module and training step (--rival); 264 -> 224 px"
AGAINST = "ours"
NUM_DATES = 5
ORIGINAL_VIEW_PX = 224
"""What the original's data module crops to, whatever the patch."""


def measure(settings: Settings, say: Say) -> Iterator[Row]:
    """Yield a row a contender."""
    small = settings.quick and settings.rival is None
    px, view_px = (64, 64) if small else (264, ORIGINAL_VIEW_PX)
    num_places = settings.batch_size * (2 if settings.quick else 3)
    say(f"training: writing {num_places} places, {NUM_DATES} dates each")
    dataset = made_dataset(
        settings.work / "training", bands=RGB, px=px, num_places=num_places, num_dates=NUM_DATES
    )
    case = (
        f"{settings.encoder}, {px} -> {view_px} px, batch {settings.batch_size}, queue {settings.queue_size}"
    )
    num_steps = 2 if settings.quick else 4
    feed = ours.feed(settings, dataset, view_px=view_px)
    if feed.device.type == "cpu":
        keep_freed_memory()
    with threads(settings.threads), closing(feed.batches):
        method = ours.build_method(settings, px=view_px, options=ours.paper_options(settings))
        step = itertools.count()

        def train(batch: Any) -> None:
            method.update(feed.views(batch), step=next(step))
            settle(feed.device)

        ready = feed.views(next(feed.batches))

        def step_alone() -> None:
            for _ in range(num_steps):
                method.update(ready, step=next(step))
            settle(feed.device)

        contenders = [
            _endless(AGAINST, feed.batches, train, num_steps=num_steps, ahead=4),
            Contender(name="ours, the step alone on ready views", run=step_alone),
        ]
        if settings.rival is not None:
            say("training: writing the same images in the original's layout")
            original_layout(dataset, settings.work / "training-original")
            contenders += _originals(settings, view_px, num_steps)
        say(f"training: {case}")
        timings = interleave(contenders, repeats=settings.repeats)
    yield from rows_of(
        timings, contenders, family="training", case=case, against=AGAINST, num=num_steps * settings.batch_size,
    )  # fmt: skip
    if settings.rival is None:
        yield absent(
            family="training", case=case, contender="original", against=AGAINST, why=rivals.NO_ORIGINAL
        )


def _endless(
    name: str,
    data: Iterator[Any],
    train: Callable[[Any], object],
    *,
    num_steps: int,
    ahead: int,
    note: str = "",
) -> Contender:
    """Return a contender that trains on what an endless iterator gives.

    While others had their turn it read ahead; what is ready is taken away before the clock runs, and a step is done, so
    that the next batches come as they do in the middle of a run.
    """

    def prepare() -> None:
        for _ in range(ahead):
            next(data)
        train(next(data))

    def run() -> Mapping[str, float]:
        waited, started = 0.0, time.perf_counter()
        for _ in range(num_steps):
            before = time.perf_counter()
            batch = next(data)
            waited += time.perf_counter() - before
            train(batch)
        return {"share_waiting_for_data": waited / (time.perf_counter() - started)}

    return Contender(name=name, run=run, prepare=prepare, note=note)


def _originals(settings: Settings, view_px: int, num_steps: int) -> list[Contender]:
    """Return the original as shipped and in our precision, each with a worker process a core."""
    assert settings.rival is not None
    released = originals.load(settings.rival)
    num_workers = 1 if settings.quick else os.cpu_count() or 1
    device, own_precision = ours.computing(settings, px=view_px)
    out = []
    for name, precision in (
        ("original, as shipped, fp32", None),
        (f"original, {own_precision}, channels-last", own_precision),
    ):
        trainee = originals.Trainee(
            released, encoder=settings.encoder, queue_size=settings.queue_size, batch_size=settings.batch_size,
            device=device, seed=settings.seed, precision=precision,
        )  # fmt: skip
        data = originals.endless(
            released, settings.work / "training-original", batch_size=settings.batch_size, num_workers=num_workers,
            seed=settings.seed,
        )  # fmt: skip

        def train(batch: Any, trainee: originals.Trainee = trainee) -> None:
            trainee.step(*batch)
            settle(device)

        note = f"{num_workers} worker process{'es' if num_workers > 1 else ''}"
        out.append(_endless(name, data, train, num_steps=num_steps, ahead=2 * num_workers, note=note))
    return out
