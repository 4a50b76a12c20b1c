"""A planet on loopback: pixels by seco's own server, the STAC API by `rustac serve` as a child process."""

from __future__ import annotations

import errno
import http.client
import json
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seco.errors import CatalogError, ConfigError, DatasetError
from seco.planet.catalogue.archive import (
    CATALOG_NAME,
    COLLECTION_NAME,
    ITEMS_NAME,
    PIXELS_URL,
    PLACES_NAME,
    TILES_NAME,
    read_archive,
)
from seco.planet.catalogue.geoparquet import metadata_of
from seco.planet.catalogue.items import COLLECTION
from seco.planet.catalogue.manifest import licence_link
from seco.planet.catalogue.scenes import ReadBand, finder
from seco.planet.serving.faults import FaultSchedule
from seco.planet.serving.pixels import PixelServer

HOST = "127.0.0.1"
PIXELS_PORT, STAC_PORT = 8642, 8643
_PYTHON = sys.executable
_STARTING_S = 60.0
_STARTING_S_AN_ITEM = 0.002
_ASKING_S = 5.0
_STOPPING_S = 5.0
_ROWS = 5000
_SEASONS, _SEASON_DAYS = 5, 91
# The child's own parent: it ends the server when our end of its standard input closes, even if we were killed.
_WATCH = """
import subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def end():
    sys.stdin.read()
    child.terminate()
    try:
        child.wait(3)
    except subprocess.TimeoutExpired:
        child.kill()
threading.Thread(target=end, daemon=True).start()
code = child.wait()
sys.exit(code if code >= 0 else 128 - code)
"""


class PlanetServer:
    """Both servers of a planet, from `start` to `stop`.

    Args:
        out: folder of the planet.
        port: of the pixels; 0 takes a free one.
        stac_port: of the STAC API; 0 takes a free one.
        faults: what goes wrong with pixels, as `FaultSchedule.parse` reads it; empty for nothing.
        read: the renderer; the planet's own unless given.

    Raises:
        DatasetError: the folder holds no planet, or its catalogue is not whole.
        ConfigError: a port is out of range, or the faults cannot be read.
    """

    def __init__(
        self, out: Path, *, port: int = PIXELS_PORT, stac_port: int = STAC_PORT, faults: str = "",
        read: ReadBand | None = None,
    ) -> None:  # fmt: skip
        self._archive = read_archive(out)
        if not all((out / name).is_file() for name in (ITEMS_NAME, COLLECTION_NAME, CATALOG_NAME)):
            raise DatasetError(
                f"the catalogue of {out} is not whole; run the same `seco planet scenes` again"
            )
        if not 0 <= stac_port <= 65535:
            raise ConfigError(f"port {stac_port}; it must be 1 to 65535, or 0 for a free one")
        self._out, self._stac_port = out, stac_port
        schedule = FaultSchedule.parse(faults, seed=self._archive.planet.seed)
        self._pixels = PixelServer(finder(self._archive, read=read), host=HOST, port=port, faults=schedule)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pixels_url(self) -> str:
        """Address of the pixels, once started."""
        return self._pixels.url

    @property
    def stac_url(self) -> str:
        """Address of the STAC API, once started."""
        return f"http://{HOST}:{self._stac_port}"

    @property
    def collecting(self) -> str:
        """Command that collects the planet's places from it, once started."""
        first, last = self._archive.first, self._archive.last
        seasons = min(_SEASONS, 1 + (last - first).days // _SEASON_DAYS)
        flags = {"places": self._out / PLACES_NAME, "catalog": self.stac_url, "hosts": "private", "from": first, "to": last,
                 "seasons": seasons, "out": "patches.seco"}  # fmt: skip
        return f"seco collect {' '.join(f'--{k} {shlex.quote(str(v))}' for k, v in flags.items())}"

    def start(self) -> PlanetServer:
        """Start both and wait until both answer.

        Raises:
            ConfigError: a port is in use.
            CatalogError: the STAC server is not installed, or does not come up.
            DatasetError: the catalogue is damaged, or there is no room for a copy of it.
        """
        try:
            self._pixels.start()
            self._stac_port = self._stac_port or _free_port()
            _require_free(self._stac_port)
            self._folder = tempfile.TemporaryDirectory(prefix="seco-planet-")
            folder = Path(self._folder.name)
            num = copy_catalog(self._out, folder, pixels_url=self.pixels_url)
            self._child = _start_rustac(folder, self._stac_port)
            self._await_stac(_STARTING_S + num * _STARTING_S_AN_ITEM)
        except BaseException:
            self.stop()
            raise
        return self

    def _await_stac(self, most_s: float) -> None:
        until = time.monotonic() + most_s
        while time.monotonic() < until:
            self.check()
            if _answers(self._stac_port, f"/collections/{COLLECTION}"):
                return
            time.sleep(0.05)
        raise CatalogError(
            f"the STAC server does not answer after {most_s:.0f} s; see whether the machine is overloaded"
        )

    def check(self) -> None:
        """See that the STAC server is alive.

        Raises:
            CatalogError: it has ended.
        """
        assert self._child is not None, "not started"
        assert self._folder is not None, "not started"
        code = self._child.poll()
        if code is not None:
            log = (Path(self._folder.name) / "rustac.log").read_text(encoding="utf-8", errors="replace")
            last = " ".join(log.split()[-40:])
            raise CatalogError(
                f"the STAC server (rustac serve) ended with {code}: {last or 'it said nothing'}"
            )

    def stop(self) -> None:
        """Stop both and remove what was written for them. Does nothing where they are stopped."""
        if self._child is not None:
            assert self._child.stdin is not None
            self._child.stdin.close()
            try:
                self._child.wait(_STOPPING_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child = None
        self._pixels.stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> PlanetServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def copy_catalog(out: Path, folder: Path, *, pixels_url: str) -> int:
    """Write a planet's items and collection to another folder, with the addresses of a pixel server; return their number.

    Links to files beside the catalogue are left out: the STAC server makes its own.

    Raises:
        DatasetError: the catalogue is damaged, or cannot be written.
    """
    archive = read_archive(out)
    base = f"./{TILES_NAME}" if archive.rendered else PIXELS_URL
    try:
        collection = json.loads((out / COLLECTION_NAME).read_bytes())
        collection["links"] = [licence_link()]
        collection.pop("assets", None)
        (folder / COLLECTION_NAME).write_text(json.dumps(collection), encoding="utf-8")
        source = pq.ParquetFile(out / ITEMS_NAME)
        schema = source.schema_arrow.with_metadata(metadata_of(source))
        with pq.ParquetWriter(folder / ITEMS_NAME, schema, compression="snappy") as writer:
            for batch in source.iter_batches(_ROWS):
                table = pa.Table.from_batches([batch])
                for name, column in (("assets", _moved(table, base, pixels_url)), ("links", _links(table))):
                    table = table.set_column(table.schema.get_field_index(name), schema.field(name), column)
                writer.write_table(table.cast(schema))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as err:
        if getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise DatasetError(
                f"no room for a copy of the catalogue in {folder}: {err}; free disk space, or name another folder in TMPDIR"
            ) from err
        raise DatasetError(
            f"the catalogue of {out} is damaged or cannot be copied: {err}; make it again"
        ) from err
    num: int = source.metadata.num_rows
    return num


def _moved(table: pa.Table, base: str, pixels_url: str) -> pa.Array:
    """Return the assets with addresses that start with `pixels_url` instead of `base`."""
    assets = table["assets"].combine_chunks()
    moved = []
    for i in range(assets.type.num_fields):
        asset = assets.field(i)
        columns = [asset.field(j) for j in range(asset.type.num_fields)]
        at = asset.type.get_field_index("href")
        columns[at] = pc.replace_substring(columns[at], base, pixels_url, max_replacements=1)
        moved.append(pa.StructArray.from_arrays(columns, fields=list(asset.type)))
    return pa.StructArray.from_arrays(moved, fields=list(assets.type))


def _links(table: pa.Table) -> pa.Array:
    kind = table.schema.field("links").type
    kept = {f.name: licence_link().get(f.name) for f in kind.value_type}
    return pa.array([[kept]] * len(table), type=kind)


def _start_rustac(folder: Path, port: int) -> subprocess.Popen[bytes]:
    beside = Path(sys.executable).with_name("rustac")
    program = str(beside) if beside.is_file() else shutil.which("rustac")
    if program is None:
        raise CatalogError("the STAC server rustac is not installed; `pip install rustac`")
    # Without `--use-duckdb false` it would want an extension from the network, and every request would hang.
    command = [
        program,
        "serve",
        "--addr",
        f"{HOST}:{port}",
        "--use-duckdb",
        "false",
        COLLECTION_NAME,
        ITEMS_NAME,
    ]
    with (folder / "rustac.log").open("wb") as log:
        # A session of its own: a Ctrl-C in the terminal is for us, and we stop it.
        return subprocess.Popen(
            [_PYTHON, "-c", _WATCH, *command], cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # As servers do: a port on which closed connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as err:
            where = f"port {port} on {HOST}"
            if err.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"{where} is in use; stop what holds it, choose another with --stac-port, or 0 for a free one"
                ) from err
            raise ConfigError(f"cannot listen on {where}: {err}; choose another port (--stac-port)") from err


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=_ASKING_S)
    try:
        connection.request("GET", path)
        answer: Any = connection.getresponse()
        answer.read()
        return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
