"""Items from a STAC API: asked gently, a bounded number of times, and believed only as far as needed."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from seco.collect.catalogs import Catalog, Limits
from seco.collect.settings import Collect
from seco.collect.sources import Item
from seco.errors import CatalogError

Box = tuple[float, float, float, float]
"""West, south, east, north, degrees."""

_STALE_PAGES = 3
"""Pages in a row that bring nothing new, after which an answer is taken for a loop."""
_CAUSE = re.compile(r"\(Caused by .*?\): (.*?)[\"']\)\)?$")
_RETRIED = (408, 429, 500, 502, 503, 504)


class ApiSource:
    """A STAC API, asked no faster than its limits, whose answers stay on its own host.

    Raises:
        CatalogError: it does not answer, is no STAC API, or has no such collection.
    """

    def __init__(self, catalog: Catalog, settings: Collect) -> None:
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        limits = catalog.limits
        self.catalog, self.settings = catalog, settings
        self.num_requests = 0
        self._host = urlsplit(catalog.url).hostname
        self._pace = _Pace(limits)
        retries = min(limits.retries, settings.retries)
        retry = Retry(
            total=retries, connect=retries, read=retries, status=retries, redirect=3, other=0,
            status_forcelist=_RETRIED, allowed_methods=None, backoff_factor=limits.backoff_s,
            backoff_jitter=limits.backoff_s / 4, backoff_max=limits.most_backoff_s, respect_retry_after_header=True,
            raise_on_status=False, retry_after_max=int(limits.most_backoff_s),
        )  # fmt: skip
        # Whoever has not answered at all is more likely a wrong address than a broken network: that shows soon.
        io = StacApiIO(max_retries=retry.new(connect=min(retries, 1)))
        wait = min(limits.timeout_s, settings.timeout_s)
        io.session.hooks["response"].append(self._after)
        with _one_line(catalog):
            # `open` sets these two of `io` anew, to nothing unless they are given here.
            self._client = Client.open(catalog.url, stac_io=io, request_modifier=self._before, timeout=wait)
            searching = [k for k in self._client.links if k.rel == "search"]
            methods = {str(k.extra_fields.get("method", "GET")).upper() for k in searching}
        for scheme in ("http://", "https://"):
            io.session.mount(scheme, HTTPAdapter(max_retries=retry))
        self._method = "POST" if "POST" in methods or not methods else "GET"
        self._collection = self._choose_collection()

    def _choose_collection(self) -> str:
        with _one_line(self.catalog):
            there = [c.id for c in self._client.get_collections()]
        wanted = self.catalog.collection
        if wanted is None and len(there) == 1:
            return there[0]
        if wanted is None or wanted not in there:
            near = [c for c in there if "sentinel" in c and "2" in c] or there
            has = "several collections" if wanted is None else f"no collection {wanted!r}"
            raise CatalogError(
                f"catalogue {self.catalog.name} has {has}; "
                f"choose with --collection: {', '.join(near[:10]) or 'it has none'}"
            )
        return wanted

    def _before(self, request: Any) -> None:
        if urlsplit(request.url).hostname != self._host:
            raise CatalogError(
                f"catalogue {self.catalog.name} leads to another host, {urlsplit(request.url).hostname}"
            )
        self.num_requests += 1
        self._pace.wait()

    def _after(self, response: Any, **_: Any) -> None:
        to = urlsplit(response.headers.get("Location", "")).hostname if response.is_redirect else None
        if to not in (None, self._host):
            raise CatalogError(f"catalogue {self.catalog.name} redirects to another host, {to}")

    def items(self, *, tile: str | None = None, box: Box | None = None) -> Iterator[Item]:
        """Yield the items of a tile or a box in the days asked, each once.

        Raises:
            CatalogError: the API fails for good, or its pages never end.
        """
        catalog, (first, last) = self.catalog, self.settings.days
        query: dict[str, Any] = {}
        if tile is not None:
            query[str(catalog.tile_field)] = {"eq": f"{catalog.tile_prefix}{tile}"}
        if catalog.server_filters == "query":
            query["eo:cloud_cover"] = {"lte": self.settings.max_cloud}
        with _one_line(catalog):
            found = self._client.search(
                method=self._method, collections=[self._collection], bbox=box, query=query or None,
                datetime=f"{first}T00:00:00Z/{last}T23:59:59.999Z", limit=catalog.limits.page_items, max_items=None,
            )  # fmt: skip
            yield from self._pages(found.pages_as_dicts())

    def _pages(self, pages: Iterator[dict[str, Any]]) -> Iterator[Item]:
        seen: set[str] = set()
        stale = 0
        for number, page in enumerate(pages):
            new = [i for i in page.get("features") or () if str(_id(i)) not in seen]
            stale = 0 if new else stale + 1
            if stale >= _STALE_PAGES or number >= self.catalog.limits.most_pages:
                raise CatalogError(
                    f"catalogue {self.catalog.name}: its pages never end (page {number + 1} brings "
                    f"{'nothing new' if stale else 'more'}); ask for fewer days, or another catalogue"
                )
            seen.update(str(_id(i)) for i in new)
            yield from ((item, None) for item in new)


def _id(item: Any) -> Any:
    return item.get("id") if isinstance(item, Mapping) else None


class _Pace:
    """Lets requests begin no faster than a catalogue's limit."""

    def __init__(self, limits: Limits) -> None:
        self._step = 1.0 / limits.requests_a_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may begin."""
        with self._lock:
            now = time.monotonic()
            pause = max(self._next - now, 0.0)
            self._next = max(self._next, now) + self._step
        time.sleep(pause)


@contextlib.contextmanager
def _one_line(catalog: Catalog) -> Iterator[None]:
    """Turn whatever a client of strangers raises into one line."""
    import requests
    from pystac import STACError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import DoesNotConformTo

    try:
        yield
    except (
        APIError, STACError, requests.RequestException, DoesNotConformTo, OSError, ValueError, KeyError, TypeError,
        AttributeError, NotImplementedError, RecursionError,
    ) as err:  # fmt: skip
        status = getattr(err, "status_code", None)
        text = " ".join(str(err).split()) or type(err).__name__
        # What is said of a connection is wrapped twice; the reason comes last.
        wrapped = _CAUSE.search(text)
        text = (wrapped[1] if wrapped else text)[:200]
        raise CatalogError(
            f"catalogue {catalog.name} ({catalog.url}) cannot be searched: {f'status {status}, ' if status else ''}{text}; "
            "see to its address, try again later, or choose another catalogue"
        ) from err
