"""Random fields: the same from any window, with the statistics that they promise."""

import numpy as np
import pytest

from seco.planet.earth.noise import Cells, even, field, scramble, uniform


def test_the_hash_is_fixed_forever() -> None:
    # A planet of a seed is the same on every machine and in every release; these numbers may not change.
    assert scramble(0).item() == 16294208416658607535
    assert scramble(1, -2, 3).item() == 17530162654922722650
    assert scramble(np.array([-2]), 1).item() != scramble(1, np.array([-2])).item()


def test_uniform_is_uniform() -> None:
    draws = uniform(7, np.arange(100_000))
    assert draws.min() >= 0
    assert draws.max() < 1
    np.testing.assert_allclose(np.histogram(draws, 10, (0, 1))[0], 10_000, rtol=0.05)
    # Neighbours and lagged numbers are unrelated.
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.02


@pytest.mark.parametrize("origin", [(0, 0), (50_000, -620_000), (-37, 1_000_003)])
def test_a_window_of_a_field_is_the_field(origin: tuple[int, int]) -> None:
    cols, rows = origin[0] + np.arange(200), origin[1] + np.arange(150)
    settings = {"key": (3, 4), "period_px": 64, "octaves": 5}
    whole = field(cols, rows, **settings)
    np.testing.assert_allclose(field(cols[37:90], rows[11:80], **settings), whole[11:80, 37:90], atol=1e-6)
    # Single pixels and decimated windows too.
    np.testing.assert_allclose(field(cols[::7], rows[::9], **settings), whole[::9, ::7], atol=1e-6)
    assert np.abs(np.diff(whole, axis=0)).max() < 0.2


@pytest.mark.parametrize(("octaves", "gain"), [(1, 0.5), (5, 0.5), (6, 0.6)])
def test_a_bent_field_fills_its_range_evenly(octaves: int, gain: float) -> None:
    cols = np.arange(0, 2**16, 61)
    flat = even(
        field(cols, cols, key=(9,), period_px=256, octaves=octaves, gain=gain), octaves=octaves, gain=gain
    )
    for share in (0.1, 0.3, 0.5, 0.8, 0.95):
        assert (flat < share).mean() == pytest.approx(share, abs=0.04)


def test_cells_are_those_of_the_nearest_site() -> None:
    origin = (50_000, -620_000)
    x = np.tile(np.arange(90, dtype=np.float32), (70, 1))
    y = np.tile(np.arange(70, dtype=np.float32)[:, None], (1, 90))
    cells = Cells(x, y, origin=origin, key=(5,), size_px=24)
    far = np.hypot(x[..., None] + origin[0] - cells.x, y[..., None] + origin[1] - cells.y)
    order = np.argsort(far, axis=-1)
    # A slow loop over all sites; where two are equally near either will do.
    nearest = np.take_along_axis(far, order, axis=-1)
    chosen = np.take_along_axis(far, cells.index[..., None].astype(np.int64), axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, nearest[..., 0], atol=1e-3)
    second = np.take_along_axis(far, cells.beyond[..., None].astype(np.int64), axis=-1)[..., 0]
    # The eight neighbouring squares hold the second nearest in all but odd corners.
    assert (np.abs(second - nearest[..., 1]) < 1e-3).mean() > 0.98
    # Distance from the perpendicular bisector of the two sites.
    i, j = 33, 44
    a, b = cells.index[i, j], cells.beyond[i, j]
    middle = np.array([(cells.x[a] + cells.x[b]) / 2 - origin[0], (cells.y[a] + cells.y[b]) / 2 - origin[1]])
    normal = np.array([cells.x[b] - cells.x[a], cells.y[b] - cells.y[a]])
    expected = abs(((np.array([x[i, j], y[i, j]]) - middle) * normal).sum()) / np.hypot(*normal)
    assert cells.edge_px[i, j] == pytest.approx(expected, abs=1e-2)
