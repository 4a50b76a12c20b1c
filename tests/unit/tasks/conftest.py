"""An encoder with a projection head that costs nothing, a raster whose classes the small dataset's places lie in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from seco.nets.baselines import ColourEncoder
from seco.places.rasters import LabelRaster


class HeadedColour(ColourEncoder):
    """Colour statistics, and a projection that keeps only the pattern of brightness, not its level."""

    outputs = ("features", "z0")

    def __init__(self, name: str = "headed") -> None:
        super().__init__()
        self.name = name

    def encode(
        self, pixels: np.ndarray, *, outputs: Sequence[str] = ("features",), **settings: object
    ) -> dict[str, np.ndarray]:
        found = super().encode(pixels, **settings)  # type: ignore[arg-type]
        flat = pixels.reshape(len(pixels), -1).astype(np.float32)
        flat = flat / flat.mean(1, keepdims=True) - 1
        return {o: (found["features"] if o == "features" else flat) for o in outputs}


@pytest.fixture
def headed() -> type[HeadedColour]:
    return HeadedColour


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Global rasters in ten-degree stripes of two classes, so that the tests read no real ones."""
    codes = np.repeat(np.arange(36) % 2 + 1, 10)[None].repeat(180, axis=0).astype(np.uint8)
    for task, reader, classes in (
        ("landcover", "land_cover", ("water", "forest", "desert")),
        ("climate", "climate", ("Ocean", "Af", "BWh")),
    ):
        raster = LabelRaster(name=task, codes=codes, classes=classes, water=(0,), source="made up")
        monkeypatch.setattr(f"seco.tasks.{task}.{reader}", lambda raster=raster: raster)
