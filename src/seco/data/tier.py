"""The training tier: one `.npy` memory map (patches, bands, height, width) for chosen bands, with its statistics.

Made from the archive on first need, under a name that hashes what made it, and never changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seco.data import format as fmt
from seco.data.dataset import Dataset
from seco.data.writer import disk_errors
from seco.errors import DatasetError
from seco.runs import cache_folder, progress
from seco.sensors.bands import Band

TIER_VERSION = 2
QUANTILES = (0.02, 0.98)
"""Ends of the stretch, as the original's per-band 2-98% quantiles (SeCo, released code)."""
CHUNK_PATCHES, CHUNK_BYTES = 256, 32 * 2**20
"""Patches read at once, and their bytes, of which some copies are made."""
_SAMPLE = 4096
"""Values kept of `CHUNK_PATCHES` patches, a band, where quantiles are taken over a sample."""
PIXELS_NAME, ABOUT_NAME = "pixels.npy", "tier.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingTier:
    """Pixels a training loop reads at memory speed.

    Attributes:
        pixels: memory map (patches, bands, height, width), stored integers.
        mean, std: per band over all valid pixels, in stored units.
        low, high: per band 2% and 98% quantiles, in stored units.
    """

    pixels: np.ndarray
    bands: tuple[Band, ...]
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    fingerprint: str
    dataset: Dataset

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.pixels)

    @property
    def patch_px(self) -> int:
        """Edge of a patch in pixels."""
        return int(self.pixels.shape[-1])


def training_tier(dataset: Dataset, names: Sequence[str] | None = None) -> TrainingTier:
    """Open the tier for these bands of `dataset`, making it first where it is missing.

    Raises:
        DatasetError: a band is missing, the archive is damaged, or the disk is full.
    """
    bands = dataset.bands(names)
    made_of = json.dumps([TIER_VERSION, dataset.fingerprint, [b.name for b in bands]])
    key = hashlib.blake2b(made_of.encode(), digest_size=8).hexdigest()
    root = dataset.path if os.access(dataset.path, os.W_OK) else cache_folder() / dataset.fingerprint
    folder = root / fmt.TRAINING_NAME / key
    if not (folder / ABOUT_NAME).is_file():
        _make(dataset, bands, folder)
    return _open(dataset, bands, folder, key)


def _open(dataset: Dataset, bands: tuple[Band, ...], folder: Path, key: str) -> TrainingTier:
    try:
        stats = json.loads((folder / ABOUT_NAME).read_text(encoding="utf-8"))
        pixels = np.load(folder / PIXELS_NAME, mmap_mode="r", allow_pickle=False)
        numbers = {k: np.asarray(stats[k], np.float64) for k in ("mean", "std", "low", "high")}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise DatasetError(f"training tier {folder} is damaged ({err}); remove it, it is made again") from err
    if pixels.shape[:2] != (len(dataset), len(bands)):
        raise DatasetError(f"training tier {folder} has shape {pixels.shape}; remove it, it is made again")
    return TrainingTier(pixels=pixels, bands=bands, fingerprint=key, dataset=dataset, **numbers)


def _make(dataset: Dataset, bands: tuple[Band, ...], folder: Path) -> None:
    """Write the tier to a temporary name and rename it."""
    px = dataset.meta.patch_px
    dtype = np.result_type(*[g.dtype for g in dataset.meta.groups if set(g.bands) & {b.name for b in bands}])
    temporary = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    with disk_errors(folder):
        temporary.mkdir(parents=True, exist_ok=True)
    try:
        with disk_errors(folder):
            shape = (len(dataset), len(bands), px, px)
            stats = _Statistics(bands, dtype)
            digest = hashlib.blake2b(digest_size=8)
            # Written as a file, mapped only to read: a full disk is an error here, but kills who writes to a map.
            with (temporary / PIXELS_NAME).open("wb") as out:
                about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(header, about)
                out.write(header.getvalue())
                digest.update(header.getvalue())
                step = min(CHUNK_PATCHES, max(1, CHUNK_BYTES // (len(bands) * px**2 * dtype.itemsize)))
                for start in progress(range(0, len(dataset), step), "training tier"):
                    block = read_block(dataset, bands, start, min(start + step, len(dataset)))
                    stored = np.ascontiguousarray(block, dtype).data
                    out.write(stored)
                    digest.update(stored)
                    stats.add(block)
            told = {
                "version": TIER_VERSION,
                "dataset": dataset.fingerprint,
                "bands": [b.name for b in bands],
                **stats.result(),
                "files": {PIXELS_NAME: digest.hexdigest()},
            }
            text = json.dumps(told | {"checksum": fmt.json_checksum(told)}, indent=2)
            (temporary / ABOUT_NAME).write_text(text, encoding="utf-8")
            if (folder / ABOUT_NAME).is_file():
                return  # another process was faster, and whoever reads its tier must not lose it
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_damage(folder: Path) -> str | None:
    """Read a tier and compare it with its checksums.

    Returns:
        What is wrong with it; None where it is whole, or of an older version, which had no checksums and is not read.
    """
    try:
        told = json.loads((folder / ABOUT_NAME).read_text(encoding="utf-8"))
        if told["version"] == 1 and "checksum" not in told:
            return None
        if told.get("checksum") != fmt.json_checksum(told):
            return f"{ABOUT_NAME} does not have the checksum it was written with"
        wanted = told["files"]
        for name in wanted:
            if fmt.file_checksum(folder / name) != wanted[name]:
                return f"{name} does not have the checksum that {ABOUT_NAME} says"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        return f"cannot be read ({type(err).__name__}: {err})"
    return None


def read_block(dataset: Dataset, bands: Sequence[Band], start: int, stop: int) -> np.ndarray:
    """Return patches `start` to `stop` on the finest grid, (patches, bands, px, px); coarser bands are repeated."""
    px = dataset.meta.patch_px
    where: dict[str, np.ndarray] = {}
    for group, planes in zip(dataset.meta.groups, dataset.planes(start, stop), strict=True):
        wanted = [n for n in group.bands if n in {b.name for b in bands}]
        if not wanted:
            continue
        rows = np.arange(px) * group.height_px // px
        cols = np.arange(px) * group.width_px // px
        for name in wanted:
            plane = planes[:, group.bands.index(name)]
            where[name] = plane if plane.shape[1:] == (px, px) else plane[:, rows][:, :, cols]
    return np.stack([where[b.name] for b in bands], axis=1)


def _histogram(values: np.ndarray, lowest: int, num: int) -> np.ndarray:
    """Count each of `num` levels from `lowest`; bytes two at a time, in half the time."""
    if values.dtype == np.uint8 and len(values) % 2 == 0:
        pairs = np.bincount(values.view(np.uint16), minlength=2**16).reshape(256, 256)
        return pairs.sum(0) + pairs.sum(1)
    return np.bincount(values.astype(np.int32) - lowest, minlength=num)


class _Statistics:
    """Exact mean, deviation and quantiles of integers up to 16 bits; of other numbers, quantiles over a sample."""

    def __init__(self, bands: tuple[Band, ...], dtype: np.dtype) -> None:
        self.bands = bands
        self.exact = dtype.kind in "iu" and dtype.itemsize <= 2
        self.lowest = int(np.iinfo(dtype).min) if self.exact else 0
        self.counts = [np.zeros(2 ** (8 * dtype.itemsize) if self.exact else 0, np.int64) for _ in bands]
        self.num = np.zeros(len(bands))
        self.sum = np.zeros(len(bands))
        self.squares = np.zeros(len(bands))
        self.samples: list[list[np.ndarray]] = [[] for _ in bands]

    def add(self, block: np.ndarray) -> None:
        for i, band in enumerate(self.bands):
            values = block[:, i].ravel()
            if self.exact:
                self.counts[i] += _histogram(values, self.lowest, len(self.counts[i]))
                continue
            values = values[np.isfinite(values)]
            if band.nodata is not None:
                # Compared as stored: -9999.9 is another number in 32 bits than in 64.
                values = values[values != values.dtype.type(band.nodata)]
            values = values.astype(np.float64)
            self.num[i] += len(values)
            self.sum[i] += values.sum()
            self.squares[i] += (values**2).sum()
            # In proportion to the patches, so that every pixel counts alike and memory does not depend on the step.
            most = max(1, _SAMPLE * len(block) // CHUNK_PATCHES)
            self.samples[i].append(values[:: max(1, len(values) // most)])

    def result(self) -> dict[str, list[float]]:
        out: dict[str, list[float]] = {"mean": [], "std": [], "low": [], "high": []}
        for i, band in enumerate(self.bands):
            mean, std, low, high = self._exact(i, band) if self.exact else self._sampled(i)
            out["mean"].append(mean)
            out["std"].append(std)
            out["low"].append(low)
            out["high"].append(high)
        return out

    def _exact(self, i: int, band: Band) -> tuple[float, float, float, float]:
        counts = self.counts[i].astype(np.float64)
        if band.nodata is not None and 0 <= band.nodata - self.lowest < len(counts):
            counts[int(band.nodata) - self.lowest] = 0
        total = counts.sum()
        if total == 0:
            raise DatasetError(f"band {band.name} holds nothing but nodata; choose other bands")
        values = np.arange(len(counts)) + self.lowest
        mean = float((counts * values).sum() / total)
        std = float(np.sqrt((counts * (values - mean) ** 2).sum() / total))
        cumulative = np.cumsum(counts) / total
        low, high = (float(values[np.searchsorted(cumulative, q)]) for q in QUANTILES)
        return mean, std, low, high

    def _sampled(self, i: int) -> tuple[float, float, float, float]:
        if self.num[i] == 0:
            raise DatasetError(f"band {self.bands[i].name} holds nothing but nodata; choose other bands")
        mean = self.sum[i] / self.num[i]
        std = np.sqrt(max(0.0, self.squares[i] / self.num[i] - mean**2))
        low, high = np.quantile(np.concatenate(self.samples[i]), QUANTILES)
        return float(mean), float(std), float(low), float(high)
