"""Pictures of a collection: where its places are, taken and missed, and some of them through the seasons."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from seco.collect.collecting import MISSED_NAME, REPORT_FOLDER
from seco.data import format as fmt
from seco.data.dataset import open_dataset
from seco.data.sheet import draw_dataset_sheet, save_figure
from seco.errors import DatasetError

MAP_NAME, SHEET_NAME = "map.png", "sheet.png"
MAX_SHEET_PATCHES = 5_000
"""A sheet reads three bands of the whole dataset (it is stretched by all of it); larger ones are for the user to ask for."""
_MAX_POINTS = 50_000
_STEP = 4
_COLOURS = ("#d95f02", "#7570b3", "#e7298a", "#e6ab02", "#666666")


def draw_pictures(dataset: Path) -> list[Path]:
    """Draw the map, and the sheet where the dataset is small enough; return the files."""
    folder = dataset / REPORT_FOLDER
    out = [draw_map(dataset, folder / MAP_NAME)]
    if fmt.read_meta(dataset).num_patches <= MAX_SHEET_PATCHES:
        out.append(draw_dataset_sheet(open_dataset(dataset), folder / SHEET_NAME))
    return out


def draw_map(dataset: Path, out: Path) -> Path:
    """Draw places on a map of the land: those taken, and those missed by reason."""
    taken, missed = _taken(dataset), _missed(dataset)
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots()
    _draw_land(axes)
    rows = [(f"taken ({len(taken)})", "#1b9e77", "o", taken)]
    for i, (reason, points) in enumerate(sorted(missed.items(), key=lambda kv: -len(kv[1]))):
        rows.append((f"{reason} ({len(points)})", _COLOURS[i % len(_COLOURS)], "x", points))
    for name, colour, marker, points in rows:
        shown = points[:: max(1, len(points) // _MAX_POINTS)]
        size = float(np.clip(3000 / max(len(taken), 1), 2, 30))
        axes.scatter(shown[:, 0], shown[:, 1], s=size, c=colour, marker=marker, linewidths=0.8, label=name)
    axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal", xlabel="longitude", ylabel="latitude")
    axes.legend(loc="lower left", fontsize=8)
    axes.set_title(dataset.name, fontsize=10)
    return save_figure(figure, out)


def _draw_land(axes: object) -> None:
    from seco.places.land import land_percent

    try:
        land = land_percent()[::_STEP, ::_STEP] > 50
    except DatasetError:
        return  # the map does without
    axes.imshow(  # type: ignore[attr-defined]
        np.where(land, 0.85, 1.0), extent=(-180, 180, -90, 90), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )  # fmt: skip


def _taken(dataset: Path) -> np.ndarray:
    found = open_dataset(dataset)
    lon, lat = (
        np.concatenate([b.to_numpy(zero_copy_only=False) for b in found.index_batches(name)]) for name in ("lon", "lat")
    )  # fmt: skip
    return np.stack([lon, lat], axis=1)[found.first_row]


def _missed(dataset: Path) -> dict[str, np.ndarray]:
    file = dataset / REPORT_FOLDER / MISSED_NAME
    if not file.is_file():
        return {}
    # Millions of places may have been missed: line by line, and numbers only.
    out: dict[str, array[float]] = {}
    with file.open("rb") as lines:
        for line in lines:
            row = json.loads(line)
            out.setdefault(row["reason"], array("d")).extend((row["lon"], row["lat"]))
    return {reason: np.array(numbers).reshape(-1, 2) for reason, numbers in out.items()}
