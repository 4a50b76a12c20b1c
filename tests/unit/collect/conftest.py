"""Scenes and items that look as catalogues have them, made up."""

import dataclasses
import datetime as dt
import http.server
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import shapely

from seco.collect.model import Asset, Place, Scene
from seco.collect.settings import Collect
from seco.data import layout as layouts
from seco.planet.catalogue.items import CONTENTS, make_item
from seco.planet.catalogue.making import Scenes, make_scenes
from seco.planet.catalogue.orbits import acquisitions
from seco.planet.catalogue.tiles import tile_from_id
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer
from seco.planet.serving.serve import copy_catalog
from seco.planet.utm import to_lonlat

sys.path.insert(0, str(Path(__file__).parent))
import collect_child as child

TILE = "31UFQ"


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def collect(**values: Any) -> Collect:
    return Collect(**{"first": day("2023-01-01"), "last": day("2024-12-31"), "bands": ("B04",), **values})


def place(
    x_m: float = 50_000, y_m: float = 50_000, *, tile: str = TILE, id: str = "p0", index: int = 0
) -> Place:
    """A place so many metres east and south of a tile's upper left corner."""
    found = tile_from_id(tile)
    lon, lat = to_lonlat(found.epsg, found.left_m + x_m, found.top_m - y_m)
    return Place(index=index, id=id, lon=float(lon), lat=float(lat))


def outline(tile: str, *, west_m: float = 0, east_m: float = 109_800) -> shapely.Polygon:
    """What was seen between two distances from a tile's left edge."""
    found = tile_from_id(tile)
    left, bottom, right, top = found.left_m + west_m, found.bounds_m[1], found.left_m + east_m, found.top_m
    corners = ((left, top), (left, bottom), (right, bottom), (right, top))
    return shapely.Polygon([tuple(map(float, to_lonlat(found.epsg, *c))) for c in corners])


def scene(date: str, cloud: float | None = 0.0, *, tile: str = TILE, **values: Any) -> Scene:
    found = tile_from_id(tile)
    asset = Asset(
        band="B04", href=f"https://example.org/{tile}/{date}/B04.tif", pixel_m=10.0, shape=(10980, 10980),
        transform=(10.0, 0.0, float(found.left_m), 0.0, -10.0, float(found.top_m)), dtype="uint16", nodata=0.0,
        scale=1e-4, offset=-0.1,
    )  # fmt: skip
    usual = {
        "id": f"{tile}-{date}", "collection": "c", "catalog": "k", "tile": tile, "epsg": found.epsg,
        "datetime": dt.datetime.fromisoformat(f"{date}T10:30:00+00:00"), "platform": "sentinel-2a",
        "datatake": f"D{date}", "baseline": "05.09", "cloud_percent": cloud, "nodata_percent": 0.0,
        "footprint": outline(tile), "assets": {"B04": asset}, "is_offset_removed": False,
    }  # fmt: skip
    return Scene(**{**usual, **values})


def items(
    tile: str, *, first: str = "2023-01-01", last: str = "2023-12-31", cloud: Callable[[int], float] = lambda i: 0.0,
    base: str = "https://example.org",
) -> list[dict[str, Any]]:  # fmt: skip
    """Items of a tile as the planet makes them, with cloud by their number."""
    found = tile_from_id(tile)
    out = []
    for i, taken in enumerate(acquisitions(found, first=day(first), last=day(last))):
        contents = dict.fromkeys(CONTENTS, 0.0) | {"s2:high_proba_clouds_percentage": cloud(i)}
        made = make_item(
            found,
            taken,
            contents=contents,
            href=lambda name, t=taken: f"{base}/{tile}/{t.day}/{name}",
            seed=0,
        )
        if made is not None:
            out.append(made)
    return out


def write_catalog(folder: Path, made: list[dict[str, Any]]) -> Path:
    """A FeatureCollection on disk."""
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return path


@dataclasses.dataclass
class FakeApi:
    """A small STAC API on loopback that can be told to misbehave.

    Attributes:
        items: what it has.
        behaviour: called with the number of a search (from 0) and its body; answers (status, headers, JSON), or None for
            the usual answer.
        searches: bodies of the searches that came.
    """

    items: list[dict[str, Any]]
    url: str = ""
    page: int = 50
    behaviour: Callable[[int, dict[str, Any]], tuple[int, dict[str, str], Any] | None] = lambda n, body: None
    searches: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    collections: tuple[str, ...] = ("seco-planet-sentinel-2-l2a",)

    def landing(self) -> dict[str, Any]:
        conforms = ("core", "collections", "item-search", "item-search#query")
        return {
            "type": "Catalog", "id": "fake", "stac_version": "1.0.0", "description": "fake",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{c}" for c in conforms],
            "links": [
                {"rel": "self", "href": self.url}, {"rel": "root", "href": self.url},
                {"rel": "data", "href": f"{self.url}/collections"},
                {"rel": "search", "href": f"{self.url}/search", "method": "POST", "type": "application/geo+json"},
            ],
        }  # fmt: skip

    def collection(self, name: str) -> dict[str, Any]:
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        return {
            "type": "Collection", "id": name, "stac_version": "1.0.0", "description": name, "license": "other",
            "extent": extent, "links": [],
        }  # fmt: skip

    def search(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        number = len(self.searches)
        self.searches.append(body)
        told = self.behaviour(number, body)
        if told is not None:
            return told
        start = int(body.get("token", 0))
        found = [i for i in self.items if matches(i, body)]
        answer: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": found[start : start + self.page],
            "links": [],
        }
        if start + self.page < len(found):
            more = {**body, "token": start + self.page}
            answer["links"] = [{"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": more}]
        return 200, {}, answer


def matches(item: dict[str, Any], body: dict[str, Any]) -> bool:
    """Box and query, as a server would; not the dates, since servers may ignore what they like."""
    for name, test in (body.get("query") or {}).items():
        value = item["properties"].get(name)
        if ("eq" in test and value != test["eq"]) or ("lte" in test and value > test["lte"]):
            return False
    if body.get("bbox"):
        box = shapely.box(*body["bbox"])
        return bool(shapely.geometry.shape(item["geometry"]).intersects(box))
    return True


@pytest.fixture
def fake_api() -> Iterator[FakeApi]:
    api = FakeApi(items=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self, status: int, headers: dict[str, str], value: Any) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path.rstrip("/").endswith("/collections"):
                self._answer(
                    200, {}, {"collections": [api.collection(c) for c in api.collections], "links": []}
                )
            elif self.path in ("", "/"):
                self._answer(200, {}, api.landing())
            else:
                self._answer(404, {}, {"code": "NotFound"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*api.search(body))

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield api
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """What makes places, scenes, items and settings."""
    return SimpleNamespace(
        collect=collect, place=place, scene=scene, outline=outline, items=items, write_catalog=write_catalog
    )


@pytest.fixture(scope="session")
def planet(tmp_path_factory):
    """A planet on disk: four bands of every scene, deflated; its places, and those of the test."""
    root = tmp_path_factory.mktemp("planet")
    places = root / "places.csv"
    places.write_text(child.POINTS)
    scenes = Scenes(
        points=places, first=child.FIRST, last=child.LAST, tile_px=1098, revisit_days=20, render=True, jobs=1, static="no",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seco.planet.catalogue.making.BANDS", child.BANDS)
        make_scenes(scenes, root / "planet", read=child.read)
    return root


@pytest.fixture
def served(planet, tmp_path):
    """Serve the planet's files with faults; give the catalogue, and the server."""
    servers = []

    def serve(faults: str = "", *, seed: int = 0):
        root = planet / "planet" / "tiles"
        server = PixelServer(
            lambda path: root / path.lstrip("/") if (root / path.lstrip("/")).is_file() else None,
            faults=FaultSchedule.parse(faults, seed=seed) if faults else None,
        ).start()
        servers.append(server)
        folder = tmp_path / f"catalog{len(servers)}"
        folder.mkdir()
        copy_catalog(planet / "planet", folder, pixels_url=server.url)
        return folder / "items.parquet", server

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(layouts, "SHARD_BYTES", layouts.SHARD_BYTES)
    child.small_shards()


@pytest.fixture(scope="session")
def clean(planet, tmp_path_factory):
    """What comes out where nothing goes wrong, from local files."""
    kept = layouts.SHARD_BYTES
    child.small_shards()
    out = tmp_path_factory.mktemp("clean") / "d.seco"
    done = child.take(planet, planet / "planet" / "items.parquet", out)
    layouts.SHARD_BYTES = kept
    return out, done
