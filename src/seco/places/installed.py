"""Data files inside installed packages, found without importing the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from seco.errors import DatasetError


def package_file(package: str, pattern: str, *, install: str) -> Path:
    """Find a data file of an installed package without importing it: some cost ten seconds or a gigabyte.

    Args:
        package: the top-level import name.
        pattern: the file's name in the package's folder, or a glob that only it matches.
        install: the command that installs the package, for the error message.

    Raises:
        DatasetError: the package is not installed, or does not hold one such file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(
            f"the package {package} is not installed, and its {pattern} is needed: run `{install}`"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DatasetError(
            f"{package} holds {len(found)} files {pattern} in {folder}, expected 1: "
            f"install it again with `{again(install)}`"
        )
    return found[0]


def again(install: str) -> str:
    """Return the command that replaces a package that is there but damaged, which a plain install would keep."""
    return install.replace("install", "install --force-reinstall", 1)
