"""What is told of a collection that is done, and what to do where it gave nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from seco.collect.assets import BANDS_MISSING, MASK_MISSING
from seco.collect.local import COLLECTION
from seco.collect.plan import CLOUDY, NO_SCENES
from seco.collect.runner import Tally
from seco.collect.settings import Collect

_REFUSED = (
    "refused are addresses that are neither http(s) nor s3, files outside the catalogue's own folder, and addresses of this "
    "machine or of a private network unless --hosts private allows them"
)
_LEFT_OUT = {
    BANDS_MISSING: "ask for other --bands",
    MASK_MISSING: "give another --mask, or none",
    CLOUDY: "try a larger --max-cloud",
    COLLECTION: "choose another --collection",
}
"""What to do where this is why most items were left out."""
_NOT_THERE = "the catalogue has nothing there in these days: see to --places, --from and --to, or choose another --catalog"


def notes_on(settings: Collect, num_places: int, tally: Tally) -> tuple[str, ...]:
    """Return what to know of a dataset."""
    notes = []
    if settings.num_places is not None and num_places < settings.num_places:
        notes.append(
            f"{num_places} of {settings.num_places} places asked: no more were usable (more --places, a larger "
            "--window-days or --max-cloud, or --incomplete keep)"
        )
    if tally.num_saturated:
        notes.append(
            f"{tally.num_saturated} pixels lie at the top of the scale, 65535: reflectance above 6.4 does not fit"
        )
    if tally.num_unjudged:
        notes.append(
            f"{tally.num_unjudged} patches of scenes without SCL or a mask that the items describe: how clear they are is "
            "not known (--mask names one)"
        )
    if tally.num_incomplete:
        notes.append(f"{tally.num_incomplete} places lack a season and were kept (--incomplete keep)")
    return tuple(notes)


def nothing_for(out: Path, tally: Tally, dropped: Counter[str]) -> str:
    """Return what is said where no place gave a patch: what turned them down, and what to do."""
    missed, rejected, left_out = (
        ", ".join(f"{n} {reason}" for reason, n in Counter(c).most_common(4))
        for c in (tally.missed, tally.rejected, dropped)
    )
    return (
        f"no place gave a patch for {out}: of {tally.looked_at} places {missed or 'none were planned'}; scenes turned down: "
        f"{rejected or 'none'}; items left out: {left_out or 'none'}; {_advice(tally, dropped)}"
    )


def _advice(tally: Tally, dropped: Counter[str]) -> str:
    if any(reason.endswith(": refused") for reason in tally.rejected):
        return _REFUSED
    if set(tally.missed) == {NO_SCENES}:
        most = dropped.most_common(1)
        return _LEFT_OUT.get(most[0][0], _NOT_THERE) if most else _NOT_THERE
    return "try a larger --window-days, --max-cloud or date range"
