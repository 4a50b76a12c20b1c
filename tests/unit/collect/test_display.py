"""What is shown while collecting, and the pictures at the end."""

import json
import re
from collections import Counter

import pytest

from seco.collect.collecting import View
from seco.collect.display import Display, facts
from seco.collect.runner import Standing, Tally
from seco.collect.wire import Counts


def view(num_places: int = 5, *, wanted: int | None = 10, seconds: float = 10.0, num_new: int = 25) -> View:
    tally = Tally(looked_at=7, missed={"no clear scene": 2}, rejected={"cloud": 9, "shadow": 1})
    standing = Standing(tally=tally, num_places=num_places, num_patches=25, in_flight=3, is_committed=False)
    counts = Counts(requests=50, num_bytes=3_200_000, faults=Counter({("h", "500"): 4}))
    return View(standing=standing, counts=counts, total=10, wanted=wanted, num_new=num_new, seconds=seconds)


def test_facts():
    found = dict(facts(view()))
    assert found["places"] == "5 of 10 taken, 2 missed, 3 in flight"
    assert found["patches"] == "25, 2.5 a second"
    assert found["fetched"] == "3.2 MB in 50 requests"
    assert found["left"] == "10 s"
    assert found["turned down"] == "9 cloud, 1 shadow"
    assert found["faults"] == "4 500 at h"


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({"wanted": None}, "4 s"), ({"num_new": 0}, "unknown"), ({"seconds": 2000.0}, "33 min"),
        ({"seconds": 9000.0}, "2.5 h"),
    ],
)  # fmt: skip
def test_time_left(changed, left):
    assert dict(facts(view(**changed)))["left"] == left


def test_plain_lines_now_and_then():
    lines, now = [], [0.0]
    with Display(lines.append, is_live=False, clock=lambda: now[0]) as display:
        for second in range(70):
            now[0] = float(second)
            display.show(view())
    assert len(lines) == 2
    assert all(re.match(r"places 5 of 10 taken.*; faults 4 500 at h$", line) for line in lines)


def test_live_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display(pytest.fail, is_live=True) as display:
        display.show(view())
        display.show(view())
    assert "5 of 10 taken" in capsys.readouterr().err


def test_map_of_places_taken_and_missed(tmp_path, monkeypatch):
    import numpy as np

    from seco.collect import pictures
    from seco.data.writer import DatasetWriter, Patch
    from seco.sensors.sentinel2 import band

    out = tmp_path / "d.seco"
    with DatasetWriter(out, bands=[band("B04")], patch_px=4, licence="", provenance={}) as writer:
        for i in range(3):
            for _ in range(2):
                pixels = np.full((1, 4, 4), 100 * i + 1, np.uint16)
                writer.add(Patch(place=f"p{i}", pixels=pixels, lon=10.0 * i, lat=5.0))
        folder = writer.partial / "collection"
        folder.mkdir()
        rows = [{"place": i, "lon": -60.0 - i, "lat": -3.0, "reason": "ab"[i // 2]} for i in range(3)]
        (folder / "missed.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    np.testing.assert_array_equal(pictures._taken(out), [[0, 5], [10, 5], [20, 5]])
    missed = {reason: points.tolist() for reason, points in pictures._missed(out).items()}
    assert missed == {"a": [[-60, -3], [-61, -3]], "b": [[-62, -3]]}
    drawn = pictures.draw_pictures(out)
    assert [p.name for p in drawn] == ["map.png", "sheet.png"]
    assert all(p.stat().st_size > 2000 for p in drawn)
    monkeypatch.setattr(pictures, "MAX_SHEET_PATCHES", 5)
    assert [p.name for p in pictures.draw_pictures(out)] == ["map.png"]


def test_a_sheet_needs_no_more_than_the_bands_it_shows(tmp_path):
    import numpy as np

    from seco.data.dataset import open_dataset
    from seco.data.sheet import draw_dataset_sheet
    from seco.data.writer import DatasetWriter, Patch
    from seco.sensors.sentinel2 import band

    out = tmp_path / "d.seco"
    names = ["B02", "B03", "B04", "B08", "B11"]
    with DatasetWriter(out, bands=[band(n) for n in names], patch_px=4, licence="", provenance={}) as writer:
        for i in range(3):
            writer.add(
                Patch(place=f"p{i}", pixels=np.arange(80, dtype=np.uint16).reshape(5, 4, 4) + 1000 * i + 1)
            )
    drawn = draw_dataset_sheet(open_dataset(out), tmp_path / "sheet.png")
    assert drawn.stat().st_size > 2000
    (made,) = (out / "training").iterdir()
    assert json.loads((made / "tier.json").read_text())["bands"] == ["B02", "B03", "B04"]
