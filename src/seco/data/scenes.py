"""From files to scenes: one place at one date, its bands and its cloud mask. Pure: names and headers in, scenes out."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Literal

from seco.data.encodings import sentinel2_name
from seco.data.grids import Plane
from seco.data.masks import MaskRule, choose, is_mask
from seco.data.naming import Member
from seco.errors import DatasetError
from seco.sensors import sentinel2

Sensor = Literal["auto", "sentinel2", "other"]
OnMissing = Literal["error", "skip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """One place at one date: a plane a band, and the mask's plane if it has one."""

    place: str
    when: datetime.datetime
    item: str
    baseline: str | None
    planes: dict[str, Plane]
    mask: Plane | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """All scenes of a source, sorted by place and time, and how to read them.

    Attributes:
        bands: names of the bands to keep, which every scene has.
        rule: how masks are read; None where there are none.
        is_sentinel2: whether band names are Sentinel-2's.
        notes: what was left out or assumed.
    """

    scenes: tuple[Scene, ...]
    bands: tuple[str, ...]
    rule: MaskRule | None
    is_sentinel2: bool
    notes: tuple[str, ...]


@dataclasses.dataclass
class _Draft:
    """A scene being put together: band name -> (rank, file, plane)."""

    place: str
    when: datetime.datetime
    item: str
    baseline: str | None
    found: dict[str, tuple[int, str, Plane]] = dataclasses.field(default_factory=dict)
    mask: Plane | None = None


def assemble(
    members: Sequence[Member], planes: Mapping[str, Sequence[Plane]], *, fallback_place: str, sensor: Sensor,
    band_names: Sequence[str] = (), bands: Sequence[str] = (), mask: str | None = None, hidden: Sequence[int] = (),
    mask_files: Sequence[Member] | None = None, on_missing: OnMissing = "error",
) -> Collection:  # fmt: skip
    """Put files together to scenes.

    Args:
        members: what names say.
        planes: what headers say, by name of file.
        fallback_place: the place of files whose name has none.
        sensor: whose band names they are; `auto` takes them for Sentinel-2's where all look so.
        band_names: names of each file's bands, in order, where the files have none.
        bands: bands to keep; all by default.
        mask: name of the band that holds the cloud mask; None looks for a known one.
        hidden: numbers of the mask that hide the ground; by the mask's name where empty.
        mask_files: files that hold masks and nothing else, by place and date.
        on_missing: what to do with a scene that lacks a band.

    Raises:
        DatasetError: no date, two files for one band, mixed levels, or a missing band.
    """
    notes: list[str] = []
    levels = {m.level for m in members if m.level}
    if len(levels) > 1:
        raise DatasetError(
            f"files of levels {' and '.join(sorted(levels))} lie together; import one level at a time"
        )
    drafts = _newest(_drafts(members, planes, fallback_place, band_names), notes)
    names = list(dict.fromkeys(n for d in drafts for n in d.found))
    rule = _masks(drafts, names, planes, fallback_place, mask=mask, hidden=hidden, mask_files=mask_files)
    names = [n for n in names if not is_mask(n) and (rule is None or n != rule.band)]
    is_s2 = sensor == "sentinel2" or (
        sensor == "auto" and bool(names) and all(sentinel2_name(n) for n in names)
    )
    renamed = {n: (sentinel2_name(n) or n) if is_s2 else n for n in names}
    kept = _choose_bands([renamed[n] for n in names], bands, is_sentinel2=is_s2)
    scenes = []
    incomplete: list[str] = []
    for draft in drafts:
        own = {renamed[n]: p for n, (_, _, p) in draft.found.items() if n in renamed}
        lacking = [b for b in kept if b not in own]
        if lacking:
            incomplete.append(f"{draft.place} on {draft.when.date()} lacks band {', '.join(lacking)}")
            continue
        scenes.append(
            Scene(
                place=draft.place, when=draft.when, item=draft.item or _item(draft), baseline=draft.baseline,
                planes={b: own[b] for b in kept}, mask=draft.mask,
            )
        )  # fmt: skip
    if incomplete and (on_missing == "error" or not scenes):
        raise DatasetError(
            f"{len(incomplete)} of {len(drafts)} dates lack bands: {incomplete[0]}; choose bands that all have (--bands), "
            "or leave such dates out (--on-missing skip)"
        )
    if incomplete:
        notes.append(f"{len(incomplete)} dates left out for missing bands, such as {incomplete[0]}")
    scenes.sort(key=lambda s: (s.place, s.when, s.item))
    return Collection(
        scenes=tuple(scenes), bands=tuple(kept), rule=rule, is_sentinel2=is_s2, notes=tuple(notes)
    )


def _drafts(
    members: Sequence[Member],
    planes: Mapping[str, Sequence[Plane]],
    fallback_place: str,
    band_names: Sequence[str],
) -> list[_Draft]:
    drafts: dict[tuple[str, datetime.datetime, str], _Draft] = {}
    for member in members:
        own = planes[member.name]
        for plane, band in zip(own, _names(member, own, band_names), strict=True):
            when = member.when or plane.when
            if when is None:
                raise DatasetError(
                    f"{member.name} has a date neither in its metadata nor, by the pattern, in its name; "
                    "put {date} where the date stands, such as --pattern '{place}/{date}*.tif'"
                )
            key = (member.place or fallback_place, when, member.item)
            draft = drafts.setdefault(key, _Draft(key[0], when, member.item, member.baseline))
            before = draft.found.get(band)
            if before is not None and before[0] == member.rank:
                raise DatasetError(
                    f"{before[1]} and {member.name} both hold band {band} of {key[0]} on {when:%Y-%m-%d %H:%M}; "
                    "tell bands apart with {band} in the pattern, or give one file a date"
                )
            if before is None or member.rank < before[0]:
                draft.found[band] = (member.rank, member.name, plane)
    return list(drafts.values())


def _names(member: Member, planes: Sequence[Plane], band_names: Sequence[str]) -> list[str]:
    """Name the bands of a file: by its own name, by the user's list, by the file's descriptions, else by number."""
    if member.band is not None:
        return [member.band] if len(planes) == 1 else [f"{member.band}_{p.name or p.index}" for p in planes]
    if band_names and planes[0].variable is None:
        if len(band_names) != len(planes):
            raise DatasetError(
                f"{member.name} has {len(planes)} bands; --band-names names {len(band_names)}: {', '.join(band_names)}"
            )
        return list(band_names)
    return [p.name or f"band{p.index}" for p in planes]


def _newest(drafts: list[_Draft], notes: list[str]) -> list[_Draft]:
    """Of several processings of one acquisition keep the one of the highest baseline."""
    best: dict[tuple[str, datetime.datetime], _Draft] = {}
    for draft in drafts:
        key = (draft.place, draft.when)
        before = best.get(key)
        if before is None or (draft.baseline or "", draft.item) > (before.baseline or "", before.item):
            best[key] = draft
    if len(best) < len(drafts):
        notes.append(f"{len(drafts) - len(best)} older processings of the same acquisition left out")
    return list(best.values())


def _masks(
    drafts: Iterable[_Draft], names: Sequence[str], planes: Mapping[str, Sequence[Plane]], fallback_place: str, *,
    mask: str | None, hidden: Sequence[int], mask_files: Sequence[Member] | None,
) -> MaskRule | None:  # fmt: skip
    """Give each draft its mask, and say how masks are read."""
    if mask == "none":
        return None
    if mask_files is not None:
        by_key = {(m.place or fallback_place, m.when): planes[m.name][0] for m in mask_files}
        for draft in drafts:
            draft.mask = by_key.get((draft.place, draft.when))
        if not any(d.mask for d in drafts):
            raise DatasetError(
                "no mask file has the place and date of a scene; correct the pattern in --mask"
            )
        return MaskRule(band="mask", hidden=tuple(hidden))
    rule = choose(names, mask, hidden)
    if rule is None and mask is not None:
        raise DatasetError(f"there is no mask {mask!r} among the bands {', '.join(names)}; correct --mask")
    for draft in drafts:
        if rule is not None and rule.band in draft.found:
            draft.mask = draft.found[rule.band][2]
    return rule


def _choose_bands(names: Sequence[str], wanted: Sequence[str], *, is_sentinel2: bool) -> list[str]:
    if not names:
        raise DatasetError("the files hold a cloud mask but no band; give the files of the bands too")
    if wanted:
        lowered = {n.lower(): n for n in names}
        if is_sentinel2:
            commons = {b.common_name: b.name for b in sentinel2.BANDS if b.common_name and b.name in names}
            lowered = {**commons, **lowered}
        asked = [sentinel2_name(w) or w if is_sentinel2 else w for w in wanted]
        missing = [w for w in asked if w.lower() not in lowered]
        if missing:
            raise DatasetError(f"band {', '.join(missing)} is in no file; there are {', '.join(names)}")
        return [lowered[w.lower()] for w in asked]
    if is_sentinel2:
        return [b.name for b in sentinel2.BANDS if b.name in names]
    return list(dict.fromkeys(names))


def _item(draft: _Draft) -> str:
    """Name a scene after its files: the only one, or what their names begin with."""
    stems = sorted({PurePosixPath(file).stem for _, file, _ in draft.found.values()})
    # Of sorted names the first and the last differ soonest.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(stems[0], stems[-1], strict=False))
    return "".join(a for a, _ in alike).rstrip("_-. ") or draft.when.date().isoformat()
