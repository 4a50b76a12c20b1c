"""Pixels: the same ground looks the same from every window, tile and call."""

import datetime
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from seco.planet.bytecache import ByteCache, array_bytes
from seco.planet.earth import render
from seco.planet.earth.light import BELT_PX, belts, latitudes
from seco.planet.earth.render import (
    View,
    clear_fraction,
    picture,
    read_band,
    window_ground,
)
from seco.planet.earth.sky import CLOUD, sky
from seco.planet.earth.surfaces import BANDS, PIXEL_M
from seco.planet.settings import Planet
from seco.sensors.sentinel2 import SCL_CLASSES, SCL_UNCLEAR

At = Callable[[str], tuple[int, int, int]]
PLANET = Planet(seed=3)
DAY = datetime.date(2023, 7, 11)


def _clear_day(at: At, spot: str, start: datetime.date) -> datetime.date:
    epsg, left, top = at(spot)
    days = [start + datetime.timedelta(days=k) for k in range(60)]
    return next(
        d for d in days
        if clear_fraction(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120, day=d) > 0.97
    )  # fmt: skip


def _mostly_equal(a: np.ndarray, b: np.ndarray, share: float = 0.999) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    # Sums in another order may round a stored number by one, and a border pixel may fall otherwise.
    assert (np.abs(a.astype(int) - b.astype(int)) <= 1).mean() > share


@pytest.mark.parametrize("band", ["B02", "B08", "B05", "B11", "B01", "SCL"])
def test_a_scene_shows_what_a_patch_shows(at: At, band: str) -> None:
    epsg, left, top = at("brie")
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120)
    patch = picture(PLANET, ground, epsg=epsg, day=DAY).pixels[band]
    n = 1200 // PIXEL_M[band]
    assert patch.shape == (n, n)
    wide = read_band(
        PLANET, epsg=epsg, band=band, acquisition_day=DAY, left_m=left - 600, top_m=top + 1200,
        width_px=2 * n, height_px=2 * n,
    )  # fmt: skip
    x, y = 600 // PIXEL_M[band], 1200 // PIXEL_M[band]
    _mostly_equal(wide[y : y + n, x : x + n], patch, share=0.995)


def test_windows_agree_across_a_border_of_belts() -> None:
    """Where the direction of shadows changes, a window that crosses the border and two that do not say the same."""
    epsg, day = 32631, datetime.date(2023, 11, 3)
    border = -BELT_PX * 178  # row, at 48.0 N
    assert latitudes(epsg, np.array([border]))[0] == pytest.approx(48.0, abs=0.2)
    over = np.arange(border - 60, border + 60)
    cols = np.arange(45_000, 45_120)
    assert len(belts(epsg, over, day)) == 2
    shaded = 0
    for k in range(0, 24, 2):
        on = day + datetime.timedelta(days=k)
        whole = sky(PLANET, epsg=epsg, cols=cols, rows=over, day=on)
        for part in (slice(0, 60), slice(60, 120), slice(30, 100)):
            half = sky(PLANET, epsg=epsg, cols=cols, rows=over[part], day=on)
            np.testing.assert_allclose(half.shadow, whole.shadow[part], atol=1e-6)
            np.testing.assert_array_equal(half.hides(), whole.hides()[part])
        shaded += 0.05 < float((whole.shadow > 0.1).mean()) < 0.95
    assert shaded >= 2
    # What stands on the ground throws its shadow by its own row, too.
    window = {"epsg": epsg, "band": "B04", "acquisition_day": day, "left_m": 450_000, "width_px": 120}
    whole = read_band(PLANET, **window, top_m=-10 * int(over[0]), height_px=120)
    lower = read_band(PLANET, **window, top_m=-10 * int(over[40]), height_px=80)
    _mostly_equal(lower, whole[40:], share=0.9999)


def test_an_overview_takes_every_so_many_th_pixel(at: At) -> None:
    epsg, left, top = at("pampas")
    day = _clear_day(at, "pampas", DAY)
    settings = {"epsg": epsg, "band": "B04", "acquisition_day": day, "left_m": left, "top_m": top}
    full = read_band(PLANET, **settings, width_px=240, height_px=200)
    half = read_band(PLANET, **settings, width_px=60, height_px=50, decimation=4)
    # All but the shadows of single trees and houses, which need their neighbours.
    close = np.abs(half.astype(int) - full[::4, ::4].astype(int)) <= 0.2 * full[::4, ::4]
    assert close.mean() > 0.9


def test_stored_numbers_carry_the_offset_of_their_baseline(at: At) -> None:
    epsg, left, top = at("brie")
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=60)
    day = datetime.date(2022, 1, 24)
    old = picture(PLANET, ground, epsg=epsg, day=day).pixels["B08"]
    lifted = picture(PLANET, ground, epsg=epsg, day=day, offset_dn=1000).pixels["B08"]
    assert np.abs(lifted.astype(int) - old - 1000).max() <= 1
    new = picture(PLANET, ground, epsg=epsg, day=day + datetime.timedelta(days=1)).pixels["B08"]
    assert new.min() > 1000


def test_the_clear_fraction_is_that_of_the_scene_classes(at: At) -> None:
    epsg, left, top = at("moscow")
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120)
    partly = 0
    for k in range(40):
        day = DAY + datetime.timedelta(days=k)
        shown = picture(PLANET, ground, epsg=epsg, day=day, bands=("B02", "SCL"))
        hidden = np.isin(shown.pixels["SCL"], SCL_UNCLEAR).mean()
        assert shown.clear_fraction == pytest.approx(1 - hidden, abs=0.03)
        guess = clear_fraction(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120, day=day)
        assert guess == pytest.approx(shown.clear_fraction, abs=0.06)
        partly += 0.05 < hidden < 0.95
    assert partly >= 3
    assert CLOUD > 0


def test_clouds_are_bright_shadows_dark_and_water_dark(at: At) -> None:
    epsg, left, top = at("moscow")
    values: dict[str, list[float]] = {}
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=240)
    for k in range(30):
        shown = picture(PLANET, ground, epsg=epsg, day=DAY + datetime.timedelta(days=k), bands=("B8A", "SCL"))
        for number in np.unique(shown.pixels["SCL"]):
            inside = shown.pixels["SCL"] == number
            if inside.sum() > 50:
                mean = float(shown.pixels["B8A"][inside].mean()) / 10_000 - 0.1
                values.setdefault(SCL_CLASSES[number], []).append(mean)
    mean = {name: np.mean(v) for name, v in values.items()}
    assert mean["cloud_high"] > mean["vegetation"]
    assert mean["cloud_shadow"] < mean["vegetation"]
    assert mean["cloud_high"] > 0.45
    assert mean["vegetation"] > 0.2


def test_winter_in_russia_is_white_and_in_portugal_it_is_green(at: At) -> None:
    epsg, left, top = at("moscow")
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120)
    white = [
        picture(PLANET, ground, epsg=epsg, day=datetime.date(2023, 1, 5 + k), bands=("B02",)).snow_fraction
        for k in range(0, 24, 8)
    ]
    assert np.mean(white) > 0.3
    epsg, left, top = at("alentejo")
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120)
    assert (
        picture(PLANET, ground, epsg=epsg, day=datetime.date(2023, 1, 15), bands=("B02",)).snow_fraction
        < 0.01
    )


def test_a_low_sun_throws_shadows(at: At) -> None:
    epsg, left, top = at("taiga")
    ground = window_ground(PLANET, epsg=epsg, left_m=left, top_m=top, size_px=120)
    height = np.zeros(ground.code.shape, np.float32)
    height[60, 60] = 20.0

    def shadow(day: datetime.date) -> np.ndarray:
        view = View(PLANET, ground=ground, epsg=epsg, day=day)
        return np.argwhere(view._object_shadows(height, belts(epsg, ground.rows, day)) < 1) - 60

    high, low = shadow(datetime.date(2023, 6, 21)), shadow(datetime.date(2023, 10, 20))
    assert len(low) >= 3 > len(high) >= 1
    # The morning sun stands in the south-east: shadows fall to the north-west, upwards and to the left.
    assert (low[:, 0] < 0).all()
    assert (low[:, 1] <= 0).all()


def test_bands_are_of_l2a() -> None:
    assert len(BANDS) == 12
    assert "B10" not in BANDS
    assert PIXEL_M["SCL"] == 20


def test_what_is_kept_of_windows_is_bounded_in_bytes(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    epsg, left, top = at("brie")
    limit = 2**20
    for name in ("_VIEWS", "_GROUNDS"):
        monkeypatch.setattr(render, name, ByteCache(limit, size=array_bytes))

    def look(k: int) -> None:
        read_band(
            PLANET, epsg=epsg, band="B01", acquisition_day=DAY, left_m=left + 900 * k, top_m=top, width_px=15, height_px=15
        )  # fmt: skip

    look(0)
    one = render._VIEWS.kept_bytes
    assert 98 * 98 * 20 < one < limit
    assert not limit // one > 8
    tracemalloc.start()
    for k in range(1, 30):
        look(k)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert render._VIEWS.num_made == 30
    # Of thirty views and grounds no more stays than the two limits, and half as much for everything else.
    assert 29 * one > 3 * limit
    assert held < 3 * limit
