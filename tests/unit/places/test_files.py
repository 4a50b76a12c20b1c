import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely

from seco.errors import DatasetError
from seco.places import files
from seco.places.files import read_points, read_polygon
from seco.planet.catalogue.points import read_points as read_for_planet

LONLAT = [[2.35, 48.86], [-179.5, -16.0], [139.7, 35.7]]


def feature(lon, lat, **more):
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "properties": {},
    } | more


def geojson(path, features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def geoparquet(path, *, geo=None, shapes=None, **columns):
    shapes = shapely.points(LONLAT) if shapes is None else shapes
    table = pa.table({"geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()), **columns})
    column = {"encoding": "WKB", "geometry_types": ["Point"]} | (geo or {})
    about = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(about)}), path)
    return path


def csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("head", ["lon,lat", "Longitude, Latitude", "x,y", "\ufefflon,lat", "lng,lat"])
def test_csv(tmp_path, head):
    rows = "\n".join(f"{a},{b}" for a, b in LONLAT)
    points = read_points(csv(tmp_path / "a.csv", f"{head}\n{rows}\n\n"))
    assert points.lonlat.tolist() == LONLAT
    assert points.names == (None, None, None)


def test_csv_in_another_order_with_names(tmp_path):
    points = read_points(csv(tmp_path / "a.CSV", 'id,lat,other,lon\n"a,b",48,x,2\n,49,y,3\n'))
    assert points.lonlat.tolist() == [[2, 48], [3, 49]]
    assert points.names == ("a,b", None)


def test_geojson(tmp_path):
    found = [
        feature(*LONLAT[0], id=7),
        feature(*LONLAT[1], properties={"name": "b"}),
        feature(*LONLAT[2], properties=None),
    ]
    found[0]["geometry"]["coordinates"].append(120.0)  # a height
    points = read_points(geojson(tmp_path / "a.geojson", found))
    assert points.lonlat.tolist() == LONLAT
    assert points.names == ("7", "b", None)


def test_geoparquet_of_points_and_of_columns(tmp_path):
    crs = pyproj.CRS("EPSG:4326").to_json_dict()
    path = geoparquet(tmp_path / "a.parquet", geo={"crs": crs}, name=["a", None, "c"])
    points = read_points(path)
    assert points.lonlat.tolist() == LONLAT
    assert points.names == ("a", None, "c")
    columns = {"lon": [p[0] for p in LONLAT], "lat": np.array([48.86, -16, 35.7], "f4")}
    pq.write_table(pa.table(columns), tmp_path / "b.geoparquet")
    assert read_points(tmp_path / "b.geoparquet").lonlat == pytest.approx(np.array(LONLAT), abs=1e-5)


def test_hostile_names_are_made_harmless(tmp_path):
    names = ["\x1b[2J[red]x[/red]", "line\nbreak\ttab", "\u202egnp.exe", "x" * 5000, "  ", "Zürich 東京"]
    rows = [feature(i, i, properties={"name": n}) for i, n in enumerate(names)]
    found = read_points(geojson(tmp_path / "a.geojson", rows)).names
    assert found == ("[2J[red]x[/red]", "line break tab", "gnp.exe", "x" * 200, None, "Zürich 東京")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "no columns lon and lat among none; give longitude and latitude in degrees, as CSV"),
        ("a.csv", "lon,lat\n", "there are none; give at least one"),
        ("a.csv", "name,east\na,3\n", "no columns lon and lat among name, east"),
        ("a.csv", "lon,lat\n1,2\n3\n", "line 3 is '3'"),
        ("a.csv", "lon,lat\n1,2\n\n3,north\n", "line 4 is '3,north'"),
        ("a.csv", "lon,lat\n1,\n", "line 2 is '1,'"),
        ("a.csv", "lon,lat\n1,2\n3,nan\n", "place 2 is 3, nan; longitude comes first"),
        ("a.csv", "lon,lat\n1,inf\n", "place 1 is 1, inf"),
        ("a.csv", "lon,lat\n181,2\n", "place 1 is 181, 2; longitude comes first, -180 to 180"),
        ("a.csv", "lon,lat\n2,91\n-100,5\n", "place 1 is 2, 91; .*-90 to 90 \\(1 of 2 places are outside\\)"),
        ("a.csv", "lon,lat\n48,2\n35.7,139.7\n", "place 2 is 35.7, 139.7; .*longitude and latitude look swapped"),
        ("a.csv", "lon,lat\n" + "1" * 200_000 + ",2\n", "field larger than field limit"),
        ("a.json", "", "give longitude and latitude"),
        ("a.json", "{}", "'features'; give"),
        ("a.json", "[]", "give longitude and latitude"),
        ("a.json", '{"features": []}', "there are none"),
        ("a.json", '{"features": [{"geometry": null}]}', "give longitude and latitude"),
        ("a.json", '{"features": [{"geometry": {"type": "Point", "coordinates": [1]}}]}', "give longitude"),
        ("a.json", '{"features": [{"geometry": {"type": "Point", "coordinates": ["a", "b"]}}]}', "give longitude"),
        ("a.json", '{"features": [{"geometry": {"type": "Polygon"}}]}', r"holds Polygon, .*\(an area goes into"),
        ("a.json", "[" * 100_000, "give longitude and latitude"),
        ("a.parquet", "not Parquet", "give longitude and latitude"),
        ("a.parquet", "", "give longitude and latitude"),
        ("a.shp", "x", "the kind '.shp' is not known; give .csv, .json, .geojson, .parquet, .geoparquet"),
        ("places", "x", "the kind '' is not known"),
    ],
)  # fmt: skip
def test_bad_text(tmp_path, name, text, said):
    path = csv(tmp_path / name, text)
    with pytest.raises(DatasetError, match=said) as caught:
        read_points(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_bad_bytes_and_paths(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(b"lon,lat\n\xff\xfe,3\n")
    with pytest.raises(DatasetError, match="give longitude and latitude"):
        read_points(path)
    with pytest.raises(DatasetError, match=r"cannot read places .*gone.csv.*give a file of places"):
        read_points(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DatasetError, match="cannot read places"):
        read_points(tmp_path / "folder.csv")
    monkeypatch.setattr(files, "MAX_BYTES", 4)
    with pytest.raises(DatasetError, match=r"\d+ bytes; the limit is 4"):
        read_points(path)


def test_bad_parquet(tmp_path):
    whole = geoparquet(tmp_path / "a.parquet").read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match="give longitude and latitude"):
        read_points(cut)
    mercator = pyproj.CRS("EPSG:3857").to_json_dict()
    with pytest.raises(DatasetError, match="its coordinates are in WGS 84 / Pseudo-Mercator, not degrees"):
        read_points(geoparquet(tmp_path / "b.parquet", geo={"crs": mercator}))
    with pytest.raises(DatasetError, match="encoded as 'point', not WKB"):
        read_points(geoparquet(tmp_path / "c.parquet", geo={"encoding": "point"}))
    with pytest.raises(DatasetError, match="holds Polygon, not points only"):
        read_points(geoparquet(tmp_path / "d.parquet", shapes=np.array([shapely.box(0, 0, 1, 1)])))
    for columns, said in (
        ({"lon": [1.0], "lat": [None]}, "place 1 is 1, nan"), ({"lon": ["a"], "lat": ["b"]}, "give longitude"),
        ({"lon": [1.0, 2.0], "lat": [1.0, None]}, "place 2 is 2, nan"), ({"b": [1]}, "and no geometry, among b"),
    ):  # fmt: skip
        pq.write_table(pa.table(columns), tmp_path / "e.parquet")
        with pytest.raises(DatasetError, match=said):
            read_points(tmp_path / "e.parquet")


def test_the_planet_wants_places_where_sentinel_2_has_tiles(tmp_path):
    path = csv(tmp_path / "a.csv", "lon,lat\n0,84.0\n1,84.5\n")
    assert len(read_points(path).lonlat) == 2
    with pytest.raises(DatasetError, match=r"place 2 is 1, 84.5; .*-80 to 84, where Sentinel-2 has tiles"):
        read_for_planet(path)


@pytest.mark.parametrize("wrap", ["geometry", "feature", "collection"])
def test_polygons(tmp_path, wrap):
    box = json.loads(shapely.to_geojson(shapely.box(1, 2, 3, 4)))
    one = {"type": "Feature", "properties": {}, "geometry": box}
    values = {
        "geometry": box,
        "feature": one,
        "collection": {"type": "FeatureCollection", "features": [one, one]},
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(values[wrap]))
    assert read_polygon(path).equals(shapely.box(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read the polygon"),
        ("{}", "cannot read the polygon"),
        ("[]", "cannot read the polygon"),
        ("[" * 100_000, "cannot read the polygon"),
        ('{"type": "Nonsense"}', "cannot read the polygon"),
        ('{"type": "FeatureCollection", "features": []}', "holds no area"),
        ('{"type": "Point", "coordinates": [1, 2]}', "holds no area"),
        (shapely.to_geojson(shapely.box(100, 100, 120, 130)), r"bounds 100, 100, 120, 130"),
    ],
)
def test_bad_polygons(tmp_path, text, said):
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(DatasetError, match=said) as caught:
        read_polygon(path)
    assert len(str(caught.value)) < 600


def test_a_polygon_file_that_is_missing_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="cannot read the polygon"):
        read_polygon(tmp_path / "gone.geojson")
    path = csv(tmp_path / "a.geojson", "{}")
    monkeypatch.setattr(files, "MAX_POLYGON_BYTES", 1)
    with pytest.raises(DatasetError, match="2 bytes; the limit is 1"):
        read_polygon(path)
