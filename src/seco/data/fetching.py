"""Fetch the twelve Blue Marble mosaics from NASA, once: with progress, going on where it stopped, and checked."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from seco.errors import FetchError

NASA = "https://assets.science.nasa.gov/content/dam/science/esd/eo/images/bmng/bmng-base"
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
SIZE_PX = (5400, 2700)
MAX_BYTES = 64 * 2**20
"""A mosaic of this size is about 2 MB; anything near this limit is not one."""
TRIES = 3
TIMEOUT_S = 30
CHUNK = 1 << 16


def month_name(month: int) -> str:
    """Return NASA's file name of a month of 2004."""
    return f"world.2004{month:02d}.3x5400x2700.jpg"


def fetch_bluemarble(
    folder: Path, *, base: str | None = None, say: Callable[[str], None] = print, pause_s: float = 2.0
) -> Path:
    """Fetch what is missing of the twelve mosaics into `folder`.

    Args:
        folder: where they go; finished ones are kept, a `.partial` one is gone on with.
        base: address of the folder that holds a folder a month; NASA's by default.
        say: takes a line a month.
        pause_s: wait between tries, doubled each time, unless the server says Retry-After.

    Raises:
        FetchError: a month cannot be had after three tries, or is not what it should be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise FetchError(f"cannot make {folder}: {err}; choose another folder") from err
    for month, name in enumerate(MONTHS, start=1):
        target = folder / month_name(month)
        if target.is_file():
            continue
        num_bytes = _fetch_one(f"{base or NASA}/{name}/{month_name(month)}", target, pause_s)
        say(f"fetched {month} of 12: {target.name}, {num_bytes / 1e6:.1f} MB")
    return folder


def _fetch_one(url: str, target: Path, pause_s: float) -> int:
    partial = target.with_name(target.name + ".partial")
    reason: Exception | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(_wait_s(reason, pause_s * 2 ** (attempt - 1)))
        try:
            _download(url, partial)
            _check_image(partial, url)
            partial.rename(target)
            return target.stat().st_size
        except urllib.error.HTTPError as err:
            reason = err
            if err.code == 416:  # what is there is longer than the file: start over
                partial.unlink(missing_ok=True)
            elif err.code not in (408, 429, 500, 502, 503, 504):
                break
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, _BadImageError) as err:
            reason = err
    raise FetchError(
        f"cannot fetch {url} ({reason}) after {attempt + 1} tries; check the network and run the same command again, "
        "or give a folder that holds the mosaics (--data)"
    ) from reason


class _BadImageError(Exception):
    """What was fetched is not the image it should be."""


def _wait_s(reason: Exception | None, pause_s: float) -> float:
    """Return the seconds to wait: the server's Retry-After where it gave one, bounded by a minute."""
    header = (
        reason.headers.get("Retry-After")
        if isinstance(reason, urllib.error.HTTPError) and reason.headers
        else None
    )
    return min(60.0, float(header)) if header and header.isdigit() else min(60.0, pause_s)


def _download(url: str, partial: Path) -> None:
    """Append what is missing to `partial`; a server without ranges sends the whole again."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(
        url, headers={"User-Agent": "seco", **({"Range": f"bytes={have}-"} if have else {})}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        going_on = have > 0 and answer.status == 206
        expected = _expected_bytes(answer, have if going_on else 0)
        with partial.open("ab" if going_on else "wb") as file:
            size = have if going_on else 0
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise FetchError(
                        f"{url} is larger than {MAX_BYTES // 2**20} MB; that is no Blue Marble mosaic"
                    )
                file.write(chunk)
    if expected is not None and size != expected:
        raise ConnectionError(f"cut short at {size} of {expected} bytes")


def _expected_bytes(answer: HTTPResponse, have: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return have + int(length) if length is not None and length.isdigit() else None


def _check_image(partial: Path, url: str) -> None:
    """Decode the image; remove it where it is none, so that the next try starts over."""
    try:
        with Image.open(partial, formats=("JPEG",)) as image:
            size = image.size
            if size == SIZE_PX:
                image.load()
                return
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as err:
        partial.unlink(missing_ok=True)
        raise _BadImageError(f"what came from {url} is not a whole JPEG: {err}") from err
    partial.unlink(missing_ok=True)
    raise _BadImageError(f"the image is {size[0]} x {size[1]} px, not {SIZE_PX[0]} x {SIZE_PX[1]}")
