"""Source files: a folder, a zip archive or one file, listed once and read in place. Nothing is ever unpacked to disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path

from seco.errors import DatasetError

MAX_MEMBER_BYTES = 2**31
"""Largest member that is read into memory whole: more is taken for a zip bomb."""


class Listing:
    """The files of a source, named by their path relative to it."""

    def __init__(self, source: Path) -> None:
        """List `source`, a folder, a zip archive or a single file.

        Raises:
            DatasetError: it is missing, cannot be read, or is a damaged archive.
        """
        self.source = source
        self._archive: zipfile.ZipFile | None = None
        if not source.exists():
            raise DatasetError(f"{source} does not exist; give a folder or a zip file")
        self.root = source.parent if source.is_file() else source
        try:
            if source.is_file() and source.suffix.lower() == ".zip":
                self._archive = zipfile.ZipFile(source)
        except zipfile.BadZipFile as err:
            raise DatasetError(f"{source} is not a whole zip file ({err}); fetch it again") from err
        except OSError as err:
            raise DatasetError(f"cannot read {source}: {err}; check its permissions") from err

    @cached_property
    def names(self) -> list[str]:
        """Paths of all files, relative to the source, with forward slashes, sorted."""
        if self._archive is not None:
            return sorted(self._members())
        return sorted(f"{folder}/{n}" if folder else n for folder, names in self.folders() for n in names)

    def _members(self) -> list[str]:
        """Names in the archive as they stand there, odd ones too (`/a.png`, `./a.png`): it knows them by no other."""
        names = self._archive.namelist() if self._archive is not None else []
        return [n for n in names if not n.endswith("/") and not _is_hidden(n)]

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder that holds files, with their names, in order; of a folder on disk, as it is walked."""
        if self._archive is not None:
            # Plain strings: making a path object of each of a million names takes minutes.
            parted = sorted((n.rpartition("/") for n in self._members()), key=lambda p: p[0].split("/"))
            for folder, members in groupby(parted, key=lambda p: p[0]):
                yield folder, sorted(name for _, _, name in members)
        elif self.source.is_file():
            yield "", [self.source.name]
        else:
            yield from self._walk()

    def _walk(self) -> Iterator[tuple[str, list[str]]]:
        def refuse(err: OSError) -> None:
            raise DatasetError(f"cannot read {err.filename}: {err.strerror}; check its permissions") from err

        for folder, subfolders, files in os.walk(self.root, onerror=refuse, followlinks=True):
            # A link to a folder above would lead round in circles.
            here = Path(folder)
            above = {here.resolve(), *here.resolve().parents}
            subfolders[:] = sorted(
                n for n in subfolders if not _is_hidden(n) and (here / n).resolve() not in above
            )
            names = sorted(n for n in files if not _is_hidden(n))
            if names:
                inside = Path(folder).relative_to(self.root).as_posix()
                yield "" if inside == "." else inside, names

    @property
    def is_zip(self) -> bool:
        """Whether the source is a zip archive."""
        return self._archive is not None

    @property
    def stem(self) -> str:
        """The source's own name without suffix."""
        return self.source.resolve().stem if self.source.is_file() else self.source.resolve().name

    def path(self, name: str) -> str:
        """Return what GDAL opens for a file: a plain path, or its path inside the archive."""
        if self.is_zip:
            # Braces let GDAL find the archive's end whatever its name looks like.
            return f"/vsizip/{{{self.source.resolve()}}}/{name}"
        return str(self.root / name)

    def read(self, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """Return the contents of a file.

        Raises:
            DatasetError: it is missing, damaged, encrypted, or larger than `limit` bytes.
        """
        try:
            size = (
                self._archive.getinfo(name).file_size if self._archive else (self.root / name).stat().st_size
            )
            if size > limit:
                raise DatasetError(
                    f"{name} in {self.source} unpacks to {size} bytes; the limit is {limit}: leave it out"
                )
            return self._archive.read(name) if self._archive else (self.root / name).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as err:
            raise DatasetError(
                f"cannot read {name} in {self.source}: {err}; fetch it again or leave it out"
            ) from err

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_hidden(name: str) -> bool:
    """Whether a file is the operating system's own: `.DS_Store`, `__MACOSX/...`, `._photo.jpg`."""
    parts = name.split("/") if "." in name or "__MACOSX" in name else ()
    return any((p.startswith(".") and p != ".") or p == "__MACOSX" for p in parts)
