"""One place: for each season the first scene whose pixels will do. What it gives depends on nothing but the pixels."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from seco.collect.clear import SCENE_CLASSES, look
from seco.collect.faults import PixelFault
from seco.collect.masks import MASK, SCL
from seco.collect.model import Asset, Candidate, PlacePlan
from seco.collect.radiometry import harmonised, shift_dn
from seco.collect.rasters import Rasters
from seco.collect.settings import Collect
from seco.data.layout import Patch
from seco.planet.utm import to_lonlat
from seco.sensors.sentinel2 import band

MISSING_BAND = "missing asset"
UNREADABLE = "unreadable"
REASONS = ("cloud", "shadow", "nodata", MISSING_BAND, UNREADABLE)
"""Why the scenes of a season were turned down; `unreadable` has the kind of fault behind it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a place.

    Attributes:
        plan: what was wanted.
        patches: what it gives, in order of time; none where it was missed.
        rejected: scenes that were turned down, by reason.
        reason: why it was missed; None where it was not.
        num_saturated: pixels at the top of the scale.
        num_unjudged: patches of scenes without a mask, whose clear fraction is not known.
    """

    plan: PlacePlan
    patches: tuple[Patch, ...] = ()
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    reason: str | None = None
    num_saturated: int = 0
    num_unjudged: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """A scene of a season that passed, and its clear fraction."""

    candidate: Candidate
    clear_fraction: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Taken:
    patch: Patch
    num_saturated: int


class _Trial:
    """The scenes of a season in their order, and how many may still be looked at.

    One that cannot be read does not count. Without a limit, the result is the same as if the catalogue did not have it; with
    one, a scene whose classes can be read and whose bands cannot may have taken the turn of a later one.
    """

    def __init__(self, candidates: Sequence[Candidate], most: int | None) -> None:
        self._candidates, self._at = candidates, 0
        self._left = len(candidates) if most is None else most

    def next(self) -> Candidate | None:
        """Return the next scene; None where there are no more, or enough were looked at."""
        if not self._left or self._at == len(self._candidates):
            return None
        self._left -= 1
        self._at += 1
        return self._candidates[self._at - 1]

    def give_back(self) -> None:
        """Say that the last one could not be read."""
        self._left += 1


class PlaceFetcher:
    """Fetches places.

    Args:
        rasters: where pixels come from.
        settings: the limits of cloud and nodata, and what to do with a place that lacks a season.
        bands: names of the bands to store.
    """

    def __init__(self, rasters: Rasters, *, settings: Collect, bands: Sequence[str]) -> None:
        self._rasters, self._settings, self._bands = rasters, settings, tuple(bands)
        self._finest_m = min(int(band(b).gsd_m or 0) for b in bands)

    async def fetch(self, plan: PlacePlan) -> Outcome:
        """Fetch a place: first the classes of all seasons, and only where they will do the bands.

        Raises:
            FetchError: a host cannot be reached at all.
        """
        if plan.reason is not None or plan.window is None:
            return Outcome(plan=plan, reason=plan.reason or "no window")
        keeps = self._settings.incomplete == "keep"
        if not keeps and not plan.is_whole:
            return Outcome(plan=plan, reason="season missing")
        rejected: Counter[str] = Counter()
        trials = [_Trial(s.candidates, self._settings.candidates) for s in plan.seasons]
        chosen = await _all(self._choose(t, rejected) for t in trials)
        if not keeps and None in chosen:
            return Outcome(plan=plan, rejected=rejected, reason="no clear scene")
        taken = await _all(
            self._take(t, f, rejected) for t, f in zip(trials, chosen, strict=True) if f is not None
        )
        have = [t for t in taken if t is not None]
        if not have or (not keeps and len(have) < len(plan.seasons)):
            return Outcome(plan=plan, rejected=rejected, reason="no clear scene" if not keeps else "no scene")
        patches = sorted((t.patch for t in have), key=lambda p: (str(p.date), p.item))
        return Outcome(
            plan=plan, patches=tuple(patches), rejected=rejected, num_saturated=sum(t.num_saturated for t in have),
            num_unjudged=sum(p.clear_fraction is None for p in patches),
        )  # fmt: skip

    async def _choose(self, trial: _Trial, rejected: Counter[str]) -> _Found | None:
        """Return the next scene whose classes will do."""
        while (candidate := trial.next()) is not None:
            reason, clear = await self._judge(candidate)
            if reason is None:
                return _Found(candidate=candidate, clear_fraction=clear)
            rejected[reason] += 1
            if reason.startswith(UNREADABLE):
                trial.give_back()
        return None

    async def _judge(self, candidate: Candidate) -> tuple[str | None, float | None]:
        assets = candidate.scene.assets
        if any(b not in assets for b in self._bands):
            return MISSING_BAND, None
        mask = assets.get(SCL) or assets.get(MASK)
        if mask is None:
            return None, None
        try:
            numbers = await self._read(candidate, mask)
        except PixelFault as fault:
            return f"{UNREADABLE}: {fault.kind}", None
        seen = look(numbers, mask.meaning or SCENE_CLASSES)
        limits = {"min_clear": self._settings.min_clear, "max_nodata": self._settings.max_nodata}
        return seen.reason(**limits), seen.clear

    async def _take(self, trial: _Trial, found: _Found | None, rejected: Counter[str]) -> _Taken | None:
        """Return the patch of a season: of the scene that was found, else of the next one that will do."""
        while found is not None:
            try:
                return await self._cut(found)
            except PixelFault as fault:
                if fault.kind == "nodata":
                    rejected["nodata"] += 1
                else:
                    rejected[f"{UNREADABLE}: {fault.kind}"] += 1
                    trial.give_back()
            found = await self._choose(trial, rejected)
        return None

    async def _cut(self, found: _Found) -> _Taken:
        candidate = found.candidate
        scene, window = candidate.scene, candidate.window
        assets = [scene.assets[b] for b in self._bands]
        for asset in assets:
            shift_dn(asset)
        planes = await _all(self._read(candidate, a) for a in assets)
        pixels: dict[str, np.ndarray] = {}
        num_saturated = 0
        for asset, plane in zip(assets, planes, strict=True):
            pixels[asset.band], over = harmonised(plane, asset)
            num_saturated += over
        self._require_data(assets, pixels)
        left, bottom, right, top = window.bounds_m
        lon, lat = to_lonlat(window.epsg, (left + right) / 2, (bottom + top) / 2)
        patch = Patch(
            place=candidate.place, pixels=pixels, date=scene.day, lon=float(lon), lat=float(lat),
            crs=f"EPSG:{window.epsg}", transform=window.transform(float(self._finest_m)), item=scene.id,
            baseline=scene.baseline, clear_fraction=found.clear_fraction,
        )  # fmt: skip
        return _Taken(patch=patch, num_saturated=num_saturated)

    def _require_data(self, assets: Sequence[Asset], pixels: dict[str, np.ndarray]) -> None:
        """See that the finest bands show something, whatever the classes say.

        Raises:
            PixelFault: `nodata`: too many pixels are nodata in all of them.
        """
        finest = [pixels[a.band] for a in assets if a.pixel_m == self._finest_m]
        empty = np.logical_and.reduce([p == 0 for p in finest])
        if empty.mean() > self._settings.max_nodata:
            raise PixelFault("nodata", "the scene", f"{empty.mean():.0%} of the patch")

    async def _read(self, candidate: Candidate, asset: Asset) -> np.ndarray:
        return await self._rasters.read(asset, candidate.window.pixels(asset))


async def _all(work):  # type: ignore[no-untyped-def]
    """Run together; where one fails, stop the others and raise its error as it is."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
