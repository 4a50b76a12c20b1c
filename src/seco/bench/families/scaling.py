"""How cost grows: from 1,000 to 1,000,000 places, and from one process to two."""

from __future__ import annotations

import functools
import gc
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from seco.bench import ours
from seco.bench.family import Say, Settings
from seco.bench.imagery import RGB, made_dataset
from seco.bench.table import Row, absent, rows_of
from seco.bench.timing import Contender, Timing, interleave
from seco.data import format as fmt
from seco.data.dataset import open_dataset
from seco.data.tier import TrainingTier
from seco.data.writer import open_index
from seco.errors import TrainingError
from seco.methods import _contract as methods
from seco.runs import METRICS_NAME, read_metrics
from seco.train.places import Batch, Places, batches, choose_places
from seco.train.settings import Pretrain, make_viewer, resolve

HELP = "the index and the draws of 1,000 to 1,000,000 places, memory; training in 1 and 2 processes"
NUM_DATES = 5
PX = 8
"""Edge of a patch: nothing here depends on it, and a million places fit a disk."""
NUM_BATCHES, BATCH = 20, 256
EDGE_DEG = 0.003
"""Half of a place's edge."""


def measure(settings: Settings, say: Say) -> Iterator[Row]:
    """Yield a row a number of places, then a row a number of processes."""
    counts = (1000, 4000) if settings.quick else (1000, 10_000, 100_000, 1_000_000)
    yield from _places(settings, say, counts)
    yield from _processes(settings, say)


def _places(settings: Settings, say: Say, counts: tuple[int, ...]) -> Iterator[Row]:
    folders = {}
    for num in counts:
        say(f"scaling: writing an index of {num:,} places")
        folders[f"{num:,} places"] = _write(settings.work / f"places-{num}", num)
    against = f"{counts[0]:,} places"
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        opening, drawing = [], []
        _open(folders[against])  # what a first use of the libraries takes is no place's
        # In ascending order, so that what a small one left behind hides nothing of what a larger one takes.
        for name, folder in folders.items():
            say(f"scaling: {name}")
            before = _rss_mb(peak=False)
            tier, places = _open(folder)
            peak = _rss_mb(peak=True)
            if before is not None and peak is not None:
                memory[name] = peak - before
            opening.append(Contender(name=name, run=_opening(folder)))
            reader = _Reader(tier, places, settings)
            stack.enter_context(closing(reader))
            drawing.append(Contender(name=name, run=reader.run, prepare=reader.restart))
        timings = interleave(opening, repeats=settings.repeats)
        for name, mb in memory.items():
            timings[name] = Timing(
                wall=timings[name].wall, cpu=timings[name].cpu, extra={"MB_at_the_peak": mb}
            )
        yield from rows_of(
            timings, opening, family="scaling", case="open the index, choose places", against=against, num=1, unit="ms",
        )  # fmt: skip
        timings = interleave(drawing, repeats=settings.repeats)
        yield from rows_of(
            timings, drawing, family="scaling", case=f"read {NUM_BATCHES} batches of {BATCH} places", against=against,
            num=NUM_BATCHES * BATCH, unit="us a place", scale=1e6,
        )  # fmt: skip


def _opening(folder: Path) -> Callable[[], None]:
    def run() -> None:
        _open(folder)

    return run


class _Reader:
    """Batches of one dataset, each time from the middle of an epoch on: the order of an epoch is timed for itself."""

    def __init__(self, tier: TrainingTier, places: Places, settings: Settings) -> None:
        """Prepare the settings of a run."""
        plan = methods.find("seco").PLAN
        config = resolve(
            Pretrain(batch_size=BATCH, test_share=0.0, steps=ours.FOR_EVER, seed=settings.seed),
            num_places=len(places.train), patch_px=tier.patch_px,
        )  # fmt: skip
        self.tier, self.places, self.seed = tier, places, settings.seed
        self.viewer = make_viewer(config, tier, plan)
        self.epochs = itertools.count()
        self.reading = self._batches()

    def _batches(self) -> Generator[Batch, None, None]:
        first = next(self.epochs) * (len(self.places.train) // BATCH)
        return batches(
            self.tier,
            self.places,
            self.viewer,
            batch_size=BATCH,
            first=first,
            last=ours.FOR_EVER,
            seed=self.seed,
        )

    def restart(self) -> None:
        """Begin another epoch; its order is drawn before the clock runs, and its time is told as a number of its own."""
        self.reading.close()
        self.reading = self._batches()
        before = time.perf_counter()
        next(self.reading)
        self.first_ms = 1000 * (time.perf_counter() - before)
        for _ in range(4):  # what was read ahead meanwhile
            next(self.reading)

    def run(self) -> dict[str, float]:
        """Read."""
        for _ in range(NUM_BATCHES):
            next(self.reading)
        return {"ms_to_the_first_batch_of_an_epoch": self.first_ms}

    def close(self) -> None:
        """Stop reading ahead."""
        self.reading.close()


def _open(folder: Path) -> tuple[TrainingTier, Places]:
    """Open a dataset as `seco pretrain` does, up to the pixels."""
    dataset = open_dataset(folder)
    _ = dataset.fingerprint  # names the training tier
    places = choose_places(dataset, Pretrain(data=folder), num_seasons=methods.find("seco").PLAN.num_seasons)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    numbers = {k: np.full(3, v) for k, v in (("mean", 110.0), ("std", 30.0), ("low", 0.0), ("high", 255.0))}
    tier = TrainingTier(pixels=pixels, bands=RGB, fingerprint="made", dataset=dataset, **numbers)
    return tier, places


def _write(folder: Path, num_places: int) -> Path:
    """Write a dataset of black patches somewhere on Earth: index and metadata in full, pixels as a file of holes."""
    folder.mkdir(parents=True)
    num, rng = num_places * NUM_DATES, np.random.default_rng(0)
    with closing(open_index(folder / fmt.INDEX_NAME)) as index:
        for start in range(0, num_places, 50_000):
            some = np.arange(start, min(start + 50_000, num_places))
            lon, lat = rng.uniform(-179, 179, len(some)), rng.uniform(-60, 70, len(some))
            shapes = shapely.to_wkb(
                shapely.box(lon - EDGE_DEG, lat - EDGE_DEG, lon + EDGE_DEG, lat + EDGE_DEG)
            )
            of = pa.array(np.repeat(np.arange(len(some)), NUM_DATES))
            rows = np.arange(start * NUM_DATES, start * NUM_DATES + len(of))
            columns = {
                "row": pa.array(rows, pa.int64()),
                "place": pa.array([f"{place:07d}" for place in some]).take(of),
                "lon": pa.array(lon).take(of),
                "lat": pa.array(lat).take(of),
                "geometry": pa.array(shapes.tolist(), pa.binary()).take(of),
                "checksum": pa.array([f"{row:016x}" for row in rows]),
            }
            schema = index.schema
            index.write_table(
                pa.table(
                    [columns.get(f.name, pa.nulls(len(of), f.type)) for f in schema], schema=schema
                )
            )  # fmt: skip
    np.lib.format.open_memmap(
        folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(num, len(RGB), PX, PX)
    ).flush()
    group = fmt.Group(name="g0", bands=tuple(b.name for b in RGB), height_px=PX, width_px=PX, dtype="uint8")
    meta = fmt.DatasetMeta(
        bands=RGB, groups=(group,), patch_px=PX, num_patches=num, num_places=num_places, licence="none",
        provenance={"importer": "seco bench"},
    )  # fmt: skip
    (folder / fmt.META_NAME).write_text(json.dumps(meta.to_json()), encoding="utf-8")
    return folder


def _rss_mb(*, peak: bool) -> float | None:
    """Return resident memory now, and start a new peak; or the peak since then. None where the system does not tell."""
    gc.collect()
    try:
        if not peak:
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # proc(5): resets VmHWM
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    wanted = "VmHWM:" if peak else "VmRSS:"
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(wanted)), None)


def _processes(settings: Settings, say: Say) -> Iterator[Row]:
    """Train through torchrun in one process and in two, with the same batch over all."""
    case = f"training, {settings.encoder}, 64 px, batch {settings.batch_size} over all processes"
    against, two, apart = "1 process", "2 processes", "2 processes, --query-groups 2"
    if importlib.util.find_spec("seco.nets.processes") is None:
        why = "not measured: this version of `seco pretrain` trains in one process"
        yield absent(family="scaling", case=case, contender=two, against=against, why=why)
        return
    data = made_dataset(
        settings.work / "processes", bands=RGB, px=64, num_places=2 * settings.batch_size, num_dates=NUM_DATES
    )
    data.training()
    runs = itertools.count()
    num_steps = 2 if settings.quick else 80
    log_every = max(1, num_steps // 4)

    def train(name: str, num: int, flags: tuple[str, ...]) -> dict[str, float]:
        say(f"scaling: {name}")
        out = settings.work / f"run-{next(runs)}"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num), "-m", "seco.cli",
            "pretrain", "--data", str(data.path), "--out", str(out), "--encoder", settings.encoder, "--steps",
            str(num_steps), "--batch-size", str(settings.batch_size), "--test-share", "0", "--probe-every", "0",
            "--log-every", str(log_every), "--device", settings.device, *flags,
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, settings.threads // num))}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            told = " ".join(done.stderr.split())[-300:]
            raise TrainingError(f"training in {num} processes ended with {done.returncode}: {told}")
        rates = [
            line["samples_per_s"] for line in read_metrics(out / METRICS_NAME) if "samples_per_s" in line
        ]
        # The first rate has the first step in it, in which kernels are chosen and memory is taken.
        return {"samples_per_s_while_training": statistics.median(rates[1:])}

    contenders = [
        Contender(
            name=name,
            run=functools.partial(train, name, n, flags),
            note="start and end of the programs included",
        )
        for name, n, flags in ((against, 1, ()), (two, 2, ()), (apart, 2, ("--query-groups", "2")))
    ]
    timings = interleave(contenders, repeats=settings.repeats)
    yield from rows_of(
        timings, contenders, family="scaling", case=case, against=against, num=num_steps * settings.batch_size
    )
