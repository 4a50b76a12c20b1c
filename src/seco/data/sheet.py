"""Pictures of patches: stored numbers to something for the eye, and the seasonal sheet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from seco.data.dataset import Dataset
from seco.data.tier import TrainingTier
from seco.errors import DatasetError
from seco.sensors.bands import Band

MAX_SHEET = 400


def rgb_positions(bands: Sequence[Band]) -> tuple[int, int, int]:
    """Return which bands to show as red, green and blue: the real ones, else the first three, else one grey."""
    names = [(b.common_name or b.name).lower() for b in bands]
    if {"red", "green", "blue"} <= set(names):
        return names.index("red"), names.index("green"), names.index("blue")
    if len(bands) >= 3:
        return 0, 1, 2
    return 0, 0, 0


MOST_SHOWN = 0.3
"""Reflectance that is shown as white at the latest: clouds and snow would leave nothing but black to the ground."""
GAMMA = 1.4


def as_rgb(pixels: np.ndarray, tier: TrainingTier) -> np.ndarray:
    """Return (height, width, 3) in 0-1: display bytes as they are, true colour of reflectance with one stretch for all.

    Other bands are stretched between their 2% and 98%, each by itself.
    """
    at = rgb_positions(tier.bands)
    known = [tier.bands[i].to_reflectance for i in at if tier.bands[i].units != "display"]
    true = [tier.bands[i].common_name for i in at] == ["red", "green", "blue"]
    if true and len(known) == 3 and None not in known:
        factors = [(float(k[0]), float(k[1])) for k in known if k is not None]
        high = max(float(tier.high[i]) * a + b for i, (a, b) in zip(at, factors, strict=True))
        white = min(max(high, 0.02), MOST_SHOWN)
        shown = [pixels[i].astype(np.float32) * a + b for i, (a, b) in zip(at, factors, strict=True)]
        return np.clip(np.stack(shown, -1) / white, 0, 1) ** (1 / GAMMA)
    out = []
    for i in at:
        display = tier.bands[i].units == "display"
        low, top = (0.0, 255.0) if display else (tier.low[i], max(tier.high[i], tier.low[i] + 1e-6))
        out.append((pixels[i].astype(np.float32) - low) / (top - low))
    return np.clip(np.stack(out, -1), 0, 1)


def save_figure(figure: Figure, out: Path, *, dpi: int = 110) -> Path:
    """Write a figure as a picture, atomically; the file's ending chooses the format.

    Raises:
        DatasetError: it cannot be written there.
    """
    temporary = out.with_name(f".partial-{os.getpid()}-{out.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(temporary, dpi=dpi)
        temporary.replace(out)
    except (OSError, ValueError) as err:
        raise DatasetError(
            f"cannot write picture {out}: {err}; give a path ending in .png, .pdf or .svg"
        ) from err
    finally:
        temporary.unlink(missing_ok=True)
    return out


def draw_dataset_sheet(dataset: Dataset, out: Path, *, num_places: int = 8, seed: int = 0) -> Path:
    """Draw places down and seasons across, with dates.

    Args:
        num_places: places to show, drawn with `seed`.

    Raises:
        DatasetError: fewer than one place asked, or too many for a picture.
    """
    if not 1 <= num_places <= MAX_SHEET:
        raise DatasetError(f"sheet of {num_places} places; between 1 and {MAX_SHEET} (--places)")
    # Only what is shown: a tier of twelve bands would be four times as large on disk and in memory.
    bands = dataset.bands()
    tier = dataset.training([bands[i].name for i in sorted(set(rgb_positions(bands)))])
    num_dates = np.bincount(dataset.place, minlength=len(dataset.place_ids))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(num_dates))[:num_places])
    num_cols = int(min(num_dates[chosen].max(), 24))
    figure = Figure(figsize=(1.15 * num_cols + 1.3, 1.35 * len(chosen) + 0.4), layout="constrained")
    axes = figure.subplots(len(chosen), num_cols, squeeze=False)
    for line, place in enumerate(chosen):
        rows = dataset.first_row[place] + np.arange(num_dates[place])
        if len(rows) > num_cols:
            rows = rows[np.linspace(0, len(rows) - 1, num_cols).round().astype(int)]
        for i, cell in enumerate(axes[line]):
            cell.set_xticks([])
            cell.set_yticks([])
            if i >= len(rows):
                cell.axis("off")
                continue
            cell.imshow(as_rgb(np.asarray(tier.pixels[rows[i]]), tier), interpolation="nearest")
            date = dataset.dates[rows[i]]
            cell.set_title("" if np.isnat(date) else str(date), fontsize=7)
        axes[line][0].set_ylabel(
            _place_words(dataset, int(rows[0])), fontsize=7, rotation=0, ha="right", va="center"
        )
    return save_figure(figure, out)


def _place_words(dataset: Dataset, row: int) -> str:
    name = dataset.place_ids[dataset.place[row]]
    lon, lat = dataset.lonlat[row]
    where = (
        ""
        if np.isnan(lon)
        else f"\n{abs(lat):.1f} {'N' if lat >= 0 else 'S'}\n{abs(lon):.1f} {'E' if lon >= 0 else 'W'}"
    )
    label = dataset.labels[row]
    return name + where + (f"\n{label}" if label else "")
