"""All that fetches places in one process, opened and closed together: the wire, the rasters, the fetcher."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any

from seco.collect.catalogs import Catalog, require_keys, signer_of
from seco.collect.faults import Patience
from seco.collect.hrefs import Allowed
from seco.collect.model import PlacePlan
from seco.collect.place import Outcome, PlaceFetcher
from seco.collect.rasters import Rasters
from seco.collect.settings import Collect
from seco.collect.wire import Counts, Wire


@dataclasses.dataclass(kw_only=True)
class Fetching:
    """What is open.

    Attributes:
        wire: where bytes come from.
        rasters: where pixels come from.
        fetcher: fetches places.
    """

    wire: Wire
    rasters: Rasters
    fetcher: PlaceFetcher

    async def fetch(self, plan: PlacePlan) -> Outcome:
        """Fetch a place; see `PlaceFetcher.fetch`."""
        return await self.fetcher.fetch(plan)

    @property
    def counts(self) -> Counts:
        """What went over the wire."""
        return self.wire.counts

    @property
    def num_windows(self) -> int:
        """Windows that were read."""
        return self.rasters.num_read

    def take_counts(self) -> tuple[Counts, int]:
        """Return what was counted since the last call, wire and windows."""
        counts, num = self.wire.counts, self.rasters.num_read
        self.wire.counts, self.rasters.num_read = Counts(), 0
        return counts, num


@contextlib.asynccontextmanager
async def opened(
    settings: Collect, catalog: Catalog, bands: Sequence[str], *, patience: Patience
) -> AsyncIterator[Fetching]:
    """Open what fetches a catalogue's places.

    Raises:
        CatalogError: keys that the catalogue needs are not in the environment.
    """
    wire = Wire(
        patience=patience,
        allowed=Allowed(files_below=catalog.folder, private="allow" if settings.hosts == "private" else "refuse"),
        signer=None if catalog.signing == "none" else signer_of(catalog), concurrency=settings.concurrency,
        s3=_s3(catalog),
    )  # fmt: skip
    async with wire:
        rasters = Rasters(wire)
        try:
            yield Fetching(
                wire=wire, rasters=rasters, fetcher=PlaceFetcher(rasters, settings=settings, bands=bands)
            )
        finally:
            await rasters.close()


def _s3(catalog: Catalog) -> dict[str, Any] | None:
    keys = require_keys(catalog)
    if not keys:
        return None
    return {
        "access_key_id": keys["CDSE_ACCESS_KEY_ID"], "secret_access_key": keys["CDSE_SECRET_ACCESS_KEY"],
        "endpoint": "https://eodata.dataspace.copernicus.eu", "region": "default",
    }  # fmt: skip
