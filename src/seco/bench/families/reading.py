"""Reading patches in random order: the training tier, the archive, and the original's GeoTIFF a band."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio

from seco.bench.family import Say, Settings
from seco.bench.imagery import ORIGINAL_NAMES, RGB, TWELVE, made_dataset, original_layout
from seco.bench.table import Row, rows_of
from seco.bench.timing import Contender, interleave, threads
from seco.data.dataset import Dataset, open_dataset
from seco.data.tier import TrainingTier
from seco.sensors.bands import Band

HELP = (
    "random patches: training tier, archive, a GeoTIFF a band; with a warm page cache and after dropping it"
)
AGAINST = "ours: training tier"
NUM_DATES = 3
DROPPED = "page cache dropped"


def measure(settings: Settings, say: Say) -> Iterator[Row]:
    """Yield a row a way of keeping patches, for RGB and 12 bands, cache warm and dropped."""
    px = 64 if settings.quick else 264
    with threads(1):
        for bands, enough in ((RGB, 64), (TWELVE, 16)):
            kind = "RGB" if len(bands) == 3 else f"{len(bands)} bands"
            say(f"reading: {kind}, {px} px (writing the files first)")
            num_places = 4 if settings.quick else enough
            folder = settings.work / f"{len(bands)}-bands"
            dataset = made_dataset(
                folder / "dataset", bands=bands, px=px, num_places=num_places, num_dates=NUM_DATES
            )
            dates = original_layout(dataset, folder / "original")
            for state in ("page cache warm", DROPPED):
                say(f"reading: {kind}, {px} px, {state}")
                case = f"{kind} {px} px, {state}"
                contenders = _contenders(dataset, dates, bands, dropped=state == DROPPED, seed=settings.seed)
                timings = interleave(contenders, repeats=settings.repeats)
                yield from rows_of(
                    timings, contenders, family="reading", case=case, against=AGAINST, num=len(dataset), unit="ms a patch",
                )  # fmt: skip


def _contenders(
    dataset: Dataset, dates: Sequence[Path], bands: Sequence[Band], *, dropped: bool, seed: int
) -> list[Contender]:
    order = np.random.default_rng(seed)
    dataset.training()  # made before anything is timed
    os.sync()  # pages that are not on the disk yet cannot be dropped
    opened: dict[str, TrainingTier | Dataset] = {}

    def prepare(files: Sequence[Path], name: str, open_again: Callable[[], TrainingTier | Dataset]) -> None:
        if dropped or name not in opened:
            opened.pop(name, None)  # pages that a memory map holds stay where they are
            if dropped:
                drop(files)
            opened[name] = open_again()

    def read_tier() -> dict[str, float]:
        tier = opened["tier"]
        assert isinstance(tier, TrainingTier)
        before = bytes_from_disk()
        for row in order.permutation(len(dates)):
            np.array(tier.pixels[row])
        return _from_disk(before, len(dates))

    def read_archive() -> dict[str, float]:
        archive = opened["archive"]
        assert isinstance(archive, Dataset)
        before = bytes_from_disk()
        for row in order.permutation(len(dates)):
            archive.planes(int(row), int(row) + 1)
        return _from_disk(before, len(dates))

    def read_files() -> dict[str, float]:
        before = bytes_from_disk()
        for row in order.permutation(len(dates)):
            read_date(dates[row], bands)
        return _from_disk(before, len(dates))

    own = [f for f in dataset.path.rglob("*") if f.is_file()]
    tiffs = [f for date in dates for f in date.iterdir()]
    return [
        Contender(name=AGAINST, run=read_tier, prepare=lambda: prepare(own, "tier", dataset.training)),
        Contender(
            name="archive: Zarr", run=read_archive,
            prepare=lambda: prepare(own, "archive", lambda: open_dataset(dataset.path)),
        ),
        Contender(
            name="original layout: a GeoTIFF a band", run=read_files,
            prepare=lambda: drop(tiffs) if dropped else None,
        ),
    ]  # fmt: skip


def read_date(folder: Path, bands: Sequence[Band]) -> np.ndarray:
    """Return a date of the original's layout, (bands, px, px)."""
    planes = []
    for band in bands:
        with rasterio.open(folder / f"{ORIGINAL_NAMES.get(band.name, band.name)}.tif") as file:
            planes.append(file.read(1))
    return np.stack(planes)


def drop(files: Sequence[Path]) -> None:
    """Ask the kernel to forget its copies of these files; the rest of the machine's cache is left alone."""
    for file in files:
        opened = os.open(file, os.O_RDONLY)
        try:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(opened)


def bytes_from_disk() -> int | None:
    """Return how much this process has had fetched from storage, where the system tells (Linux)."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), None)


def _from_disk(before: int | None, num: int) -> dict[str, float]:
    """Say how much came from storage: 0 after dropping the cache says that it could not be dropped."""
    after = bytes_from_disk()
    return {} if before is None or after is None else {"kB_from_disk_a_patch": (after - before) / num / 1000}
