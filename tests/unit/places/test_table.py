import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image

from seco.cli import main
from seco.errors import DatasetError
from seco.places import table as tables
from seco.places.files import read_points
from seco.places.map import DOTS, draw_map
from seco.places.settings import Places
from seco.places.table import count_rows, make_places


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("places") / "a.parquet"
    return make_places(Places(num_places=400, spare=0.05, seed=3), out), out


def test_columns_and_order(made):
    places, out = made
    table = pq.read_table(out)
    assert table.column_names == [
        "id", "lon", "lat", "country", "continent", "city", "city_km", "climate", "land_cover", "land_fraction",
        "rank", "spare", "geometry",
    ]  # fmt: skip
    assert table["rank"].to_pylist() == list(range(420))
    assert table["id"].to_pylist()[:2] == ["000000", "000001"]
    assert table["spare"].to_pylist() == [False] * 400 + [True] * 20
    assert places.num == 400
    points = shapely.from_wkb(table["geometry"].to_pylist())
    assert (shapely.get_x(points) == table["lon"].to_numpy()).all()
    assert (shapely.get_y(points) == table["lat"].to_numpy()).all()


def test_metadata_is_geoparquet_and_tells_where_it_comes_from(made):
    _, out = made
    metadata = pq.ParquetFile(out).metadata.metadata
    geo = json.loads(metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Point"]
    assert "crs" not in column  # which means longitude and latitude on WGS 84
    table = pq.read_table(out)
    lon, lat = table["lon"].to_numpy(), table["lat"].to_numpy()
    assert column["bbox"] == [lon.min(), lat.min(), lon.max(), lat.max()]
    about = json.loads(metadata[b"seco:places"])
    assert about["settings"]["seed"] == 3
    assert (about["num_places"], about["num_spare"]) == (400, 20)
    assert about["turned_down"].keys() == {"--min-land"}
    assert len(about["sources"]) == 4


def test_the_same_settings_make_the_same_file(made, tmp_path):
    _, out = made
    make_places(Places(num_places=400, spare=0.05, seed=3), tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == out.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["b.parquet"]


def test_what_is_written_can_be_read_as_places(made, tmp_path):
    _, out = made
    points = read_points(out)
    assert (points.lonlat[:, 0] == pq.read_table(out)["lon"].to_numpy()).all()
    assert points.names[:2] == ("000000", "000001")
    again = make_places(Places(points=out, order="file"), tmp_path / "again.parquet")
    assert again.table["lon"].equals(pq.read_table(out)["lon"])
    assert again.table["name"].to_pylist() == list(points.names)


def test_counts_leave_spare_places_out(made):
    places, _ = made
    rows = count_rows(places)
    for kind in ("continent", "climate group", "climate", "landcover", "country"):
        of_kind = [r for r in rows if r["kind"] == kind]
        assert sum(r["places"] for r in of_kind) == 400
        assert sum(r["share"] for r in of_kind) == pytest.approx(1, abs=1e-3)
        assert [r["places"] for r in of_kind] == sorted((r["places"] for r in of_kind), reverse=True)
    asia = next(r for r in rows if r["class"] == "Asia")
    continents = places.table["continent"].to_pylist()[:400]
    assert asia["places"] == continents.count("Asia")
    assert asia["target_share"] is None


@pytest.mark.parametrize("name", ["a.csv", "a", "a.parquet.txt"])
def test_out_is_geoparquet_by_name(tmp_path, name):
    with pytest.raises(DatasetError, match=r"give a name that ends in .parquet or .geoparquet"):
        make_places(Places(num_places=1), tmp_path / name)


def test_out_that_exists_or_cannot_be_written(tmp_path, monkeypatch):
    there = tmp_path / "a.parquet"
    there.write_text("precious")
    with pytest.raises(DatasetError, match=r"exists already; choose another file, or remove it first"):
        make_places(Places(num_places=1), there)
    assert there.read_text() == "precious"
    with pytest.raises(DatasetError, match=r"cannot write .*b.parquet"):
        make_places(Places(num_places=1), there / "b.parquet")

    def full(*_, **__):
        (tmp_path / f".c.parquet.partial-{tables.os.getpid()}").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", full)
    with pytest.raises(DatasetError, match=r"cannot write .*No space left on device; free disk space"):
        make_places(Places(num_places=1), tmp_path / "c.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def table_of(num, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "lon": rng.uniform(-180, 180, num), "lat": rng.uniform(-60, 75, num), "continent": ["Asia"] * num,
        "climate": [["Af", "Cfb", None][i % 3] for i in range(num)], "land_cover": ["$grass_land"] * (num - 1) + [None],
    }  # fmt: skip
    return pa.table(columns)


@pytest.mark.parametrize(
    ("num", "way"), [(1, "PathCollection"), (DOTS, "PathCollection"), (DOTS + 1, "PolyCollection")]
)
def test_few_places_are_dots_and_many_are_hexagons(num, way):
    figure = draw_map(table_of(num), title="places of $HOME_", note="$x_{")
    drawn = [c for c in figure.axes[0].collections if type(c).__name__ == way and len(c.get_offsets()) > 0]
    assert drawn
    figure.canvas.draw()  # a dollar sign is no formula


def test_density_is_places_on_ground_of_10_000_square_kilometres():
    """Even places on the globe have one density: all of them over the Earth's area."""
    rng = np.random.default_rng(1)
    num = 200_000
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, num)))
    table = table_of(num).set_column(1, "lat", pa.array(lat))
    axes = draw_map(table, title="", note="").axes[0]
    hexagons = next(
        c for c in axes.collections if type(c).__name__ == "PolyCollection" and c.get_array() is not None
    )
    density = np.asarray(hexagons.get_array())
    assert np.median(density) == pytest.approx(num / 51_006, rel=0.1)


def test_the_command(tmp_path, capsys):
    out = tmp_path / "p.parquet"
    args = [
        "places",
        str(out),
        "--num",
        "60",
        "--spare",
        "0.1",
        "--seed",
        "1",
        "--json",
        str(tmp_path / "p.json"),
    ]
    assert main([*args, "--map", str(tmp_path / "map.png"), "--balance", "continent"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: 60 places and 6 spare; map: {tmp_path / 'map.png'}" in said
    assert "candidates, of which turned down:" in said
    assert f"next: seco collect --places {out} --num 60" in said
    assert "target_share" in said
    rows = json.loads((tmp_path / "p.json").read_text())["rows"]
    assert sum(r["places"] for r in rows if r["kind"] == "continent") == 60
    assert all(r["target_share"] is not None for r in rows if r["kind"] == "continent")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size[0] > 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.png", "p.json", "p.parquet"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["p.csv"], "give a name that ends in .parquet"),
        (["p.parquet", "--num", "many"], "setting num_places (--num): 'many' is not a valid int"),
        (["p.parquet", "--num", "nan"], "not a valid int"),
        (["p.parquet", "--lat-max", "91"], "latitudes -60 to 91"),
        (["p.parquet", "--balance", "moon"], "balance by moon"),
        (["p.parquet", "--points", "gone.csv"], "cannot read gone.csv"),
        (["p.parquet", "--within", "gone.json"], "cannot read gone.json"),
        (["p.parquet", "--map", "map.txt"], "map map.txt: give a name that ends in .png, .pdf, .svg (--map)"),
        (["p.parquet", "--sampler", "sea"], "invalid choice: 'sea'"),
    ],
)
def test_a_bad_command_is_one_line(tmp_path, monkeypatch, capsys, args, said):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["places", *args])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
