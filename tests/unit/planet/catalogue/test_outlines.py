import datetime as dt
import json

import pytest
import shapely

from seco.planet.catalogue.orbits import acquisitions, footprint_m
from seco.planet.catalogue.outlines import outline
from seco.planet.catalogue.tiles import tile_from_id, tiles_covering
from seco.planet.utm import to_lonlat


def test_a_tile_is_one_ring_counter_clockwise_with_its_box():
    tile = tile_from_id("31UFQ")
    found = outline(shapely.box(*tile.bounds_m), epsg=tile.epsg)
    (ring,) = found.geometry["coordinates"]
    polygon = shapely.Polygon(ring)
    assert found.geometry["type"] == "Polygon"
    assert polygon.exterior.is_ccw
    assert list(polygon.bounds) == pytest.approx(found.bbox)
    assert (found.lon, found.lat) == pytest.approx((polygon.centroid.x, polygon.centroid.y), abs=0.01)


def test_edges_follow_the_grid():
    tile = tile_from_id("33XWG")
    left, _, right, top = tile.bounds_m
    polygon = shapely.Polygon(outline(shapely.box(*tile.bounds_m), epsg=tile.epsg).geometry["coordinates"][0])
    for k in range(1, 20):
        inside = to_lonlat(tile.epsg, left + (right - left) * k / 20, top - 150)
        outside = to_lonlat(tile.epsg, left + (right - left) * k / 20, top + 150)
        assert polygon.contains(shapely.Point(*map(float, inside)))
        assert not polygon.contains(shapely.Point(*map(float, outside)))


def test_the_antimeridian_cuts_and_the_box_goes_over_it():
    tile = tile_from_id("60KZG")
    found = outline(shapely.box(*tile.bounds_m), epsg=tile.epsg)
    assert found.geometry["type"] == "MultiPolygon"
    west, south, east, north = found.bbox
    assert west > 0 > east
    parts = [shapely.Polygon(p[0]) for p in found.geometry["coordinates"]]
    assert len(parts) == 2
    for part in parts:
        assert part.is_valid
        assert part.exterior.is_ccw
        assert part.bounds[0] >= west or part.bounds[2] <= east
        assert south <= part.bounds[1] <= part.bounds[3] <= north
        assert 180 in map(abs, (part.bounds[0], part.bounds[2]))
    whole = shapely.Polygon(
        outline(shapely.box(*tile_from_id("59KRB").bounds_m), epsg=32759).geometry["coordinates"][0]
    )
    assert sum(p.area for p in parts) == pytest.approx(whole.area, rel=0.03)


@pytest.mark.parametrize(
    ("lon", "lat"), [(179.9999, 65.0), (-179.9999, 65.0), (179.99, 75.0), (-180.0, -17.0)]
)
def test_outlines_at_the_antimeridian_hold_their_place(lon, lat):
    for tile in tiles_covering(lon, lat, tile_px=1098):
        for taken in acquisitions(tile, first=dt.date(2023, 6, 1), last=dt.date(2023, 6, 5)):
            shape = footprint_m(tile, taken.day)
            found = outline(shape, epsg=tile.epsg)
            multi = shapely.from_geojson(json.dumps(found.geometry))
            assert multi.is_valid
            assert multi.bounds[0] >= -180
            assert multi.bounds[2] <= 180
            if shape.area == tile.edge_m**2:
                assert (
                    multi.distance(shapely.Point(lon, lat)) < 1e-6
                    or multi.distance(shapely.Point(-lon, lat)) < 1e-6
                )
