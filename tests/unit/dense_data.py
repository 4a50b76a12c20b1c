"""Small labelled imagery: squares of one colour a class, as folders, scenes and cities."""

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

CRS = "EPSG:32629"
COLOURS = np.array([[40, 120, 50], [200, 180, 60], [30, 60, 160]])


def ground(height, width, seed, num=3, square=16):
    """A class a square of 16 px, and its pixels (3, h, w)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(num, size=(-(-height // square), -(-width // square)))
    classes = np.kron(coarse, np.ones((square, square), int))[:height, :width]
    noise = rng.integers(-12, 12, (3, height, width))
    return classes, np.clip(COLOURS[classes].transpose(2, 0, 1) + noise, 0, 255).astype(np.uint8)


def write_tif(path: Path, pixels, *, west=500_000.0, north=5_000_000.0, gsd=10.0, crs=CRS, names=(), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
        dtype=pixels.dtype, crs=crs, transform=from_origin(west, north, gsd, gsd) if crs else None, **more,
    ) as out:  # fmt: skip
        out.write(pixels)
        for i, name in enumerate(names, start=1):
            out.set_band_description(i, name)
    return path


def write_pairs(folder: Path, num=6, px=64, values=(1, 4, 7)):
    """`images/` and `masks/`, a kilometre apart each."""
    for i in range(num):
        classes, pixels = ground(px, px, i)
        where = {"west": 500_000.0 + 10_000 * i}
        write_tif(folder / "images" / f"field{i}.tif", pixels, names=("red", "green", "blue"), **where)
        mask = np.array(values, np.uint8)[classes]
        mask[:4, :4] = 255
        write_tif(folder / "masks" / f"field{i}.tif", mask, **where)
    return folder


def write_oscd(folder: Path, layout="original", cities=("aguas", "paris", "dubai"), px=64):
    """The authors' folders (maps as numbers) or TorchGeo's (maps as pictures); the last city is for testing."""
    for i, city in enumerate(cities):
        rng = np.random.default_rng(i)
        base = rng.integers(500, 3000, (13, px, px)).astype(np.uint16)
        later = (base * 1.02).astype(np.uint16)
        change = np.zeros((px, px), np.uint8)
        change[8:28, 12 + i : 40] = 1
        change[44:56, 40:60] = 1
        later[:, change > 0] += 3000
        names = [f"B{n:02d}" for n in (*range(1, 9),)] + ["B8A", *(f"B{n:02d}" for n in range(9, 13))]
        root = folder / "Onera Satellite Change Detection dataset - Images" / city
        for date, pixels in ((1, base), (2, later)):
            for name, band in zip(names, pixels, strict=True):
                write_tif(root / f"imgs_{date}_rect" / f"{name}.tif", band, crs=None)
        part = "Test" if i == len(cities) - 1 else "Train"
        labels = folder / f"Onera Satellite Change Detection dataset - {part} Labels" / city / "cm"
        labels.mkdir(parents=True)
        if layout == "original":
            write_tif(labels / f"{city}-cm.tif", change + 1, crs=None)
        else:
            with rasterio.open(
                labels / "cm.png", "w", driver="PNG", count=1, height=px, width=px, dtype="uint8"
            ) as out:
                out.write(change * 255, 1)
    return folder


def write_geojson(path: Path, features, crs="urn:ogc:def:crs:EPSG::32629"):
    """Features as (geometry, properties)."""
    rows = [{"type": "Feature", "geometry": g, "properties": p} for g, p in features]
    whole = {"type": "FeatureCollection", "features": rows}
    if crs:
        whole["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(whole))
    return path
