import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from seco.errors import DatasetError
from seco.planet.catalogue.points import read_points, write_points

POINTS = np.array([[2.35, 48.85], [-179.999999, -16.5], [151.2, -33.87]])


def geojson(path, geometries):
    path.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [{"type": "Feature", "geometry": g} for g in geometries],
            }
        )
    )
    return path


def test_what_is_written_is_read(tmp_path):
    write_points(POINTS, tmp_path / "p.csv")
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), POINTS)


def test_all_kinds_of_files_give_the_same(tmp_path):
    rows = "".join(f"a,{y},{x}\n" for x, y in POINTS)
    (tmp_path / "a.csv").write_text("\ufeffName,Latitude,Longitude\n" + rows, encoding="utf-8")
    geojson(tmp_path / "a.geojson", [{"type": "Point", "coordinates": [x, y, 12.0]} for x, y in POINTS])
    pq.write_table(pa.table({"lon": POINTS[:, 0], "lat": POINTS[:, 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"geometry": shapely.to_wkb(shapely.points(POINTS))}), tmp_path / "a.geoparquet")
    for name in ("a.csv", "a.geojson", "a.parquet", "a.geoparquet"):
        np.testing.assert_array_equal(read_points(tmp_path / name), POINTS)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"", "no columns"),
        ("a.csv", b"lon,lat\n", "at least one"),
        ("a.csv", b"lon,lat\n1\n", "longitude and latitude"),
        ("a.csv", b"lon,lat\n1,x\n", "line 2 is .1,x.; give longitude and latitude"),
        ("a.csv", b"lon,lat\n48,122\n", "place 1 is 48, 122"),
        ("a.csv", b"lon,lat\n1,2\n200,2\n", "place 2"),
        ("a.csv", b"lon,lat\nnan,2\n", "place 1"),
        ("a.csv", b"lon,lat\n1,85\n", "-80 to 84"),
        ("a.csv", b"\xff\xfe\x00", "CSV"),
        ("a.csv", b"a,b\n1,2\n", "no columns lon and lat"),
        ("a.geojson", b"{", "GeoJSON"),
        ("a.geojson", b"[]", "GeoJSON"),
        ("a.geojson", b'{"features": 3}', "GeoJSON"),
        (
            "a.geojson",
            b'{"features": [{"geometry": {"type": "Polygon", "coordinates": []}}]}',
            "Polygon, not points only",
        ),
        ("a.geojson", b"[" * 100_000, "GeoJSON"),
        ("a.parquet", b"PAR1", "longitude"),
        ("a.txt", b"1 2", "'.txt' is not known"),
    ],
)
def test_files_that_are_no_places(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=words):
        read_points(tmp_path / name)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DatasetError, match="cannot read places"):
        read_points(tmp_path / "none.csv")
    pq.write_table(
        pa.table({"geometry": shapely.to_wkb([shapely.box(0, 0, 1, 1)])}), tmp_path / "box.parquet"
    )
    with pytest.raises(DatasetError, match="not points only"):
        read_points(tmp_path / "box.parquet")
    pq.write_table(pa.table({"lon": ["a"], "lat": [None]}), tmp_path / "text.parquet")
    with pytest.raises(DatasetError, match="longitude and latitude"):
        read_points(tmp_path / "text.parquet")
