"""The planet on loopback, read by the programs that read the real archive."""

import argparse
import datetime as dt
import errno
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import odc.stac
import pyarrow.parquet as pq
import pystac_client
import pytest
import rasterio

from seco import cli
from seco import config as configs
from seco.collect.settings import Collect
from seco.errors import CatalogError, ConfigError, DatasetError
from seco.planet.catalogue.items import COLLECTION
from seco.planet.catalogue.making import Scenes, make_scenes
from seco.planet.catalogue.tiles import tile_from_id
from seco.planet.serving.serve import PlanetServer, copy_catalog
from seco.planet.utm import to_lonlat

LON, LAT = 5.0, 49.1
SETTINGS = {"first": dt.date(2023, 6, 1), "last": dt.date(2023, 7, 10), "tile_px": 1098, "jobs": 1}
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def server(folder, serving):
    with serving(folder[0]) as urls:
        yield urls


@pytest.fixture(scope="module")
def client(server):
    return pystac_client.Client.open(server[1], timeout=30)


def box(lon, lat, half=0.002):
    return [lon - half, lat - half, lon + half, lat + half]


def test_the_api_says_that_all_is_simulated(client):
    collection = client.get_collection(COLLECTION)
    assert "SIMULATED" in collection.description
    assert collection.extra_fields["seco:simulated"] is True


def test_search_by_box_and_time_and_pages(client, folder):
    paths = sorted((folder[0] / "tiles").glob("31U*/S2*.json"))
    every = list(client.search(collections=[COLLECTION], bbox=box(LON, LAT), limit=4, max_items=1000).items())
    assert sorted(i.id for i in every) == [p.stem for p in paths]
    assert len(every) > 8  # three pages
    june = client.search(
        collections=[COLLECTION], bbox=box(LON, LAT), datetime="2023-06-10/2023-06-20"
    ).item_collection()
    assert {i.id for i in june} == {
        i.id for i in every if dt.date(2023, 6, 10) <= i.datetime.date() <= dt.date(2023, 6, 20)
    }
    assert 0 < len(june) < len(every)
    assert not list(client.search(collections=[COLLECTION], bbox=box(40, 10)).items())
    one = client.search(ids=[every[0].id]).item_collection()[0]
    assert one.properties == every[0].properties
    assert [link.rel for link in one.links].count("collection") == 1
    assert one.get_collection().id == COLLECTION


def test_items_on_both_sides_of_the_antimeridian_are_found(client):
    for lon in (179.995, -179.995):
        found = list(client.search(collections=[COLLECTION], bbox=box(lon, -16.8)).items())
        assert found
        assert {i.geometry["type"] for i in found} == {"MultiPolygon"}


def test_rasterio_reads_a_served_scene(client, server, folder):
    item = next(client.search(collections=[COLLECTION], bbox=box(LON, LAT)).items())
    tile = tile_from_id(item.properties["grid:code"][5:], tile_px=1098)
    href = item.assets["red"].href
    assert href.startswith(server[0])
    with rasterio.open(href) as file:
        assert list(file.transform)[:6] == item.assets["red"].extra_fields["proj:transform"]
        got = file.read(1, window=((100, 164), (300, 400)))
        assert file.overviews(1)
    want = folder[1](
        None,
        epsg=tile.epsg,
        band="B04",
        acquisition_day=None,
        left_m=tile.left_m + 3000,
        top_m=tile.top_m - 1000,
        width_px=100,
        height_px=64,
    )
    np.testing.assert_array_equal(got, np.where(got == 0, 0, want))
    assert (got > 0).mean() > 0.5


def test_odc_stac_loads_a_small_area(client, folder):
    items = list(
        client.search(collections=[COLLECTION], bbox=box(LON, LAT), datetime="2023-06-01/2023-06-12").items()
    )
    area = box(LON, LAT)
    cube = odc.stac.load(items, bands=["red", "nir", "scl"], bbox=area, groupby="solar_day")
    assert cube.red.dtype == np.uint16
    assert cube.sizes["time"] == len({i.datetime.date() for i in items})
    tile = tile_from_id("31UFQ44", tile_px=1098)
    assert int(cube.spatial_ref) == tile.epsg
    x, y = cube.x.values, cube.y.values
    full = cube.red.isel(time=int(np.argmax((cube.red > 0).mean(("y", "x")).values))).values
    want = folder[1](
        None,
        epsg=tile.epsg,
        band="B04",
        acquisition_day=None,
        left_m=int(x[0] - 5),
        top_m=int(y[0] + 5),
        width_px=len(x),
        height_px=len(y),
    )
    np.testing.assert_array_equal(full, want)
    lon, lat = to_lonlat(tile.epsg, x.mean(), y.mean())
    assert (float(lon), float(lat)) == pytest.approx((LON, LAT), abs=0.001)


def test_faults_hit_pixels_on_schedule(folder):
    with PlanetServer(folder[0], port=0, stac_port=0, faults="503#1", read=folder[1]) as server:
        client = pystac_client.Client.open(server.stac_url, timeout=30)
        href = next(client.search(collections=[COLLECTION], bbox=box(LON, LAT)).items()).assets["scl"].href
        with pytest.raises(urllib.error.HTTPError, match="503"):
            OPEN.open(href, timeout=10)
        assert OPEN.open(href, timeout=10).status == 200


def test_a_rendered_planet_is_served_as_well(tmp_path, folder, serving):
    (tmp_path / "one.csv").write_text(f"lon,lat\n{LON},{LAT}\n")
    few = SETTINGS | {"last": dt.date(2023, 6, 3), "render": True}
    make_scenes(Scenes(points=tmp_path / "one.csv", **few), tmp_path / "planet", read=folder[1])
    with serving(tmp_path / "planet") as (pixels, stac):
        item = next(pystac_client.Client.open(stac, timeout=30).search(collections=[COLLECTION]).items())
        assert item.assets["red"].href.startswith(pixels)
        (path,) = (tmp_path / "planet" / "tiles").glob("*/*/B04.tif")
        with rasterio.open(item.assets["red"].href) as served, rasterio.open(path) as kept:
            np.testing.assert_array_equal(served.read(1), kept.read(1))


def test_ports_in_use_are_one_error(folder):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        for ports in ({"port": port, "stac_port": 0}, {"port": 0, "stac_port": port}):
            with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use"):
                PlanetServer(folder[0], **ports).start()
    with pytest.raises(ConfigError, match="1 to 65535"):
        PlanetServer(folder[0], port=0, stac_port=70000)


def test_the_stac_servers_death_is_noticed(folder):
    with PlanetServer(folder[0], port=0, stac_port=0, read=folder[1]) as server:
        server.check()
        (rustac,) = _children(server._child.pid)
        os.kill(rustac, signal.SIGKILL)
        server._child.wait(10)
        with pytest.raises(CatalogError, match="ended with 137"):
            server.check()


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def test_a_killed_server_leaves_no_child_behind(folder):
    code = "import sys; from seco.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        code,
        "planet",
        "serve",
        str(folder[0]),
        "--port",
        "0",
        "--stac-port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        lines = [program.stdout.readline() for _ in range(2)]
        stac = re.search(r"http://127.0.0.1:\d+", lines[1])[0]
        (watcher,) = _children(program.pid)
        (rustac,) = _children(watcher)
        assert OPEN.open(stac, timeout=10).status == 200
        program.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{rustac}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{rustac}").exists()
    with pytest.raises(OSError, match="refused"):
        OPEN.open(stac, timeout=5)


def test_a_server_that_cannot_start_says_why(folder, tmp_path, monkeypatch):
    fake = tmp_path / "rustac"
    fake.write_text("#!/bin/sh\necho no memory today >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(CatalogError, match="ended with 3: no memory today"):
        PlanetServer(folder[0], port=0, stac_port=0).start()
    fake.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CatalogError, match="not installed"):
        PlanetServer(folder[0], port=0, stac_port=0).start()


def test_planets_that_cannot_be_served(folder, tmp_path, capsys):
    assert cli.main(["planet", "serve", str(tmp_path)]) == 2
    assert "is no planet" in capsys.readouterr().err
    assert cli.main(["planet", "serve", str(folder[0]), "--faults", "nonsense"]) == 2
    assert "unknown kind" in capsys.readouterr().err
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder[0].iterdir():
        if path.is_file():
            (broken / path.name).write_bytes(path.read_bytes())
    (broken / "items.parquet").write_bytes((folder[0] / "items.parquet").read_bytes()[:2000])
    with pytest.raises(DatasetError, match="damaged"):
        PlanetServer(broken, port=0, stac_port=0).start()
    (broken / "catalog.json").unlink()
    with pytest.raises(DatasetError, match="not whole"):
        PlanetServer(broken, port=0, stac_port=0)


def test_no_room_for_the_copy_is_not_called_damage(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DatasetError, match=r"no room for a copy .*No space left on device; free disk space"):
        copy_catalog(folder[0], tmp_path, pixels_url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("first", "last", "seasons"),
    [("2023-06-01", "2023-06-01", 1), ("2023-06-01", "2023-08-30", 1), ("2023-06-01", "2023-08-31", 2),
     ("2023-01-01", "2023-12-31", 5), ("2023-01-01", "2024-12-31", 5)],
)  # fmt: skip
def test_the_command_that_collects_asks_for_what_there_is(tmp_path, folder, first, last, seasons):
    planet = tmp_path / "a planet"
    shutil.copytree(folder[0], planet, ignore=shutil.ignore_patterns("tiles"))
    settings = json.loads((planet / "planet.json").read_text())
    (planet / "planet.json").write_text(json.dumps(settings | {"first": first, "last": last}))
    words = shlex.split(PlanetServer(planet, port=0, stac_port=7777).collecting)
    parser = argparse.ArgumentParser()
    configs.add_arguments(parser, Collect)
    parser.add_argument("--out")
    asked = configs.from_args(Collect, parser.parse_args(words[2:]))  # which refuses seasons that do not fit
    assert words[:2] == ["seco", "collect"]
    assert (asked.places, asked.seasons) == (planet / "places.csv", seasons)
    assert (asked.catalog, asked.hosts) == ("http://127.0.0.1:7777", "private")
    assert asked.days == (dt.date.fromisoformat(first), dt.date.fromisoformat(last))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_addresses_and_stops_cleanly(folder, number):
    command = [
        sys.executable,
        "-m",
        "seco.cli",
        "planet",
        "serve",
        str(folder[0]),
        "--port",
        "0",
        "--stac-port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            lines = [program.stdout.readline() for _ in range(3)]
            pixels, stac = (re.search(r"http://127.0.0.1:\d+", line)[0] for line in lines[:2])
            assert f"seco collect --places {folder[0]}/places.csv --catalog {stac} " in lines[2]
            assert json.load(OPEN.open(stac, timeout=10))["type"] == "Catalog"
            assert OPEN.open(pixels + "/_stats", timeout=10).status == 200
            program.send_signal(number)
            rest, _ = program.communicate(timeout=30)
            assert program.returncode == 0
            assert rest == "stopped\n"
        finally:
            program.kill()
    time.sleep(0.1)
    for url in (pixels, stac):
        with pytest.raises(OSError, match="refused"):
            OPEN.open(url, timeout=5)
