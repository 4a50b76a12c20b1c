"""Which rivals are installed, how to install those that are not, and what was measured with what."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from seco.runs import environment

PACKAGES = {
    "torchvision": "torchvision",
    "kornia": "kornia",
    "lightly": "lightly",
    "PIL": "pillow",
    "rasterio": "rasterio",
}
"""Module -> distribution."""
REPOSITORY = "https://github.com/ServiceNow/seasonal-contrast"
NO_ORIGINAL = f"not measured: git clone {REPOSITORY} original, then --rival original"
NO_LIGHTLY = "not measured: add --lightly"


def installed(module: str) -> bool:
    """Tell whether a rival's module can be imported."""
    return importlib.util.find_spec(module) is not None


def missing(module: str) -> str:
    """Say that a rival is not installed, and how to install it."""
    return f"{PACKAGES[module]} is not installed: pip install 'seasonal-contrast[bench]', or pip install {PACKAGES[module]}"


def machine(*, threads: int, rival: Path | None) -> dict[str, Any]:
    """Describe what was measured, where: `seco.runs.environment`, the rivals' versions, threads and load."""
    about = environment()
    for name in PACKAGES.values():
        try:
            about["versions"][name] = version(name)
        except PackageNotFoundError:
            about["versions"][name] = "not installed"
    about["threads"] = threads
    about["load_before"] = load()
    if rival is not None:
        about["rival"] = {"path": str(rival), "commit": commit(rival)}
    return about


def load() -> list[float] | None:
    """Return the load averages of 1, 5 and 15 minutes, where the system tells."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None


def commit(path: Path) -> str | None:
    """Return the commit of a checkout, or None where there is no telling."""
    try:
        done = subprocess.run(
            ["git", "-C", str(path), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
