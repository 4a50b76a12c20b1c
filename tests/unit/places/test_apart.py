import hashlib
import math

import numpy as np
import pytest
import shapely

from seco.data.importers.bluemarble import Options, draw_windows
from seco.places.apart import SNAP_M, Apart, Squares, apart_m
from seco.places.sphere import EARTH_RADIUS_KM, chord_of, km_of_chord, unit_vectors
from seco.planet.places import draw_places
from seco.planet.settings import Build
from seco.planet.utm import to_lonlat, to_utm, utm_zone


def greedy(lonlat, clash):
    """Take one after the other where it clashes with none taken, comparing with all."""
    taken: list[int] = []
    for i in range(len(lonlat)):
        if not any(clash(lonlat[i], lonlat[j]) for j in taken):
            taken.append(i)
    return taken


def haversine_km(a, b):
    lon_a, lat_a, lon_b, lat_b = np.radians([*a, *b])
    h = math.sin((lat_a - lat_b) / 2) ** 2
    h += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_a - lon_b) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(h))


def test_squares_equal_a_comparison_with_all():
    corners = np.random.default_rng(0).integers(-60, 60, (400, 3))
    corners[:, 2] %= 2
    taken: list[int] = []
    squares = Squares(10)
    for i, (x, y, grid) in enumerate(corners.tolist()):
        free = all(
            corners[j, 2] != grid or abs(corners[j, 0] - x) >= 10 or abs(corners[j, 1] - y) >= 10
            for j in taken
        )
        assert squares.take(x, y, grid=grid) == free
        taken += [i] * free
    assert 20 < len(taken) < 300


@pytest.mark.parametrize(
    ("centre", "spread"),
    [((179.9, 0), 0.5), ((0, 83), 2.0), ((-180, 60), 1.0), ((20, -30), 0.3), ((5, 89.9), 60.0)],
)
def test_distance_equals_a_comparison_with_all(centre, spread):
    rng = np.random.default_rng(1)
    lonlat = np.array(centre) + rng.normal(size=(300, 2)) * (spread, min(spread, 0.5))
    lonlat[:, 1] = np.clip(lonlat[:, 1], -89.99, 89.99)
    apart = Apart(distance_km=12.0)
    good = np.concatenate([apart.take(part) for part in np.array_split(lonlat, 7)])
    expected = greedy(lonlat, lambda a, b: haversine_km(a, b) < 12.0)
    assert np.flatnonzero(good).tolist() == expected
    assert 5 < len(expected) < 280


@pytest.mark.parametrize(
    "settings", [{"distance_km": 30.0}, {"box_m": 30_000.0}, {"distance_km": 20.0, "box_m": 25_000.0}]
)
def test_the_quick_look_changes_nothing(monkeypatch, settings):
    rng = np.random.default_rng(2)
    lonlat = np.stack([rng.uniform(-60, 60, 9000), rng.uniform(-60, 60, 9000)], axis=1) / 4
    quick, slow = Apart(**settings), Apart(**settings)
    monkeypatch.setattr(slow, "_surely_near", lambda vectors: np.zeros(len(vectors), bool))
    parts = np.array_split(lonlat, 9)
    first = np.concatenate([quick.take(p) for p in parts])
    second = np.concatenate([slow.take(p) for p in parts])
    assert quick._tree is not None
    assert (first == second).all()
    assert 0.1 < first.mean() < 0.9


def cut(lon, lat, edge_m, *, zone, snap):
    """Cut a square as collecting does: on a UTM grid, moved to multiples of 60 m; its outline in lon/lat."""
    epsg = (32600 if lat >= 0 else 32700) + zone
    east, north = (float(v) for v in to_utm(epsg, lon, lat))
    left = snap((east - edge_m / 2) / SNAP_M) * SNAP_M
    top = snap((north + edge_m / 2) / SNAP_M) * SNAP_M
    xs, ys = np.array([0, 1, 1, 0]) * edge_m + left, top - np.array([0, 0, 1, 1]) * edge_m
    return np.stack(to_lonlat(epsg, xs, ys), axis=1)


@pytest.mark.parametrize("lat", [0.3, 47.0, -52.0, 74.0])
@pytest.mark.parametrize("edge_m", [480, 2640])
def test_patches_without_overlap_never_overlap_whichever_grid_they_are_cut_from(lat, edge_m):
    rng = np.random.default_rng(3)
    # Around the border of two zones, where a place may come from a tile of either.
    step = apart_m(edge_m) / 111_195
    lonlat = np.array([6.0, lat]) + rng.uniform(-4, 4, (500, 2)) * step * (1 / math.cos(math.radians(lat)), 1)
    good = Apart(box_m=apart_m(edge_m)).take(lonlat)
    kept = lonlat[good]
    assert 15 < len(kept) < 64
    for snap in (round, math.floor):
        shapes = [shapely.Polygon(cut(*p, edge_m, zone=int(rng.choice([31, 32])), snap=snap)) for p in kept]
        tree = shapely.STRtree(shapes)
        pairs = tree.query(shapes, predicate="intersects")
        assert (pairs[0] == pairs[1]).all()
    assert set(utm_zone(kept[:, 0], np.full(len(kept), 10.0))) == {31, 32}


def test_chords():
    a, b = np.array([[0.0, 0.0]]), np.array([[90.0, 0.0]])
    chord = float(np.linalg.norm(unit_vectors(a) - unit_vectors(b)))
    assert km_of_chord(chord) == pytest.approx(EARTH_RADIUS_KM * math.pi / 2)
    assert chord_of(EARTH_RADIUS_KM * math.pi / 2) == pytest.approx(chord)
    assert chord_of(1e9) == 2.0


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values, "<i8").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("sampler", "overlap", "windows", "squares"),
    [
        ("cities", True, "9359bbb9bbb562f1", "9dca5cb6165e83a4"),
        ("cities", False, "dc8c015b96804f01", "00a9398ab6ae29bf"),
        ("land", True, "e4b5f768d1f9256f", "375d9def9c5529f5"),
        ("land", False, "ae4905393161ca15", "ba5a23abfe9fe88e"),
    ],
)
def test_blue_marble_and_the_planet_draw_the_places_they_always_drew(
    tmp_path, sampler, overlap, windows, squares
):
    """Datasets made before their rooms shared code must come out again at the same seed."""
    options = Options(num_places=60, patch_px=16, sampler=sampler, overlap=overlap, min_land=0.5, seed=3)
    assert digest(draw_windows(1024, 512, options)) == windows
    area = tmp_path / "area.geojson"
    area.write_text(shapely.to_geojson(shapely.box(0, 47, 4, 50)))
    build = Build(
        num_places=150, num_cities=2000, sampler=sampler, overlap=overlap, within=area, lat_min=47, lat_max=50
    )
    assert digest([(p.epsg, p.left_m, p.top_m) for p in draw_places(build, seed=5)]) == squares
