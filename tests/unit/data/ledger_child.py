"""What the tests of the ledger run in processes that they kill: places with pixels that follow from their number."""

import datetime
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np

from seco.data import layout as layouts
from seco.data.layout import Patch
from seco.data.ledger import LedgerWriter
from seco.data.writer import DatasetWriter
from seco.sensors.sentinel2 import band

BANDS = [band("B04"), band("B08"), band("B11")]
PATCH_PX = 12
LICENCE = "made for a test"
SETTINGS = {"seed": 0, "first": datetime.date(2023, 1, 1)}
SHARD = 7
INDEX_BATCH = 16


def small_files() -> None:
    """Make shards of seven patches and row groups of sixteen rows."""
    layouts.SHARD_BYTES = SHARD * (2 * 2 * PATCH_PX**2 + 2 * (PATCH_PX // 2) ** 2)
    layouts.INDEX_BATCH = INDEX_BATCH


def patches_of(place: int) -> list[Patch]:
    """Return the patches of a place: none, one, or up to nine; every fifth one is nothing but nodata."""
    rng = np.random.default_rng([7, place])
    num = 0 if place % 4 == 3 else 1 + place * 5 % 9
    out = []
    for i in range(num):
        top = 1 if (place + i) % 5 == 0 else 4000
        pixels = {b.name: rng.integers(0, top, (PATCH_PX,) * 2, dtype=np.uint16) for b in BANDS}
        pixels["B11"] = pixels["B11"][::2, ::2].copy()
        out.append(
            Patch(
                place=f"p{place}",
                pixels=pixels,
                date=datetime.date(2023, 1, 1 + i),
                lon=2.0,
                lat=48.0,
                item=f"i{i}",
            )
        )
    return out


def collect(out: Path, *, num: int, pause_s: float = 0.0) -> None:
    """Write `num` places, or go on with them, and finish."""
    small_files()
    with LedgerWriter(out, bands=BANDS, patch_px=PATCH_PX, licence=LICENCE, settings=SETTINGS) as writer:
        counts = dict(writer.mark.state)
        for place in range(writer.mark.position, num):
            time.sleep(pause_s)
            patches = patches_of(place)
            what = "taken" if patches else "missed"
            counts[what] = counts.get(what, 0) + 1
            missed = None if patches else {"place": place}
            writer.add(patches, position=place + 1, state=counts, missed=missed)
            if place % 5 == 4:
                writer.commit()
        writer.copy_missed(writer.partial / "missed.jsonl")
        writer.finish({"counts": counts})


def collect_plainly(out: Path, *, num: int) -> None:
    """Write the same places with the plain writer."""
    small_files()
    missed = [{"place": p} for p in range(num) if not patches_of(p)]
    counts = {"taken": num - len(missed), "missed": len(missed)}
    with DatasetWriter(
        out, bands=BANDS, patch_px=PATCH_PX, licence=LICENCE, provenance={"counts": counts}
    ) as writer:
        for place in range(num):
            for patch in patches_of(place):
                writer.add(patch)
        (writer.partial / "missed.jsonl").write_text("".join(f"{json.dumps(m)}\n" for m in missed))


def collect_and_die(out: str, num: int, steps: int) -> None:
    """Write places, and be killed at the `steps`-th time that a file is renamed, removed or forced to disk."""
    left = [steps]

    def deadly(function, when):
        def run(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    Path.replace = deadly(Path.replace, "after")
    Path.rename = deadly(Path.rename, "after")
    Path.unlink = deadly(Path.unlink, "before")
    shutil.rmtree = deadly(shutil.rmtree, "before")
    os.fsync = deadly(os.fsync, "before")
    collect(Path(out), num=num)


def collect_slowly(out: str, num: int) -> None:
    """Write places with a pause before each."""
    collect(Path(out), num=num, pause_s=0.01)
