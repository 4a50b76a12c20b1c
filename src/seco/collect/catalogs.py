"""Catalogues that are known by name, and what any other address or file is taken for. Data, and how hrefs are signed."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from seco.errors import CatalogError, FetchError

Kind = Literal["api", "parquet", "static"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How gently a catalogue is asked.

    Attributes:
        requests_a_second: most searches begun in a second.
        page_items: items asked for in one answer.
        timeout_s: longest wait for an answer.
        retries: attempts again at one request after 429, 5xx or a broken connection.
        backoff_s: wait before the second attempt again where the server names no time; doubles with each one.
        most_backoff_s: longest such wait, and longest Retry-After that is waited for.
        most_pages: pages after which an answer is taken for endless.
    """

    requests_a_second: float = 4.0
    page_items: int = 100
    timeout_s: float = 60.0
    retries: int = 5
    backoff_s: float = 4.0
    most_backoff_s: float = 300.0
    most_pages: int = 2_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
    """Where scenes are found, and how.

    Attributes:
        name: what the run calls it; stands in every scene.
        kind: a STAC API, a stac-geoparquet file, or a `catalog.json` whose links are followed.
        url: address, or path of the file.
        collection: to search in; None takes what a local catalogue has.
        tile_field: property that names an item's tile and that the server can search by; None: it cannot.
        tile_prefix: what stands before the tile's name in it.
        server_filters: whether the server can be asked to leave out cloudy scenes. Servers that cannot may answer nothing
            at all to such a question, without an error; so the default is not to ask.
        signing: what makes addresses readable.
        keys: environment variables without which its pixels cannot be read.
        block_px: edge of the blocks of its rasters, for estimates.
        bytes_a_pixel: compressed size of a pixel of 16 bits, for estimates.
        note: what to know before using it.
    """

    name: str
    kind: Kind
    url: str
    collection: str | None = None
    tile_field: str | None = None
    tile_prefix: str = ""
    server_filters: Literal["query", "none"] = "none"
    signing: Literal["none", "planetary-computer"] = "none"
    keys: tuple[str, ...] = ()
    limits: Limits = Limits()
    block_px: int = 512
    bytes_a_pixel: float = 1.4
    note: str = ""

    @property
    def folder(self) -> Path | None:
        """Return the folder outside which a local catalogue's files may not lie; None for an API."""
        return None if self.kind == "api" else Path(self.url).resolve().parent


PRESETS = {
    c.name: c
    for c in (
        Catalog(
            name="earth-search", kind="api", url="https://earth-search.aws.element84.com/v1",
            collection="sentinel-2-l2a", tile_field="grid:code", tile_prefix="MGRS-", server_filters="query",
            block_px=1024,
            note="no account; sentinel-2-l2a, -c1-l2a; sentinel-2-l1c is JPEG 2000 in a bucket where the reader pays",
        ),
        Catalog(
            name="planetary-computer", kind="api", url="https://planetarycomputer.microsoft.com/api/stac/v1",
            collection="sentinel-2-l2a", tile_field="s2:mgrs_tile", server_filters="query",
            signing="planetary-computer", limits=Limits(requests_a_second=2.0, page_items=100),
            note="no account; addresses are signed for a while and signed again",
        ),
        Catalog(
            name="cdse", kind="api", url="https://stac.dataspace.copernicus.eu/v1", collection="sentinel-2-l2a",
            keys=("CDSE_ACCESS_KEY_ID", "CDSE_SECRET_ACCESS_KEY"), limits=Limits(requests_a_second=1.0),
            note="experimental: needs S3 keys of a Copernicus Data Space account; JPEG 2000, read slowly",
        ),
    )
}  # fmt: skip


def catalog_of(text: str, *, collection: str | None = None) -> Catalog:
    """Return the catalogue of a name, an address or a file.

    Args:
        text: a preset's name, `http(s)://...` of a STAC API, or a path of `items.parquet` or `catalog.json` (or a folder
            that holds one).
        collection: instead of the catalogue's usual one.

    Raises:
        CatalogError: it is none of these.
    """
    known = ", ".join(PRESETS)
    if text in PRESETS:
        found = PRESETS[text]
    elif "://" in text:
        found = _api(text, known)
    else:
        found = _local(Path(text), known)
    return dataclasses.replace(found, collection=collection) if collection else found


def _api(text: str, known: str) -> Catalog:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CatalogError(f"catalogue {_shown(text)}: give http:// or https:// of a STAC API, or {known}")
    if parts.username or parts.password:
        raise CatalogError(f"catalogue {_shown(text)}: leave user and password out of the address")
    if parts.query or parts.fragment:
        # The address is stored with the dataset, and queries hold keys.
        raise CatalogError(f"catalogue {_shown(text)}: leave everything from ? or # on out of the address")
    return Catalog(name=str(parts.hostname), kind="api", url=text.rstrip("/"))


def _shown(url: str) -> str:
    """Return an address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _local(path: Path, known: str) -> Catalog:
    if path.is_dir():
        path = next((path / n for n in ("items.parquet", "catalog.json") if (path / n).is_file()), path)
    kinds: dict[str, Kind] = {
        ".parquet": "parquet", ".geoparquet": "parquet", ".json": "static", ".geojson": "static",
    }  # fmt: skip
    if not path.is_file() or path.suffix.lower() not in kinds:
        raise CatalogError(
            f"catalogue {path}: no such name or file; give {known}, the URL of a STAC API, items.parquet or catalog.json"
        )
    return Catalog(name=path.resolve().parent.name or "local", kind=kinds[path.suffix.lower()], url=str(path))


def require_keys(catalog: Catalog) -> dict[str, str]:
    """Return the keys that a catalogue's pixels need, from the environment.

    Raises:
        CatalogError: one is not set.
    """
    missing = [k for k in catalog.keys if not os.environ.get(k)]
    if missing:
        raise CatalogError(
            f"catalogue {catalog.name} needs {', '.join(missing)} in the environment ({catalog.note}); "
            "set them, or choose earth-search, which needs none"
        )
    return {k: os.environ[k] for k in catalog.keys}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signer:
    """Makes addresses readable.

    Attributes:
        sign: an address as the catalogue wrote it to one that can be read now. Signatures are kept while they last.
        renew: forget signatures that are kept: the next `sign` asks for new ones (after a 403).
    """

    sign: Callable[[str], str]
    renew: Callable[[], None]


def signer_of(catalog: Catalog) -> Signer:
    """Return what signs a catalogue's addresses; safe to use from many threads."""
    if catalog.signing == "none":
        return Signer(sign=lambda href: href, renew=lambda: None)
    lock = threading.Lock()

    def sign(href: str) -> str:
        import planetary_computer as pc

        try:
            with lock:  # so that many threads ask for one signature once
                return str(pc.sign(href))
        except Exception as err:
            # What it raises is not documented: requests, pydantic and its own. The address itself is no secret.
            raise FetchError(
                f"cannot sign addresses of {catalog.name} ({urlsplit(href).hostname}): {type(err).__name__}; try again later"
            ) from err

    def renew() -> None:
        from planetary_computer import sas

        with lock:
            sas.TOKEN_CACHE.clear()

    return Signer(sign=sign, renew=renew)
