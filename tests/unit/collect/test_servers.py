"""Other people's servers: nginx for pixels, stac-fastapi for searches; skipped where they are not installed."""

import contextlib
import dataclasses
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import collect_child as child
from collect_child import contents, take

from seco.collect.collecting import collect
from seco.planet.catalogue.items import COLLECTION
from seco.planet.serving.serve import copy_catalog

pytestmark = pytest.mark.usefixtures("small_shards")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], url: str, *, log: Path):
    """Run a server until the block ends; it must answer within a minute."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    pytest.fail(f"{command[0]} does not answer: {log.read_text(errors='replace')[-800:]}")
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


def served_catalog(planet: Path, folder: Path, url: str) -> Path:
    folder.mkdir()
    copy_catalog(planet / "planet", folder, pixels_url=url)
    return folder / "items.parquet"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_pixels_from_nginx(planet, tmp_path, clean):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "access.log"
    config = tmp_path / "nginx.conf"
    temporary = " ".join(
        f"{n}_temp_path {tmp_path}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; user root; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log {log}; {temporary} server {{ listen 127.0.0.1:{port}; root {planet}/planet/tiles;\n"
        " location = /ready { return 200; } } }"
    )
    with running(["nginx", "-c", str(config), "-p", str(tmp_path)], f"{url}/ready", log=tmp_path / "out.log"):
        done = take(planet, served_catalog(planet, tmp_path / "catalog", url), tmp_path / "d.seco")
    assert contents(tmp_path / "d.seco") == contents(clean[0])
    answers = [line.split('"')[2].split()[0] for line in log.read_text().splitlines() if "/ready" not in line]
    assert answers.count("206") == done.counts.requests
    assert set(answers) == {"206"}


STAC_FASTAPI = """
import sys
from pathlib import Path
import duckdb_extension_icu, duckdb_extension_parquet, duckdb_extension_spatial, uvicorn
from rustac import DuckdbClient
from stac_fastapi.geoparquet.api import create
from stac_fastapi.geoparquet.settings import Settings
collections, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
for module in (duckdb_extension_icu, duckdb_extension_parquet, duckdb_extension_spatial):
    for file in Path(module.__file__).parent.glob("extensions/*/*.duckdb_extension"):
        there = folder / file.parent.name / "linux_amd64" / file.name
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(file)
client = DuckdbClient(extension_directory=folder, install_extensions=False)
settings = Settings(
    stac_fastapi_landing_id="other", stac_fastapi_title="other", stac_fastapi_description="other",
    stac_fastapi_collections_href=collections,
)
uvicorn.run(create(settings=settings, duckdb_client=client).app, host="127.0.0.1", port=port, log_level="warning")
"""
_NEEDED = (
    "stac_fastapi",
    "uvicorn",
    "duckdb_extension_spatial",
    "duckdb_extension_icu",
    "duckdb_extension_parquet",
)
_MISSING = [n for n in _NEEDED if importlib.util.find_spec(n) is None]


@pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")
def test_searches_by_stac_fastapi(planet, served, tmp_path, clean):
    """Another implementation of the API, with a database: the same dataset."""
    catalog, _ = served()
    assert pq.read_metadata(catalog).num_rows > 0
    collection = json.loads((planet / "planet" / "collection.json").read_text())
    collection["links"] = []
    collection["assets"] = {
        "items": {"href": str(catalog), "type": "application/vnd.apache.parquet", "roles": ["data"]}
    }
    (tmp_path / "collections.json").write_text(json.dumps([collection]))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-c",
        STAC_FASTAPI,
        str(tmp_path / "collections.json"),
        str(port),
        str(tmp_path / "ext"),
    ]
    with running(command, f"{url}/collections", log=tmp_path / "out.log"):
        settings = child.settings(planet / "places.csv", catalog, collection=COLLECTION)
        done = collect(
            dataclasses.replace(settings, catalog=url), tmp_path / "d.seco", patience=child.PATIENT
        )
    assert contents(tmp_path / "d.seco")["rows"] == contents(clean[0])["rows"]
    assert done.num_patches == clean[1].num_patches
