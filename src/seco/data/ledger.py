"""A writer of datasets that loses nothing: stopped at any moment, it goes on where it was, to the very same dataset.

What is committed is said by one small file, `ledger.json`, that is renamed into place after the shards, the index rows
and the list of missed places that it speaks of. What lies beyond is made again. docs/fetching.md tells the whole.
"""

from __future__ import annotations

import dataclasses
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from seco.data import format as fmt
from seco.data import layout as layouts
from seco.data.layout import Layout, Patch
from seco.data.shards import drop_shards, read_patches, replace_file, write_shard
from seco.data.writer import disk_errors, open_index, require_new, write_meta
from seco.errors import DatasetError
from seco.sensors.bands import Band

LEDGER_FOLDER = ".ledger"
_LEDGER, _LOCK, _PARTS, _MISSED = "ledger.json", "lock", "parts", "missed.jsonl"
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """A point between two places to which the ledger can go back.

    Attributes:
        position: what comes next in the list of what is to be done.
        num_places, num_patches: what the dataset holds at that point.
        state: whatever the caller counts, as JSON.
        missed_bytes: length of the list of missed places.
    """

    position: int = 0
    num_places: int = 0
    num_patches: int = 0
    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    missed_bytes: int = 0


def ledger_of(out: Path) -> Path:
    """Return the folder of what a run at `out` keeps until the dataset is whole."""
    return out.with_name(out.name + ".partial") / LEDGER_FOLDER


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other processes from the ledger of `out`, whose folder must exist.

    Raises:
        DatasetError: another process has it.
    """
    number = os.open(ledger_of(out) / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise DatasetError(
                f"{out}.partial is being written by another process; wait for it, or choose another folder"
            ) from err
        yield
    finally:
        os.close(number)


class LedgerWriter:
    """Streams whole places into a dataset that survives `kill -9`; the same call on the same folder goes on.

    `with` keeps what is whole when the block fails; `finish` makes the dataset.

    Attributes:
        mark: where it stands; `mark.position` and `mark.state` are where a resumed run goes on.
        layout: how patches are stored; None before the first patch.
    """

    def __init__(
        self, out: Path, *, bands: Sequence[Band], patch_px: int, licence: str, settings: Mapping[str, Any]
    ) -> None:
        """Prepare a writer; nothing is touched before `with`.

        Args:
            out: folder of the finished dataset; must not exist.
            bands: the stored bands, in order.
            patch_px: edge of a patch on its finest grid, in pixels.
            licence: licence and attribution of the imagery.
            settings: all that decides what the dataset will be; a folder begun with others is refused.
        """
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        self.bands, self.patch_px, self.licence = tuple(bands), patch_px, licence
        self.settings: dict[str, Any] = json.loads(json.dumps(settings, sort_keys=True, default=str))
        self.mark = Mark()
        self.layout: Layout | None = None
        self._folder = ledger_of(out)
        self._planes: list[list[np.ndarray]] = []
        self._rows: list[dict[str, Any]] = []
        self._marks: list[Mark] = []
        self._shards = 0
        self._missed: io.BufferedWriter | None = None
        self._lock = ExitStack()

    def __enter__(self) -> LedgerWriter:
        """Begin, or go on with what is committed.

        Raises:
            DatasetError: the dataset is there already, another process is at it, it was begun with other settings, or
                the ledger is damaged.
        """
        require_new(self.out)
        with disk_errors(self.out):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(held(self.out))
            try:
                self._open()
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the folder; what is committed stays."""
        self._release()

    def _release(self) -> None:
        if self._missed is not None:
            self._missed.close()
            self._missed = None
        self._lock.close()

    def _open(self) -> None:
        file = self._folder / _LEDGER
        if file.is_file():
            self._load(file)
        else:
            self._save(self.mark)
        archive = self.partial / fmt.ARCHIVE_NAME
        if self.layout is None:
            shutil.rmtree(archive, ignore_errors=True)
        for group in self.layout.groups if self.layout is not None else ():
            # Shards that were written but not committed: where fewer patches come this time, they would stay.
            drop_shards(archive, group, num=self._shards + bool(self._rows))
        (self._folder / _PARTS).mkdir(exist_ok=True)
        self._missed = (self._folder / _MISSED).open("ab")
        self._missed.truncate(self.mark.missed_bytes)
        self._marks = [self.mark]

    def _load(self, file: Path) -> None:
        try:
            values = json.loads(file.read_bytes())
            if values["version"] != _VERSION:
                raise DatasetError(
                    f"{self.partial} was begun by another version of seco; finish it with that one, or remove it"
                )
            mark = Mark(**values["mark"])
            if not mark.position and values["settings"] != self.settings:
                # No place is committed, so whoever mends a setting loses nothing. A layout there may be: of shards that a
                # first place filled before it was whole.
                self._save(self.mark)
                return
            self._require_settings(values["settings"])
            self.mark = mark
            if values["groups"]:
                groups = tuple(fmt.Group(**{**g, "bands": tuple(g["bands"])}) for g in values["groups"])
                self.layout = Layout(bands=self.bands, patch_px=self.patch_px, groups=groups)
                self._read_back(self.layout)
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as err:
            raise DatasetError(
                f"{file} is damaged ({type(err).__name__}: {err}); remove {self.partial} and start again"
            ) from err

    def _require_settings(self, found: Mapping[str, Any]) -> None:
        if found == self.settings:
            return
        names = sorted(set(found) | set(self.settings))
        differ = [n for n in names if found.get(n) != self.settings.get(n)]
        first = differ[0]
        raise DatasetError(
            f"{self.partial} was begun with other settings ({', '.join(differ[:5])}; {first} was {found.get(first)!r}, "
            f"is {self.settings.get(first)!r}); give the same ones to go on, or choose another folder"
        )

    def _read_back(self, layout: Layout) -> None:
        """Take back into memory the patches of the last shard that belong to whole places."""
        self._shards, left = divmod(self.mark.num_patches, layout.shard)
        self._planes = [[] for _ in layout.groups]
        if left:
            archive = self.partial / fmt.ARCHIVE_NAME
            first, stop = self._shards * layout.shard, self.mark.num_patches
            try:
                self._planes = [
                    list(read_patches(archive, g, first, stop, shard=layout.shard)) for g in layout.groups
                ]
            except (ValueError, RuntimeError, OSError) as err:
                raise DatasetError(f"{self.partial} is damaged ({err}); remove it and start again") from err
            self._rows = pq.read_table(self._part(self._shards)).to_pylist()[:left]
            for i, row in enumerate(self._rows):
                if fmt.checksum([planes[i] for planes in self._planes]) != row["checksum"]:
                    raise DatasetError(
                        f"{self.partial}: patch {row['row']} does not agree with its checksum; remove it and start again"
                    )

    def add(
        self, patches: Sequence[Patch], *, position: int, state: Mapping[str, Any], missed: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        """Append one place with all its patches, or go past one that gives none.

        Args:
            patches: of one place, in date order; none where the place was missed.
            position: what comes next.
            state: whatever the caller counts, as JSON; a resumed run gets it back.
            missed: a line for the list of what was missed.

        Raises:
            DatasetError: the patches do not fit, or the disk is full; what was committed before stays.
        """
        if len({p.place for p in patches}) > 1:
            raise DatasetError(f"patches of several places at once: {patches[0].place}, {patches[-1].place}")
        if patches and self.layout is None:
            self.layout = Layout.of(patches[0], bands=self.bands, patch_px=self.patch_px)
            self._planes = [[] for _ in self.layout.groups]
        last = self._marks[-1]
        # All planes before any is kept: a patch that does not fit leaves nothing of its place behind.
        made = [self.layout.planes(p) for p in patches] if self.layout is not None else []
        for i, (patch, planes) in enumerate(zip(patches, made, strict=True)):
            assert self.layout is not None
            self._rows.append(self.layout.row(last.num_patches + i, patch, planes))
            for pending, plane in zip(self._planes, planes, strict=True):
                pending.append(plane)
        missed_bytes = last.missed_bytes + (self._note(missed) if missed is not None else 0)
        self._marks.append(
            Mark(
                position=position, num_places=last.num_places + bool(patches), num_patches=last.num_patches + len(patches),
                state=dict(state), missed_bytes=missed_bytes,
            )
        )  # fmt: skip
        if self.layout is not None and len(self._rows) >= self.layout.shard:
            self._commit_shards(self.layout)

    def _note(self, missed: Mapping[str, Any]) -> int:
        assert self._missed is not None, "use `with`"
        with disk_errors(self.out):
            return self._missed.write(json.dumps(missed, default=str).encode() + b"\n")

    def _commit_shards(self, layout: Layout) -> None:
        """Write the whole shards, and commit the last point between places that lies within them."""
        with disk_errors(self.out):
            while len(self._rows) >= layout.shard:
                self._write(layout, layout.shard)
                for pending in self._planes:
                    del pending[: layout.shard]
                del self._rows[: layout.shard]
                self._shards += 1
        written = self._shards * layout.shard
        reached = max(i for i, m in enumerate(self._marks) if m.num_patches <= written)
        self._save(self._marks[reached])
        self._marks = self._marks[reached:]

    def commit(self) -> None:
        """Commit all that was added, a shard that is not full included."""
        if self.layout is not None and self._rows:
            with disk_errors(self.out):
                self._write(self.layout, len(self._rows))
        self._save(self._marks[-1])
        self._marks = self._marks[-1:]

    def _write(self, layout: Layout, num: int) -> None:
        archive = self.partial / fmt.ARCHIVE_NAME
        for group, pending in zip(layout.groups, self._planes, strict=True):
            write_shard(archive, group, self._shards, pending[:num], shard=layout.shard)
        part = io.BytesIO()
        pq.write_table(
            pa.Table.from_pylist(self._rows[:num], schema=fmt.INDEX_SCHEMA), part, compression="zstd"
        )
        replace_file(self._part(self._shards), part.getvalue())

    def _save(self, mark: Mark) -> None:
        values = {
            "version": _VERSION,
            "settings": self.settings,
            "groups": [dataclasses.asdict(g) for g in self.layout.groups] if self.layout is not None else [],
            "mark": dataclasses.asdict(mark),
        }
        with disk_errors(self.out):
            if self._missed is not None:
                self._missed.flush()
                os.fsync(self._missed.fileno())
            replace_file(self._folder / _LEDGER, json.dumps(values, default=str).encode())
        self.mark = mark

    def _part(self, number: int) -> Path:
        return self._folder / _PARTS / f"{number:07d}.parquet"

    @property
    def num_patches(self) -> int:
        """Patches added so far, committed or not."""
        return self._marks[-1].num_patches if self._marks else self.mark.num_patches

    @property
    def num_places(self) -> int:
        """Places with patches so far, committed or not."""
        return self._marks[-1].num_places if self._marks else self.mark.num_places

    def abandon(self) -> None:
        """Forget all that was done, so that the next call begins anew, with other settings too; callers' own files stay."""
        with disk_errors(self.out):
            self._release()
            for name in (_LEDGER, _MISSED):
                (self._folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder / _PARTS, ignore_errors=True)
            shutil.rmtree(self.partial / fmt.ARCHIVE_NAME, ignore_errors=True)

    def copy_missed(self, to: Path) -> None:
        """Write the list of what was missed to a file, a JSON text a line; it is not held in memory.

        Raises:
            DatasetError: the disk is full.
        """
        with disk_errors(self.out):
            if self._missed is not None:
                self._missed.flush()
            temporary = to.with_name(f".{to.name}.partial")
            shutil.copyfile(self._folder / _MISSED, temporary)
            temporary.replace(to)

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Commit everything and make the dataset, byte for byte as one that was never stopped.

        Files of the caller may lie in `partial` already and become part of the dataset.

        Raises:
            DatasetError: there is no patch, or the disk is full; the same call goes on once there is room.
        """
        self.commit()
        if self.layout is None or not self.mark.num_patches:
            raise DatasetError(f"nothing to write to {self.out}: no place gave a patch")
        with disk_errors(self.out):
            self._merge_index()
            for stray in self.partial.rglob("*.partial"):
                stray.unlink()  # half-written by a process that was killed
            root = zarr.open_group(self.partial / fmt.ARCHIVE_NAME, mode="a", zarr_format=3)
            for group in self.layout.groups:
                (self.partial / fmt.ARCHIVE_NAME / group.name / "zarr.json").unlink(missing_ok=True)
                root.create_array(
                    group.name,
                    **layouts.array_settings(group, num=self.mark.num_patches, shard=self.layout.shard),
                )
            write_meta(
                self.partial, self.layout, num_patches=self.mark.num_patches, num_places=self.mark.num_places,
                licence=self.licence, provenance=provenance,
            )  # fmt: skip
            self.partial.rename(self.out)
            shutil.rmtree(self.out / LEDGER_FOLDER)

    def _merge_index(self) -> None:
        """Put the parts together in row groups as the plain writer makes them."""
        assert self.layout is not None
        temporary = self.partial / f".{fmt.INDEX_NAME}.partial"
        num = -(-self.mark.num_patches // self.layout.shard)
        seen, held = 0, pa.Table.from_pylist([], schema=fmt.INDEX_SCHEMA)
        writer = open_index(temporary)
        with writer:
            for i in range(num):
                part = pq.read_table(self._part(i), schema=fmt.INDEX_SCHEMA)
                wanted = min(self.layout.shard, self.mark.num_patches - seen)
                seen += wanted
                held = pa.concat_tables([held, part.slice(0, wanted)])
                while len(held) >= layouts.INDEX_BATCH:
                    writer.write_table(_whole(held.slice(0, layouts.INDEX_BATCH), writer.schema))
                    held = held.slice(layouts.INDEX_BATCH)
            if len(held):
                writer.write_table(_whole(held, writer.schema))
        temporary.replace(self.partial / fmt.INDEX_NAME)


def _whole(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(table.to_pylist(), schema=schema)


def forget(out: Path) -> None:
    """Remove what a process that was killed at the very end left in a finished dataset."""
    if (out / fmt.META_NAME).is_file():
        shutil.rmtree(out / LEDGER_FOLDER, ignore_errors=True)
