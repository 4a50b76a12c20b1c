"""Which addresses may be asked: hrefs come from strangers. Only http(s), s3, and files below a local catalogue's folder."""

from __future__ import annotations

import dataclasses
import ipaddress
import urllib.parse
from pathlib import Path
from typing import Literal

from seco.collect.faults import PixelFault

Kind = Literal["http", "s3", "file"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowed:
    """What may be asked.

    Attributes:
        files_below: folder of a local catalogue, whose files may be read; None for no files at all.
        private: `allow` lets addresses of this machine and of private networks be asked.
    """

    files_below: Path | None = None
    private: Literal["refuse", "allow"] = "refuse"

    def check_peer(self, address: str, *, host: str) -> None:
        """Refuse a connection to an address that is not public; asked once the connection is there, so that no name can lie.

        Raises:
            PixelFault: it is not public.
        """
        if self.private == "allow":
            return
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None)
        if not (mapped or found).is_global or found.is_multicast:
            raise PixelFault("refused", host, f"{address} is no public address (--hosts private allows it)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """An href, taken apart.

    Attributes:
        kind: how it is read.
        host: `name:port` of a server, the bucket of s3, `local files` for files.
        href: the address as it is asked, without fragment; of a file its path.
    """

    kind: Kind
    host: str
    href: str


def target_of(href: str, allowed: Allowed) -> Target:
    """Take an href apart and see that it may be asked.

    Raises:
        PixelFault: `refused`, with the reason.
    """
    if any(ord(c) < 33 for c in href):
        raise PixelFault("refused", "unknown", "an href with spaces or control characters")
    parts = urllib.parse.urlsplit(href)
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        try:
            port = parts.port
        except ValueError as err:
            raise PixelFault("refused", "unknown", f"a port out of range in {without_query(href)}") from err
        if not parts.hostname or parts.username or parts.password:
            raise PixelFault(
                "refused", parts.hostname or "unknown", "an href without host, or with a password"
            )
        name = parts.hostname.lower()
        host = f"{name}:{port}" if port else name
        return Target(kind="http", host=host, href=parts._replace(fragment="").geturl())
    if scheme == "s3" and parts.netloc:
        return Target(kind="s3", host=f"s3://{parts.netloc}", href=href)
    if scheme in ("", "file") and parts.netloc in ("", "localhost"):
        path = urllib.parse.unquote(parts.path) if scheme == "file" else href
        return Target(kind="file", host="local files", href=str(_local(Path(path), allowed)))
    raise PixelFault(
        "refused", scheme or "unknown", f"only http, https, s3 and files are read, not {scheme}:"
    )


def _local(path: Path, allowed: Allowed) -> Path:
    if allowed.files_below is None:
        raise PixelFault("refused", "local files", "a catalogue on the network may not name local files")
    root = allowed.files_below.resolve()
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        raise PixelFault("refused", "local files", f"{path} is not below the catalogue's folder {root}")
    return found


def without_query(href: str) -> str:
    """Return an href without what may be secret in it, for messages and counts."""
    parts = urllib.parse.urlsplit(href)
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="", fragment="").geturl()
